"""Where a host may go through the gateway's own sockets, and what an operator may say about it.

A frozen host is somebody else's software, and what it is told to connect to may come from a third party.  The
gateway must not lend it its own position: services on loopback, the cloud's metadata service, the gateway itself.
So these are refused unless the operator allows them, and the rule is applied to addresses, never to names: to each
one that a name resolves to, and the address that was checked is the address that is connected to.

Private networks (RFC 1918) are *not* refused: the server on the same LAN is what many hosts are there for.

The other way round, nobody reaches a host's server but at the address that the operator binds it to.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Self

from bridge.model import Condition
from bridge.network import NetworkError
from bridge.wire.addresses import numeric

NAME_LIMIT = 255  # bytes of a name in DNS (RFC 1035, 2.3.4)
LABEL_LIMIT = 63  # and of one label

# Only what a host name can hold.  All else (CR, LF, NUL, quotes, blanks, digits of other scripts that IDNA would turn
# into 0..9) is refused here, before a resolver, which has its own ideas, sees it.
_NAME = re.compile(r"[A-Za-z0-9._-]+")

_REFUSED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),  # Linux connects 0.0.0.0 to itself
        ("127.0.0.0/8", "loopback"),
        ("169.254.169.254/32", "metadata"),
        ("100.100.100.200/32", "metadata"),  # Alibaba Cloud
        ("168.63.129.16/32", "metadata"),  # Azure
        ("192.0.0.192/32", "metadata"),  # Oracle Cloud
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fd00:ec2::254/128", "metadata"),  # AWS
        ("fd20:ce::254/128", "metadata"),  # Google Cloud
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def own_address(address: IPv4Address | IPv6Address) -> bool:
    """Whether the gateway has this address itself (or it is the broadcast address of one of its networks).

    Asked of the kernel by binding, each time, because addresses come and go.  Where the kernel says anything but "not
    mine" the answer is yes; so with net.ipv4.ip_nonlocal_bind=1 everything has to be allowed: shut, not open.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def parse_host(host: str) -> IPv4Address | IPv6Address | str:
    """What a host asked for: an address in its one strict form, or a name in lower case without the final dot.

    Raises NetworkError ``bad-argument`` for everything that is neither.
    """
    if not 0 < len(host) <= NAME_LIMIT:
        raise NetworkError(Condition.BAD_ARGUMENT, f"a host of {len(host)} characters")
    try:
        return ip_address(host)  # dotted quads only; leading zeros are refused by it
    except ValueError:
        pass
    labels = host.removesuffix(".").split(".")
    if not _NAME.fullmatch(host) or not all(0 < len(label) <= LABEL_LIMIT for label in labels):
        raise NetworkError(Condition.BAD_ARGUMENT, f"not a host name: {host!a}")
    if numeric(host):
        raise NetworkError(Condition.BAD_ARGUMENT, f"not a dotted address: {host!a}")
    return ".".join(labels).lower()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows and redirects.  `Policy()` is the strict default."""

    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    maps: Mapping[IPv4Address | str, IPv4Address] = field(default_factory=lambda: MappingProxyType({}))
    is_own: Callable[[IPv4Address | IPv6Address], bool] = own_address
    bind: IPv4Address | None = None  # where servers bind; None: there are none but those in ``listen``
    listen: Mapping[int, tuple[IPv4Address, int]] = field(default_factory=lambda: MappingProxyType({}))  # by the host's port

    @classmethod
    def parse(
        cls, allow: Iterable[str] = (), maps: Iterable[str] = (), *, bind: str | None = None, listen: Iterable[str] = ()
    ) -> Self:
        """From the texts of the options of these names.  Raises ValueError saying which one and what is wrong.

        ``--allow NETWORK``, ``--map ADDRESS=ADDRESS``, ``--bind ADDRESS``, ``--listen PORT=ADDRESS:PORT``.
        """
        networks = []
        for text in allow:
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                raise ValueError(f"--allow {text}: {error}") from None
        table: dict[IPv4Address | str, IPv4Address] = {}
        for text in maps:
            asked, equals, target = text.partition("=")
            if not equals:
                raise ValueError(f"--map {text}: expected ADDRESS=ADDRESS")
            try:
                key, value = parse_host(asked), IPv4Address(target)
            except (NetworkError, ValueError) as error:
                raise ValueError(f"--map {text}: {error}") from None
            if isinstance(key, IPv6Address):
                raise ValueError(f"--map {text}: IPv6 is not supported")  # noqa: TRY004 - it is the text that is wrong
            if key in table:
                raise ValueError(f"--map {text}: {asked} is mapped already")
            table[key] = value
        try:
            address = None if bind is None else _own(bind)
        except ValueError as error:
            raise ValueError(f"--bind {bind}: {error}") from None
        ports: dict[int, tuple[IPv4Address, int]] = {}
        for text in listen:
            try:
                port, place = _listening(text)
            except ValueError as error:
                raise ValueError(f"--listen {text}: {error}") from None
            if port in ports:
                raise ValueError(f"--listen {text}: port {port} is given already")
            ports[port] = place
        return cls(tuple(networks), MappingProxyType(table), bind=address, listen=MappingProxyType(ports))

    def bound(self, port: int) -> tuple[IPv4Address, int] | None:
        """Where a server for this port of a host (0: any) binds; None: nowhere, as the operator named no address."""
        if (place := self.listen.get(port)) is not None:
            return place
        return None if self.bind is None else (self.bind, port)

    def target(self, asked: IPv4Address | str) -> IPv4Address | None:
        """Where the operator sends those who ask for this address or name; None: nowhere else."""
        return self.maps.get(asked)

    def refusal(self, address: IPv4Address | IPv6Address) -> str | None:
        """Why this address is refused, for logs; None: it may be connected to."""
        if any(address in network for network in self.allow):
            return None
        # The lookup of a mapped *name* gives the host the mapping's target, and the host comes back with it.
        if any(address == target for asked, target in self.maps.items() if isinstance(asked, str)):
            return None
        for network, why in _REFUSED:
            if address in network:
                return why
        if isinstance(address, IPv6Address) and (inner := _inner(address)) is not None:
            return self.refusal(inner)
        return "an address of the gateway" if self.is_own(address) else None


def _own(text: str) -> IPv4Address:
    """An address to bind to.  Whether the gateway has it shows only then: interfaces come and go."""
    address = IPv4Address(text)
    if address.is_multicast or address.is_reserved:
        raise ValueError("not an address that a gateway can have")
    return address


def _listening(text: str) -> tuple[int, tuple[IPv4Address, int]]:
    asked, equals, place = text.partition("=")
    address, colon, port = place.rpartition(":")
    if not equals or not colon:
        raise ValueError("expected PORT=ADDRESS:PORT")
    return _port(asked), (_own(address), _port(port))


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port (1..65535)")
    return int(text)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4 or NAT64."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
