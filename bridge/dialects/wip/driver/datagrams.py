"""UDP sockets of a WIP modem: a bounded queue of datagrams between the seam and the driver's task.

In data mode 1 payload is escaped and an ETX ends a datagram, both ways.  A modem that prints no ETX is helped by the
size that its URC announced.  The URC names one datagram's sender; of those that follow in the same visit nothing is
said, which is no loss here, because a socket that is bound to one peer hears nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from bridge.dialects.wip.driver.links import Ask
from bridge.dialects.wip.driver.sockets import UDP, Outgoing, Socket
from bridge.driving.datagrams import DrivenDatagrams
from bridge.model import Condition, Datagram, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError
from bridge.wire.dle import END, ETX, Decoder, encode


@dataclass(frozen=True)
class Bounds:
    """How much one datagram link holds."""

    size: int  # bytes of one datagram that may be sent
    most: int  # bytes of one datagram that are kept; the rest is cut
    queue: int  # datagrams that may wait here; the newest is lost then


class WipDatagramLink(Socket, DrivenDatagrams):
    """One UDP socket of the modem, bound to one peer."""

    protocol = UDP
    mode = "datagram_mode"
    own_words = ("OK",)  # some firmware leaves data mode after the ETX of a send, and says so

    def __init__(
        self, index: int, bounds: Bounds, want: Callable[[], None], ask: Ask, dropped: Callable[[Socket, str], None]
    ) -> None:
        super().__init__(index, want)
        self.bounds = bounds
        self.room = bounds.queue
        self._ask = ask
        self._dropped = dropped
        self._decoder = Decoder()
        self._part = bytearray()  # the datagram that is coming in
        self._overflow = False  # more of it came than is kept
        self._by_size = False  # the last one was ended by its size: an ETX that follows is still its own
        self._heralded: int | None = None  # bytes of the first datagram in the modem, as announced
        self._expected: int | None = None  # the same, once its bytes have begun to come
        self._source: Endpoint | None = None  # who sent that one
        self._sending = False

    # --- the seam ---

    async def send(self, data: bytes, target: Endpoint | None = None) -> None:
        """See DatagramLink."""
        await trio.lowlevel.checkpoint()
        if self.closing:
            raise trio.ClosedResourceError
        if target is not None and target != self.peer:
            raise NetworkError(Condition.NOT_SUPPORTED, f"a socket of this modem has one peer: {target}")
        if len(data) > self.bounds.size:
            raise NetworkError(Condition.TOO_LONG, f"{len(data)} of at most {self.bounds.size} bytes")
        if self._sending:
            raise trio.BusyResourceError("another datagram is under way")
        self._sending = True
        try:
            await self._send(encode(data) + ETX)
        finally:
            self._sending = False

    async def _send(self, coded: bytes) -> None:
        while self.current is not None and self.condition is None:
            await self._changed.wait()  # one that was given up while it went out: it ends by itself
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        outgoing = self.current = Outgoing(len(coded))
        outgoing.give(coded)
        self.want()
        try:
            while not outgoing.finished:
                if self.condition is not None:
                    raise LinkLost(self.condition, Delivered.UNKNOWN if outgoing.touched else Delivered.NONE)
                await outgoing.changed()
        finally:
            # Whole or not at all: what has begun to go out goes on, whoever has given it up.
            outgoing.wanted = False
            if outgoing.finished or not outgoing.touched:
                self.current = None

    def waiting(self) -> int:
        """See DatagramLink."""
        return super().waiting() + self.announced

    async def wait_readable(self) -> bool:
        """See DatagramLink."""
        return await self.wait_for(lambda: bool(self._queue) or self._heralded is not None)

    async def fetch(self) -> int:
        """See DatagramLink."""
        await trio.lowlevel.checkpoint()
        while not self._queue and self.condition is None and not self.closing:
            self.want()
            await self._changed.wait()
        return len(self._queue)

    async def find_endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """See DatagramLink."""
        await self._ask(self)
        return self.local, self.peer

    # --- for the driver ---

    @property
    def announced(self) -> int:
        """See Socket."""
        return self._heralded or 0

    @property
    def buffered(self) -> int:
        """See Socket."""
        return super().waiting() + len(self._part)

    @property
    def wants_in(self) -> bool:
        """See Socket.  An empty datagram is one."""
        return self._heralded is not None and not self.full

    @property
    def full(self) -> bool:
        """See Socket."""
        return len(self._queue) >= self.room

    def announce(self, count: int, source: Endpoint | None) -> None:
        """See Socket.  With a source it is about one datagram, the first in the modem; else about all of them."""
        self._heralded, self._source = count, source
        self.wake()

    def forget_announced(self) -> None:
        """See Socket."""
        self._heralded = None

    def end(self, condition: Condition) -> None:
        """See Socket."""
        if self.condition is None:
            self._heralded = None
        super().end(condition)

    def deliver(self, data: bytes) -> None:
        """See Socket."""
        if self._heralded is not None:
            self._expected = None if self._source is None else self._heralded
            self._heralded = None
        for piece in self._decoder.feed(data):
            if piece is not END:
                self._by_size = False
                room = self.bounds.most - len(self._part)
                self._overflow = self._overflow or len(piece) > room
                self._part += piece[:room]
            elif self._by_size:
                self._by_size = False
            else:
                # Fewer bytes than were announced for it: the modem kept less than what was sent.
                self._datagram(bytes(self._part), cut=self._expected is not None and len(self._part) < self._expected)

    def taken(self) -> None:
        """See Socket."""
        super().taken()
        if self.current is not None and not self.current.wanted:
            self.current = None
            self.wake()

    def idle(self) -> None:
        """See Socket.  Without an ETX the announced size tells the end."""
        if self._part and self._expected is not None and len(self._part) >= self._expected:
            first, rest = bytes(self._part[: self._expected]), bytes(self._part[self._expected :])
            self._datagram(first, cut=False)
            self._part += rest
            self._by_size = not rest

    def left(self) -> None:
        """See Socket.  No more of a datagram comes; one of ours that had not left whole was sent in part."""
        self.idle()
        if self._part:
            self._datagram(bytes(self._part), cut=True)
        self._decoder = Decoder()
        self._by_size = False
        self._expected = None
        if self.current is not None and 0 < self.current.out < self.current.total:
            self.end(Condition.ABORTED)

    def _datagram(self, data: bytes, *, cut: bool) -> None:
        source = self.peer or (self._source if self._expected is not None else None)
        cut = cut or self._overflow
        self._part.clear()
        self._overflow, self._expected = False, None
        if self.condition is not None:
            return
        if not self.keep(Datagram(data, source, cut)):
            self._dropped(self, f"{len(data)} bytes, {len(self._queue)} datagrams wait")
