"""What stands behind an id: a server, a client, or a seed, which is what a server makes of a peer that comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import trio

from bridge.model import Condition, Datagram, Endpoint
from bridge.network import DatagramLink, Listener, NetworkError, StreamLink

LOST = (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
_IN_ORDER = frozenset({Condition.PEER_CLOSED, Condition.LINK_CLOSED})


class Role(StrEnum):
    """What a node is, in the words of the status lines."""

    SERVER = "server"
    CLIENT = "client"
    SEED = "seed"


class Pump:
    """What prints a connection's bytes unasked.  Stopped, it has taken no byte that nobody gets."""

    def __init__(self) -> None:
        self.on = True
        self.over = trio.Event()
        self._scope = trio.CancelScope()

    def waiting(self) -> trio.CancelScope:
        """Where it may be stopped."""
        self._scope = trio.CancelScope()
        if not self.on:
            self._scope.cancel()
        return self._scope

    def stop(self) -> None:
        """No byte more."""
        self.on = False
        self._scope.cancel()


class Pull:
    """One demand for the bytes that wait below.  It goes on whoever waits for it, because cut short it costs the link."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.count = 0  # of what is here now
        self.error: Exception | None = None  # for whoever waits


class Node:
    """One id.  It stays taken until the host deletes it, whatever happened to its connection."""

    def __init__(self, con_id: int, role: Role, protocol: str, far: Endpoint, owner: Node | None = None) -> None:
        self.id = con_id
        self.role = role
        self.protocol = protocol  # tcp or udp
        self.far = far  # the peer; of a server its own address and port
        self.owner = owner  # the server of a seed
        self.stream: StreamLink | None = None
        self.datagrams: DatagramLink | None = None
        self.listener: Listener | None = None
        self.descriptor = -1  # the socket's number; -1: closed, or not there yet
        self.opened = False  # listed from then on
        self.end: Condition | None = None  # why the connection that was here is gone
        self.told = False  # the host knows of its end
        self.auto = False  # what it receives is printed unasked (S2: link by link)
        self._scopes: set[trio.CancelScope] = set()  # of everything that works for it
        self._over = False
        self.pump: Pump | None = None  # what prints its bytes unasked
        self.pull: Pull | None = None  # the newest

    @contextmanager
    def work(self) -> Iterator[None]:
        """Something done for it, which ends with it."""
        scope = trio.CancelScope()
        self._scopes.add(scope)
        if self._over:
            scope.cancel()
        try:
            with scope:
                yield
        finally:
            self._scopes.remove(scope)

    @property
    def link(self) -> StreamLink | DatagramLink | None:
        """The connection; None: a listening TCP server, or not open."""
        return self.stream or self.datagrams

    @property
    def listens(self) -> bool:
        """A TCP server: its seeds carry the data."""
        return self.role is Role.SERVER and self.protocol == "tcp"

    @property
    def named(self) -> bool:
        """A UDP server: every datagram names its peer."""
        return self.role is Role.SERVER and self.protocol == "udp"

    @property
    def ended(self) -> Condition | None:
        """Why there is no connection any more once its bytes were taken; None while there is one."""
        link = self.link
        if link is None:
            return self.end
        return None if link.condition is None or link.waiting() else link.condition

    @property
    def in_order(self) -> bool:
        """Whether it ended by the peer's FIN."""
        return (self.end or self.ended) in _IN_ORDER

    async def arrival(self, limit: float) -> bool:
        """Whether something waits, here or below, after ``limit`` seconds at most.  Raises what a link raises."""
        link = self.link
        if link is None:
            return False
        with trio.move_on_after(limit):
            return bool(await link.wait_readable())
        return False

    def take(self, most: int) -> Datagram | None:
        """What is here, ``most`` bytes of it; None where nothing is.  The tail of a longer datagram is lost."""
        if self.stream is not None:
            data = self.stream.take(most)
            return Datagram(data) if data else None
        datagram = self.datagrams.take() if self.datagrams is not None else None
        if datagram is None:
            return None
        return Datagram(datagram.data[:most], datagram.source, datagram.cut or len(datagram.data) > most)

    def lose(self) -> list[Callable[[], Awaitable[None]]]:
        """There is no connection any more; what is left to be done about it, which may take time."""
        self._over = True
        for scope in self._scopes:
            scope.cancel()
        if self.pump is not None:
            self.pump.stop()
        self.descriptor = -1
        self.end = self.end or (self.link.condition if self.link is not None else None) or Condition.LINK_CLOSED
        closes: list[Callable[[], Awaitable[None]]] = [x.aclose for x in (self.listener, self.stream, self.datagrams) if x]
        self.listener = self.stream = self.datagrams = None
        return closes
