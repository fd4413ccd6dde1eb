"""One UDP socket of the gateway as a DatagramLink.

There is no task behind a link: the kernel's queue, of a fixed size, holds what nobody pulled, and drops the newest when
it is full (`lost` counts).  Pulling is what `fetch`, `waiting` and `wait_readable` do, into a second bounded queue.

Who is heard and who is answered:

    FIXED         a connected socket: the kernel drops other senders.  What slipped in before the connect is dropped here
    FIXED, group  a broadcast or multicast peer: everybody is heard, as whoever answers has another address
    FIRST, LAST   everybody is heard; the peer moves when a datagram is pulled, and an answer goes to the peer

Hearing needs no policy (incoming is not outgoing), but every send is checked again, by address, whoever named it: a
target, the peer named at the start, a peer that wrote to us.  So a sender whose address is refused as a destination gets
no answer, except where it has the very address that this socket is bound to by --bind or --listen: a program on the
gateway that uses the server which the operator offered there.

That nobody listens at the peer (ICMP) is counted and never ends the link: a module's host does not hear of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address

import trio

from bridge.local.binding import SO_RXQ_OVFL
from bridge.local.reach import Place, Reach, check_port, network_error
from bridge.model import Condition, Datagram, Delivered, Endpoint, Peers
from bridge.network import DatagramLink, LinkLost, NetworkError

DATAGRAM_SIZE = 65507  # bytes: what UDP over IPv4 carries (65535 less both headers)
RECEIVE_SIZE = DATAGRAM_SIZE  # bytes of one datagram that are kept
# Our queue takes another datagram while it holds less than both; with the last one it may hold RECEIVE_SIZE more.
RECEIVE_BOUND = 16384  # bytes
QUEUE_BOUND = 64  # datagrams
PULL_ROUNDS = 128  # of one pull; strangers that flood must not keep us in a loop that never waits
SEND_TRIES = 3  # each may only be told of the fate of an earlier one
LOOKUP_LIMIT = 20.0  # seconds for a target's name
SHOWN_BOUND = 64  # mapped targets whose answers are shown under the address that the host named

# What ICMP makes of a connected socket (Linux, icmp_err_convert).  Reported once, for any earlier datagram.
_ICMP = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ENOPROTOOPT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EPROTO,
    }
)


class LocalDatagramLink(DatagramLink):
    """A bound, non-blocking UDP socket.  ``gone(link)`` is called once, when it is closed, ``note(text)`` of refused sends.

    ``only`` is the one address and port that is heard; None: everybody.
    """

    targets = True

    def __init__(
        self,
        bound: socket.socket,
        reach: Reach,
        gone: Callable[[LocalDatagramLink], None],
        note: Callable[[str], None],
        *,
        peers: Peers,
        peer: Endpoint | None = None,
        place: Place | None = None,
        only: tuple[str, int] | None = None,
    ) -> None:
        self._socket = bound
        self._reach = reach
        self._gone = gone
        self._note = note
        self._peers = peers
        self._place = place
        self._only = only
        self._learned = False  # the peer is who wrote to us, not who the host named
        self._shown: dict[tuple[str, int], Endpoint] = {}
        self._queue: deque[Datagram] = deque()
        self._bytes = 0
        self._busy = self._reading = False
        self.peer = peer
        self.local = Endpoint(*bound.getsockname())
        self.peak = 0  # the most datagrams that the queue ever held
        self.lost = 0  # datagrams that found the kernel's queue full, as far as later ones told
        self.strangers = 0  # datagrams of others than the peer
        self.unheard = 0  # ICMP errors
        if peer is not None and place is not None:
            self._remember(peer, place)

    # --- sending ---

    async def send(self, data: bytes, target: Endpoint | None = None) -> None:
        """See `DatagramLink.send`.  A target's name is looked up, and its first address used."""
        self._check_alive()
        if self._busy:
            raise trio.BusyResourceError("another send is under way")
        self._busy = True
        try:
            if len(data) > DATAGRAM_SIZE:
                raise NetworkError(Condition.TOO_LONG, f"{len(data)} bytes, at most {DATAGRAM_SIZE}")
            address = self._peer_address() if target is None else await self._target_address(target)
            await trio.lowlevel.checkpoint()  # not before: somebody else may become the peer meanwhile
            await self._put(data, address)
        except NetworkError as error:
            self._note(f"datagram {self.local} to {target or self.peer}: {error}")
            self._check_alive()  # closed during the lookup: NetworkError would say that the link lives
            raise
        finally:
            self._busy = False

    def _peer_address(self) -> tuple[str, int]:
        if self.peer is None or self._place is None:
            raise NetworkError(Condition.WRONG_STATE, "nobody has written to this link yet, so it has no peer")
        check_port(self.peer.port)  # a sender may have none
        shown, target = self._place
        if shown == target and not (self._learned and self.local is not None and str(target) == self.local.host):
            self._reach.check(target)
        return str(target), self.peer.port

    async def _target_address(self, target: Endpoint) -> tuple[str, int]:
        check_port(target.port)
        with trio.move_on_after(LOOKUP_LIMIT):
            place = (await self._reach.places(target.host))[0]
            self._remember(target, place)
            return str(place.target), target.port
        raise NetworkError(Condition.NAME_NOT_FOUND, f"{target.host}: no answer")

    async def _put(self, data: bytes, address: tuple[str, int]) -> None:
        tries = SEND_TRIES
        while True:
            self._check_alive()
            try:
                self._socket.sendto(data, address)
            except BlockingIOError:
                with contextlib.suppress(trio.ClosedResourceError):  # the next round says by whom
                    await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                tries -= 1
                if error.errno in _ICMP and tries:
                    self.unheard += 1
                    continue
                if error.errno == errno.EINVAL:  # bound to loopback, and the target is elsewhere
                    raise NetworkError(Condition.HOST_UNREACHABLE, f"{address[0]} from {self.local}: {error}") from error
                raise network_error(error, address[0]) from error
            else:
                return

    def _remember(self, target: Endpoint, place: Place) -> None:
        """Who answers from a mapping's target is shown as the address that the host wrote to."""
        if place.shown != place.target:
            if len(self._shown) >= SHOWN_BOUND:
                del self._shown[next(iter(self._shown))]
            self._shown[str(place.target), target.port] = Endpoint(str(place.shown), target.port)

    # --- receiving ---

    def waiting(self) -> int:
        """Bytes in our queue, and of the next datagram in the kernel's, which counts no others."""
        self._pull()
        return self._bytes + (0 if self._socket.fileno() < 0 else _next_size(self._socket))

    async def wait_readable(self) -> bool:
        """See `DatagramLink.wait_readable`.  BusyResourceError where another task waits already."""
        await trio.lowlevel.checkpoint()
        if self._reading:
            raise trio.BusyResourceError("another task waits for datagrams")
        while True:
            self._pull()
            if self._queue:
                return True
            if self.condition is not None:
                return False
            self._reading = True
            try:
                with contextlib.suppress(trio.ClosedResourceError):  # closed, or another task pulled: the next round says
                    await trio.lowlevel.wait_readable(self._socket)
            finally:
                self._reading = False

    async def fetch(self) -> int:
        """Pull what is there, as far as there is room.  Does not wait for more."""
        await trio.lowlevel.checkpoint()
        self._pull()
        return len(self._queue)

    def take(self) -> Datagram | None:
        """The oldest datagram in our queue; None where there is none."""
        if not self._queue:
            return None
        datagram = self._queue.popleft()
        self._bytes -= len(datagram.data)
        return datagram

    def _pull(self) -> None:
        before = len(self._queue)
        for _ in range(PULL_ROUNDS):
            if self.condition is not None or len(self._queue) >= QUEUE_BOUND or self._bytes >= RECEIVE_BOUND:
                break
            try:
                data, extra, flags, source = self._socket.recvmsg(RECEIVE_SIZE, socket.CMSG_SPACE(4))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _ICMP:
                    self.end(Condition.MODULE_ERROR)
                    return
                self.unheard += 1
                continue
            for level, kind, count in extra:
                if (level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL):
                    (self.lost,) = struct.unpack("I", count)
            if self._only not in {None, source}:
                self.strangers += 1
                continue
            self._queue.append(Datagram(data, self._heard(source), cut=bool(flags & socket.MSG_TRUNC)))
            self._bytes += len(data)
        self.peak = max(self.peak, len(self._queue))
        if self._reading and len(self._queue) > before:
            # Another task waits for the socket, which has nothing now: wake it, it will find the queue.
            trio.lowlevel.notify_closing(self._socket)

    def _heard(self, source: tuple[str, int]) -> Endpoint:
        """Who that is for the host; moves the peer."""
        shown = self._shown.get(source, Endpoint(*source))
        if self._peers is not Peers.FIXED:
            self.peer = shown
            self._place = Place(IPv4Address(shown.host), IPv4Address(source[0]))
            self._learned = True
        if self._peers is Peers.FIRST:
            self._peers, self._only = Peers.FIXED, source
        return shown

    # --- the end ---

    async def aclose(self) -> None:
        """Close.  What the kernel took to send, it sends."""
        self.end(Condition.LINK_CLOSED)
        self._queue.clear()
        self._bytes = 0
        await trio.lowlevel.checkpoint()

    def end(self, why: Condition) -> None:
        """Close without waiting; what is in our queue stays takeable.  Idempotent."""
        if self.condition is not None:
            return
        self.condition = why
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._gone(self)

    def counts(self) -> str:
        """What was not delivered, for the trace."""
        return f"{self.lost} lost, {self.strangers} of strangers, {self.unheard} unheard, {self.peak} waited at most"

    def _check_alive(self) -> None:
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)


def _next_size(bound: socket.socket) -> int:
    """FIONREAD: on a datagram socket the size of the next one."""
    (size,) = struct.unpack("i", fcntl.ioctl(bound, termios.FIONREAD, bytes(4)))
    return int(size)
