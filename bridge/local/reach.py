"""From what a host names to the addresses that sockets may go to: the only way, for every operation.

A name is looked up once, every address of it is checked, and what was checked is used as a number from there on.  The
kernel's refusals become conditions here as well.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import trio

from bridge.local.policy import Policy, parse_host
from bridge.model import Condition
from bridge.network import NetworkError

_CONDITIONS = {
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
    errno.EMSGSIZE: Condition.TOO_LONG,
}


class Place(NamedTuple):
    """One address: what the host sees, and where the socket goes; they differ where the operator maps."""

    shown: IPv4Address
    target: IPv4Address


class Reach:
    """A policy, applied."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def places(self, host: str) -> list[Place]:
        """Each address that a host name or number stands for; never empty.  Raises NetworkError.

        One refused address refuses the name: who mixes the gateway's loopback into a name's answers means no good.
        """
        asked = parse_host(host)
        if isinstance(asked, IPv6Address):
            self.check(asked)
            raise NetworkError(Condition.NOT_SUPPORTED, "IPv6")
        if isinstance(asked, IPv4Address):
            await trio.lowlevel.checkpoint()
            return [Place(asked, self._target(asked))]
        if (target := self.policy.target(asked)) is not None:
            await trio.lowlevel.checkpoint()
            return [Place(target, target)]
        try:
            found = await trio.socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NetworkError(Condition.NAME_NOT_FOUND, f"{host}: {error}") from error
        if not found:
            raise NetworkError(Condition.NAME_NOT_FOUND, host)
        addresses = [IPv4Address(entry[4][0]) for entry in found]
        return [Place(address, self._target(address)) for address in dict.fromkeys(addresses)]

    def check(self, address: IPv4Address | IPv6Address) -> None:
        """Raise NetworkError ``address-refused`` where the policy forbids this destination."""
        try:
            why = self.policy.refusal(address)
        except OSError as error:  # no socket to ask with
            raise network_error(error, address) from error
        if why is not None:
            raise NetworkError(Condition.ADDRESS_REFUSED, f"{address}: {why}")

    def _target(self, address: IPv4Address) -> IPv4Address:
        """The mapping's target, which the operator named; or the address itself, checked."""
        if (target := self.policy.target(address)) is not None:
            return target
        self.check(address)
        return address


def network_error(error: OSError, address: object) -> NetworkError:
    """The kernel's refusal of a destination, as a condition."""
    condition = _CONDITIONS.get(error.errno or 0, Condition.MODULE_ERROR)
    return NetworkError(condition, f"{address}: {error}")


def check_port(port: int, *, lowest: int = 1) -> None:
    """Raise NetworkError ``bad-argument`` for what is no port."""
    if not lowest <= port <= 65535:
        raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}")
