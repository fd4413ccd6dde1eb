"""What arrives from an SKT module: every line is the pending command's, a URC, or counted as neither.

The reader task feeds it.  `bridge.dialects.skt.driver.wire` is the other half: what is said, and what became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio

from bridge.dialects.skt.driver.finals import GARBLED, Finals
from bridge.dialects.skt.driver.reader import Data, End, Event, Heads, Line, Loss, Prompt, Reader
from bridge.driving.trouble import ModuleLost, Wake
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.patterns import Pattern

_LATE = 0.05  # seconds: a timer is not so late where this process gets its turn
_SHOWN_KEYS = {b"IP", b"GW", b"msk", b"MAC", b"SSID"}  # of WLSTATE's lines; its others may be the password

OnUrc = Callable[[str, dict[str, int | str]], None]
OnData = Callable[[Data], None]
OnLoss = Callable[[Loss], None]


class Hearing:
    """The half of the wire that knows what is awaited, and takes what comes."""

    def __init__(self, profile: Profile, trace: Trace, counters: Counter[str]) -> None:
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._urcs = [(name, Pattern(urc.pattern)) for name, urc in profile.urc.items()]
        self._noise = tuple(word.encode("ascii") for word in profile.words("noise").split("|"))
        self.deaths = {int(code) for code in profile.words("server_death").split()}
        self._prompt = profile.words("prompt").encode("ascii")
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
        self.unanswered = False  # a command was begun, and whoever did so has not seen its end
        self.prompted = False  # it waits for raw bytes
        self.high_water = False  # it said that it is nearly full
        self._heard = 0.0  # when the last byte came
        self._trailing = False  # the log port's prompt is still to come

    def serve(self, on_urc: OnUrc, on_data: OnData, on_loss: OnLoss) -> None:
        """Whom to tell."""
        self._on_urc, self._on_data, self._on_loss = on_urc, on_data, on_loss

    @property
    def asking(self) -> str:
        """The template whose answer is awaited."""
        return self._template

    def feed(self, data: bytes) -> None:
        """Bytes of the module, from the reader task."""
        self._heard = trio.current_time()
        if self.reader.discarding:
            self._trace.carrying(Lane.FROM_MODULE, *self._spilled(b"", data), b"", "discarded")
        self.reader.feed(data)
        while (event := self.reader.next()) is not None:
            self._take(event)
        self._counters["overlong-lines"] += self.reader.overlong
        self.reader.overlong = 0
        self.wake.set()

    def _take(self, event: Event) -> None:
        rule = self._template or "urc"
        if isinstance(event, Line):
            self._trace.line(Lane.FROM_MODULE, self._shown(event.text) + b"\r\n", rule)
            self._take_line(event.text)
        elif isinstance(event, Data):
            self._trace.carrying(Lane.FROM_MODULE, event.head, event.data, event.tail, rule, link=str(event.id))
            self._take_data(event)
        elif isinstance(event, End):
            self._trace.line(Lane.FROM_MODULE, event.text, rule)
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
        line = b"+" + line[2:] if line.startswith(b"+ ") else line
        if self._line and line.lstrip(b"#").startswith(self._line):
            self.echoed = True  # maybe behind the prompt of an empty line, which no line end follows
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
        link = str(loss.id) if loss.head else ""
        self._trace.carrying(Lane.FROM_MODULE, *self._spilled(loss.head, loss.data), loss.tail, "lost", link=link)
        self._trace.note("payload-lost", f"id {loss.id}: {loss.came} bytes came for {loss.length}")
        if loss.doubt:
            self.doubt = self.doubt or "a payload did not come whole"
            if self._pending and self._final is None:
                self._end_with(GARBLED)
        self._on_loss(loss)

    def _end_with(self, code: int) -> None:
        """The pending command has its result; the guard counts from here, not from when the driver's task is woken."""
        self._final, self._ended_at = code, trio.current_time()

    def _spilled(self, head: bytes, data: bytes) -> tuple[bytes, bytes]:
        """(text, payload) of what came in place of a payload: a WL command's answer has the password in it, as has its echo."""
        return (head + b"***", b"") if data and self._line.startswith(b"AT+WL") else (head, data)

    def _shown(self, line: bytes) -> bytes:
        """WLSTATE prints the network's password in clear, in a line whose name builds differ about."""
        if b",pw," in line or (self._template == "join" and self.finals.code(self._pending, line) is None):
            return b"***"  # our own join, echoed: log lines may break it anywhere
        key, arrow, _ = line.partition(b"=>")
        if arrow:
            return line if key.strip() in _SHOWN_KEYS else b"***"
        return b"***" if self._template == "joined" and not self._told(line) else line

    def _told(self, line: bytes) -> bool:
        """Whether it says something by itself, and is no piece of a line that a log line has broken."""
        return self.finals.code(self._pending, line) is not None or any(urc.match(line) is not None for _, urc in self._urcs)

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
