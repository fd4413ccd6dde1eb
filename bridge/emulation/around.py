"""Networks around a Network: everything goes to the one below, but for what an emulation adds.

An emulation derives from `NetworkAround` and overrides what is different; `stream_around` is the one place where links
are wrapped, whoever opened them.  What is asked of a link or a Network is asked of the one below each time: its limits
may change with the profile that its driver finds, its endpoints with what the module says.
"""

from __future__ import annotations

import trio

from bridge.model import Condition, Endpoint, Identity, Limits, Login, Peers, State
from bridge.network import DatagramLink, Listener, Network, NetworkError, Sending, StreamLink

__all__ = ["ListenerAround", "NetworkAround", "StreamLinkAround"]


class StreamLinkAround(StreamLink, trio.abc.HalfCloseableStream):
    """A stream link around another.  `send_all` and `receive_some` go through our own methods, not past them."""

    def __init__(self, below: StreamLink) -> None:
        self.below = below

    # The base declares plain attributes, which a Network sets; here they are those of the link below.
    @property
    def local(self) -> Endpoint | None:  # type: ignore[override]  # worked out, not stored
        """See StreamLink."""
        return self.below.local

    @property
    def peer(self) -> Endpoint | None:  # type: ignore[override]  # worked out, not stored
        """See StreamLink."""
        return self.below.peer

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]  # worked out, not stored
        """See StreamLink."""
        return self.below.condition

    def sending(self, total: int) -> Sending:
        """See StreamLink."""
        return self.below.sending(total)

    def waiting(self) -> int:
        """See StreamLink."""
        return self.below.waiting()

    async def wait_readable(self) -> int:
        """See StreamLink."""
        return await self.below.wait_readable()

    async def fetch(self) -> int:
        """See StreamLink."""
        return await self.below.fetch()

    def take(self, most: int) -> bytes:
        """See StreamLink."""
        return self.below.take(most)

    async def find_endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """See StreamLink."""
        return await self.below.find_endpoints()

    async def send_eof(self) -> None:
        """No more from us.  Raises NetworkError ``not-supported`` where the link below has no half-close."""
        end = getattr(self.below, "send_eof", None)
        if end is None:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.NOT_SUPPORTED, "half-close")
        await end()

    async def aclose(self) -> None:
        """See StreamLink."""
        await self.below.aclose()


class ListenerAround(Listener):
    """A server around another: the links that it accepts are wrapped."""

    def __init__(self, below: Listener, network: NetworkAround) -> None:
        self.below = below
        self._network = network

    @property
    def local(self) -> Endpoint:  # type: ignore[override]  # worked out, not stored
        """See Listener."""
        return self.below.local

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]  # worked out, not stored
        """See Listener."""
        return self.below.condition

    async def accept(self) -> StreamLink:
        """See Listener.  Nothing is awaited once a link is there: a cancellation loses none."""
        return self._network.stream_around(await self.below.accept())

    async def aclose(self) -> None:
        """See Listener."""
        await self.below.aclose()


class NetworkAround(Network):
    """A Network around another, which it changes in nothing."""

    def __init__(self, below: Network) -> None:
        self.below = below

    def stream_around(self, link: StreamLink) -> StreamLink:
        """The link that a host gets for one of the Network below.  Never waits."""
        return link

    @property
    def shutdown_grace(self) -> float:
        """Seconds that an orderly end needs; 0 where the Network below has no need of its own."""
        return float(getattr(self.below, "shutdown_grace", 0.0))

    @property
    def limits(self) -> Limits:  # type: ignore[override]  # worked out, not stored
        """See Network."""
        return self.below.limits

    @property
    def state(self) -> State:
        """See Network."""
        return self.below.state

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        await self.below.run(task_status=task_status)

    async def wait_state(self, after: int) -> State:
        """See Network."""
        return await self.below.wait_state(after)

    async def attach(self, login: Login | None = None) -> None:
        """See Network."""
        await self.below.attach(login)

    async def detach(self) -> None:
        """See Network."""
        await self.below.detach()

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> StreamLink:
        """See Network."""
        return self.stream_around(await self.below.open_stream(host, port, keepalive=keepalive))

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> DatagramLink:
        """See Network."""
        return await self.below.open_datagram(peer, local_port=local_port, peers=peers)

    async def listen(self, port: int, *, room: int) -> Listener:
        """See Network."""
        return ListenerAround(await self.below.listen(port, room=room), self)

    async def ping(self, host: str, limit: float) -> float:
        """See Network."""
        return await self.below.ping(host, limit)

    async def signal(self) -> int | None:
        """See Network."""
        return await self.below.signal()

    async def name_servers(self) -> list[str]:
        """See Network."""
        return await self.below.name_servers()

    async def resolve(self, name: str) -> str:
        """See Network."""
        return await self.below.resolve(name)

    async def reset(self) -> None:
        """See Network."""
        await self.below.reset()

    async def identity(self) -> Identity:
        """See Network."""
        return await self.below.identity()
