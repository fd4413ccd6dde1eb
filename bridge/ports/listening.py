"""A line that waits for its other end: ``listen:ADDR:PORT`` and ``unix:PATH``, for hosts and modules in an emulator.

One peer at a time.  Another one that comes is refused at once and logged; one that comes after the first has gone is
the port coming back.  There is no authentication: over TCP whoever can reach the address is the peer, and a socket
file is for the bridge's own user.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import structlog
import trio

from bridge.ports import PortLost
from bridge.ports.descriptor import PortError
from bridge.ports.places import locked_directory
from bridge.ports.sockets import SocketPort, soon_noticed

__all__ = ["ListenPort", "listen_tcp", "listen_unix"]

log = structlog.get_logger("bridge.ports")

_QUEUE = 4  # peers that wait to be taken or refused
_BREATH = 0.1  # seconds after a failed accept: out of descriptors, most likely
_PATH_MOST = 107  # bytes of a socket's path, sockaddr_un


class ListenPort(SocketPort):
    """One peer at a time at a listening socket, which it owns.  Until the first one comes, everything waits for it."""

    def __init__(self, name: str, listener: socket.socket, file: _SocketFile | None = None) -> None:
        super().__init__(name)
        self._listener = listener
        self._file = file
        self._came = False  # the first peer did
        self._watch: select.epoll | None = None  # the peer and the listener at once: no task of ours runs beside

    @property
    def address(self) -> tuple[str, int]:
        """Where a TCP one listens."""
        host, number = self._listener.getsockname()[:2]
        return str(host), int(number)

    async def _peer(self) -> socket.socket:
        if not self._came and not self._ended:
            async with self._turn:
                if not self._came:
                    log.info("peer connected", port=self.name, peer=await self._accept())
        return await super()._peer()

    async def _accept(self) -> str:
        """Wait for a peer; who it is."""
        while True:
            self._check_wanted()
            try:
                peer, address = self._listener.accept()
            except BlockingIOError:
                with suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_readable(self._listener)
            except OSError as failed:
                log.warning("cannot take a peer", port=self.name, reason=str(failed))
                await trio.sleep(_BREATH)
            else:
                break
        peer.setblocking(False)
        soon_noticed(peer)
        self._socket, self._came = peer, True
        self._watch = select.epoll()
        self._watch.register(peer, select.EPOLLIN)
        self._watch.register(self._listener, select.EPOLLIN)
        return _who(address)

    async def _readable(self, peer: socket.socket) -> None:
        self._refuse_others()
        if self._watch is None:
            raise PortLost(f"{self.name}: closed")
        await trio.lowlevel.wait_readable(self._watch.fileno())

    def _refuse_others(self) -> None:
        with suppress(OSError):
            while True:
                other, address = self._listener.accept()
                other.close()
                log.warning("second peer refused: one is connected", port=self.name, peer=_who(address))

    async def reopen(self) -> None:
        """See Port.  Waits for the next peer."""
        async with self._turn:
            if self._socket is not None:
                return
            began = trio.current_time()
            self._check_wanted()
            log.warning("port lost", port=self.name)
            peer = await self._accept()
            log.info("port back", port=self.name, peer=peer, after=round(trio.current_time() - began, 3))

    def _drop(self) -> None:
        if self._watch is not None:
            trio.lowlevel.notify_closing(self._watch.fileno())
            self._watch.close()
            self._watch = None
        super()._drop()

    async def aclose(self) -> None:
        """See Port.  The socket file goes, if it is still ours."""
        if not self._ended:
            if self._file:
                self._file.remove()
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()
        await super().aclose()


class _SocketFile:
    """The file of a socket that listens, by the directory it was made in: the path may lead elsewhere later."""

    def __init__(self, name: str, directory: int) -> None:
        self._name = name
        self._directory = os.dup(directory)
        try:
            self._node = self._look()
        except OSError:
            os.close(self._directory)
            raise

    def _look(self) -> int:
        return os.stat(self._name, dir_fd=self._directory, follow_symlinks=False).st_ino

    def remove(self) -> None:
        """Take it away, if it is still ours; once."""
        with suppress(OSError):
            if self._look() == self._node:
                os.unlink(self._name, dir_fd=self._directory)
        os.close(self._directory)


def _who(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "local"


def listen_tcp(name: str, host: str, number: int) -> ListenPort:
    """Listen at a numeric address; port 0 takes a free one.  Raises PortError."""
    address = ip_address(host)
    listener = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
        listener.listen(_QUEUE)
    except OSError as failed:
        listener.close()
        remedy = "choose an address of this machine and a free port above 1023"
        raise PortError(name, f"cannot listen there ({failed.strerror})", remedy) from failed
    port = ListenPort(name, listener)
    if not address.is_loopback:
        log.warning("whoever can reach this address can use this port: there is no authentication", port=name)
    log.info("listening", port=name, address=_who(port.address))
    return port


async def listen_unix(name: str, path: str) -> ListenPort:
    """Listen at a socket file (mode 0600), in place of one that nobody listens at any more; raises PortError."""
    place = Path.cwd() / path  # resolve() would follow what stands there
    if len(os.fsencode(place)) > _PATH_MOST:
        raise PortError(name, f"the path is longer than {_PATH_MOST} bytes", "choose a shorter one")
    async with locked_directory(name, place) as directory:
        _clear(name, place, directory)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            # Linux gives the file the mode of the unbound socket: there is no moment in which others may connect.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(os.fspath(place))
            listener.listen(_QUEUE)
            return ListenPort(name, listener, _SocketFile(place.name, directory))
        except OSError as failed:
            listener.close()
            remedy = "choose a path in a directory that this user may write to"
            raise PortError(name, f"cannot listen there ({failed.strerror})", remedy) from failed


def _clear(name: str, place: Path, directory: int) -> None:
    """Take away a socket that a killed bridge left; raises PortError for anything else that is in the way."""
    try:
        kind = os.stat(place.name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    except OSError as failed:
        raise PortError(name, f"cannot look at it ({failed.strerror})", "choose another path") from failed
    if not stat.S_ISSOCK(kind):
        raise PortError(name, "something else is there", "it is not ours to replace: choose another path")
    # A datagram socket cannot be connected to a listening one, so asking does not disturb who listens there.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(os.fspath(place))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(place.name, dir_fd=directory)
            return
        except FileNotFoundError:
            return
        except OSError:  # EPROTOTYPE: it lives; anything else: somebody's
            pass
    raise PortError(name, "another program listens there", "stop that program, or choose another path")
