"""Which (protocol, index) pairs and local ports are taken, and by what.

A pair stays taken until the modem said OK to its WIPCLOSE: a URC that is still on its way is then never taken for the
successor's.  A server's range stays reserved until the server and all sockets it spawned are closed (Multi-Tech
S000478 p.103).  The counts are the module's: TCP, UDP and servers together (WIPCFG option 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.dialects.wip.driver.sockets import SERVER, TCP, UDP, Key, Socket
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Profile


class Registry:
    """What the modem holds, or may hold."""

    def __init__(self, profile: Profile) -> None:
        self._sockets = profile.number("sockets")
        self._links = {TCP: profile.number("stream_links"), UDP: profile.number("datagram_links")}
        self._servers = profile.number("servers")
        self._lookup: Key = (UDP, profile.number("resolve_index"))
        self._ports = range(profile.number("port_first"), profile.number("port_last") + 1)
        self._lookup_port = profile.number("resolve_port")
        self._next_port = 0
        self._held: dict[Key, Socket] = {}
        self.strays: set[int] = set()  # indexes of TCP sockets that are to be closed before anybody listens
        self._spans: list[Socket] = []  # servers whose range is reserved, closed ones too

    def __iter__(self) -> Iterator[Socket]:
        """A snapshot: sockets come and go while somebody walks through them."""
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Socket | None:
        """What is there."""
        return self._held.get(key)

    def holds(self, socket: Socket) -> bool:
        """Whether this very socket still has its index."""
        return self._held.get(socket.key) is socket

    def add(self, socket: Socket) -> None:
        """It has its index from now on."""
        self._held[socket.key] = socket
        if socket.span:
            self._spans.append(socket)

    def stray(self, index: int) -> None:
        """The modem accepted a peer there while it was brought up: nobody's, to be closed."""
        if 1 <= index <= self._sockets:
            self.strays.add(index)

    def free(self, socket: Socket) -> None:
        """The modem holds nothing there any more."""
        if self.holds(socket):
            del self._held[socket.key]
        socket.freed.set()

    def clear(self) -> None:
        """The modem forgot, or will be told to forget, everything."""
        for socket in self:
            self.free(socket)
        self._spans.clear()
        self.strays.clear()

    # --- choosing ---

    def index(self, protocol: int) -> int:
        """A free index for a stream or datagram socket.  Raises NetworkError."""
        live = sum(socket.condition is None for socket in self._of(protocol))
        self._check_total()
        if live < self._links[protocol]:
            reserved = self._reserved() if protocol == TCP else set()
            for index in range(1, self._sockets + 1):
                key = protocol, index
                if key not in self._held and key != self._lookup and index not in reserved:
                    return index
        raise NetworkError(Condition.NO_FREE_LINK, f"{live} links of protocol {protocol} are open")

    def server(self, room: int) -> tuple[int, range]:
        """A free server index, and the highest free range with room for so many peers.  Raises NetworkError."""
        self._check_total()
        taken = self._reserved() | {socket.index for socket in self._of(TCP)}
        number = next((index for index in range(1, self._servers + 1) if (SERVER, index) not in self._held), None)
        for first in range(self._sockets - room + 1, 0, -1):
            span = range(first, first + room)
            if number is not None and not taken.intersection(span):
                return number, span
        raise NetworkError(Condition.NO_FREE_LINK, f"no {room} free indexes in a row for a server")

    def port(self, protocol: int, wanted: int) -> int:
        """The local port to use: the wanted one, or a free one for 0.  Raises NetworkError."""
        taken = {socket.local_port for socket in self._of(protocol)}
        if protocol == UDP:
            taken.add(self._lookup_port)
        if wanted:
            if wanted in taken:
                raise NetworkError(Condition.PORT_IN_USE, f"local port {wanted}")
            return wanted
        for _ in self._ports:
            port = self._ports[self._next_port % len(self._ports)]
            self._next_port += 1  # in turn: a port just closed may still be known to its peer
            if port not in taken:
                return port
        raise NetworkError(Condition.PORT_IN_USE, "every local port")

    def _of(self, protocol: int) -> list[Socket]:
        return [socket for key, socket in self._held.items() if key[0] == protocol and key != self._lookup]

    def _check_total(self) -> None:
        """One socket is kept for name lookups."""
        if len(self._held) - (self._lookup in self._held) >= self._sockets - 1:
            raise NetworkError(Condition.NO_FREE_LINK, f"{self._sockets} sockets in all, one kept for lookups")

    def _reserved(self) -> set[int]:
        """Indexes of servers' ranges.  A range is free again when the server and all its sockets are closed."""
        spawned = [socket.server for socket in self._held.values()]
        self._spans = [server for server in self._spans if self.holds(server) or server in spawned]
        return {index for server in self._spans for index in server.span}
