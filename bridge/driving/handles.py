"""What a module holds for us under an id, as its driver sees it: a connection, a UDP socket or a server."""

from __future__ import annotations

from collections.abc import Callable

import trio

from bridge.model import Condition, Endpoint


class Handle:
    """One of them.

    It never touches the wire.  It says what it wants, and the driver's task sees to it.
    """

    local: Endpoint | None = None
    peer: Endpoint | None = None
    condition: Condition | None = None  # why it ended; None while it lives

    def __init__(self, want: Callable[[], None]) -> None:
        self.want = want  # wakes the driver
        self.local_port = 0  # the one we chose or asked for; 0: the module's affair
        self.closing = False  # its user has closed it
        self.freed = trio.Event()  # the module's id may be used again, or never was ours
        self._changed = trio.Event()

    def end(self, condition: Condition) -> None:
        """It is over; the first reason stays."""
        if self.condition is None:
            self.condition = condition
            self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()
        self._changed = trio.Event()

    async def changed(self) -> None:
        """Until something about it is different."""
        await self._changed.wait()

    async def wait_for(self, there: Callable[[], bool]) -> bool:
        """Until there is something to be had; False: it ended before.  Raises ClosedResourceError after `aclose`."""
        await trio.lowlevel.checkpoint()
        while not there():
            if self.closing:
                raise trio.ClosedResourceError
            if self.condition is not None:
                return False
            await self.changed()
        return True

    async def aclose(self) -> None:
        """Its user closes it; returns when the module's id is free again."""
        self.closing = True
        self.end(Condition.LINK_CLOSED)
        self.want()
        await self.freed.wait()
