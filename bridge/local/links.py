"""One TCP connection of the gateway as a StreamLink.

There is no task behind a link.  The kernel's receive queue plays the part of the module's buffer: its bytes are
counted by `waiting`, pulled by `fetch` into a bounded buffer, and what nobody pulls closes TCP's window, so that the
peer feels a slow host.  Two sides end independently:

    read side:  FIN -> peer-closed, RST -> link-reset; what had arrived before stays takeable, then `wait_readable` is 0
    write side: a failed send, an abort, `send_eof`, a close.  A FIN of the peer does not end it (half-close)

The socket itself lives until `aclose` (or an abort, or the network's end), because the kernel may still hold data.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
import termios
from collections.abc import Callable

import trio

from bridge.local.sends import LocalSending
from bridge.model import Condition, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError, StreamLink

# More than a second of a line at 115200 baud, so that the line never starves; little enough for 64 links.
RECEIVE_BOUND = 16384
# The kernel's queues per direction (it doubles them).  Fixed, for else they grow to megabytes: bytes that the host was
# told are sent, or that a host at 11 kB/s would need minutes to take.
KERNEL_BOUND = 65536
SEND_SIZE = 2**20  # far above what any dialect announces; a number, so that a host cannot announce without end
LINGER = 1.0  # seconds that aclose waits for the peer's acknowledgement; the kernel goes on without us
_LINGER_POLL = 0.005  # seconds
_DISCARD_ROUNDS = 16  # of one drain; a flooding peer must not keep us in a loop that never waits


class LocalStreamLink(StreamLink, trio.abc.HalfCloseableStream):
    """A connected, non-blocking TCP socket.  ``gone(link)`` is called once, when its socket is closed."""

    def __init__(self, connected: socket.socket, peer: Endpoint, gone: Callable[[LocalStreamLink], None]) -> None:
        self._socket = connected
        self._gone = gone
        self._buffer = bytearray()
        self._sending: LocalSending | None = None
        self._read_over = False
        self._write_over = False
        self._eof_sent = False
        self.closed = False  # by its owner; then, as trio's streams promise, every call raises ClosedResourceError
        self.peak = 0  # the most that the buffer ever held
        self.peer = peer
        host, port = connected.getsockname()
        self.local = Endpoint(host, port)

    # --- sending ---

    def sending(self, total: int) -> LocalSending:
        """Announce a send.  NetworkError ``too-long`` above SEND_SIZE; LinkLost where the write side has ended."""
        if total < 1:
            raise ValueError("a send has at least one byte")
        self._check_writable()
        if total > SEND_SIZE:
            raise NetworkError(Condition.TOO_LONG, f"{total} bytes, at most {SEND_SIZE}")
        self._sending = LocalSending(self, total)
        return self._sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Trio's contract knows no greatest size: more than SEND_SIZE goes as several counted sends."""
        self._check_writable()
        if not data:
            await trio.lowlevel.checkpoint()
            return
        with memoryview(data) as view:
            for start in range(0, len(view), SEND_SIZE):
                await super().send_all(view[start : start + SEND_SIZE])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel has room."""
        self._check_writable()
        await self.wait_writable()

    async def send_eof(self) -> None:
        """No more from us; the peer may go on.  Idempotent."""
        if self._sending is not None:
            raise trio.BusyResourceError("a send is under way")
        self._check_closed()
        if not self._write_over:
            self._write_over = self._eof_sent = True
            with contextlib.suppress(OSError):  # reset meanwhile: the read side tells
                self._socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    def push(self, data: memoryview) -> int:
        """What the kernel takes now, for LocalSending.  Raises LinkLost."""
        self._check_closed()
        if not self._write_over:
            try:
                return self._socket.send(data)
            except BlockingIOError:
                return 0
            except OSError as error:
                self._write_over = True
                self._end(_condition(error))
        raise LinkLost(self.condition or Condition.ABORTED)

    async def wait_writable(self) -> None:
        """Until the kernel may take more, or the link has ended (which `push` then says)."""
        try:
            await trio.lowlevel.wait_writable(self._socket)
        except trio.ClosedResourceError:
            self._check_closed()

    def settled(self, sending: LocalSending) -> None:
        """Let the next send begin."""
        if self._sending is sending:
            self._sending = None

    def break_off(self) -> None:
        """A send was given up half-way.  RST, because FIN would tell the peer that it got everything."""
        if self._write_over:
            return  # lost already; what the peer sent before stays takeable
        if self.condition in {None, Condition.PEER_CLOSED}:
            self.condition = Condition.ABORTED
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._release()

    # --- receiving ---

    def waiting(self) -> int:
        """In our buffer and in the kernel's queue."""
        return len(self._buffer) + (0 if self._read_over else _count(self._socket, termios.FIONREAD))

    async def wait_readable(self) -> int:
        """See `StreamLink.wait_readable`.  BusyResourceError where another task waits already."""
        await trio.lowlevel.checkpoint()
        while True:
            self._check_closed()
            # The kernel counts bytes, not FIN and RST; those show only when read, and nothing else is left to read.
            if (waiting := self.waiting()) or (waiting := self._pull()):
                return waiting
            if self._read_over:
                return 0
            with contextlib.suppress(trio.ClosedResourceError):  # the next round says by whom
                await trio.lowlevel.wait_readable(self._socket)

    async def fetch(self) -> int:
        """Pull what is there into the buffer, as far as there is room.  Does not wait for more."""
        await trio.lowlevel.checkpoint()
        self._check_closed()
        return self._pull()

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes out of the buffer."""
        if most < 0:
            raise ValueError("most must not be negative")  # a negative slice would hand out all but the tail
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def _pull(self) -> int:
        room = RECEIVE_BOUND - len(self._buffer)
        if room and not self._read_over:
            try:
                data = self._socket.recv(room)
            except BlockingIOError:
                return len(self._buffer)
            except OSError as error:
                self._write_over = True
                data, why = b"", _condition(error)
            else:
                why = Condition.PEER_CLOSED
            if not data:
                self._read_over = True
                self._end(why)
            self._buffer += data
            self.peak = max(self.peak, len(self._buffer))
        return len(self._buffer)

    # --- the end ---

    async def aclose(self) -> None:
        """Close in order; see `end`."""
        self.closed = True
        await self.end()

    async def end(self) -> None:
        """FIN after everything committed, then close.  Data nobody took are discarded.

        Close with unread data makes Linux send RST, and RST makes the peer drop what it has not read.  So until the
        peer has acknowledged everything (or LINGER is over) what comes in is read and thrown away.  Cancelled, it
        closes at once.
        """
        try:
            if self._begin_end():
                with trio.move_on_after(LINGER):
                    # Polled: the kernel has no event for "all acknowledged".
                    while not self._discard() and _count(self._socket, termios.TIOCOUTQ):  # noqa: ASYNC110 - the kernel gives no event
                        await trio.sleep(_LINGER_POLL)
        finally:
            self._release()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """`end` without waiting, for the network's own end."""
        if self._begin_end():
            self._discard()
        self._release()

    def _begin_end(self) -> bool:
        """Shut the link for everybody; whether there is something to linger for."""
        if self._sending is not None:
            self._sending.abort()
        self._end(Condition.LINK_CLOSED)
        self._buffer.clear()
        self._read_over = self._write_over = True
        if self._socket.fileno() < 0:
            return False
        trio.lowlevel.notify_closing(self._socket)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # reset meanwhile
            return False
        return True

    def _discard(self) -> bool:
        """Throw away what has come in; whether that was the end."""
        if self._socket.fileno() < 0:
            return True
        try:
            for _ in range(_DISCARD_ROUNDS):
                if not self._socket.recv(KERNEL_BOUND):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def _release(self) -> None:
        self._read_over = self._write_over = True
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._gone(self)

    def _end(self, why: Condition) -> None:
        if self.condition is None:
            self.condition = why

    def _check_closed(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this link was closed")

    def _check_writable(self) -> None:
        self._check_closed()
        if self._sending is not None:
            raise trio.BusyResourceError("another send is under way")
        if self._write_over:
            if self._eof_sent:
                raise trio.ClosedResourceError("the end was sent")
            raise LinkLost(self.condition or Condition.ABORTED, Delivered.NONE)


def _condition(error: OSError) -> Condition:
    """Why an established connection ended.  ``link-reset`` unless the kernel says something better."""
    match error.errno:
        case errno.EPIPE:  # Linux: the peer had sent FIN, then refused our bytes
            return Condition.PEER_CLOSED
        case errno.ETIMEDOUT | errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EHOSTDOWN | errno.ENETDOWN:
            return Condition.HOST_UNREACHABLE
        case _:
            return Condition.LINK_RESET


def _count(open_socket: socket.socket, request: int) -> int:
    """FIONREAD: bytes not yet read.  TIOCOUTQ: bytes (a FIN counts as one) not yet acknowledged."""
    (count,) = struct.unpack("i", fcntl.ioctl(open_socket, request, bytes(4)))
    return int(count)
