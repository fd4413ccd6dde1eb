"""UDP sockets of an SKT module: a bounded queue of datagrams between the seam and the driver's task.

One with a fixed peer is a client of the module, which does not tell who sent what it read.  One whose peer may change
is a server of the module: every datagram names its sender, and every send its target.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from bridge.dialects.skt.driver.asking import Asked, Pace
from bridge.driving.datagrams import DrivenDatagrams
from bridge.model import Condition, Datagram, Delivered, Endpoint, Peers
from bridge.network import LinkLost, NetworkError

Fits = Callable[[bytes, Endpoint | None], None]  # raises NetworkError where one line does not carry a datagram


class Post:
    """One datagram on its way to the wire."""

    def __init__(self, data: bytes, target: Endpoint | None) -> None:
        self.data = data
        self.target = target
        self.touched = False
        self.taken = False
        self.refused: Condition | None = None


class SktDatagramLink(Asked, DrivenDatagrams):
    """One UDP socket."""

    def __init__(self, pace: Pace, queue: int, peers: Peers, fits: Fits, want: Callable[[], None]) -> None:
        super().__init__(pace, want)
        self.room = queue
        self.peers = peers
        self.server_side = self.targets = peers is not Peers.FIXED
        self.current: Post | None = None
        self._fits = fits
        self._busy = False

    # --- the seam ---

    async def send(self, data: bytes, target: Endpoint | None = None) -> None:
        """See DatagramLink."""
        target = target or self.peer  # not later: somebody else may become the peer meanwhile
        await trio.lowlevel.checkpoint()
        if self.closing:
            raise trio.ClosedResourceError
        if not self.targets and target != self.peer:
            raise NetworkError(Condition.NOT_SUPPORTED, f"this socket of the module has one peer: {target}")
        if target is None:
            raise NetworkError(Condition.WRONG_STATE, "nobody to send to yet")
        if not data:
            raise NetworkError(Condition.BAD_ARGUMENT, "the module sends no empty datagrams")
        target = target if self.server_side else None
        self._fits(data, target)
        if self._busy:
            raise trio.BusyResourceError("another datagram is under way")
        self._busy = True
        try:
            await self._send(Post(data, target))
        finally:
            self._busy = False

    async def _send(self, post: Post) -> None:
        while self.current is not None and self.condition is None:
            await self._changed.wait()  # one that was given up while it went out: it ends by itself
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        self.current = post
        self.want()
        try:
            while not post.taken:
                if self.condition is not None:
                    raise LinkLost(self.condition, Delivered.UNKNOWN if post.touched else Delivered.NONE)
                if post.refused is not None:
                    raise NetworkError(post.refused)
                await self._changed.wait()
        finally:
            if not post.touched and self.current is post:
                self.current = None

    # --- for the driver ---

    @property
    def full(self) -> bool:
        """See Asked."""
        return len(self._queue) >= self.room

    def deliver(self, data: bytes, source: Endpoint | None, *, cut: bool) -> bool:
        """See Held.  The newest is lost where the queue is full."""
        if self.condition is not None:
            return True
        if self.full:
            return False
        if source is not None and (self.peers is Peers.LAST or (self.peers is Peers.FIRST and self.peer is None)):
            self.peer = source
        elif self.peers is Peers.FIRST and source != self.peer:
            return True  # not its peer's
        return self.keep(Datagram(data, source, cut))

    def posted(self, condition: Condition | None) -> None:
        """The module took the datagram that went out, or refused it."""
        post, self.current = self.current, None
        if post is not None:
            post.taken, post.refused = condition is None, condition
        self.wake()
