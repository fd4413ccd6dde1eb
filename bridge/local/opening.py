"""Sockets that go to a peer: a TCP connection, and a UDP socket with whom it hears."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import trio

from bridge.local import binding
from bridge.local.datagrams import LocalDatagramLink
from bridge.local.links import KERNEL_BOUND
from bridge.local.reach import Place, Reach, network_error
from bridge.model import Endpoint, Peers


async def connect(address: str, port: int, keepalive: int) -> socket.socket:
    """A connected TCP socket, or OSError.  Cancelled: closed."""
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


def datagram_link(
    reach: Reach,
    peer: Endpoint | None,
    place: Place | None,
    *,
    local_port: int,
    peers: Peers,
    gone: Callable[[LocalDatagramLink], None],
    note: Callable[[str], None],
) -> LocalDatagramLink:
    """A UDP socket whose first peer, where it has one, is at ``place``.  Does not wait.  Raises NetworkError."""
    only = None
    if peers is Peers.FIXED and peer is not None and place is not None and not binding.is_group(place.target):
        only = (str(place.target), peer.port)
        address, port = binding.calling(reach.policy, local_port)
    else:  # hears strangers, so it is a server
        address, port = binding.serving(reach.policy, local_port)
    bound = binding.datagram_socket(address, port)
    try:
        if only is not None:
            bound.connect(only)
        elif place is not None and place.target.is_multicast:
            _join(bound, place.target, address)
    except OSError as error:
        bound.close()
        raise network_error(error, peer) from error
    shown = None if peer is None or place is None else Endpoint(str(place.shown), peer.port)
    return LocalDatagramLink(bound, reach, gone, note, peers=peers, peer=shown, place=place, only=only)


def _join(bound: socket.socket, group: IPv4Address, address: IPv4Address) -> None:
    """Send to a multicast group, and hear it where ``address`` is everywhere, by the interface that has ``address``."""
    bound.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + address.packed)
    bound.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address.packed)
