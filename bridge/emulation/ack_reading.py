"""The reading half of a link that the bridge acknowledges.

Reading goes to the link below.  It ends at once where the end was ours (`cut`): the link below would live on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from bridge.emulation.around import StreamLinkAround

if TYPE_CHECKING:
    from bridge.network import StreamLink

__all__ = ["AckReading"]


class AckReading(StreamLinkAround):
    """See the module."""

    def __init__(self, below: StreamLink) -> None:
        super().__init__(below)
        self._cut = False  # the end was ours: no byte is read any more
        self._closed = False  # by its owner
        self._reading: set[trio.CancelScope] = set()

    def waiting(self) -> int:
        """See StreamLink."""
        return 0 if self._cut else self.below.waiting()

    async def wait_readable(self) -> int:
        """See StreamLink."""
        return await self._read(self.below.wait_readable)

    async def fetch(self) -> int:
        """See StreamLink."""
        return await self._read(self.below.fetch)

    def take(self, most: int) -> bytes:
        """See StreamLink."""
        return b"" if self._cut or self._closed else self.below.take(most)

    async def _read(self, call: Callable[[], Awaitable[int]]) -> int:
        """The call below; it is left where the end is ours, of which the link below may not know yet."""
        with trio.CancelScope() as scope:
            self._reading.add(scope)
            try:
                if self._closed or self._cut:
                    await trio.lowlevel.checkpoint()
                else:
                    count = await call()
                    if not self._cut:
                        return count
            except trio.ClosedResourceError:
                if not self._cut:
                    raise
            finally:
                self._reading.discard(scope)
        if self._closed:
            raise trio.ClosedResourceError("this link was closed")
        return 0

    def _cut_reading(self) -> None:
        """Nothing more is read: whoever does learns that it ended."""
        self._cut = True
        self._leave_below()

    def _close_reading(self) -> None:
        """Its owner closed it: whoever reads learns so."""
        self._closed = True
        self._leave_below()

    def _leave_below(self) -> None:
        for scope in self._reading:
            scope.cancel()
