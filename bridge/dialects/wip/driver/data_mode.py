"""The wire to a WIP modem while it is glued to one socket: what goes out, what comes in, and the ways back.

What the modem itself says in the stream is told from payload by `bridge.dialects.wip.driver.tail`; that our own payload is
never taken for the escape, by `bridge.dialects.wip.driver.pluses`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import trio

from bridge.dialects.wip.driver.dtr import Dtr
from bridge.dialects.wip.driver.pluses import Pluses
from bridge.dialects.wip.driver.sockets import Socket
from bridge.dialects.wip.driver.tail import Tail
from bridge.dialects.wip.driver.trouble import ModemBlocked
from bridge.driving.trouble import ModuleLost, Wake
from bridge.model import Condition
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.dle import whole
from bridge.wire.patterns import Pattern

BLOCK = 512  # bytes between two looks at what came back: a modem that fell out of data mode reads the rest as commands
ESCAPES = 2  # unanswered ones after which the modem counts as in command state, or mute
CODED = 1  # the data mode in which ETX and DLE are escaped, both ways (Multi-Tech S000437C p.25)


class DataMode(ABC):
    """The half of a modem that knows nothing of commands."""

    def __init__(self, port: Port, profile: Profile, trace: Trace) -> None:
        self._port = port
        self._trace = trace
        self._payload: Callable[[bytes], None] | None = None  # where a mapped socket's bytes go
        self._mapped: Socket | None = None  # whose they are
        self._coded = False  # data mode 1: a DLE and what it escapes stay together
        self.wake = Wake()
        self.bytes_in = 0  # payload of mapped sockets, both ways: the arbiter's batches
        self.bytes_out = 0
        self.bytes_delivered = 0  # without what is held, or was the modem's own
        self.between = False  # on the way into data mode or out of it: nobody knows on which side
        self.drained = True  # nothing is on its way out of the line any more

    def use(self, profile: Profile) -> None:
        """Go by this table, in command state."""
        self._profile = profile
        self.stays_words = [word.encode("ascii") for word in profile.words("stays").split("|")]
        self._urcs = [(name, Pattern(urc.pattern)) for name, urc in profile.urc.items()]
        self.tail = self._new_tail()
        self.pluses = Pluses(profile.seconds("guard"))
        self.dtr = Dtr(self._port, profile, self._trace)

    @property
    def rate(self) -> float:
        """Bytes per second of the line."""
        return (self._port.baud or self._profile.number("baud")) / 10

    # --- the other half ---

    @abstractmethod
    async def sync(self) -> bool:
        """Whether the modem answers in command state."""

    @abstractmethod
    def _said_after_data(self, lines: list[bytes], *, answered: bool) -> None:
        """Lines that the modem printed when data mode was left; ``answered``: with the OK of the escape."""

    # --- bytes ---

    def _deliver(self, payload: bytes) -> None:
        if payload and self._payload is not None:
            self._trace.payload(Lane.FROM_MODULE, payload)
            self.bytes_delivered += len(payload)
            self._payload(payload)

    def _new_tail(self, own_words: Sequence[str] = ()) -> Tail:
        urcs = [urc.pattern for urc in self._profile.urc.values()]
        stays = [word.decode("ascii") for word in self.stays_words]
        # Of a socket that is not mapped it tells without an index, when it can: with the answer of the escape.
        errors = ["+CME ERROR: {code:int}"] if self._profile.number("bare_failure") else []
        return Tail([*self._profile.words("fallback").split("|"), *stays, *own_words], urcs, stays, errors)

    async def write(self, data: bytes, *, more: bool) -> bytes:
        """Payload of a mapped socket, in blocks; returns what is held back (a run of ``+`` that more may follow).

        Stops early, holding back the rest, where the modem may have fallen to command state.
        """
        plan, held = self.pluses.plan(data, trio.current_time(), more=more)
        for number, (pause, piece) in enumerate(plan):
            if pause:
                await trio.sleep(pause)
            start = 0
            while start < len(piece):
                if self.fell:
                    return piece[start:] + b"".join(p for _, p in plan[number + 1 :]) + held
                block = piece[start : start + BLOCK]
                block = block[: whole(block)] if self._coded else block  # between two blocks a visit may end
                start += len(block)
                self.drained = False
                await self._write(block, None, b"", "")
                self._trace.payload(Lane.TO_MODULE, block)
                self.bytes_out += len(block)
                self.pluses.went_out(block, trio.current_time())
        return held

    @property
    def stays(self) -> bool:
        """The tail is a text after which the modem stays mapped, if it is its own."""
        words = self.tail.words()
        return bool(words) and words[0] in self.stays_words

    @property
    def fell(self) -> bool:
        """The modem may be in command state: what is written now may be typed into it."""
        return self.tail.suspect() or (self._mapped is not None and self._mapped.aborted)

    async def drain(self) -> None:
        """Until everything written has left the line."""
        with trio.move_on_after(self._patience) as limit:
            await self._port.drain()
        if limit.cancelled_caught:
            raise ModemBlocked("the line does not drain")
        self.drained = True
        self.pluses.last_out = max(self.pluses.last_out, trio.current_time())

    @property
    def _patience(self) -> float:
        """Seconds that the line may stand still; where DTR is no way out, there is nothing better than to wait."""
        return self._profile.seconds("write") + (0.0 if self.dtr.usable else self._profile.seconds("blocked"))

    async def unblock(self) -> bool:
        """The line stands still while a socket is mapped: DTR, if nothing can be typed into the modem's commands then.

        What has not left is dropped.  True: in command state.
        """
        if not self.dtr.usable or not await self._port.discard():
            return False
        self.tail.believe_ok_from(trio.current_time())
        await self.dtr.drop()
        up_again = trio.current_time()
        if not await self._until(lambda: self._said_ok(up_again), self._profile.seconds("dtr_answer")):
            return False
        self._close()
        self.drained = True
        self.between = not await self.sync()
        return not self.between

    @property
    def leave_at(self) -> float:
        """From when on the wire can be left: the leading guard, where one is due."""
        return self.pluses.last_out + (0.0 if self.dtr.works else self._profile.seconds("guard"))

    async def leave(self) -> bool:
        """Leave data mode, by DTR or by the escape.  True: the modem was mapped and said OK.  False: `fallen` must tell."""
        self.between = True
        left = await self._by_dtr() if self.dtr.usable else None
        if left is None:
            left = await self.escape()
        self.between = not left
        return left

    @property
    def _evidence(self) -> bool:
        """It has shown a text after which it is in command state, if the text was its own."""
        return bool(self.tail.words()) and not self.stays

    async def _by_dtr(self) -> bool | None:
        """See `leave`.  None: DTR tells nothing."""
        proved = self.dtr.works
        await self.drain()
        await trio.sleep(self._profile.seconds("fifo"))  # what the adapter still holds goes out before DTR drops
        self.tail.believe_ok_from(trio.current_time())
        await self.dtr.drop()
        up_again = trio.current_time()
        if not await self._until(lambda: self._said_ok(up_again), self._profile.seconds("dtr_answer")):
            self.tail.believe_ok_from(None)
            if proved and self._evidence:
                return False  # its text was its own: in command state a pulse says nothing
            self.dtr.failed()
            return None
        if not proved and not await self._proves_dtr():
            self.dtr.failed()
            return await self._answered(self.pluses.last_out, self._profile.seconds("escape_answer")) or None
        self._close()
        if not proved and not await self.sync():  # the proof has typed pluses into its command line
            raise ModuleLost(Condition.MODULE_MUTE, "no command state after DTR")
        self.dtr.worked()
        return True

    async def _proves_dtr(self) -> bool:
        """An OK came after the pulse.  If the modem is still mapped it was payload, and it answers an escape.

        Payload that comes now, or another OK, shows that the first one was payload.
        """
        delivered = self.bytes_delivered
        await trio.sleep_until(self.pluses.last_out + self._profile.seconds("guard"))
        await self._plus()
        await self._until(lambda: self.bytes_delivered != delivered, self._profile.seconds("escape_evidence"))
        return self.bytes_delivered == delivered and self._said_ok(0.0)

    async def escape(self, *, once: bool = False) -> bool:
        """Leave data mode by its escape.  True: it was mapped and said OK.  False: it did not answer; `sync` must tell.

        Where it has shown a text of its own, or for ``once``, one unanswered escape is enough; otherwise two are.
        The caller has waited for the leading guard as far as it liked; the rest of it is waited for here.
        """
        if not self.drained:  # the silence begins when the last byte has left, not when the kernel took it
            await self.drain()
        tries = 1 if once else ESCAPES
        while tries:
            tries -= 1
            await trio.sleep_until(self.pluses.last_out + self._profile.seconds("guard"))
            written = trio.current_time()
            # From here on, not from the end of the drain, which may be seen late: its OK taken for payload is a link lost.
            self.tail.believe_ok_from(written + self._profile.seconds("escape_earliest"))
            await self._plus()
            limit = self._profile.seconds("escape_evidence" if once or self._evidence else "escape_answer")
            if await self._answered(written, limit):
                return True
            if self._evidence:
                break
        return False

    async def _plus(self) -> None:
        """The escape itself; never a second one into a line that has not taken the first."""
        self.drained = False
        await self._write(b"+++", Lane.TO_MODULE, b"+++", "escape")
        await self.drain()
        self.pluses.went_out(b"+++", trio.current_time())

    async def _answered(self, written: float, limit: float) -> bool:
        """Whether the OK of an escape comes within ``limit`` seconds; what came with it is read as lines."""
        self.tail.believe_ok_from(written + self._profile.seconds("escape_earliest"))
        if await self._until(lambda: self._said_ok(written + self._profile.seconds("guard_module")), limit):
            self._close()
            return True
        self.tail.believe_ok_from(None)
        return False

    def _said_ok(self, earliest: float) -> bool:
        """The tail is the modem's OK, and a silence followed."""
        now = trio.current_time()
        return self.tail.escaped(now) and now - max(self.tail.last_byte, earliest) >= self._profile.seconds("partial")

    def _close(self) -> None:
        """Data mode was left in order.

        A text after which the modem stays mapped is its own only if it now says that the peer of the mapped socket
        has closed, or if that socket's own side was closed before: then nothing is left to be said; or if it said so
        before it was mapped, and has given out all that it held then.
        """
        answer = self.tail.close_escaped()
        socket, pattern = self._mapped, dict(self._urcs)["peer_close"]
        fields = filter(None, map(pattern.match, answer.lines))
        closed = any(socket is not None and (f["protocol"], f["index"]) == socket.key for f in fields)
        self._deliver(answer.payload)
        closed = closed or (socket is not None and socket.fin and not socket.announced)
        true = bool(answer.doubtful) and socket is not None and (closed or socket.eof_sent)
        if not true:
            self._deliver(answer.doubtful)
        if true and socket is not None:
            socket.shut_down()
        self._leave_data([*answer.doubtful.split(), *answer.lines] if true else answer.lines, answered=True)

    async def fallen(self) -> bool:
        """After an unanswered escape: whether the modem is in command state.  What it said there is read as lines."""
        self.between = True
        payload, lines = self.tail.close_fallen()
        self._deliver(payload)
        self._leave_data(lines, answered=False)
        self.between = not await self.sync()
        return not self.between

    def _leave_data(self, lines: list[bytes], *, answered: bool) -> None:
        self._payload = self._mapped = None
        self._said_after_data(lines, answered=answered)

    async def settled(self, seconds: float) -> None:
        """So long after the last byte out, and until nothing incomplete is held (which `partial` bounds)."""
        end = self.pluses.last_out + seconds
        while (now := trio.current_time()) < end or (self.tail.holding and not self.tail.suspect()):
            await self.wake.wait(max(end - now, self._profile.seconds("look")))
            self.release_partial(trio.current_time())

    def release_partial(self, now: float) -> None:
        """Deliver a held text that has not been finished within the settle time."""
        if now - self.tail.last_byte >= self._profile.seconds("partial") and self._payload is not None:
            self._deliver(self.tail.release_partial())

    # --- the port ---

    async def _write(self, data: bytes, lane: Lane | None, shown: bytes, rule: str) -> None:
        if lane is not None:
            self._trace.line(lane, shown, rule)
        with trio.move_on_after(self._patience) as limit:
            await self._port.send(data)
        if limit.cancelled_caught:
            raise ModemBlocked("the modem takes no bytes")

    async def _until(self, done: Callable[[], bool], limit: float) -> bool:
        """Wait for something the reader brings; looks again at every wake-up and every few milliseconds of silence."""
        end = trio.current_time() + limit
        while not done():
            left = end - trio.current_time()
            if left <= 0:
                return False
            await self.wake.wait(min(left, self._profile.seconds("look")))
        return True
