"""The receiving half of a UDP socket of a module: a bounded queue between the seam and the driver's task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from bridge.driving.handles import Handle
from bridge.model import Datagram
from bridge.network import DatagramLink


class DrivenDatagrams(Handle, DatagramLink):
    """One UDP socket.  How its datagrams are asked for and sent is the dialect's."""

    room: int  # datagrams that may wait here; the newest is lost then

    def __init__(self, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.peak = 0  # datagrams that ever waited here
        self._queue: deque[Datagram] = deque()

    def waiting(self) -> int:
        """See DatagramLink."""
        return sum(len(datagram.data) for datagram in self._queue)

    async def wait_readable(self) -> bool:
        """See DatagramLink."""
        return await self.wait_for(lambda: bool(self._queue))

    async def fetch(self) -> int:
        """See DatagramLink."""
        await trio.lowlevel.checkpoint()
        return len(self._queue)

    def take(self) -> Datagram | None:
        """See DatagramLink."""
        if not self._queue:
            return None
        self.want()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """See DatagramLink."""
        self._queue.clear()
        await super().aclose()

    def keep(self, datagram: Datagram) -> bool:
        """A datagram came; False: it is lost, because no more may wait."""
        if len(self._queue) >= self.room:
            return False
        self._queue.append(datagram)
        self.peak = max(self.peak, len(self._queue))
        self.wake()
        return True
