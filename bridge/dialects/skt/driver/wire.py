"""The wire to an SKT module: one command at a time, a guard after each answer.

The module has one line buffer and wipes it when a command's handler returns: what comes earlier is lost without a word
(ameba-rtos, ``log_service.c``).  So nothing is sent before the guard is over, and what is not answered is only asked
again where asking twice does no harm.  Only the driver's own task calls the methods here; `Hearing` takes what arrives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import trio

from bridge.dialects.skt.driver.finals import GARBLED, REFUSED, SILENT
from bridge.dialects.skt.driver.hearing import Hearing
from bridge.dialects.skt.driver.reader import Data
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Lane, Trace

_COMMAND = re.compile(r"AT\+([A-Z]+)")


class Wire(Hearing):
    """Commands on one port."""

    def __init__(self, port: Port, profile: Profile, trace: Trace, counters: Counter[str]) -> None:
        super().__init__(profile, trace, counters)
        self._port = port
        self._echoes = bool(profile.value["echo"].value)
        self._ready_at = 0.0  # the guard after the last answer ends

    def start_over(self) -> None:
        """Another line, or a module that was lost: nothing that was said before counts."""
        self._start()
        self._ready_at = 0.0
        self.trouble, self.doubt = None, ""
        self.up = self.serving = False

    # --- commands ---

    async def command(self, template: str, payload: bytes = b"", /, **arguments: object) -> list[bytes]:
        """One command and its answer's information lines.  Raises ModuleError, ModuleLost (reset, blocked)."""
        return await self.command_within(self._profile.template[template].limit, template, payload, **arguments)

    async def command_within(self, limit: float, template: str, payload: bytes = b"", /, **arguments: object) -> list[bytes]:
        """The same, with a limit in seconds of its own."""
        await self.begin(template, payload, arguments)
        try:
            await self.until(self.over, limit)
            return self.end(limit)
        finally:
            self.leave()

    async def ask(self, template: str, /, **arguments: object) -> list[bytes]:
        """A question that may be asked twice: the first command after a long one is often lost."""
        try:
            return await self.command(template, **arguments)
        except ModuleError as error:
            if error.code != SILENT:
                raise
            self._counters["asked-twice"] += 1
            if self.doubt == _no_answer(template):
                self.doubt = ""
            return await self.command(template, **arguments)

    async def read_data(self, number: int, size: int) -> Data:
        """What waits for an id, at most ``size`` bytes.  Raises ModuleError; GARBLED: the payload is lost."""
        limit = self._profile.template["read"].limit
        self._reading = number
        await self.begin("read", b"", {"id": number, "size": size})
        try:
            await self.until(self.over, limit)
            try:
                self.end(limit)
            except ModuleError as error:
                if self._data is None:
                    raise
                # A payload without the end of its answer: it may have been filled up by other text.
                self.doubt = self.doubt or "a payload without an end"
                raise ModuleError(GARBLED, error.during) from None
            if self._data is None:
                raise ModuleError(REFUSED, "SKTREAD")
            return self._data
        finally:
            self.leave()

    # --- parts of a dialogue, for those that have a course of their own (`raw`) ---

    async def begin(self, template: str, payload: bytes, arguments: dict[str, object]) -> None:
        """Say a command, once the guard is over.  Raises ModuleLost."""
        row = self._profile.template[template]
        await self.guard()
        self.check()
        text = row.send.format(**arguments).encode("latin-1")  # as hosts' lines are read
        shown = row.send.format(**{k: "***" if k in row.secret else v for k, v in arguments.items()}).encode("latin-1")
        found = _COMMAND.match(row.send)
        assert found is not None, template
        self._pending, self._template = found[1], template
        self._info, self._final, self._data = [], None, None
        self._line = text
        self.unanswered = True
        if self._echoes:
            self.reader.expect_echo(text + payload)
            self._trailing = True
        self._trace.carrying(Lane.TO_MODULE, shown, payload, b"\r\n", template)
        await self.write(text + payload + b"\r\n")

    def end(self, limit: float) -> list[bytes]:
        """What became of it, ``limit`` seconds having been waited at most.  Raises ModuleError, ModuleLost."""
        during = self._pending
        self.unanswered = False
        ended_at = trio.current_time() if self._final is None else self._ended_at
        self._ready_at = ended_at + self._profile.seconds("guard")
        self.reader.expect_echo(b"")
        self.check()
        if self._final is None:
            self.doubt = self.doubt or _no_answer(self._template)
            self._trace.note("silent", f"{_no_answer(self._template)} within {limit:g} s")
            raise ModuleError(SILENT, during)
        if self._final:
            raise ModuleError(self._final, during)
        return self._info

    def leave(self) -> None:
        """The dialogue is done with; what comes now is nobody's answer."""
        self._pending = self._template = ""

    def over(self) -> bool:
        """Whether its final result is there."""
        return self._final is not None

    async def guard(self) -> None:
        """Until the module hears again: its guard is over, and on the log port its prompt is there."""
        if self._trailing:
            await self.until(lambda: not self._trailing, self._profile.seconds("prompt_wait"))
            self._trailing = False
        await trio.sleep_until(self._ready_at)
        if self._data is not None and self.finals.named:
            # No line ended that answer: its end may stand behind what another task prints, so while anything comes it goes on.
            most = self._ready_at + self._profile.seconds("payload_idle")
            await self.until(lambda: not self.reader.owing, most - trio.current_time())
            while (left := min(self._heard + self._profile.seconds("guard"), most) - trio.current_time()) > 0:
                await self.wake.wait(left)

    def check(self) -> None:
        """Raises ModuleLost where a line said that the module was reset."""
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    async def clean_line(self) -> None:
        """End whatever stands in the module's line buffer."""
        self._trace.line(Lane.TO_MODULE, b"\r\n", "clean")
        await self.write(b"\r\n")
        await trio.sleep(self._profile.seconds("guard"))

    async def quiet(self, seconds: float, most: float) -> bool:
        """Until nothing has come for so long; False: it did not within ``most`` seconds."""
        begun = trio.current_time()
        while (left := max(self._heard, begun) + seconds - trio.current_time()) > 0:
            if trio.current_time() - begun > most:
                return False
            await self.wake.wait(left)
            self.look()
        return True

    async def until(self, done: Callable[[], bool], limit: float) -> bool:
        """Wait for it; False: not within so many seconds, or the module was reset."""
        end = trio.current_time() + limit
        while not done():
            left = end - trio.current_time()
            if left <= 0 or self.trouble is not None:
                return False
            await self.wake.wait(min(left, self.look_in))
            self.look()
        return True

    async def write(self, data: bytes) -> None:
        """Raises ModuleLost where the module takes no bytes, and PortLost."""
        with trio.move_on_after(self._profile.seconds("write")) as limit:
            await self._port.send(data)
        if limit.cancelled_caught:
            raise ModuleLost(Condition.MODULE_BLOCKED, "the module takes no bytes")


def _no_answer(template: str) -> str:
    return f"no answer to {template}"
