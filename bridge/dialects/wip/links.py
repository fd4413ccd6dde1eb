"""Links of a WIP modem: bounded buffers between the seam and the driver's task.

A link never touches the wire.  It says what it wants (bytes to go out, room for bytes to come in, to be closed) and
the driver's task sees to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from bridge.model import Condition, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError, Sending, StreamLink

OUTBOX = 4096  # bytes of a send that may wait here for the wire


class WipSending(Sending):
    """One counted send of a link."""

    def __init__(self, link: WipLink, total: int) -> None:
        self.link = link
        self.total = total
        self.given = 0  # by the caller
        self.out = 0  # on the wire
        self.touched = False  # the wire has begun with it: some bytes may have left, however few are counted yet
        self.finished = False  # drained and settled
        self.aborted = False
        self.failed: Condition | None = None  # refused before any byte; the link lives
        self.begun = trio.current_time()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._changed = trio.Event()

    async def write(self, piece: bytes) -> None:
        """See Sending."""
        if self._done or self.given + len(piece) > self.total:
            raise ValueError("more bytes than announced")
        await trio.lowlevel.checkpoint()
        await self._until(lambda: self.link.condition is None and self.failed is None and self._waiting < OUTBOX)
        self.given += len(piece)
        self._pieces.append(piece)
        self._waiting += len(piece)
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
        self._pieces.clear()
        if self.touched and self.link.condition is None:
            self.aborted = True
            self.link.end(Condition.ABORTED)
            self.link.want()

    def _close(self) -> None:
        self._done = True
        if self.link.current is self:
            self.link.current = None

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self.failed is not None:
                self._close()
                raise NetworkError(self.failed)
            if self.link.condition is not None:
                delivered = Delivered.UNKNOWN if self.touched else Delivered.NONE
                self._close()
                raise LinkLost(self.link.condition, delivered)
            await self._changed.wait()

    # --- for the driver ---

    @property
    def pending(self) -> int:
        """Bytes that wait to go out."""
        return self._waiting

    @property
    def whole(self) -> bool:
        """Everything announced is on the wire."""
        return self.out == self.total

    def next_piece(self) -> bytes:
        """All that waits, in one piece."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.touched = True
        return data

    def put_back(self, data: bytes) -> None:
        """What the wire did not take."""
        if data:
            self._pieces.appendleft(data)

    def went_out(self, count: int) -> None:
        """So many of them are on the wire."""
        self.out += count
        self._waiting -= count
        self.wake()

    def finish(self) -> None:
        """The modem took it all."""
        self.finished = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()
        self._changed = trio.Event()


class WipLink(StreamLink):
    """One TCP client socket of the modem."""

    def __init__(self, index: int, peer: Endpoint | None, room: int, want: Callable[[], None]) -> None:
        self.index = index
        self.peer = peer
        self.room = room
        self.want = want  # wakes the driver
        self.current: WipSending | None = None
        self.announced = 0  # bytes the modem said it holds
        self.ready = False  # the modem said it is connected
        self.asked = False  # a create went out: the modem may hold something under this index
        self.fin = False  # the modem said the peer closed; its last bytes may still be in the modem
        self.unpolled = False  # fin seen, and nobody has asked since what is left
        self.closing = False
        self.freed = trio.Event()  # the modem's index may be used again
        self.peak = 0
        self._buffer = bytearray()
        self._changed = trio.Event()

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
        self.current = WipSending(self, total)
        return self.current

    def waiting(self) -> int:
        """See StreamLink."""
        return len(self._buffer) + (self.announced if self.condition is None else 0)

    async def wait_readable(self) -> int:
        """See StreamLink."""
        await trio.lowlevel.checkpoint()
        while not self.waiting():
            if self.closing:
                raise trio.ClosedResourceError
            if self.condition is not None:
                return 0
            await self._changed.wait()
        return self.waiting()

    async def fetch(self) -> int:
        """See StreamLink."""
        await trio.lowlevel.checkpoint()
        while not self._buffer and self.condition is None and not self.closing:
            self.want()
            await self._changed.wait()
        return len(self._buffer)

    def take(self, most: int) -> bytes:
        """See StreamLink."""
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        if data:
            self.want()
        return data

    async def aclose(self) -> None:
        """See StreamLink."""
        self.closing = True
        if self.current is not None:
            self.current.wake()
        self.end(Condition.LINK_CLOSED)
        self.want()
        await self.freed.wait()

    # --- for the driver ---

    @property
    def buffered(self) -> int:
        """Bytes in our buffer."""
        return len(self._buffer)

    def deliver(self, data: bytes) -> None:
        """Payload from the wire.  A link that overruns its bounded buffer is ended, never the others."""
        if self.condition is not None:
            return
        if len(self._buffer) + len(data) > self.room:
            self.end(Condition.RECEIVE_OVERRUN)
            return
        self._buffer += data
        self.peak = max(self.peak, len(self._buffer))
        self.announced = max(0, self.announced - len(data))
        self.wake()

    def announce(self, count: int) -> None:
        """The modem holds at least so many bytes."""
        self.announced = max(self.announced, count)
        self.wake()

    def end(self, condition: Condition) -> None:
        """The link is over; the first reason stays."""
        if self.condition is None:
            self.condition = condition
            self.announced = 0
            if self.current is not None:
                self.current.wake()
            self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()
        self._changed = trio.Event()
