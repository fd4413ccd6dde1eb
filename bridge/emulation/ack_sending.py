"""One counted send on a link that the bridge acknowledges: held whole, then committed to the link's queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bridge.network import Sending

if TYPE_CHECKING:
    from bridge.emulation.ack_link import AckLink

__all__ = ["AckSending"]


class AckSending(Sending):
    """One counted send, held here until its commit.  Whatever ends it before, nothing of it has gone anywhere."""

    def __init__(self, link: AckLink, total: int) -> None:
        self.held = bytearray()
        self._link = link
        self._total = total
        self._writing = False

    async def write(self, piece: bytes) -> None:
        """Wait until there is room for all of it.  ValueError: more than announced."""
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this send")
        self._check()
        if len(self.held) + len(piece) > self._total:
            raise ValueError(f"{len(self.held) + len(piece)} bytes written, {self._total} announced")
        self._writing = True
        try:
            await trio.lowlevel.checkpoint()
            rest = memoryview(piece)
            while rest:
                self._check()
                room = self._link.room()
                self.held += rest[:room]
                rest = rest[room:]
                if rest:
                    await self._link.changed()
        except BaseException:
            self.abort()  # cancelled half-way: what is held is not what was meant
            raise
        finally:
            self._writing = False

    async def commit(self) -> None:
        """Into the queue.  NetworkError ``bad-argument``: a byte that the module cannot carry; the link lives."""
        self._check()
        if len(self.held) != self._total:
            raise ValueError(f"{len(self.held)} bytes written, {self._total} announced")
        await trio.lowlevel.checkpoint()
        self._check()
        self._link.commit(bytes(self.held))
        self.abort()

    def abort(self) -> None:
        """See Sending.  It is over, and the next may begin."""
        if not self._done:
            self._done = True
            self._link.settled(self)

    def _check(self) -> None:
        self._link.check_writable()
        if self._done:
            raise trio.ClosedResourceError("this send is over")
