"""The gateway's own sockets as a Network: TCP and UDP over IPv4, and echo, under a `Policy`.

The bearer is the gateway's network, so it is up at once and never lost.  The address that the policy has checked is the
one that is connected to: a name is resolved once, and its addresses are used as numbers from there on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from bridge.local import binding, icmp, opening, resolvers
from bridge.local.datagrams import DATAGRAM_SIZE, LocalDatagramLink
from bridge.local.links import SEND_SIZE, LocalStreamLink
from bridge.local.listener import LocalListener
from bridge.local.policy import Policy
from bridge.local.reach import Place, Reach, check_port, network_error
from bridge.model import Capability, Condition, Endpoint, Limits, Login, Peers, Phase, State
from bridge.network import Network, NetworkError, StateBox
from bridge.trace import Trace

CONNECT_LIMIT = 60.0  # seconds for lookup and all addresses; the kernel would take two minutes, per address
DATAGRAM_LINKS = 16  # at a time
LISTENERS = 8  # at a time
ADDRESSES = 8  # of one name that are tried; each gets its share of the limit
KEEPALIVE_LIMIT = 32767  # seconds, the most that Linux takes (MAX_TCP_KEEPIDLE)
# Only asked for the route towards it, nothing is sent: a documentation address (RFC 5737) that every default route takes.
_OUTSIDE = ("198.51.100.1", 9)

_CAPABILITIES = frozenset(
    {
        Capability.TCP,
        Capability.UDP,
        Capability.UDP_PEERS,
        Capability.LISTEN,
        Capability.RESOLVE,
        Capability.KEEPALIVE,
        Capability.HALF_CLOSE,
    }
)


class LocalNetwork(Network):
    """See the module."""

    def __init__(self, policy: Policy, trace: Trace, *, stream_links: int = 64) -> None:
        self.limits = Limits(
            stream_links=stream_links,
            datagram_links=DATAGRAM_LINKS,
            send_size=SEND_SIZE,
            capabilities=_CAPABILITIES | ({Capability.PING} if icmp.available() else frozenset()),
            datagram_size=DATAGRAM_SIZE,
        )
        self._policy = policy
        self._reach = Reach(policy)
        self._trace = trace
        self._state = StateBox()
        self._links: set[LocalStreamLink] = set()
        self._opening = 0
        self._datagrams: set[LocalDatagramLink] = set()
        self._opening_datagrams = 0
        self._listeners: set[LocalListener] = set()

    @property
    def state(self) -> State:
        """The state now."""
        return self._state.now

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be up until cancelled; then close every socket."""
        self._state.change(Phase.UP, address=_source_address())
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._state.change(Phase.DOWN)
            self._end_sockets()
            for link in list(self._links):
                link.drop()

    async def wait_state(self, after: int) -> State:
        """The first state whose ``seq`` is greater than ``after``."""
        return await self._state.wait(after)

    async def attach(self, login: Login | None = None) -> None:
        """The bearer is the gateway's own and asks for no login."""
        await trio.lowlevel.checkpoint()
        self._check_up()

    async def detach(self) -> None:
        """Nothing: the bearer is the gateway's."""
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """Close every server and every link, in order, all at the same time."""
        self._end_sockets()
        async with trio.open_nursery() as nursery:
            for link in list(self._links):
                nursery.start_soon(link.end)

    async def resolve(self, name: str) -> str:
        """A name's first address.  An address is its own; a mapped name has its mapping's."""
        self._check_up()
        with trio.move_on_after(CONNECT_LIMIT):
            return str((await self._reach.places(name))[0][0])
        raise NetworkError(Condition.NAME_NOT_FOUND, f"{name}: no answer")

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> LocalStreamLink:
        """Connect to the first address that answers."""
        self._check_up()
        check_port(port)
        if not 0 <= keepalive <= KEEPALIVE_LIMIT:
            raise NetworkError(Condition.BAD_ARGUMENT, f"keepalive {keepalive}")
        if not self._has_room():
            raise NetworkError(Condition.NO_FREE_LINK, f"{self.limits.stream_links} links")
        self._opening += 1
        try:
            with self._told(f"{host!a} port {port}"):
                with trio.move_on_after(CONNECT_LIMIT):
                    link = await self._open(host, port, keepalive)
                    self._trace.note("local-open", f"{host!a} {link.local} {link.peer}")
                    return link
                raise NetworkError(Condition.CONNECT_TIMEOUT, f"{host!a} port {port}")
        finally:
            self._opening -= 1

    async def _open(self, host: str, port: int, keepalive: int) -> LocalStreamLink:
        addresses = (await self._reach.places(host))[:ADDRESSES]
        failure = NetworkError(Condition.CONNECT_TIMEOUT, host)
        for shown, target in addresses:
            with trio.move_on_after(CONNECT_LIMIT / len(addresses)):
                try:
                    connected = await opening.connect(str(target), port, keepalive)
                except OSError as error:
                    failure = network_error(error, target)
                    continue
                # From here to the return nothing waits, so a cancellation cannot get between socket and owner.
                if self.state.phase is not Phase.UP:
                    connected.close()
                    self._check_up()
                link = LocalStreamLink(connected, Endpoint(str(shown), port), self._ended)
                self._links.add(link)
                return link
        raise failure

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> LocalDatagramLink:
        """A UDP socket; who is heard, and where it binds, is told in `bridge.local.datagrams`."""
        self._check_up()
        check_port(local_port, lowest=0)
        if peer is not None:
            check_port(peer.port)
        elif peers is Peers.FIXED:
            raise NetworkError(Condition.BAD_ARGUMENT, "a fixed peer, and none named")
        if len(self._datagrams) + self._opening_datagrams >= self.limits.datagram_links:
            raise NetworkError(Condition.NO_FREE_LINK, f"{self.limits.datagram_links} datagram links")
        self._opening_datagrams += 1
        try:
            with self._told(f"datagrams, port {local_port}, {peers} peer {peer}"):
                place = await self._place(peer)
                # From here to the return nothing waits, so a cancellation cannot get between socket and owner.
                self._check_up()
                link = opening.datagram_link(
                    self._reach, peer, place, local_port=local_port, peers=peers, gone=self._datagram_ended, note=self._refused
                )
                self._datagrams.add(link)
                self._trace.note("local-open", f"datagrams {link.local} {peers} peer {link.peer}")
                return link
        finally:
            self._opening_datagrams -= 1

    async def _place(self, peer: Endpoint | None) -> Place | None:
        """The first address of a datagram link's peer: nothing would tell whether another one is better."""
        if peer is None:
            await trio.lowlevel.checkpoint()
            return None
        with trio.move_on_after(CONNECT_LIMIT):
            return (await self._reach.places(peer.host))[0]
        raise NetworkError(Condition.NAME_NOT_FOUND, f"{peer.host!a}: no answer")

    async def listen(self, port: int, *, room: int) -> LocalListener:
        """A TCP server where the operator binds it."""
        await trio.lowlevel.checkpoint()
        self._check_up()
        check_port(port, lowest=0)
        if not 1 <= room <= self.limits.stream_links:
            raise NetworkError(Condition.BAD_ARGUMENT, f"room for {room} peers")
        with self._told(f"a server on port {port}"):
            if len(self._listeners) >= LISTENERS:
                raise NetworkError(Condition.NO_FREE_LINK, f"{LISTENERS} servers")
            listener = LocalListener(
                binding.listening_socket(*binding.serving(self._policy, port)),
                room,
                free=self._has_room,
                adopt=self._accepted,
                released=self._ended,
                note=self._refused,
                gone=self._listener_ended,
            )
        self._listeners.add(listener)
        self._trace.note("local-listen", f"{listener.local}, room for {room}")
        return listener

    async def ping(self, host: str, limit: float) -> float:
        """Seconds of one echo round trip to the first address of a host."""
        self._check_up()
        with self._told(f"ping {host!a}"):
            with trio.move_on_after(limit):
                return await icmp.echo((await self._reach.places(host))[0].target)
            raise NetworkError(Condition.CONNECT_TIMEOUT, f"{host!a}: no echo within {limit} s")

    async def name_servers(self) -> list[str]:
        """What the gateway itself uses."""
        await trio.lowlevel.checkpoint()
        return resolvers.name_servers()

    def _has_room(self) -> bool:
        return len(self._links) + self._opening < self.limits.stream_links

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Nothing is refused in silence."""
        try:
            yield
        except NetworkError as error:
            self._refused(f"{what}: {error}")
            raise

    def _refused(self, text: str) -> None:
        self._trace.note("local-refused", text)

    def _check_up(self) -> None:
        if self.state.phase is not Phase.UP:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, "the network does not run")

    def _end_sockets(self) -> None:
        """All that needs no waiting."""
        for listener in list(self._listeners):
            listener.end(Condition.LINK_CLOSED)
        for link in list(self._datagrams):
            link.end(Condition.LINK_CLOSED)

    def _accepted(self, link: LocalStreamLink) -> None:
        self._links.add(link)
        self._trace.note("local-accept", f"{link.local} {link.peer}")

    def _ended(self, link: LocalStreamLink) -> None:
        self._links.discard(link)
        self._trace.note("local-end", f"{link.local} {link.peer}: {link.condition}")

    def _datagram_ended(self, link: LocalDatagramLink) -> None:
        self._datagrams.discard(link)
        self._trace.note("local-end", f"datagrams {link.local}: {link.condition}; {link.counts()}")

    def _listener_ended(self, listener: LocalListener) -> None:
        self._listeners.discard(listener)
        self._trace.note("local-end", f"a server on {listener.local}: {listener.condition}; {listener.counts()}")


def _source_address() -> str:
    """The address the gateway shows to the world; loopback where it has no way out."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_OUTSIDE)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
