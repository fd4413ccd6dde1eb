"""One host command on its way to its one final result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import trio

from bridge.model import Condition
from bridge.tables import Command as Row
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.session import Render


class Command:
    """The running command.  `finish` may run once: a second final result cannot be written."""

    def __init__(self, unit: EspAtUpstream, name: str, form: Form, row: Row | None, values: dict[str, int | str]) -> None:
        self.name = name
        self.form = form
        self.row = row
        self.values = values
        self.scope = trio.CancelScope()  # its job; ends at the row's limit
        self.during = ""  # the refusal rows to look at; the name once its job has begun
        self.written: trio.Event | None = None
        self._unit = unit

    @property
    def done(self) -> bool:
        """Whether its final result is on its way to the host."""
        return self.written is not None

    def number(self, name: str, default: int = 0) -> int:
        """An argument that the grammar says is a number."""
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def string(self, name: str, default: str = "") -> str:
        """An argument that the grammar says is text."""
        value = self.values.get(name, default)
        assert isinstance(value, str)
        return value

    def finish(self, render: Render, rule: str = "answer") -> None:
        """Write the answer with its final result, rendered when written; that frees the command slot."""
        if self.written is not None:
            raise RuntimeError(f"{self.name}: a second final result")

        def last() -> bytes | None:
            self._unit.free(self)
            return render()

        self.written = self._unit.writer.post_render(last, rule=rule)

    def ok(self, info: bytes = b"") -> None:
        """Information lines, then OK."""
        self.finish(lambda: info + self._unit.say("ok"))

    def refuse(self, condition: Condition, why: str = "") -> None:
        """The host dialect's error for a condition."""
        self._unit.counters[f"refused-{condition}"] += 1
        self._unit.trace.note(f"refused {self.name}", f"{condition} {why}".strip())
        text = self._unit.profile.refusal_of(condition, self.during).encode("latin-1")
        self.finish(lambda: text, rule=str(condition))


Hook = Callable[["EspAtUpstream", Command], Coroutine[Any, Any, None] | None]
"""A behaviour that a table row names: finishes its command at once, or returns the job that will."""


class Payload:
    """The bytes of one counted send on their way from the reader to the job that sends them.

    Bounded by what the command announced, so the reader never waits.
    """

    def __init__(self, command: Command, total: int) -> None:
        self.command = command
        self.total = total
        self.complete = trio.Event()
        self.begun = False
        self.prompted = False  # the host was told to send; one that does not wait for that may be earlier
        self._pieces: deque[bytes] = deque()
        self._more = trio.Event()

    def add(self, data: bytes, left: int) -> None:
        """From the reader."""
        self._pieces.append(data)
        self._more.set()
        if not left:
            self.complete.set()

    async def take(self) -> bytes:
        """All that is there, at least one byte; ``b''`` once everything was taken."""
        while not self._pieces:
            if self.complete.is_set():
                return b""
            self._more = trio.Event()
            await self._more.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.begun = True
        return data
