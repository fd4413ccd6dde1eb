"""One visit: a socket is mapped, bytes go both ways, the wire is left again.

A visit ends when somebody else has work and the socket is idle for ``idle_out`` (in the middle of a send for
``payload_idle``: its host pauses), or had its batch of bytes or its longest time; when other sockets are open, after
``linger`` (nothing is heard of them while one is mapped); at last after ``lone``.  The leading guard of the escape is
free waiting time: a new send in it makes the visit go on.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from bridge.dialects.wip.modem import Modem
from bridge.dialects.wip.registry import Registry
from bridge.dialects.wip.sockets import Outgoing, Socket
from bridge.dialects.wip.trouble import ModemError, ModemLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.trace import Trace


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
        self._check = check  # raises ModemLost where a URC said that the modem or its bearer is gone
        self._others = others
        self.mapped: Socket | None = None

    async def visit(self, socket: Socket) -> bool:
        """From command state to command state; False: it could not be mapped.  Raises ModemLost, PortLost."""
        modem = self._modem
        try:
            await modem.map(socket)
        except ModemError as error:
            self._check()  # an echo of the command says more than its refusal
            self._refused(socket, error)
            return False
        self.mapped = socket
        began, out_before, in_before = trio.current_time(), modem.bytes_out, modem.bytes_in
        while True:
            now = trio.current_time()
            modem.release_partial(now)
            self._check()
            spent = modem.bytes_out - out_before + modem.bytes_in - in_before >= self._profile.number("batch")
            spent = spent or now - began >= self._profile.seconds("visit")
            others = self._others(socket)
            sending = socket.current
            if modem.tail.suspect():
                if now - modem.tail.last_byte >= self._profile.seconds("fallback"):
                    break
            elif sending is not None and sending.pending and not (others and spent) and socket.condition is None:
                await self._put(sending)
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
            if self._enough(socket, idle, others=others, spent=spent):
                if now >= modem.pluses.last_out + self._profile.seconds("guard"):
                    break
                await modem.wake.wait(modem.pluses.last_out + self._profile.seconds("guard") - now)
            else:
                await modem.wake.wait(self._profile.seconds("look") if modem.tail.holding else self._idle_left(idle))
        await self._leave(socket)
        return True

    def _enough(self, socket: Socket, idle: float, *, others: bool, spent: bool) -> bool:
        if socket.condition is not None or socket.full:
            return True
        paused = socket.current is not None and not socket.current.whole
        if others and (spent or idle >= self._profile.seconds("payload_idle" if paused else "idle_out")):
            return True
        if len(self._sockets) == 1:
            return idle >= self._profile.seconds("lone")
        return idle >= self._profile.seconds("payload_idle" if paused else "linger")

    def _idle_left(self, idle: float) -> float:
        """Until the next limit of `_enough` could be reached; every other change wakes the loop."""
        limits = [self._profile.seconds(name) for name in ("idle_out", "payload_idle", "linger", "lone")]
        left = next((limit - idle for limit in limits if limit > idle), self._profile.seconds("idle_out"))
        return max(left, self._profile.seconds("look"))  # a rounding remnant is no wait at all

    async def _put(self, sending: Outgoing) -> None:
        data = sending.next_piece()
        more = sending.out + len(data) < sending.total
        held = await self._modem.write(data, more=more)
        # Pluses that wait for what follows are not offered again before it is here; what a fallback text kept back is.
        sending.put_back(held, held=more and not self._modem.tail.suspect())
        sending.went_out(len(data) - len(held))

    async def _settle(self, socket: Socket) -> None:
        """SEND OK may be said: written, drained, and no fallback text within the settle time.

        A peer that answers and closes at once is the exception: a text that begins later than a UART's FIFO can
        hold it back shows that the modem still was in data mode when the last byte of ours had left.
        """
        await self._modem.drain()
        drained = trio.current_time()
        await self._modem.quiet(self._profile.seconds("settle"))
        late = self._modem.tail.held_since >= drained + self._profile.seconds("fifo")
        if late or self._lives(socket, self._modem.tail.words()):
            socket.taken()

    @staticmethod
    def _lives(socket: Socket, words: list[bytes]) -> bool:
        """Whether none of these words, if they are the modem's own, ends the socket."""
        return all(word.decode("latin-1") in socket.own_words for word in words)

    def _refused(self, socket: Socket, error: ModemError) -> None:
        condition = self._profile.condition_of(error.code, "WIPDATA", "peer-close" if socket.fin else "")
        lost = socket.announced
        if condition is Condition.MODULE_RESET:
            raise ModemLost(condition, f"mapping refused: {error.code}")
        if lost and condition is Condition.PEER_CLOSED:
            # The modem had announced bytes and will not give them out any more: never silently wrong.
            self._trace.note("bytes-lost", f"{socket.protocol},{socket.index}: {lost} announced bytes cannot be read")
            condition = Condition.LINK_RESET
        socket.end(condition)

    async def _leave(self, socket: Socket) -> None:
        modem = self._modem
        words = modem.tail.words()
        answered = await modem.escape(evidence=bool(words))
        self.mapped = None
        if not answered:
            if not await modem.fallen():
                raise ModemLost(Condition.MODULE_MUTE, "neither data mode nor command state")
            self._check()  # a boot line at the tail says more than that one link ended
            if not words or not self._lives(socket, words):
                socket.end(Condition.PEER_CLOSED if words and not socket.own_words else Condition.LINK_RESET)
                return
        # It was mapped all the time, or left data mode by itself after our send: what is on the wire was taken.
        if socket.current is not None and socket.current.whole:
            socket.taken()
        socket.left()
