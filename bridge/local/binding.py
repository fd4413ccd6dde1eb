"""Sockets with a local address: a server listens, and a datagram socket hears strangers, only where the operator says.

The operator's `--bind` and `--listen` say where (`Policy.bound`); with neither, no server comes into being.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address

from bridge.local.links import KERNEL_BOUND
from bridge.local.policy import Policy
from bridge.local.reach import network_error
from bridge.model import Condition
from bridge.network import NetworkError

ANY = IPv4Address("0.0.0.0")
BACKLOG = 8  # peers that the kernel keeps until `accept` is called again

# Linux, asm-generic/socket.h and linux/in.h; Python has no names for them.
SO_RXQ_OVFL = 40
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0


def serving(policy: Policy, port: int) -> tuple[IPv4Address, int]:
    """Where a server for the host's ``port`` (0: any) binds.  NetworkError ``address-refused`` where nowhere."""
    if (place := policy.bound(port)) is None:
        raise NetworkError(Condition.ADDRESS_REFUSED, f"port {port}: no address to serve on; start with --bind ADDRESS")
    return place


def calling(policy: Policy, port: int) -> tuple[IPv4Address, int]:
    """Where a datagram socket with one peer binds: only that peer reaches it, so any address of the gateway will do."""
    return policy.listen.get(port, (ANY, port))


def listening_socket(address: IPv4Address, port: int) -> socket.socket:
    """A listening TCP socket; what it accepts has its options.  Raises NetworkError."""
    server = _socket(socket.SOCK_STREAM)
    try:
        # A server that is opened again must not wait for the last one's connections to be forgotten (TIME_WAIT).
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BOUND)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BOUND)
        server.bind((str(address), port))
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        raise _bind_error(error, address, port) from error
    return server


def datagram_socket(address: IPv4Address, port: int) -> socket.socket:
    """A bound UDP socket.  Raises NetworkError.

    No SO_REUSEADDR: on UDP it lets two sockets share a port and takes datagrams from the older one.
    """
    opened = _socket(socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BOUND)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BOUND)
        opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # it is the policy that forbids
        # Long datagrams are fragmented, as a module does; else a narrow path makes sends fail at some later time.
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        opened.bind((str(address), port))
    except OSError as error:
        opened.close()
        raise _bind_error(error, address, port) from error
    return opened


def is_group(address: IPv4Address) -> bool:
    """Whether more than one station has this address: multicast, or the broadcast address of one of our networks.

    Only the kernel knows our networks; it refuses a broadcast to a socket that did not ask for it.
    """
    if address.is_multicast:
        return True
    with _socket(socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError as error:
            return error.errno == errno.EACCES
    return False


def _socket(kind: socket.SocketKind) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_INET, kind)
    except OSError as error:
        raise network_error(error, "a socket") from error
    opened.setblocking(False)
    return opened


def _bind_error(error: OSError, address: IPv4Address, port: int) -> NetworkError:
    match error.errno:
        case errno.EADDRINUSE:
            return NetworkError(Condition.PORT_IN_USE, f"{address}:{port}")
        case errno.EACCES | errno.EPERM:
            return NetworkError(
                Condition.ADDRESS_REFUSED,
                f"{address}:{port} needs a privilege; serve it on a free port with --listen {port}=ADDRESS:PORT",
            )
        case errno.EADDRNOTAVAIL:
            return NetworkError(
                Condition.ADDRESS_REFUSED, f"{address} is no address of the gateway; name one that is with --bind ADDRESS"
            )
        case _:
            return network_error(error, f"{address}:{port}")
