"""One host command on its way to its one final result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import trio

from bridge.command_log import CommandEvent, Part
from bridge.dialects.esp_at import errors
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Command as Row
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.session import Gate, Render


class Command:
    """The running command.  `finish` may run once: a second final result cannot be written."""

    def __init__(self, unit: EspAtUpstream, name: str, form: Form, row: Row | None, event: CommandEvent) -> None:
        self.name = name
        self.base = row.same or name if row else name  # the command that the name is another name of
        self.form = form
        self.row = row
        self.values: dict[str, int | str] = {}
        self.event = event  # what its operator gets to know of it
        self.link = ""  # the id that it is about, for the trace
        self.scope = trio.CancelScope()  # its job; ends at the row's limit
        self.life = trio.CancelScope()  # and all that follows from it; ends at a reset
        self.ended = trio.Event()  # nothing of its job runs any more
        self.abandoned = False  # by a reset: it has nothing to say any more
        self.during = ""  # the refusal rows to look at; the name once its job has begun
        self.prefix = ""  # {id} of its refusal: those of some generations name the link
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

    def abandon(self) -> None:
        """The module was reset: its job ends, and what that still says is not said.  Only for a command with a job."""
        self.abandoned = True
        self.written = trio.Event()
        self.written.set()
        self.event.abandon("reset")
        self.life.cancel()

    def finish(self, render: Render, rule: str = "answer") -> None:
        """Write the answer with its final result, rendered when written; that frees the command slot."""
        if self.abandoned:
            return
        if self.written is not None:
            raise RuntimeError(f"{self.name}: a second final result")

        def last() -> bytes | None:
            self._unit.free(self)
            data = render()
            self.event.end(data or b"")
            return data

        self.written = self._unit.writer.post_render(last, rule=rule, link=lambda: self.link)

    def ok(self, info: bytes = b"") -> None:
        """Information lines, then OK."""
        self.finish(lambda: info + self._unit.say("ok"))

    def refuse(self, condition: Condition, why: str = "", *, about: str = "", code: int = errors.Code.FAILED) -> None:
        """The host dialect's error for a condition; ``about`` narrows the table's row, ``code`` is its ERR CODE."""
        self._unit.counters[f"refused-{condition}"] += 1
        self._unit.trace.note(f"refused {self.name}", f"{condition} {why}".strip())
        self.event.refused(condition, why)
        text = errors.text(self._unit, self, condition, about, code)
        self.finish(lambda: text, rule=str(condition))


Hook = Callable[["EspAtUpstream", Command], Coroutine[Any, Any, None] | None]
"""A behaviour that a table row names: finishes its command at once, or returns the job that will."""


class Payload:
    """The bytes of one counted send on their way from the reader to the job that sends them.

    Bounded by what the command announced, so the reader never waits.
    """

    def __init__(self, command: Command, total: int, *, escaped: bool = False) -> None:
        self.command = command
        self.total = total  # bytes announced
        self.escaped = escaped  # it may end earlier, see `LineReader.collect`
        self.size = 0  # bytes received
        self.complete = trio.Event()
        self.over = trio.Event()  # complete, or given up: the final result may be said
        self.given_up = False  # the host was silent for too long; what still comes of it is dropped
        self.heard = trio.current_time()  # when the host last sent a byte of it, or was told to
        self.gate: Gate | None = None  # shut from the prompt to the final result
        self.begun = False
        self.prompted = False  # the host was told to send; one that does not wait for that may be earlier
        self._pieces: deque[bytes] = deque()
        self._more = trio.Event()

    def add(self, data: bytes, left: int) -> None:
        """From the reader."""
        if self.given_up:
            return
        self._pieces.append(data)
        self.size += len(data)
        self._more.set()
        if not left:
            self.complete.set()
            self.over.set()

    def give_up(self) -> None:
        """The rest did not come: the send ends, if it has not yet."""
        self.given_up = True
        self._pieces.clear()
        self.command.scope.cancel()
        self.over.set()

    async def take(self) -> bytes:
        """All that is there, at least one byte; ``b''`` once everything was taken."""
        while not self._pieces:
            if self.complete.is_set():
                return b""
            if self.given_up:  # before its cancellation could tell
                raise NetworkError(Condition.ABORTED, "the payload did not come")
            self._more = trio.Event()
            with self.command.event.waiting(Part.WIRE):
                await self._more.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.begun = True
        return data

    async def whole(self) -> bytes:
        """All of it, once it is here."""
        with self.command.event.waiting(Part.WIRE):
            await self.complete.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
