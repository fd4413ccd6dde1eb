"""The wire to an SKT module: one command at a time, a guard after each answer.

The module has one line buffer and wipes it when a command's handler returns: what comes earlier is lost without a word
(ameba-rtos, ``log_service.c``).  So nothing is sent before the guard is over, and what is not answered is only asked
again where asking twice does no harm.  Only the driver's own task calls the methods here; the reader task feeds it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import trio

from bridge.dialects.skt.driver.finals import GARBLED, REFUSED, SILENT, Finals
from bridge.dialects.skt.driver.reader import Data, Event, Heads, Line, Loss, Prompt, Reader
from bridge.driving.trouble import ModuleError, ModuleLost, Wake
from bridge.model import Condition
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.patterns import Pattern

_COMMAND = re.compile(r"AT\+([A-Z]+)")
_LATE = 0.05  # seconds: a timer is not so late where this process gets its turn
_SHOWN_KEYS = {b"IP", b"GW", b"msk", b"MAC", b"SSID"}  # of WLSTATE's lines; its others may be the password

OnUrc = Callable[[str, dict[str, int | str]], None]
OnData = Callable[[Data], None]
OnLoss = Callable[[Loss], None]


class Wire:
    """Commands on one port."""

    def __init__(self, port: Port, profile: Profile, trace: Trace, counters: Counter[str]) -> None:
        self._port = port
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._urcs = [(name, Pattern(urc.pattern)) for name, urc in profile.urc.items()]
        self._noise = tuple(word.encode("ascii") for word in profile.words("noise").split("|"))
        self.deaths = {int(code) for code in profile.words("server_death").split()}
        self._prompt = profile.words("prompt").encode("ascii")
        self._echoes = bool(profile.value["echo"].value)
        self.finals = Finals(str(profile.value["results"].value))
        self.wake = Wake()
        self.trouble: ModuleLost | None = None  # a line said that the module was reset
        self.doubt = ""  # why it is not known what the module took or printed
        self.up = False  # after bring-up: from here on a boot line means a reset
        self.serving = False  # a server is there: an error of SKTSERVER may be its death
        self.echoed = False  # our own commands come back: a log port
        self._start()

    def _start(self) -> None:
        profile = self._profile
        heads = Heads(profile.words("data_head"), profile.words("data_head_from"))
        tail, most = bool(profile.value["data_tail"].value), profile.number("print_most")
        urcs = [urc.pattern for urc in profile.urc.values()]
        self.reader = Reader(heads, tail=tail, print_most=most, urcs=urcs)
        self._pending = ""  # the command whose answer is awaited
        self._template = ""
        self._line = b""
        self._info: list[bytes] = []
        self._data: Data | None = None  # of an awaited SKTREAD
        self._reading = 0  # the id that it reads
        self._final: int | None = None
        self._ended_at = 0.0  # when it came
        self.prompted = False  # it waits for raw bytes
        self.high_water = False  # it said that it is nearly full
        self._ready_at = 0.0  # the guard after the last answer ends
        self._heard = 0.0  # when the last byte came
        self._trailing = False  # the log port's prompt is still to come

    def serve(self, on_urc: OnUrc, on_data: OnData, on_loss: OnLoss) -> None:
        """Whom to tell."""
        self._on_urc, self._on_data, self._on_loss = on_urc, on_data, on_loss

    def start_over(self) -> None:
        """Another line, or a module that was lost: nothing that was said before counts."""
        self._start()
        self.trouble, self.doubt = None, ""
        self.up = self.serving = False

    @property
    def asking(self) -> str:
        """The template whose answer is awaited."""
        return self._template

    # --- what arrives ---

    def feed(self, data: bytes) -> None:
        """Bytes of the module, from the reader task."""
        self._heard = trio.current_time()
        self.reader.feed(data)
        while (event := self.reader.next()) is not None:
            self._take(event)
        self._counters["overlong-lines"] = self.reader.overlong
        self.wake.set()

    def _take(self, event: Event) -> None:
        if isinstance(event, Line):
            self._trace.line(Lane.FROM_MODULE, self._shown(event.text) + b"\r\n", self._template or "urc")
            self._take_line(event.text)
        elif isinstance(event, Data):
            self._trace.payload(Lane.FROM_MODULE, event.data, self._template or "urc", link=str(event.id))
            self._take_data(event)
        elif isinstance(event, Prompt):
            self._trace.line(Lane.FROM_MODULE, b">>>", self._template)
            self.prompted = True
        else:
            self._take_loss(event)

    def _take_line(self, line: bytes) -> None:
        """The first rule that fits has it.

        1. our own command coming back, and the prompt of the log port
        2. the final result of the pending command (an error of a server that lives already is not the pending one's)
        3. a URC
        4. log lines
        5. information while a command is pending
        6. anything else is counted and traced
        """
        if self._line and line.startswith(self._line):
            self.echoed = True
            return
        if self._prompt and line == self._prompt:
            self._trailing = False
            return
        if self._pending and self._final is None:
            code = self.finals.code(self._pending, line)
            if code is not None and not (self.serving and self._pending == "SKTSERVER" and code in self.deaths):
                self._end_with(code)
                self._info += [line] if self._pending == "GMR" and code == 0 else []
                return
        for name, pattern in self._urcs:
            if (fields := pattern.match(line)) is not None:
                self._on_urc(name, fields)
                return
        if line.startswith(self._noise):
            return
        if self._pending and self._final is None:
            self._info.append(line)
            return
        self._counters["unmatched-lines"] += 1
        self._trace.note("unmatched", self._shown(line).decode("latin-1"))

    def _take_data(self, data: Data) -> None:
        if self._pending == "SKTREAD" and self._final is None and self._data is None and data.id == self._reading:
            self._data = data
            if self.finals.named:
                self._end_with(0)
            return
        self._on_data(data)

    def _take_loss(self, loss: Loss) -> None:
        self._counters["payload-losses"] += 1
        self._trace.note("payload-lost", f"id {loss.id}: {loss.came} bytes came for {loss.length}")
        if loss.doubt:
            self.doubt = self.doubt or "a payload did not come whole"
            if self._pending and self._final is None:
                self._end_with(GARBLED)
        self._on_loss(loss)

    def _end_with(self, code: int) -> None:
        """The pending command has its result; the guard counts from here, not from when the driver's task is woken."""
        self._final, self._ended_at = code, trio.current_time()

    def _shown(self, line: bytes) -> bytes:
        """WLSTATE prints the network's password in clear, in a line whose name builds differ about."""
        if b",pw," in line:
            return b"***"  # our own join, echoed
        key, arrow, _ = line.partition(b"=>")
        return b"***" if arrow and key.strip() not in _SHOWN_KEYS else line

    # --- commands ---

    async def command(self, template: str, payload: bytes = b"", /, **arguments: object) -> list[bytes]:
        """One command and its answer's information lines.  Raises ModuleError, ModuleLost (reset, blocked)."""
        limit = self._profile.template[template].limit
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
            doubt, self.doubt = self.doubt, ""
            answer = await self.command(template, **arguments)
            self.doubt = "" if doubt == f"no answer to {template}" else doubt
            return answer

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
        text = row.send.format(**arguments).encode()
        shown = row.send.format(**{k: "***" if k in row.secret else v for k, v in arguments.items()}).encode()
        found = _COMMAND.match(row.send)
        assert found is not None, template
        self._pending, self._template = found[1], template
        self._info, self._final, self._data = [], None, None
        self._line = text
        if self._echoes:
            self.reader.expect_echo(text + payload)
            self._trailing = True
        self._trace.line(Lane.TO_MODULE, shown + (b"..." if payload else b"") + b"\r\n", template)
        if payload:
            self._trace.payload(Lane.TO_MODULE, payload, template)
        await self.write(text + payload + b"\r\n")

    def end(self, limit: float) -> list[bytes]:
        """What became of it, ``limit`` seconds having been waited at most.  Raises ModuleError, ModuleLost."""
        during = self._pending
        ended_at = trio.current_time() if self._final is None else self._ended_at
        self._ready_at = ended_at + self._profile.seconds("guard")
        self.reader.expect_echo(b"")
        self.check()
        if self._final is None:
            self.doubt = self.doubt or f"no answer to {self._template}"
            self._trace.note("silent", f"no answer to {self._template} within {limit:g} s")
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

    def look(self) -> None:
        """Give up a payload whose bytes do not come any more.

        Who looks late was not scheduled, and what came meanwhile may have yet to be read: it looks again.
        """
        if self.reader.in_payload and self.look_in <= 0:
            if (now := trio.current_time()) - self._heard > self._profile.seconds("payload_idle") + _LATE:
                self._heard = now
                return
            loss = self.reader.silent()
            if loss is not None:
                self._take(loss)
            while (event := self.reader.next()) is not None:
                self._take(event)

    @property
    def look_in(self) -> float:
        """Seconds until `look` is of use."""
        if not self.reader.in_payload:
            return float("inf")
        return max(0.0, self._heard + self._profile.seconds("payload_idle") - trio.current_time())

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
