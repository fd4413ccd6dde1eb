"""The gateway's own sockets as a Network: TCP over IPv4, under a `Policy`.

The bearer is the gateway's network, so it is up at once and never lost.  The address that the policy has checked is the
one that is connected to: a name is resolved once, and its addresses are used as numbers from there on.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import IPv4Address, IPv6Address

import trio

from bridge.local.links import KERNEL_BOUND, SEND_SIZE, LocalStreamLink
from bridge.local.policy import Policy, parse_host
from bridge.model import Capability, Condition, Endpoint, Limits, Login, Phase, State
from bridge.network import Network, NetworkError, StateBox
from bridge.trace import Trace

CONNECT_LIMIT = 60.0  # seconds for lookup and all addresses; the kernel would take two minutes, per address
ADDRESSES = 8  # of one name that are tried; each gets its share of the limit
KEEPALIVE_LIMIT = 32767  # seconds, the most that Linux takes (MAX_TCP_KEEPIDLE)
# Only asked for the route towards it, nothing is sent: a documentation address (RFC 5737) that every default route takes.
_OUTSIDE = ("198.51.100.1", 9)

_CONNECT = {
    errno.ECONNREFUSED: Condition.CONNECT_REFUSED,
    errno.ECONNRESET: Condition.CONNECT_REFUSED,
    errno.ETIMEDOUT: Condition.CONNECT_TIMEOUT,
    errno.EHOSTUNREACH: Condition.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Condition.HOST_UNREACHABLE,
    errno.ENETUNREACH: Condition.HOST_UNREACHABLE,
    errno.ENETDOWN: Condition.HOST_UNREACHABLE,
    errno.EACCES: Condition.HOST_UNREACHABLE,  # a "prohibit" route, a firewall of the gateway
    errno.EPERM: Condition.HOST_UNREACHABLE,
    errno.EADDRNOTAVAIL: Condition.NO_FREE_LINK,  # no local port left
    errno.EAGAIN: Condition.NO_FREE_LINK,
    errno.EMFILE: Condition.NO_FREE_LINK,
    errno.ENFILE: Condition.NO_FREE_LINK,
    errno.ENOBUFS: Condition.NO_FREE_LINK,
    errno.ENOMEM: Condition.NO_FREE_LINK,
}


class LocalNetwork(Network):
    """See the module."""

    def __init__(self, policy: Policy, trace: Trace, *, stream_links: int = 64) -> None:
        self.limits = Limits(
            stream_links=stream_links,
            datagram_links=0,
            send_size=SEND_SIZE,
            capabilities=frozenset({Capability.TCP, Capability.RESOLVE, Capability.KEEPALIVE, Capability.HALF_CLOSE}),
        )
        self._policy = policy
        self._trace = trace
        self._state = StateBox()
        self._links: set[LocalStreamLink] = set()
        self._opening = 0

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
        """Close every link, in order, all at the same time."""
        async with trio.open_nursery() as nursery:
            for link in list(self._links):
                nursery.start_soon(link.end)

    async def resolve(self, name: str) -> str:
        """A name's first address.  An address is its own; a mapped name has its mapping's."""
        self._check_up()
        with trio.move_on_after(CONNECT_LIMIT):
            return str((await self._addresses(name))[0][0])
        raise NetworkError(Condition.NAME_NOT_FOUND, f"{name}: no answer")

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> LocalStreamLink:
        """Connect to the first address that answers."""
        self._check_up()
        if not 1 <= port <= 65535:
            raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}")
        if not 0 <= keepalive <= KEEPALIVE_LIMIT:
            raise NetworkError(Condition.BAD_ARGUMENT, f"keepalive {keepalive}")
        if len(self._links) + self._opening >= self.limits.stream_links:
            raise NetworkError(Condition.NO_FREE_LINK, f"{self.limits.stream_links} links")
        self._opening += 1
        try:
            with trio.move_on_after(CONNECT_LIMIT):
                link = await self._open(host, port, keepalive)
                self._trace.note("local-open", f"{host!a} {link.local} {link.peer}")
                return link
            raise NetworkError(Condition.CONNECT_TIMEOUT, f"{host!a} port {port}")
        except NetworkError as error:
            self._trace.note("local-refused", f"{host!a} port {port}: {error}")
            raise
        finally:
            self._opening -= 1

    async def _open(self, host: str, port: int, keepalive: int) -> LocalStreamLink:
        addresses = (await self._addresses(host))[:ADDRESSES]
        failure = NetworkError(Condition.CONNECT_TIMEOUT, host)
        for shown, target in addresses:
            with trio.move_on_after(CONNECT_LIMIT / len(addresses)):
                try:
                    connected = await _connect(str(target), port, keepalive)
                except OSError as error:
                    failure = _network_error(error, target)
                    continue
                # From here to the return nothing waits, so a cancellation cannot get between socket and owner.
                if self.state.phase is not Phase.UP:
                    connected.close()
                    self._check_up()
                link = LocalStreamLink(connected, Endpoint(str(shown), port), self._ended)
                self._links.add(link)
                return link
        raise failure

    async def _addresses(self, host: str) -> list[tuple[IPv4Address, IPv4Address]]:
        """(what the host sees, what is connected to) for each address; never empty.

        One refused address refuses the name: who mixes the gateway's loopback into a name's answers means no good.
        """
        asked = parse_host(host)
        if isinstance(asked, IPv6Address):
            self._check(asked)
            raise NetworkError(Condition.NOT_SUPPORTED, "IPv6")
        if isinstance(asked, IPv4Address):
            await trio.lowlevel.checkpoint()
            return [(asked, self._target(asked))]
        if (target := self._policy.target(asked)) is not None:
            await trio.lowlevel.checkpoint()
            return [(target, target)]
        try:
            found = await trio.socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NetworkError(Condition.NAME_NOT_FOUND, f"{host}: {error}") from error
        if not found:
            raise NetworkError(Condition.NAME_NOT_FOUND, host)
        addresses = [IPv4Address(entry[4][0]) for entry in found]
        return [(address, self._target(address)) for address in dict.fromkeys(addresses)]

    def _target(self, address: IPv4Address) -> IPv4Address:
        """The mapping's target, which the operator named; or the address itself, checked."""
        if (target := self._policy.target(address)) is not None:
            return target
        self._check(address)
        return address

    def _check(self, address: IPv4Address | IPv6Address) -> None:
        try:
            why = self._policy.refusal(address)
        except OSError as error:  # no socket to ask with
            raise _network_error(error, address) from error
        if why is not None:
            raise NetworkError(Condition.ADDRESS_REFUSED, f"{address}: {why}")

    def _check_up(self) -> None:
        if self.state.phase is not Phase.UP:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, "the network does not run")

    def _ended(self, link: LocalStreamLink) -> None:
        self._links.discard(link)
        self._trace.note("local-end", f"{link.local} {link.peer}: {link.condition}")


async def _connect(address: str, port: int, keepalive: int) -> socket.socket:
    """A connected socket, or OSError.  Cancelled: closed."""
    connecting = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a host's send is a message
        # Before the handshake: it fixes the window's scale.
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BOUND)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BOUND)
        if keepalive:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
        code = connecting.connect_ex((address, port))
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(connecting)
            code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            await trio.lowlevel.checkpoint()
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        connecting.close()
        raise
    return connecting


def _network_error(error: OSError, address: object) -> NetworkError:
    condition = _CONNECT.get(error.errno or 0, Condition.MODULE_ERROR)
    return NetworkError(condition, f"{address}: {error}")


def _source_address() -> str:
    """The address the gateway shows to the world; loopback where it has no way out."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_OUTSIDE)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
