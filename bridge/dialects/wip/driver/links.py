"""Streams of a WIP modem: bounded buffers between the seam and the driver's task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from bridge.dialects.wip.driver.sockets import TCP, Outgoing, Socket
from bridge.driving.streams import DrivenStream
from bridge.model import Condition, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError, Sending
from bridge.wire.dle import END, ETX, Decoder

OUTBOX = 4096  # bytes of a send that may wait here for the wire
# A slow line tears every message into pieces, and there are hosts that drop what follows the first one.  So a fetch
# waits for what the modem has announced, and for what still streams in, until it has as many bytes as a TCP segment.
WHOLE = 1460  # bytes
GATHER = 0.005  # seconds without a byte after which what is here is taken for a message

Ask = Callable[[Socket], Awaitable[None]]  # has the modem say the endpoints of a socket


@dataclass(frozen=True)
class Room:
    """The bounds of a link's buffer, in bytes."""

    low_water: int  # with more than this unread, no visit begins
    leave_mark: int  # with more than this unread, a visit ends
    most: int  # with more than this the link is lost: what a visit may leave, and what comes until an escape works


class WipSending(Outgoing, Sending):
    """One counted send of a link."""

    def __init__(self, link: WipLink, total: int) -> None:
        super().__init__(total, coded=link.coded)
        self.link = link

    async def write(self, piece: bytes) -> None:
        """See Sending."""
        if self._done or self.given + len(piece) > self.total:
            raise ValueError("more bytes than announced")
        await trio.lowlevel.checkpoint()
        await self._until(lambda: self.link.condition is None and self.failed is None and self.waiting < OUTBOX)
        self.give(piece)
        self.link.want()

    async def commit(self) -> None:
        """See Sending."""
        if self.given != self.total:
            raise ValueError(f"{self.given} of {self.total} announced bytes were written")
        await trio.lowlevel.checkpoint()
        await self._until(lambda: self.finished)
        self._close()

    def abort(self) -> None:
        """See Sending."""
        if self._done:
            return
        self._close()
        self.drop()
        if self.touched and self.link.condition is None:
            self.link.end(Condition.ABORTED)
            self.link.want()

    def _close(self) -> None:
        self._done = True
        if self.link.current is self:
            self.link.current = None

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self.link.condition is not None:
                delivered = Delivered.UNKNOWN if self.touched else Delivered.NONE
                self._close()
                raise LinkLost(self.link.condition, delivered)
            if self.failed is not None:
                self._close()
                raise NetworkError(self.failed)
            await self._changed.wait()


class WipLink(Socket, DrivenStream):
    """One TCP client socket of the modem, dialled or accepted."""

    protocol = TCP
    mode = "stream_mode"

    def __init__(self, index: int, room: Room, want: Callable[[], None], ask: Ask, *, coded: bool = False) -> None:
        super().__init__(index, want)
        self.room = room
        self.coded = coded  # ETX and DLE are escaped both ways: this modem has data mode 1 for TCP
        self._decoder = Decoder()
        self._ask = ask
        self._announced = 0  # bytes the modem said it holds
        self._came_at = -GATHER  # when the last of it came

    # --- the seam ---

    def sending(self, total: int) -> WipSending:
        """See StreamLink."""
        if self.closing:
            raise trio.ClosedResourceError
        if total < 1:
            raise ValueError("a send has at least one byte")
        if self.current is not None:
            raise trio.BusyResourceError("another send is under way")
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        if self.eof_sent:
            raise trio.ClosedResourceError("our side is closed")
        sending = WipSending(self, total)
        self.current = sending
        return sending

    def waiting(self) -> int:
        """See StreamLink."""
        return super().waiting() + (self._announced if self.condition is None else 0)

    async def fetch(self) -> int:
        """See StreamLink."""
        await trio.lowlevel.checkpoint()
        enough = min(WHOLE, self.room.low_water)  # so that a visit which fetches the rest is always possible
        while self.condition is None and not self.closing and len(self._buffer) < enough:
            if not self._buffer or self._announced:
                self.want()
                await self._changed.wait()
                continue
            if trio.current_time() >= self._came_at + GATHER:
                break
            with trio.move_on_at(self._came_at + GATHER):
                await self._changed.wait()
        return len(self._buffer)

    async def find_endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """See StreamLink."""
        await self._ask(self)
        return self.local, self.peer

    async def send_eof(self) -> None:
        """See StreamLink.  An ETX alone is the half-close; only a mode that escapes it in payload has one.

        Raises NetworkError where the mode has none, LinkLost.
        """
        await trio.lowlevel.checkpoint()
        if not self.coded:
            raise NetworkError(Condition.NOT_SUPPORTED, "this modem has no half-close")
        if self.current is not None:
            raise trio.BusyResourceError("a send is under way")
        if self.closing:
            raise trio.ClosedResourceError
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        if self.eof_sent:
            return
        self.eof_sent = True
        outgoing = self.current = Outgoing(len(ETX))
        outgoing.give(ETX)
        self.want()
        try:
            while not outgoing.finished and self.condition is not Condition.PEER_CLOSED:
                if self.condition is not None:
                    raise LinkLost(self.condition)
                await outgoing.changed()
        finally:
            self.eof_sent = outgoing.touched  # given up before it began: our side is open
            self.current = None

    # --- for the driver ---

    @property
    def announced(self) -> int:
        """See Socket."""
        return self._announced

    @property
    def buffered(self) -> int:
        """See Socket."""
        return len(self._buffer)

    @property
    def wants_in(self) -> bool:
        """See Socket."""
        return self._announced > 0

    @property
    def no_room(self) -> bool:
        """See Socket.  Mapping pulls, whether one wants to read or to write."""
        return len(self._buffer) > self.room.low_water

    @property
    def full(self) -> bool:
        """See Socket."""
        return len(self._buffer) > self.room.leave_mark

    def deliver(self, data: bytes) -> None:
        """See Socket."""
        data = self._decoded(data) if self.coded else data
        if self.keep(data, self.room.most):
            self._came_at = trio.current_time()
            self._announced = max(0, self._announced - len(data))

    def _decoded(self, data: bytes) -> bytes:
        """Payload.  Behind an ETX without a DLE there is none: the peer has reset, the modem is in command state."""
        payload = b""
        for piece in [] if self.aborted else self._decoder.feed(data):
            if piece is END:
                self.aborted = True
                break
            payload += piece
        return payload

    def shut_down(self) -> None:
        """See Socket."""
        self.fin = True

    def announce(self, count: int, source: Endpoint | None) -> None:
        """See Socket.  The modem holds at least so many bytes."""
        self._announced = max(self._announced, count)
        self.wake()

    def forget_announced(self) -> None:
        """See Socket."""
        self._announced = 0
        self.wake()

    def end(self, condition: Condition) -> None:
        """See Socket."""
        if self.condition is None:
            self._announced = 0
        super().end(condition)
