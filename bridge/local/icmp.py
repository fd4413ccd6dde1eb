"""One echo round trip over an unprivileged ICMP socket.

Linux gives such sockets to the groups in net.ipv4.ping_group_range; the kernel chooses the identifier and hands each
socket only what carries its own, so no other program's echo comes here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Address

import trio

from bridge.local.reach import network_error
from bridge.model import Condition
from bridge.network import NetworkError

_ECHO, _REPLY = 8, 0  # RFC 792
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum and identifier (both by the kernel), sequence
_TOKEN = 24  # bytes of random payload, so that no late or forged answer passes for ours
_LARGEST = 512  # bytes read of an answer; ours is far shorter
_SEQUENCE = 1

REMEDY = "the gateway gives no ICMP to this service; set sysctl net.ipv4.ping_group_range to include its group"


def available() -> bool:
    """Whether this process may ping now.  Nothing is sent."""
    try:
        _icmp().close()
    except OSError:
        return False
    return True


async def echo(address: IPv4Address) -> float:
    """Seconds until the answer came; waits without limit.  NetworkError ``not-supported`` with the remedy, or why not."""
    asking = _open(address)
    try:
        token = os.urandom(_TOKEN)
        begin = trio.current_time()
        await _call(asking, _HEADER.pack(_ECHO, 0, 0, 0, _SEQUENCE) + token, address)
        while not _answers(await _answer(asking, address), token):
            await trio.lowlevel.checkpoint()  # who sends nonsense without a pause must not keep the other tasks waiting
        return trio.current_time() - begin
    finally:
        asking.close()


def _icmp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


def _open(address: IPv4Address) -> socket.socket:
    """Connected, so that the kernel drops what others send."""
    try:
        asking = _icmp()
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}:
            raise NetworkError(Condition.NOT_SUPPORTED, REMEDY) from error
        raise network_error(error, address) from error
    try:
        asking.setblocking(False)
        asking.connect((str(address), 0))
    except OSError as error:
        asking.close()
        raise network_error(error, address) from error
    return asking


async def _call(asking: socket.socket, message: bytes, address: IPv4Address) -> None:
    while True:
        await trio.lowlevel.wait_writable(asking)
        try:
            asking.send(message)
        except BlockingIOError:
            continue
        except OSError as error:
            raise network_error(error, address) from error
        return


async def _answer(asking: socket.socket, address: IPv4Address) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(asking)
        try:
            return asking.recv(_LARGEST)
        except BlockingIOError:
            continue
        except OSError as error:
            raise network_error(error, address) from error


def _answers(message: bytes, token: bytes) -> bool:
    if len(message) < _HEADER.size:
        return False
    kind, code, _, _, sequence = _HEADER.unpack_from(message)
    return (kind, code, sequence, message[_HEADER.size :]) == (_REPLY, 0, _SEQUENCE, token)
