"""The wire to a WIP modem: one dialogue at a time, in command state or glued to one socket.

Only the driver's own task calls the methods here (seam rule 1); the reader task feeds what arrives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import trio

from bridge.dialects.wip.pluses import Pluses
from bridge.dialects.wip.sockets import Socket
from bridge.dialects.wip.tail import Tail
from bridge.dialects.wip.trouble import ModemError, ModemLost, Wake
from bridge.model import Condition
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.lines import Lines
from bridge.wire.patterns import Pattern

BLOCK = 512  # bytes between two looks at what came back: a modem that fell out of data mode reads the rest as commands
OnUrc = Callable[[str, dict[str, int | str]], None]


class Modem:
    """Commands, mapping and escape on one port."""

    def __init__(self, port: Port, profile: Profile, trace: Trace, counters: Counter[str], on_urc: OnUrc) -> None:
        self._port = port
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._on_urc = on_urc
        self._urcs = [(name, Pattern(urc.pattern)) for name, urc in profile.urc.items()]
        self._lines = Lines()
        self._pending: str | None = None  # the template whose answer is awaited
        self._sent_line = b""
        self._info: list[bytes] = []
        self._final: bytes | None = None
        self._then: Callable[[], None] | None = None  # done when the awaited OK is read
        self._payload: Callable[[bytes], None] | None = None  # where a mapped socket's bytes go
        self.wake = Wake()
        self.tail = self._new_tail()
        self.pluses = Pluses(profile.seconds("guard"))
        self.discarded = 0  # payload that came in an unknown state, in the last `unknown`
        self.bytes_in = 0  # payload of mapped sockets, both ways: the arbiter's batches
        self.bytes_out = 0
        self.drained = True  # no payload is on its way out of the line any more
        self.echoed = False  # our own commands came back
        self.up = False  # after bring-up: from here on an echo or a boot line means a reset

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
        payload = self.tail.feed(data, trio.current_time())
        if payload:
            self._trace.payload(Lane.FROM_MODULE, payload)
            self._payload(payload)

    def _take_lines(self) -> None:
        while self._payload is None and (line := self._lines.next_line()) is not None:
            self._trace.line(Lane.FROM_MODULE, line + b"\r\n", self._pending or "urc")
            self._take_line(line)
        self._counters["overlong-lines"] = self._lines.overlong

    def _take_line(self, line: bytes) -> None:
        """One line in command state; the first rule that fits has it.

        1. our own command coming back: echo is on again, so the modem was reset (before bring-up: dropped)
        2. CONNECT while a mapping is awaited: every byte after its LF is data
        3. a final result while a command is pending
        4. a URC
        5. information while a command is pending
        6. anything else is counted and traced
        """
        if self._sent_line and line == self._sent_line:
            self.echoed = True
            if self.up:
                self._on_urc("echo", {})
            return
        pending = self._pending is not None and self._final is None
        if pending and line == b"CONNECT" and self._awaiting_payload is not None:
            self._final = line
            self._payload, self._awaiting_payload = self._awaiting_payload, None
            if rest := self._lines.rest():
                self._take_payload(rest)
            return
        if pending and (line in {b"OK", b"ERROR", b"NO CARRIER"} or line.startswith(b"+CME ERROR:")):
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
            return
        if line in {b"OK", b"ERROR"} or line.startswith(b"+CME ERROR:"):
            self._on_urc("unexplained", {"line": line.decode("latin-1")})
            return
        self._counters["unmatched-lines"] += 1
        self._trace.note("unmatched", line.decode("latin-1"))

    _awaiting_payload: Callable[[bytes], None] | None = None

    # --- command state ---

    async def command(self, template: str, then: Callable[[], None] | None = None, /, **arguments: object) -> list[bytes]:
        """One command and its answer's information lines.  Raises ModemError, ModemLost (mute, blocked).

        ``then`` is called while the OK is read: a URC may follow it in the same read, and it means what holds after it.
        """
        row = self._profile.template[template]
        text = row.send.format(**arguments)
        shown = row.send.format(**{k: "***" if k in row.secret else v for k, v in arguments.items()})
        self._pending, self._info, self._final, self._then = template, [], None, then
        self._sent_line = text.encode("ascii")
        try:
            await self._write(self._sent_line + b"\r", Lane.TO_MODULE, shown.encode("ascii") + b"\r", template)
            await self._until(lambda: self._final is not None, row.limit)
            final: bytes | None = self._final
        finally:
            self._pending = self._then = None
            self._awaiting_payload = None
        if final is None:
            raise ModemLost(Condition.MODULE_MUTE, f"no answer to {template} within {row.limit:g} s")
        if final in {b"OK", b"CONNECT"}:
            return self._info
        digits = final.partition(b":")[2].strip()
        raise ModemError(int(digits) if digits.isdigit() else -1, template)

    async def sync(self) -> bool:
        """Whether the modem answers in command state: a bare CR to clean its line, then ``AT``."""
        self._payload = None
        for _ in range(2):
            await self._write(b"\r", Lane.TO_MODULE, b"\r", "sync")
            await trio.sleep(self._profile.seconds("sync_pause"))
            self._lines.rest()
            try:
                await self.command("sync")
            except (ModemError, ModemLost):
                continue
            return True
        return False

    async def unknown(self) -> bool:
        """The procedure for a modem in an unknown state: assume it is mapped, leave data mode, then see.

        The first probe is never a command: in data mode it would go to the peer.
        """
        self.discarded = 0
        self._payload = self._discard  # what a socket of a former life still sends is nobody's
        self.tail = self._new_tail()
        self.pluses.last_out = trio.current_time()
        await self.escape(evidence=True)
        return await self.sync()

    def _discard(self, data: bytes) -> None:
        self.discarded += len(data)

    # --- data mode ---

    async def map(self, socket: Socket) -> None:
        """Glue the wire to a socket.  Raises ModemError (831 and the like) and stays in command state then."""
        self.tail = self._new_tail(socket.own_words)
        self._awaiting_payload = socket.deliver
        mode = self._profile.number(socket.mode)
        await self.command("map", protocol=socket.protocol, index=socket.index, mode=mode)
        self.pluses.entered(trio.current_time())

    async def write(self, data: bytes, *, more: bool) -> bytes:
        """Payload of a mapped socket, in blocks; returns what is held back (a run of ``+`` that more may follow).

        Stops early, holding back the rest, where the modem may have fallen to command state.
        """
        plan, held = self.pluses.plan(data, trio.current_time(), more=more)
        for number, (pause, piece) in enumerate(plan):
            if pause:
                await trio.sleep(pause)
            for start in range(0, len(piece), BLOCK):
                if self.tail.suspect():
                    return piece[start:] + b"".join(p for _, p in plan[number + 1 :]) + held
                block = piece[start : start + BLOCK]
                self.drained = False
                await self._write(block, None, b"", "")
                self._trace.payload(Lane.TO_MODULE, block)
                self.bytes_out += len(block)
                self.pluses.went_out(block, trio.current_time())
        return held

    async def drain(self) -> None:
        """Until everything written has left the line."""
        with trio.move_on_after(self._profile.seconds("write")) as limit:
            await self._port.drain()
        if limit.cancelled_caught:
            raise ModemLost(Condition.MODULE_BLOCKED, "the line does not drain")
        self.drained = True
        self.pluses.last_out = max(self.pluses.last_out, trio.current_time())

    async def escape(self, *, evidence: bool) -> bool:
        """Leave data mode.  True: the modem was mapped and said OK.  False: it did not answer; `sync` must tell.

        ``evidence``: it has already shown a fallback text, so one unanswered escape is enough; otherwise two are.
        The caller has waited for the leading guard as far as it liked; the rest of it is waited for here.
        """
        guard, wait = self._profile.seconds("guard"), self._profile.seconds("escape_answer")
        if not self.drained:  # the silence begins when the last byte has left, not when the kernel took it
            await self.drain()
        for _ in range(1 if evidence else 2):
            await trio.sleep_until(self.pluses.last_out + guard)
            await self._write(b"+++", Lane.TO_MODULE, b"+++", "escape")
            await self.drain()
            sent = trio.current_time()
            self.pluses.went_out(b"+++", sent)
            self.tail.believe_ok_from(sent + self._profile.seconds("escape_earliest"))
            limit = self._profile.seconds("escape_evidence") if evidence else wait
            if await self._until(lambda: self._escaped(sent), limit):  # noqa: B023 (called in this turn only)
                self._leave(*self.tail.close_escaped())
                return True
            self.tail.believe_ok_from(None)
        return False

    async def fallen(self) -> bool:
        """After an unanswered escape: whether the modem is in command state.  What it said there is read as lines."""
        payload, lines = self.tail.close_fallen()
        self._leave(payload, lines)
        return await self.sync()

    def _leave(self, payload: bytes, lines: list[bytes]) -> None:
        if payload and self._payload is not None:
            self._trace.payload(Lane.FROM_MODULE, payload)
            self._payload(payload)
        self._payload = None
        self._sent_line = b""
        self._lines.rest()
        for line in lines:
            self._trace.line(Lane.FROM_MODULE, line + b"\r\n", "after-data")
            if line not in {b"OK", b"NO CARRIER", b"SHUTDOWN"} and not line.startswith(b"+CME"):
                self._take_line(line)

    async def quiet(self, seconds: float) -> None:
        """So long after the last byte out, and until nothing incomplete is held (which `partial` bounds)."""
        end = self.pluses.last_out + seconds
        while (now := trio.current_time()) < end or (self.tail.holding and not self.tail.suspect()):
            await self.wake.wait(max(end - now, self._profile.seconds("look")))
            self.release_partial(trio.current_time())

    def release_partial(self, now: float) -> None:
        """Deliver a held text that has not been finished within the settle time."""
        if now - self.tail.last_byte >= self._profile.seconds("partial") and self._payload is not None:
            payload = self.tail.release_partial()
            if payload:
                self._trace.payload(Lane.FROM_MODULE, payload)
                self._payload(payload)

    def _escaped(self, sent: float) -> bool:
        now = trio.current_time()
        silence = max(self.tail.last_byte, sent + self._profile.seconds("guard_module"))
        return self.tail.escaped(now) and now - silence >= self._profile.seconds("partial")

    # --- both ---

    def _new_tail(self, own_words: Sequence[str] = ()) -> Tail:
        urcs = [urc.pattern for urc in self._profile.urc.values()]
        return Tail([*self._profile.words("fallback").split("|"), *own_words], urcs)

    def start_over(self) -> None:
        """Another line, or the same one after it was lost: nothing that was said before counts."""
        self._lines = Lines()
        self._payload = self._awaiting_payload = self._pending = self._then = None
        self._sent_line = b""
        self.tail = self._new_tail()
        self.pluses = Pluses(self._profile.seconds("guard"))
        self.up = False

    async def _write(self, data: bytes, lane: Lane | None, shown: bytes, rule: str) -> None:
        if lane is not None:
            self._trace.line(lane, shown, rule)
        with trio.move_on_after(self._profile.seconds("write")) as limit:
            await self._port.send(data)
        if limit.cancelled_caught:
            raise ModemLost(Condition.MODULE_BLOCKED, "the modem takes no bytes")

    async def _until(self, done: Callable[[], bool], limit: float) -> bool:
        """Wait for something the reader brings; looks again at every wake-up and every few milliseconds of silence."""
        end = trio.current_time() + limit
        while not done():
            left = end - trio.current_time()
            if left <= 0:
                return False
            await self.wake.wait(min(left, self._profile.seconds("look")))
        return True
