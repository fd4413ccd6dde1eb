"""The receiving half of a TCP connection of a module: a bounded buffer between the seam and the driver's task."""

from __future__ import annotations

from collections.abc import Callable

from bridge.driving.handles import Handle
from bridge.model import Condition
from bridge.network import StreamLink


class DrivenStream(Handle, StreamLink):
    """One TCP connection, dialled or accepted.  How its bytes are asked for and sent is the dialect's."""

    def __init__(self, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.peak = 0  # bytes that ever waited here
        self._buffer = bytearray()

    def waiting(self) -> int:
        """See StreamLink."""
        return len(self._buffer)

    async def wait_readable(self) -> int:
        """See StreamLink."""
        return self.waiting() if await self.wait_for(lambda: self.waiting() > 0) else 0

    def take(self, most: int) -> bytes:
        """See StreamLink."""
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        if data:
            self.want()
        return data

    def keep(self, data: bytes, most: int) -> bool:
        """Bytes came; False: none are kept.  A link with more than ``most`` unread bytes is ended, never the others."""
        if self.condition is not None or not data:
            return False
        if len(self._buffer) + len(data) > most:
            self.end(Condition.RECEIVE_OVERRUN)
            return False
        self._buffer += data
        self.peak = max(self.peak, len(self._buffer))
        self.wake()
        return True
