"""A Network made of a WIP modem's bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from bridge.dialects.wip.driver.creates import Work, check_argument
from bridge.dialects.wip.driver.datagrams import WipDatagramLink
from bridge.dialects.wip.driver.life import Life
from bridge.dialects.wip.driver.links import WipLink
from bridge.dialects.wip.driver.listener import WipListener
from bridge.dialects.wip.driver.sockets import TCP, UDP
from bridge.model import Capability, Condition, Endpoint, Identity, Login, Peers, Phase
from bridge.network import NetworkError
from bridge.wire.addresses import dotted

T = TypeVar("T")


class WipNetwork(Life):
    """What a modem of the WIP family offers; `Life` says how it comes up and goes on."""

    # --- state ---

    async def attach(self, login: Login | None = None) -> None:
        """See Network.  The modem has its own subscription: the host's login is accepted as it is."""
        await trio.lowlevel.checkpoint()
        while self._box.now.phase is not Phase.UP:
            if self._box.now.cause in {Condition.BEARER_REFUSED, Condition.PORT_LOST}:
                raise NetworkError(self._box.now.cause)
            await self._box.wait(self._box.now.seq)

    async def detach(self) -> None:
        """See Network.  The bearer stays: bringing it up again takes longer than a host waits."""
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """See Network."""
        self._listeners.end(Condition.LINK_CLOSED)
        for socket in self._sockets:
            socket.end(Condition.LINK_CLOSED)
        self._want()
        await trio.lowlevel.checkpoint()

    # --- operations ---

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> WipLink:
        """See Network.  ``keepalive`` is not realisable on these modems and has no effect."""
        check_argument(self._profile, host, port)
        self._check_up()
        link = self._new_link(await self._chosen(partial(self._sockets.index, TCP)))
        work = self._creator.work(link, "create", host=host, port=port)
        await self._open(link, work, host, port)
        return link

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> WipDatagramLink:
        """See Network.  A socket of these modems is bound to one peer, or cannot send at all (Multi-Tech S000478 p.102)."""
        if peer is None or peers is not Peers.FIXED:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.NOT_SUPPORTED, f"a socket of this modem has one peer: {peers}")
        check_argument(self._profile, peer.host, peer.port)
        self._check_up()
        if not 0 <= local_port < 65536:
            raise NetworkError(Condition.BAD_ARGUMENT, f"local port {local_port}")
        index = await self._chosen(partial(self._sockets.index, UDP))
        local_port = self._sockets.port(UDP, local_port)
        link = WipDatagramLink(index, self._bounds, self._want, self._questions.endpoints, self._datagram_dropped)
        link.local_port = local_port
        work = self._creator.work(link, "create_datagram", local_port=local_port, host=peer.host, port=peer.port)
        await self._open(link, work, peer.host, peer.port)
        if (address := self._box.now.address) is not None:
            link.local = Endpoint(address, local_port)
        return link

    async def _open(self, link: WipLink | WipDatagramLink, work: Work, host: str, port: int) -> None:
        async def find_peer() -> None:
            if link.peer is None:
                await self._arbiter.jobs.ask(partial(self._questions.find_peer, link, port))

        link.peer = Endpoint(host, port) if dotted(host) else None
        began = trio.current_time()
        try:
            await self._creator.open(link, self._profile.seconds("connect"), work, find_peer)
        except NetworkError as error:
            # No document has a number for a lookup that failed; no peer takes so short a time to be unreachable.
            fast = trio.current_time() - began < self._profile.seconds("lookup_fails")
            if error.condition is Condition.CONNECT_TIMEOUT and fast and not dotted(host):
                raise NetworkError(Condition.NAME_NOT_FOUND, f"{host}: {error.detail}") from None
            raise

    async def listen(self, port: int, *, room: int) -> WipListener:
        """See Network.  Port 0: one of ours, because the modem would not tell which one it took."""
        if not 0 <= port < 65536 or not 1 <= room <= self.limits.stream_links:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}, room {room}")
        self._check_up()
        await self._chosen(partial(self._sockets.server, room))
        return await self._listeners.listen(port, room, self._box.now.address or "0.0.0.0")

    async def resolve(self, name: str) -> str:
        """See Network."""
        check_argument(self._profile, name, 1)
        self._check_up()
        return name if dotted(name) else await self._lookup.resolve(name)

    async def ping(self, host: str, limit: float) -> float:
        """See Network."""
        if Capability.PING not in self.limits.capabilities:
            return await super().ping(host, limit)
        check_argument(self._profile, host, 1)
        self._check_up()
        return await self._pinger.ping(host, limit)

    async def identity(self) -> Identity:
        """See Network.  Empty while it is not up."""
        if self._box.now.phase is not Phase.UP:
            await trio.lowlevel.checkpoint()
            return Identity()
        return await self._questions.identity()

    async def signal(self) -> int | None:
        """See Network."""
        if self._box.now.phase is not Phase.UP:
            await trio.lowlevel.checkpoint()
            return None
        return await self._questions.signal()

    async def name_servers(self) -> list[str]:
        """See Network."""
        self._check_up()
        return await self._questions.name_servers()

    # --- helpers ---

    async def _chosen(self, choose: Callable[[], T]) -> T:
        """What ``choose`` finds; where nothing is free, closes under way are waited for.  Raises NetworkError."""
        deadline = trio.current_time() + self._profile.seconds("index_wait")
        while True:
            try:
                return choose()
            except NetworkError:
                closing = next((socket for socket in self._sockets if socket.condition is not None), None)
                if closing is None:
                    raise
            with trio.move_on_at(deadline) as limit:
                await closing.freed.wait()
            if limit.cancelled_caught:
                raise NetworkError(Condition.NO_FREE_LINK, "the modem is slow to close")
            self._check_up()
