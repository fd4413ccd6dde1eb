"""TCP servers of the module (Multi-Tech S000478 p.103): a port, and a range of client indexes for the peers that come.

The range stays reserved until the server *and* every socket it spawned were closed explicitly.  A peer for whom the
range has no index, or the module no socket, is accepted and closed at once; the host hears nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from bridge.dialects.wip.module.socket import CLOSE_LIMIT
from bridge.model import Condition
from bridge.network import LinkLost, Listener, NetworkError, StreamLink

log = structlog.get_logger("bridge.wip.module")

Take = Callable[["ModuleServer", StreamLink], bool]


class ModuleServer:
    """A listening port under an index of its own space.  It never carries data."""

    protocol = 3

    def __init__(self, index: int, indexes: range, listener: Listener) -> None:
        self.index = index
        self.indexes = indexes  # reserved for the sockets it spawns
        self.listener = listener
        self.ended: Condition | None = None
        self.options: dict[int, int] = {}  # WIPOPT values the host wrote: the spawned sockets start with them
        self._scope = trio.CancelScope()

    @property
    def name(self) -> tuple[int, int]:
        """Protocol and index."""
        return self.protocol, self.index

    async def run(self, take: Take, over: Callable[[ModuleServer], None]) -> None:
        """Accept until `finish`; ``take`` says False for a peer that nobody can have."""
        with self._scope:
            try:
                while True:
                    link = await self.listener.accept()
                    if not take(self, link):
                        await _refuse(link)
            except (LinkLost, NetworkError) as error:
                self.ended = error.condition
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                self.ended = self.listener.condition or Condition.MODULE_ERROR
            except Exception:
                log.exception("accept", index=self.index)
                self.ended = Condition.MODULE_ERROR
            over(self)

    def lose(self, condition: Condition) -> None:
        """It is gone, by what happened to the module itself.  Its index and range stay reserved."""
        self.ended = condition
        self._scope.cancel()

    async def finish(self) -> None:
        """Stop listening.  What it accepted lives on."""
        self._scope.cancel()
        with trio.move_on_after(CLOSE_LIMIT):
            try:
                await self.listener.aclose()
            except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.debug("close failed", protocol=self.protocol, index=self.index, error=str(error))


async def _refuse(link: StreamLink) -> None:
    with trio.move_on_after(CLOSE_LIMIT):
        try:
            await link.aclose()
        except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("refusing failed", error=str(error))
