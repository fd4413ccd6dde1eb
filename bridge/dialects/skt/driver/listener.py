"""TCP servers on an SKT module: peers that came and nobody has taken yet, and listening again after a reset.

The module has no limit of peers for one server.  It takes an id for each, and with none left the server dies and all
its seeds with it (ameba-rtos, ``atcmd_lwip.c``, error 11): a surplus peer is deleted before that.  Deleting a server
deletes its seeds, too, so one that is closed stays until its last seed has gone, and takes no peers meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from bridge.dialects.skt.driver.held import Held, Nobodys, Registry
from bridge.dialects.skt.driver.links import SktLink
from bridge.dialects.skt.driver.opening import Opener, Opening
from bridge.driving.listener import DrivenListener, DrivenListeners
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.skt")

LISTEN_TRIES = 3  # requests in a row that are not answered before a server is given up
_UNANSWERED = {Condition.MODULE_MUTE, Condition.CONNECT_TIMEOUT}


class Server(Held):
    """A listening id of the module, in one of the module's lives."""

    def __init__(self, listener: SktListener, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.server_side = True
        self.listener: SktListener | None = listener  # None: nobody listens; it waits for its seeds to go
        self.local_port = listener.local.port

    def end(self, condition: Condition) -> None:
        """See Held."""
        if self.condition is None and self.listener is not None:
            listener, self.listener = self.listener, None
            listener.server_ended(self)
        super().end(condition)


class SktListener(DrivenListener[SktLink, Server]):
    """See DrivenListener."""

    tries = 0  # to listen again, without an answer

    def _give_up_server(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.listener = None
            server.want()


class Listeners(DrivenListeners[SktListener]):
    """All servers of one module."""

    def __init__(
        self,
        profile: Profile,
        trace: Trace,
        opener: Opener,
        registry: Registry,
        *,
        new_link: Callable[[], SktLink],
        want: Callable[[], None],
    ) -> None:
        super().__init__()
        self._profile = profile
        self._trace = trace
        self._opener = opener
        self._registry = registry
        self._new_link = new_link
        self._want = want
        self._again: deque[tuple[SktListener, Opening]] = deque()

    async def listen(self, port: int, room: int, address: str) -> SktListener:
        """In the caller's task.  Raises NetworkError."""
        listener = SktListener(Endpoint(address, port), room, self._profile.number("unaccepted"), self._forget)
        if (server := self._resting(port)) is not None:
            server.listener, listener.server = listener, server
        else:
            opening = self._opening(listener)
            try:
                await self._opener.open(opening)
            except BaseException:
                listener.end(Condition.ABORTED)
                raise
            if listener.server is None:
                raise NetworkError(opening.held.condition or Condition.ABORTED, "it ended at once")
        self._listeners.append(listener)
        return listener

    def _resting(self, port: int) -> Server | None:
        """A server on this port that was closed and whose seeds live on."""
        for held in self._registry:
            if isinstance(held, Server) and held.live and held.local_port == port:
                if held.listener is not None:
                    raise NetworkError(Condition.PORT_IN_USE, f"port {port}")
                return held
        return None

    def _opening(self, listener: SktListener) -> Opening:
        port = listener.local.port
        server = listener.server = Server(listener, self._want)
        return Opening(server, "listen", "SKTSERVER", "", port, {"port": port})

    def to_delete(self, server: Server) -> bool:
        """Nobody listens, and no seed would die with it."""
        return server.listener is None and not self._registry.seeds(server)

    # --- listening again ---

    def start_over(self) -> None:
        """The module was lost: what it was asked for is asked for again once it is up."""
        self._again.clear()

    def listen_again(self) -> None:
        """In the driver's task, while the module is up: what it does not listen for any more is asked for again."""
        waiting = [listener for listener, _ in self._again]
        for listener in self._listeners:
            if listener.server is None and listener not in waiting:
                self._trace.note("listen-again", f"port {listener.local.port}")
                opening = self._opening(listener)
                self._again.append((listener, opening))
                self._opener.again(opening)
        while self._again and self._again[0][1].answered.is_set():
            listener, opening = self._again.popleft()
            if opening.failure is None:
                listener.tries = 0
                continue
            listener.tries += 1
            if opening.failure.condition in _UNANSWERED and listener.tries < LISTEN_TRIES:
                continue
            log.warning("module: does not listen again", port=listener.local.port, why=str(opening.failure))
            self._trace.note("listen-refused", f"port {listener.local.port}: {opening.failure}")
            listener.end(opening.failure.condition)

    # --- peers ---

    def arrived(self, server_id: int, number: int, peer: Endpoint) -> None:
        """A peer came; called while the line is read.  Whom nobody can take is deleted at once."""
        if self._registry.get(number) is not None:
            return  # SKTSTATE has told of it before
        server = self._registry.get(server_id)
        if not isinstance(server, Server):
            self._trace.note("arrival-refused", f"id {number} of {server_id}, which is no server of ours")
            self._registry.add(Nobodys(self._want, number), number)
            return
        link = self._new_link()
        link.server, link.peer = server, peer
        link.local = server.listener.local if server.listener is not None else None
        self._registry.add(link, number)
        listener = server.listener
        coming = int(self._opener.current is not None)  # it has taken its id already
        seeds = sum(seed.condition is None for seed in self._registry.seeds(server))
        if listener is None or seeds > listener.room or self._registry.crowded(coming) or not listener.offer(link):
            self._trace.note("arrival-refused", f"id {number} of {server_id}: no room")
            link.end(Condition.LINK_CLOSED)
        self._want()
