"""One bridge: a nursery per direction, one ordered writer to the host, a crash barrier round each command."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.ports import Port, PortLost
from bridge.trace import Lane, Trace

if TYPE_CHECKING:
    from bridge.network import Network

log = structlog.get_logger("bridge")

ASIDE_ROOM = 1024  # bytes of busy replies and echo that may wait; more are dropped and counted

_TICK = 0.001  # seconds: every task that is ready has had its turn

Render = Callable[[], bytes | None]
Carried = slice | Callable[[], slice]  # where in a message a link's bytes are; asked for when it is rendered
About = str | Callable[[], str]  # the connection that a message is about, for the trace; asked for when it is rendered


class Upstream(ABC):
    """A dialect's module side: one task hears the host, the other tells it what the module did."""

    counters: Counter[str]

    @abstractmethod
    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read host bytes, turn them into calls on the Network.  Started when it listens; raises PortLost."""

    @abstractmethod
    async def module_to_host(self) -> None:
        """The writer, link pumps, URCs, network state.  Raises PortLost."""


async def run_session(
    upstream: Upstream, network: Network, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run one bridge until it is cancelled or a port is lost (PortLost from the host's, NetworkError from below)."""
    async with trio.open_nursery() as session:
        await session.start(network.run)
        session.start_soon(upstream.module_to_host)
        await session.start(upstream.host_to_module)
        task_status.started()


class _Message:
    __slots__ = ("carried", "link", "render", "rule", "shown", "written")

    def __init__(self, render: Render, shown: bytes | None, rule: str, link: About = "", carried: Carried | None = None) -> None:
        self.render = render
        self.shown = shown
        self.rule = rule
        self.link = link
        self.carried = carried
        self.written = trio.Event()


class Gate:
    """Shut: no URC passes.  Several may be shut at a time; `HostWriter.void` opens them all."""

    def __init__(self, writer: HostWriter) -> None:
        self._writer = writer

    def open(self, after: float = 0.0) -> None:
        """URCs pass again, at the earliest ``after`` seconds from now.  Again, or after `void`: without effect."""
        self._writer.opened(self, after)


class HostWriter:
    """The one writer of a host's wire.  A message is written whole, but for a reset or a lost port.

    Answers, echo and busy replies go out in the order they were given; URCs wait behind them, in their own order,
    and only pass while the gate is open.  A URC is rendered at the moment it is written, so that it tells the truth
    of that moment: ids are allocated and freed inside ``render``, with nothing else running.

    Where the port is lost and ``reopens``, what is to be written is dropped and counted, and nobody waits for it: the
    one who reads the port notices the loss and knows what to do about it.
    """

    def __init__(self, port: Port, trace: Trace, counters: Counter[str]) -> None:
        self._port = port
        self._trace = trace
        self._counters = counters
        self._direct: deque[_Message] = deque()
        self._urcs: deque[_Message] = deque()
        self._aside = 0
        self._gates: set[Gate] = set()
        self._writing = trio.CancelScope()
        self._quiet_until = 0.0
        self._wake = trio.Event()

    @property
    def backlog(self) -> int:
        """Answers, echo and busy replies that wait because the host does not read."""
        return len(self._direct)

    def shut(self) -> Gate:
        """No URC passes from here on, until this gate and all others are open."""
        gate = Gate(self)
        self._gates.add(gate)
        return gate

    def opened(self, gate: Gate, after: float) -> None:
        """For `Gate.open`."""
        if gate not in self._gates:
            return
        self._gates.remove(gate)
        self._quiet_until = max(self._quiet_until, trio.current_time() + after)
        self._wake.set()

    def void(self, *, answers: bool) -> None:
        """The module was reset: what waits to be said is not said, nobody waits for it, and every gate is open.

        ``answers``: not even the answers, and the message that is being written is cut.  Otherwise URCs alone.
        """
        lanes = [self._urcs, self._direct] if answers else [self._urcs]
        for lane in lanes:
            while lane:
                lane.popleft().written.set()
        if answers:
            self._aside = 0
            self._writing.cancel()
        self._gates.clear()

    def aside(self, data: bytes, rule: str = "busy") -> bool:
        """Echo or a busy reply: never waits; False where it had to be dropped (the host does not read)."""
        if self._aside + len(data) > ASIDE_ROOM:
            self._counters["aside-dropped"] += 1
            self._trace.note("aside-dropped", rule)
            return False
        self._aside += len(data)

        def render() -> bytes:
            self._aside -= len(data)
            return data

        self._put(self._direct, _Message(render, None, rule))
        return True

    def post(
        self,
        data: bytes,
        *,
        shown: bytes | None = None,
        rule: str = "answer",
        link: About = "",
        carried: Carried | None = None,
    ) -> trio.Event:
        """Part of the running command's answer; the event is set when it was handed to the port.

        ``shown`` replaces it in the trace (secrets); ``carried``: what of it are a link's bytes.
        """
        message = _Message(lambda: data, shown, rule, link, carried)
        self._put(self._direct, message)
        return message.written

    def post_render(self, render: Render, *, rule: str = "answer", link: About = "") -> trio.Event:
        """The same, rendered when written."""
        message = _Message(render, None, rule, link)
        self._put(self._direct, message)
        return message.written

    async def answer(
        self, data: bytes, *, shown: bytes | None = None, rule: str = "answer", carried: Carried | None = None
    ) -> None:
        """`post`, and wait until it is written."""
        await self.post(data, shown=shown, rule=rule, carried=carried).wait()

    async def urc(self, render: Render, rule: str = "urc", *, carried: Carried | None = None, link: About = "") -> None:
        """An unsolicited message, rendered when written (None: nothing to say any more).

        ``carried`` tells what of the message are a link's bytes.
        Cancelled before its turn it is withdrawn; once its turn has come it is written.
        """
        message = _Message(render, None, rule, link, carried)
        self._put(self._urcs, message)
        try:
            await message.written.wait()
        finally:
            if message in self._urcs:
                self._urcs.remove(message)
                message.written.set()  # nobody need wait for it

    @property
    def urcs(self) -> int:
        """URCs that wait for their turn."""
        return len(self._urcs)

    async def let_through(self, limit: float) -> None:
        """Let the URCs that wait go first, for ``limit`` seconds at most; at once where none waits.

        Before a gate is shut again: a host that sends without a pause would otherwise never hear of its links.
        """
        with trio.move_on_after(limit):
            while self._urcs:
                await self._urcs[-1].written.wait()
                await trio.sleep(_TICK)  # a pump takes its link's next slice

    def _put(self, lane: deque[_Message], message: _Message) -> None:
        lane.append(message)
        self._wake.set()

    async def run(self) -> None:
        """Write for ever.  Raises PortLost where the port never comes back."""
        while True:
            message = await self._next()
            data = message.render()
            if data:
                if self._trace.kept:
                    self._record(message, data)
                await self._send(data)
            message.written.set()

    def _record(self, message: _Message, data: bytes) -> None:
        link = message.link if isinstance(message.link, str) else message.link()
        if message.carried is None:
            self._trace.line(Lane.TO_HOST, data if message.shown is None else message.shown, message.rule, link=link)
            return
        carried = message.carried() if callable(message.carried) else message.carried
        start, end, _ = carried.indices(len(data))
        self._trace.carrying(Lane.TO_HOST, data[:start], data[start:end], data[end:], message.rule, link=link)

    async def _send(self, data: bytes) -> None:
        before = self._port.sent
        try:
            with trio.CancelScope() as self._writing:
                await self._port.send(data)
        except PortLost:
            if not self._port.reopens:
                raise
            self._counters["port-lost-dropped"] += 1
            self._trace.note("port lost", f"{len(data)} bytes were to be written")
        if self._writing.cancelled_caught:
            self._trace.note("cut", f"{self._port.sent - before} of {len(data)} bytes were written")

    async def _next(self) -> _Message:
        while True:
            if self._direct:
                return self._direct.popleft()
            wait = math.inf
            if self._urcs and not self._gates:
                wait = self._quiet_until - trio.current_time()
                if wait <= 0:
                    return self._urcs.popleft()
            self._wake = trio.Event()
            with trio.move_on_after(wait):
                await self._wake.wait()
