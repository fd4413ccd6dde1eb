"""TCP servers on a WIP modem: what was accepted and not yet taken, and listening again after a reset.

The modem counts a server's peers by a range of indexes that is chosen when it begins to listen; a peer above that is
accepted and closed by the modem itself.  An accept names two indexes and no address.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from bridge.dialects.wip.driver.creates import Creator, Work
from bridge.dialects.wip.driver.links import WipLink
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import SERVER, TCP, Socket
from bridge.driving.listener import DrivenListener, DrivenListeners
from bridge.driving.trouble import ModuleError
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip")


class Server(Socket):
    """A listening socket of the modem, in one of the modem's lives."""

    protocol = SERVER

    def __init__(self, listener: WipListener, index: int, span: range, want: Callable[[], None]) -> None:
        super().__init__(index, want)
        self.listener = listener
        self.span = span
        self.local_port = listener.local.port

    def was_created(self) -> None:
        """See Socket.  No URC follows the OK, and an accept may be in the same read."""
        super().was_created()
        self.got_ready()

    def end(self, condition: Condition) -> None:
        """See Socket."""
        if self.condition is None:
            self.listener.server_ended(self)
            self.want()
        super().end(condition)


class WipListener(DrivenListener[WipLink, Server]):
    """See DrivenListener."""

    async def aclose(self) -> None:
        """See Listener.  Returns when the modem does not listen any more."""
        await trio.lowlevel.checkpoint()
        self.closed = True
        server = self.server
        self.end(Condition.LINK_CLOSED)
        if server is not None:
            await server.freed.wait()

    def _give_up_server(self) -> None:
        if self.server is not None:
            self.server.end(Condition.LINK_CLOSED)


class Listeners(DrivenListeners[WipListener]):
    """All servers of one modem."""

    def __init__(
        self,
        profile: Profile,
        trace: Trace,
        creator: Creator,
        sockets: Registry,
        *,
        new_link: Callable[[int], WipLink],
        want: Callable[[], None],
    ) -> None:
        super().__init__()
        self._profile = profile
        self._trace = trace
        self._creator = creator
        self._sockets = sockets
        self._new_link = new_link
        self._want = want

    async def listen(self, port: int, room: int, address: str) -> WipListener:
        """In the caller's task.  Raises NetworkError."""
        local = Endpoint(address, self._sockets.port(SERVER, port))
        listener = WipListener(local, room, self._profile.number("unaccepted"), self._forget)
        server = self._server(listener)
        try:
            await self._creator.open(server, self._profile.seconds("connect"), self._work(server))
        except BaseException:
            listener.end(Condition.ABORTED)
            raise
        if listener.server is server:
            self._listeners.append(listener)
            return listener
        raise NetworkError(server.condition or Condition.ABORTED, "it ended at once")

    def _server(self, listener: WipListener) -> Server:
        number, span = self._sockets.server(listener.room)
        server = listener.server = Server(listener, number, span, self._want)
        return server

    def _work(self, server: Server) -> Work:
        span = server.span
        return self._creator.work(server, "create_server", port=server.local_port, first=span[0], last=span[-1])

    async def listen_again(self) -> None:
        """In the driver's task, after a bring-up.  A server that the modem refuses now has ended.  Raises ModuleLost."""
        while self._sockets.strays:  # their indexes are the servers'
            await self._creator.quietly("close", protocol=TCP, index=self._sockets.strays.pop())
        for listener in list(self._listeners):
            server = self._server(listener)
            self._sockets.add(server)
            try:
                await self._work(server)()
            except ModuleError as error:
                condition = self._profile.condition_of(error.code, "WIPCREATE")
                log.warning("module: does not listen again", port=listener.local.port, condition=str(condition))
                self._trace.note("listen-refused", f"port {listener.local.port}: {error.code}")
                listener.end(condition)

    def accepted(self, server_index: int, index: int) -> None:
        """A URC said so; called while it is read.  What nobody can take is closed at once."""
        link = self._new_link(index)
        if (former := self._sockets.get(link.key)) is not None:
            # Nobody can tell the two apart: the new one is closed when the former is.
            self._trace.note("accept-doubtful", f"{server_index} accepted {index}, which is in use")
            former.again = True
            return
        server = self._sockets.get((SERVER, server_index))
        link.asked = link.created = True
        link.got_ready()
        link.server = server
        self._sockets.add(link)
        if not isinstance(server, Server) or index not in server.span or not server.listener.offer(link):
            self._trace.note("accept-refused", f"{server_index},{index}: nobody can take it")
            link.end(Condition.LINK_CLOSED)
