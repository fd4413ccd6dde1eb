"""One visit: a socket is mapped, bytes go both ways, the wire is left again.

When a visit ends is part of the policy in `bridge.dialects.wip.driver.arbiter`.  The leading guard of the escape is free
waiting time: a new send in it makes the visit go on, as long as the visit has not had its share.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import PIECE, Outgoing, Socket
from bridge.dialects.wip.driver.trouble import ModemBlocked
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.patterns import Pattern

LEAST = 64  # bytes that are worth being written at once


class Visitor:
    """Makes visits, in the driver's task."""

    def __init__(
        self,
        modem: Modem,
        profile: Profile,
        trace: Trace,
        sockets: Registry,
        *,
        check: Callable[[], None],
        others: Callable[[Socket], bool],
    ) -> None:
        self._modem = modem
        self._profile = profile
        self._trace = trace
        self._sockets = sockets
        self._check = check  # raises ModuleLost where a URC said that the modem or its bearer is gone
        self._others = others
        self._share = profile.number("batch") / modem.rate  # seconds
        self.mapped: Socket | None = None

    async def visit(self, socket: Socket) -> bool:
        """From command state to command state; False: it could not be mapped.  Raises ModuleLost, PortLost."""
        modem = self._modem
        try:
            await modem.map(socket)
        except ModuleError as error:
            self._check()  # an echo of the command says more than its refusal
            self._refused(socket, error)
            return False
        self.mapped = socket
        socket.unsure = False
        try:
            await self._serve(socket)
            await self._leave(socket)
        except ModemBlocked as blocked:
            # Its peer has closed its window, and everybody waits: this link is given up for the others.
            self._trace.note("blocked", f"{socket.protocol},{socket.index}: {blocked.detail}")
            if not await modem.unblock():
                raise
            self.mapped = None
            socket.end(blocked.condition)
        socket.visited_at = trio.current_time()
        return True

    async def _serve(self, socket: Socket) -> None:
        """Bytes both ways, until the visit has to end and may."""
        modem = self._modem
        began, before = trio.current_time(), modem.bytes_out + modem.bytes_in
        while True:
            now = trio.current_time()
            modem.release_partial(now)
            self._check()
            moved = modem.bytes_out + modem.bytes_in - before
            over = self._over(socket, moved, now - began)
            sending = socket.current
            if modem.fell:
                if now - modem.tail.last_byte >= self._profile.seconds("shutdown" if modem.stays else "fallback"):
                    return
            elif sending is not None and sending.pending and not over and socket.condition is None:
                await self._put(socket, sending, self._most(socket, moved, now - began))
                continue
            elif sending is not None and sending.whole and not sending.finished:
                await self._settle(socket)
                continue
            if not modem.drained:  # a guard begins when the last byte has left, not when the kernel took it
                await modem.drain()
                continue
            if now - modem.tail.last_byte >= self._profile.seconds("idle_out"):
                socket.idle()
            idle = now - max(began, modem.tail.last_byte, modem.pluses.last_out)
            if over or self._idle_enough(socket, idle):
                if now >= modem.leave_at:
                    return
                await modem.wake.wait(modem.leave_at - now)
            else:
                left = self._next_limit(idle, now - began)
                await modem.wake.wait(self._profile.seconds("look") if modem.tail.holding else left)

    def _over(self, socket: Socket, moved: int, age: float) -> bool:
        """The visit had its share, whatever would still be to do."""
        if socket.condition is not None or socket.full:
            return True
        if self._others(socket):
            # A host that writes a send more slowly than the line takes it may finish: a second visit costs more.
            sending = socket.current
            slow = sending is not None and sending.starved and not sending.whole
            share = self._profile.seconds("visit") if slow else self._share
            return moved >= self._profile.number("batch") or age >= share
        return age >= self._profile.seconds("lone" if len(self._sockets) == 1 else "visit")

    def _idle_enough(self, socket: Socket, idle: float) -> bool:
        """Nothing has moved for so long that somebody else may have the wire."""
        paused = socket.current is not None and not socket.current.whole
        if self._others(socket):
            return idle >= self._profile.seconds("payload_idle" if paused else "idle_out")
        if len(self._sockets) == 1:
            return idle >= self._profile.seconds("lone")
        return idle >= self._profile.seconds("payload_idle" if paused else "linger")

    def _next_limit(self, idle: float, age: float) -> float:
        """Until the next of the limits could be reached; every other change wakes the loop."""
        limits = [self._profile.seconds(name) - idle for name in ("idle_out", "payload_idle", "linger", "lone")]
        limits += [self._share - age, *(self._profile.seconds(name) - age for name in ("visit", "lone"))]
        left = min((limit for limit in limits if limit > 0), default=self._profile.seconds("idle_out"))
        return max(left, self._profile.seconds("look"))  # a rounding remnant is no wait at all

    def _most(self, socket: Socket, moved: int, age: float) -> int:
        """Bytes that may be written before it is looked again who wants the wire."""
        if not self._others(socket):
            return PIECE
        left = min(self._profile.number("batch") - moved, int((self._share - age) * self._modem.rate))
        return min(PIECE, max(LEAST, left))

    async def _put(self, socket: Socket, sending: Outgoing, most: int) -> None:
        data = sending.next_piece(most)
        more = sending.given < sending.total or sending.waiting > len(data)
        held = await self._modem.write(data, more=more)
        # Pluses that wait for what follows are not offered again before it is here; what a fallback text kept back is.
        sending.put_back(held, held=more and not self._modem.fell)
        sending.went_out(len(data) - len(held))
        socket.last_out = trio.current_time()

    async def _settle(self, socket: Socket) -> None:
        """SEND OK may be said: written, drained, and no fallback text within the settle time.

        A peer that answers and closes at once is the exception: a text that begins later than a UART's FIFO can
        hold it back shows that the modem still was in data mode when the last byte of ours had left.
        """
        modem = self._modem
        await modem.drain()
        drained = trio.current_time()
        await modem.settled(self._profile.seconds("settle"))
        late = modem.tail.held_since >= drained + self._profile.seconds("fifo")
        if socket.aborted:
            return
        if late or modem.stays or self._lives(socket, modem.tail.words()):
            socket.taken()

    @staticmethod
    def _lives(socket: Socket, words: list[bytes]) -> bool:
        """Whether none of these words, if they are the modem's own, ends the socket."""
        return all(word.decode("latin-1") in socket.own_words for word in words)

    def _refused(self, socket: Socket, error: ModuleError) -> None:
        condition = self._profile.condition_of(error.code, "WIPDATA", "peer-close" if socket.fin else "")
        lost = socket.announced
        if condition is Condition.MODULE_RESET:
            raise ModuleLost(condition, f"mapping refused: {error.code}")
        if lost and condition is Condition.PEER_CLOSED:
            # The modem had announced bytes and will not give them out any more: never silently wrong.
            self._trace.note("bytes-lost", f"{socket.protocol},{socket.index}: {lost} announced bytes cannot be read")
            condition = Condition.LINK_RESET
        socket.end(condition)

    async def _leave(self, socket: Socket) -> None:
        """Back to command state, and what is known of the socket then."""
        modem = self._modem
        # An ETX that no payload can hold, and the text that follows it: the modem is where it says it is.
        proved = socket.aborted and modem.tail.suspect()
        answered = not proved and await modem.leave()
        if answered:
            # It was mapped all the time, or left data mode by itself after our send: what is on the wire was taken.
            self.mapped = None
            self._left(socket)
            return
        words = modem.tail.words()
        fallen = await modem.fallen()
        self.mapped = None
        if not fallen:
            raise ModuleLost(Condition.MODULE_MUTE, "neither data mode nor command state")
        self._check()  # a boot line at the tail says more than that one link ended
        if words and not socket.aborted and self._lives(socket, words):
            self._left(socket)
            return
        reason = self._reason(socket, words)
        if reason is Condition.BEARER_LOST or not {b"NO CARRIER", b"ERROR"}.isdisjoint(words):
            modem.carrier(words[0])
        socket.end(reason)

    def _left(self, socket: Socket) -> None:
        if socket.current is not None and socket.current.whole:
            socket.taken()
        socket.left()

    def _reason(self, socket: Socket, words: list[bytes]) -> Condition:
        """What the modem's own words say of the socket that was mapped; a reset where they say nothing of an orderly end."""
        closed, failed, refused = (
            Pattern(self._profile.urc["peer_close"].pattern),
            Pattern(self._profile.urc["failed"].pattern),
            Pattern("+CME ERROR: {code:int}"),
        )
        condition = Condition.LINK_RESET
        for word in words:
            if (fields := refused.match(word) or failed.match(word)) is not None:
                return self._profile.condition_of(int(fields["code"]), "link")
            fields = closed.match(word)
            ended = word in {b"NO CARRIER", *self._modem.stays_words} or (
                fields is not None and (fields["protocol"], fields["index"]) == socket.key
            )
            if ended and not socket.own_words:
                condition = Condition.PEER_CLOSED
        return condition
