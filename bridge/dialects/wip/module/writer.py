"""The one writer of the host's wire: text, echo and a mapped socket's bytes, strictly in the order given.

A session's usual writer holds URCs back behind answers.  Here they must pass *before* the OK of an escape and not at
all while a socket is mapped, so the module decides when a URC is due and this writer keeps nothing but the order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from bridge.dialects.wip.module.port import HostLine
from bridge.trace import Lane, Trace

ECHO_ROOM = 1024  # bytes of echo that may wait for a host that does not read; more are dropped and counted

Render = Callable[[], bytes | None]


@dataclass(slots=True)
class _Message:
    render: Render
    rule: str  # "echo" and "data" are not shown in the trace as text
    shown: bytes | None = None  # in the trace instead of what is written
    written: trio.Event = field(default_factory=trio.Event)


class ModuleWriter:
    """A queue and the task that empties it."""

    def __init__(self, port: HostLine, trace: Trace, counters: Counter[str]) -> None:
        self._port = port
        self._trace = trace
        self._counters = counters
        self._queue: deque[_Message] = deque()
        self._echo = 0
        self._wake = trio.Event()

    def post(self, data: bytes, rule: str = "answer", *, shown: bytes | None = None) -> trio.Event:
        """A message; the event is set when it was handed to the port.  ``shown`` replaces it in the trace (secrets)."""
        return self.post_render(lambda: data, rule, shown=shown)

    def post_render(self, render: Render, rule: str = "urc", *, shown: bytes | None = None) -> trio.Event:
        """The same, rendered when written; None says nothing."""
        message = _Message(render, rule, shown)
        self._queue.append(message)
        self._wake.set()
        return message.written

    def data(self, data: bytes) -> trio.Event:
        """Bytes of the mapped socket.  One piece at a time: wait for the event before the next (back-pressure)."""
        return self.post(data, "data")

    def echo(self, data: bytes) -> None:
        """What the host typed.  Never waits; the trace shows it once, with the line, masked."""
        if not data:
            return
        if self._echo + len(data) > ECHO_ROOM:
            self._counters["echo-dropped"] += len(data)
            self._trace.note("echo-dropped", f"{len(data)} bytes")
            return
        self._echo += len(data)

        def render() -> bytes:
            self._echo -= len(data)
            return data

        self.post_render(render, "echo")

    async def run(self) -> None:
        """Write for ever.  Raises PortLost."""
        while True:
            while not self._queue:
                self._wake = trio.Event()
                await self._wake.wait()
            message = self._queue.popleft()
            if data := message.render():
                if message.rule == "data":
                    self._trace.payload(Lane.TO_HOST, data, message.rule)
                elif message.rule != "echo":
                    self._trace.line(Lane.TO_HOST, data if message.shown is None else message.shown, message.rule)
                await self._port.send(data)
            message.written.set()
