"""TCP servers of a module: peers that came and nobody has taken yet."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Self, TypeVar

import trio

from bridge.driving.handles import Handle
from bridge.driving.streams import DrivenStream
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, Listener

LinkT = TypeVar("LinkT", bound=DrivenStream)
ServerT = TypeVar("ServerT", bound=Handle)
ListenerT = TypeVar("ListenerT", bound="DrivenListener[Any, Any]")


class DrivenListener(Listener, Generic[LinkT, ServerT]):
    """One TCP server as its user sees it; it outlives the module's resets.

    ``server`` is what the module holds for it in one of its lives; None: the module does not listen now.
    """

    def __init__(self, local: Endpoint, room: int, backlog: int, forget: Callable[[Self], None]) -> None:
        self.local = local
        self.room = room  # peers at a time
        self.server: ServerT | None = None
        self.closed = False
        self.peak = 0  # links that ever waited here
        self._backlog = backlog  # links that may wait here for `accept`
        self._forget = partial(forget, self)
        self._waiting: deque[LinkT] = deque()
        self._changed = trio.Event()

    async def accept(self) -> LinkT:
        """See Listener."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self.closed:
                raise trio.ClosedResourceError
            if self.condition is not None:
                raise LinkLost(self.condition)
            await self._changed.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """See Listener."""
        await trio.lowlevel.checkpoint()
        self.closed = True
        self.end(Condition.LINK_CLOSED)

    def end(self, condition: Condition) -> None:
        """It listens no more, and will not again; the first reason stays."""
        if self.condition is None:
            self.condition = condition
            self._forget()
            self._give_up_server()
            self._drop()
        self._wake()

    @abstractmethod
    def _give_up_server(self) -> None:
        """The module need not listen any more, if it does."""

    def offer(self, link: LinkT) -> bool:
        """A peer came; False: nobody can take it."""
        if self.condition is not None or len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(link)
        self.peak = max(self.peak, len(self._waiting))
        self._wake()
        return True

    def server_ended(self, server: ServerT) -> None:
        """The module does not listen any more: what nobody took is closed."""
        if self.server is server:
            self.server = None
        self._drop()

    def _drop(self) -> None:
        while self._waiting:
            self._waiting.popleft().end(Condition.LINK_CLOSED)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class DrivenListeners(Generic[ListenerT]):
    """All servers of one module that are listened for, now or again after its next bring-up."""

    def __init__(self) -> None:
        self._listeners: list[ListenerT] = []

    def end(self, condition: Condition) -> None:
        """Every server ends, for good."""
        for listener in list(self._listeners):
            listener.end(condition)

    def _forget(self, listener: ListenerT) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
