"""A line that is a socket: what all of them share, and the kind that we connect (``socket://HOST:PORT``).

pyserial has ``socket://`` too.  It is not used: its reads can only be had in a thread, where one that is abandoned
steals the next bytes, and it leaves the delays of Nagle's algorithm on.  A non-blocking socket needs neither thread nor
buffer: a byte is either still in the kernel or returned.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn, Self
from urllib.parse import urlsplit

import trio

from bridge.ports import Port, PortLost
from bridge.ports.descriptor import PortError
from bridge.ports.reopening import until_back

__all__ = ["CONNECT", "ConnectPort", "SocketPort", "host_and_port", "soon_noticed"]

CONNECT = 5.0  # seconds for one try to connect
# A peer that vanishes without a word is noticed after _IDLE + _PROBES x _INTERVAL seconds without a byte either way.
_IDLE, _INTERVAL, _PROBES = 5, 2, 3


class SocketPort(Port):
    """Bytes to and from a non-blocking socket.  It has no speed and no wires."""

    reopens = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None  # None: no peer, because it is lost or because none came yet
        self._sent = 0
        self._ended = False  # closed by us
        self._turn = trio.Lock()  # both directions of a session may ask for the peer

    async def _peer(self) -> socket.socket:
        """The socket to use; raises PortLost where there is none."""
        await trio.lowlevel.checkpoint()
        if self._socket is None:
            raise PortLost(f"{self.name}: closed")
        return self._socket

    async def receive(self, most: int = 4096) -> bytes:
        """See Port."""
        peer = await self._peer()
        while True:
            try:
                data = peer.recv(most)
            except BlockingIOError:
                await self._while_there(peer, self._readable)
            except OSError as gone:
                self._lost(gone)
            else:
                if not data:
                    self._lost(None)
                return data

    async def _while_there(self, peer: socket.socket, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Wait; raises PortLost where this peer was lost meanwhile, by the other direction perhaps."""
        with suppress(trio.ClosedResourceError):
            await wait(peer)
            if self._socket is peer:
                return
        raise PortLost(f"{self.name}: closed")

    async def _readable(self, peer: socket.socket) -> None:
        await trio.lowlevel.wait_readable(peer)

    async def send(self, data: bytes) -> int:
        """See Port.  Waits for ever while the other end takes nothing: deadlines are the caller's."""
        peer = await self._peer()
        view = memoryview(data)
        while view:
            try:
                count = peer.send(view)
            except BlockingIOError:
                await self._while_there(peer, trio.lowlevel.wait_writable)
            except OSError as gone:
                self._lost(gone)
            else:
                self._sent += count
                view = view[count:]
        return len(data)

    def _lost(self, cause: BaseException | None) -> NoReturn:
        self._drop()
        raise PortLost(f"{self.name}: {cause or 'the other end closed'}") from cause

    def _drop(self) -> None:
        peer, self._socket = self._socket, None
        if peer is not None:
            trio.lowlevel.notify_closing(peer)
            peer.close()

    @property
    def sent(self) -> int:
        """See Port."""
        return self._sent

    async def drain(self) -> None:
        """See Port.  What the kernel took has left, as far as anybody can tell."""
        await self._peer()

    async def aclose(self) -> None:
        """See Port."""
        self._ended = True
        self._drop()
        await trio.lowlevel.checkpoint()

    def _check_wanted(self) -> None:
        if self._ended:
            raise PortLost(f"{self.name}: closed")


class ConnectPort(SocketPort):
    """A TCP connection that we make, to a terminal server or an emulator.  Make it with `open`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._address = host_and_port(url)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to ``socket://HOST:PORT``; raises PortError."""
        port = cls(url)
        await port._connect()
        return port

    async def _connect(self) -> None:
        self._check_wanted()
        host, number = self._address
        try:
            with trio.fail_after(CONNECT):
                stream = await trio.open_tcp_stream(host, number)
        except (OSError, trio.TooSlowError) as failed:
            why = f"cannot connect ({failed or f'no answer within {CONNECT:.0f} s'})"
            raise PortError(self.name, why, "start what listens there, or check the address", absent=True) from failed
        peer = socket.socket(fileno=stream.socket.detach())
        if self._ended:  # closed while we connected
            peer.close()
            self._check_wanted()
        peer.setblocking(False)
        soon_noticed(peer)
        self._socket = peer

    async def reopen(self) -> None:
        """See Port."""
        async with self._turn:
            if self._socket is None:
                self._check_wanted()
                await until_back(self.name, self._connect)


def soon_noticed(peer: socket.socket) -> None:
    """Send without delay, and notice a TCP peer that vanished."""
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


def host_and_port(url: str, *, options: bool = False) -> tuple[str, int]:
    """HOST and PORT of a URL; ``?options`` only where they are allowed.  Raises PortError."""
    try:
        parts = urlsplit(url)
        number = parts.port
    except ValueError as wrong:
        raise PortError(url, f"it is no URL ({wrong})", "write SCHEME://HOST:PORT") from None
    if not parts.hostname or not number:
        raise PortError(url, "HOST or PORT is missing", f"write {parts.scheme}://HOST:PORT")
    if parts.username or parts.password:
        raise PortError(f"{parts.scheme}://...@{parts.hostname}:{number}", "there is no login", "leave it out")
    if parts.path or parts.fragment or (parts.query and not options):
        raise PortError(url, "it has no options", f"write {parts.scheme}://{parts.netloc}")
    return parts.hostname, number
