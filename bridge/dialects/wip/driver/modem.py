"""The wire to a WIP modem in command state: one dialogue at a time.  `DataMode` is the other half of it.

Only the driver's own task calls the methods here (seam rule 1); the reader task feeds what arrives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio

from bridge.dialects.wip.driver.data_mode import CODED, DataMode
from bridge.dialects.wip.driver.finals import Doubt, code_of, is_error, is_final, is_result
from bridge.dialects.wip.driver.pluses import Pluses
from bridge.dialects.wip.driver.sockets import Socket
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.lines import Lines
from bridge.wire.patterns import Pattern

OnUrc = Callable[[str, dict[str, int | str]], None]


class Modem(DataMode):
    """Commands on one port, and the way into its data mode."""

    def __init__(self, port: Port, profile: Profile, trace: Trace, counters: Counter[str], on_urc: OnUrc) -> None:
        super().__init__(port, profile, trace)
        self._counters = counters
        self._on_urc = on_urc
        self._lines = Lines()
        self._pending: str | None = None  # the template whose answer is awaited
        self._sent_line = b""
        self._secrets: set[bytes] = set()  # what was sent and no trace may have
        self._info: list[bytes] = []
        self._last_line = 0.0  # when the last of it came
        self._final: bytes | None = None
        self._then: Callable[[], None] | None = None  # done when the awaited OK is read
        self.creating: Callable[[], bool] = bool  # whether a create is pending whose failure may come as a bare error
        self.use(profile)
        self.discarded = 0  # payload that came in an unknown state, in the last `unknown`
        self.echoes = 0  # times that our own commands came back
        self.quiet = False  # in a bring-up: our ATE0 was taken, so an echo means a reset
        self.up = False  # after bring-up: from here on an echo or a boot line means a reset

    def use(self, profile: Profile) -> None:
        """Go by this table, in command state."""
        super().use(profile)
        self._doubt = Doubt(profile.seconds("second_final"))

    @property
    def flow(self) -> bool:
        """Whether RTS and CTS hold the sender of either side back."""
        return self._port.flow

    # --- what arrives ---

    async def read(self) -> None:
        """The reader task.  Raises PortLost."""
        while True:
            data = await self._port.receive()
            if self._payload is None:
                self._lines.feed(data)
                self._take_lines()
            else:
                self._take_payload(data)
            self.wake.set()

    def _take_payload(self, data: bytes) -> None:
        assert self._payload is not None
        self.bytes_in += len(data)
        self._deliver(self.tail.feed(data, trio.current_time()))

    def _take_lines(self) -> None:
        while self._payload is None and (line := self._lines.next_line()) is not None:
            self._trace.line(Lane.FROM_MODULE, self._masked(line) + b"\r\n", self._pending or "urc")
            self._take_line(line)
        self._counters["overlong-lines"] += self._lines.overlong
        self._lines.overlong = 0

    def _take_line(self, line: bytes) -> None:
        """One line in command state; the first rule that fits has it.

        1. our own command coming back: echo is on again, so the modem was reset (before bring-up: dropped)
        2. CONNECT while a mapping is awaited: every byte after its LF is data
        3. a final result while a command is pending
        4. a URC
        5. information while a command is pending
        6. anything else is counted and traced; a result or CONNECT makes the state doubtful

        An error in 3 may be that of a pending create: see `bridge.dialects.wip.driver.finals`.
        """
        if self._sent_line and line == self._sent_line:
            self.echoes += 1
            if self.up:
                self._on_urc("echo", {})
            return
        pending = self._pending is not None and self._final is None
        if pending and line == b"CONNECT" and self._awaiting_payload is not None:
            self._explain_doubt()
            self._final = line
            self._payload, self._awaiting_payload = self._awaiting_payload, None
            if rest := self._lines.rest():
                self._take_payload(rest)
            return
        if pending and is_final(line):
            if is_error(line) and self.creating() and self._doubt.hold(line, trio.current_time()):
                return
            self._explain_doubt()
            self._final = line
            if line == b"OK" and self._then is not None:
                self._then()
            return
        for name, pattern in self._urcs:
            if (fields := pattern.match(line)) is not None:
                self._on_urc(name, fields)
                return
        if pending:
            self._info.append(line)
            self._last_line = trio.current_time()
            return
        if is_result(line):
            self._unasked(line)
            return
        if line == b"NO CARRIER":
            self.carrier(line)
            return
        self._counters["unmatched-lines"] += 1
        self._trace.note("unmatched", self._masked(line).decode("latin-1"))

    def carrier(self, line: bytes) -> None:
        """A text of its own that may be about the bearer."""
        self._on_urc("carrier", {"line": line.decode("latin-1")})

    def _masked(self, line: bytes) -> bytes:
        """For the trace: a modem whose echo is on again says our secrets, too."""
        shown = line
        for secret in self._secrets:
            shown = shown.replace(secret, b"***")
        if shown == line and self._hiding and not is_result(line) and all(urc.match(line) is None for _, urc in self._urcs):
            return b"***"  # it may be a piece of our command, whose echo a line of the modem's has broken
        return shown

    @property
    def _hiding(self) -> bool:
        """Whether what is awaited is the answer to a command with a secret."""
        return self._pending is not None and bool(self._profile.template[self._pending].secret)

    _awaiting_payload: Callable[[bytes], None] | None = None

    def _explain_doubt(self) -> None:
        """A final result follows an error: that error was not the command's."""
        if (line := self._doubt.take()) is not None:
            self._unasked(line)

    def _unasked(self, line: bytes) -> None:
        fields: dict[str, int | str] = {"line": line.decode("latin-1")}
        if is_error(line):
            self._on_urc("bare", fields | {"code": code_of(line)})
        else:
            self._on_urc("unexplained", fields)

    # --- command state ---

    async def command(self, template: str, then: Callable[[], None] | None = None, /, **arguments: object) -> list[bytes]:
        """One command and its answer's information lines.  Raises ModuleError, ModuleLost (mute, blocked).

        ``then`` is called while the OK is read: a URC may follow it in the same read, and it means what holds after it.
        """
        return await self._dialogue(template, then, None, arguments)

    async def ask(self, template: str, enough: Pattern, /, **arguments: object) -> list[bytes]:
        """The same, for an answer whose OK some firmware leaves out: such a line and a short silence are enough."""
        return await self._dialogue(template, None, enough, arguments)

    async def _dialogue(
        self, template: str, then: Callable[[], None] | None, enough: Pattern | None, arguments: dict[str, object]
    ) -> list[bytes]:
        row = self._profile.template[template]
        text = row.send.format(**arguments)
        shown = row.send.format(**arguments | dict.fromkeys(row.secret, "***")) if row.secret else text
        self._pending, self._info, self._final, self._then = template, [], None, then
        self._doubt.forget()
        echoes = self.echoes
        self._sent_line = text.encode("ascii")
        self._secrets |= {str(arguments[name]).encode("ascii") for name in row.secret}
        try:
            await self._write(self._sent_line + b"\r", Lane.TO_MODULE, shown.encode("ascii") + b"\r", template)
            await self._until(lambda: self._final is not None or self._said_all(enough), row.limit)
            final = self._final or self._doubt.take()
        finally:
            self._pending = self._then = None
            self._awaiting_payload = None
        if self.quiet and self.echoes != echoes:
            raise ModuleLost(Condition.MODULE_RESET, f"its echo is on again at {template}")
        if final is None and not self._said_all(enough):
            raise ModuleLost(Condition.MODULE_MUTE, f"no answer to {template} within {row.limit:g} s")
        if template == "dtr_keeps":
            self.dtr.allowed = final == b"OK"
        if final in {None, b"OK", b"CONNECT"}:
            return self._info
        raise ModuleError(code_of(final or b""), template)

    def _said_all(self, enough: Pattern | None) -> bool:
        """Without a final result: an error that nothing followed, or the line that is enough."""
        now = trio.current_time()
        if self._doubt.settled(now):
            return True
        silent = now - self._last_line >= self._profile.seconds("second_final")
        return enough is not None and silent and any(enough.match(line) is not None for line in self._info)

    async def sync(self) -> bool:
        """Whether the modem answers in command state: a bare CR to clean its line, then ``AT``."""
        self._payload = None
        for _ in range(2):
            await self._write(b"\r", Lane.TO_MODULE, b"\r", "sync")
            await trio.sleep(self._profile.seconds("sync_pause"))
            self._lines.rest()
            try:
                await self.command("sync")
            except (ModuleError, ModuleLost):
                continue
            return True
        return False

    async def unknown(self) -> bool:
        """The procedure for a modem in an unknown state: assume it is mapped, leave data mode, then see.

        The first probe is never a command: in data mode it would go to the peer.
        """
        self.discarded = 0
        self._mapped, self._coded = None, False
        self._payload = self._discard  # what a socket of a former life still sends is nobody's
        self.tail = self._new_tail()
        self.pluses.last_out = trio.current_time()
        await self.escape(once=True)
        self.between = False
        return await self.sync()

    def _discard(self, data: bytes) -> None:
        self.discarded += len(data)

    # --- data mode ---

    async def map(self, socket: Socket) -> None:
        """Glue the wire to a socket.  Raises ModuleError (831 and the like) and stays in command state then."""
        self.tail = self._new_tail(socket.own_words)
        mode = self._profile.number(socket.mode)
        self._awaiting_payload = socket.deliver
        self.between = True
        try:
            await self.command("map", protocol=socket.protocol, index=socket.index, mode=mode)
        except ModuleError:
            self.between = False
            raise
        self.between = False
        self._mapped, self._coded = socket, mode == CODED
        self.pluses.entered(trio.current_time())

    # --- both ---

    def _said_after_data(self, lines: list[bytes], *, answered: bool) -> None:
        """See DataMode.  An error that ended data mode was the mapped socket's, and is known; any other is not."""
        self._sent_line = b""
        self._lines.rest()
        for line in lines:
            self._trace.line(Lane.FROM_MODULE, b"\r\n" + line + b"\r\n", "after-data")
            if line.startswith(b"+CME"):
                if answered:
                    self._unasked(line)
            elif line not in {b"OK", b"ERROR", b"NO CARRIER", *self.stays_words}:
                self._take_line(line)

    def start_over(self) -> None:
        """Another line, or the same one after it was lost: nothing that was said before counts."""
        self._lines = Lines()
        self._payload = self._awaiting_payload = self._pending = self._then = self._mapped = None
        self._sent_line = b""
        self.tail = self._new_tail()
        self.pluses = Pluses(self._profile.seconds("guard"))
        self.drained = True
        self.dtr.allowed = False
        self.up = False
