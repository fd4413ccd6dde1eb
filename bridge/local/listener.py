"""A TCP server of the gateway as a Listener.

There is no task behind it: the kernel keeps a short queue of peers, and `accept` takes one after the other.  A peer for
whom there is no room is closed in order at once, as a full module does, when `accept` comes to it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

import trio

from bridge.local.binding import BACKLOG
from bridge.local.links import LocalStreamLink
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, Listener

ACCEPT_PAUSE = 0.5  # seconds, where the gateway has no descriptor or memory left: the peer waits in the queue meanwhile

# A peer that was gone before we came (accept(2): "treat them like EAGAIN by retrying"); each has left the queue.
_PEER_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,  # a firewall of the gateway
        errno.ETIMEDOUT,
    }
)
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class LocalListener(Listener):
    """A listening, non-blocking socket.

    ``free()`` says whether the network has room for a link, ``adopt(link)`` and ``released(link)`` are told of each,
    ``note(text)`` of each peer that was turned away; ``gone(listener)`` is called once, at its end.
    """

    def __init__(
        self,
        listening: socket.socket,
        room: int,
        *,
        free: Callable[[], bool],
        adopt: Callable[[LocalStreamLink], None],
        released: Callable[[LocalStreamLink], None],
        note: Callable[[str], None],
        gone: Callable[[LocalListener], None],
    ) -> None:
        self._socket = listening
        self._room = room
        self._free = free
        self._adopt = adopt
        self._released = released
        self._note = note
        self._gone = gone
        self._peers: set[LocalStreamLink] = set()
        self._closed = False
        self.local = Endpoint(*listening.getsockname())
        self.refused = 0  # peers for whom there was no room
        self.vanished = 0  # peers that were gone before we came
        self.shortages = 0  # pauses for want of a descriptor or memory

    async def accept(self) -> LocalStreamLink:
        """See `Listener.accept`.  BusyResourceError where another task waits already."""
        while True:
            # First and in every round: who connects without a pause must not keep us from the other tasks.  No peer is
            # in our hands here, so a cancellation costs nothing.
            await trio.lowlevel.checkpoint()
            self._check_alive()
            try:
                accepted, address = self._socket.accept()
            except BlockingIOError:
                with contextlib.suppress(trio.ClosedResourceError):  # the next round says by whom
                    await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError as error:
                await self._failed(error)
                continue
            if link := self._take(accepted, Endpoint(*address)):
                return link

    def _take(self, accepted: socket.socket, peer: Endpoint) -> LocalStreamLink | None:
        """A link of an accepted socket; None where it had to be closed."""
        try:
            accepted.setblocking(False)
            link = LocalStreamLink(accepted, peer, self._link_ended)
        except OSError:
            accepted.close()
            self.vanished += 1
            return None
        if len(self._peers) >= self._room or not self._free():
            self.refused += 1
            self._note(f"{self.local} {peer}: no room")
            link.drop()
            return None
        self._peers.add(link)
        self._adopt(link)
        return link

    def _link_ended(self, link: LocalStreamLink) -> None:
        """A slot is free again, and the network is told (not of those that were closed at once)."""
        if link in self._peers:
            self._peers.discard(link)
            self._released(link)

    async def _failed(self, error: OSError) -> None:
        if error.errno in _SHORTAGE:
            self.shortages += 1
            self._note(f"{self.local}: {error}; again after {ACCEPT_PAUSE} s")
            await trio.sleep(ACCEPT_PAUSE)
        elif error.errno in _PEER_GONE:
            self.vanished += 1
        else:
            self.end(Condition.MODULE_ERROR)

    async def aclose(self) -> None:
        """See `Listener.aclose`.  Those that nobody took are closed in order."""
        self._closed = True
        self.end(Condition.LINK_CLOSED)
        await trio.lowlevel.checkpoint()

    def end(self, why: Condition) -> None:
        """Stop without waiting.  Idempotent."""
        if self.condition is not None:
            return
        self.condition = why
        self._room = 0  # from here on everybody is turned away: those in the kernel's queue as well
        with contextlib.suppress(OSError):  # no more there
            for _ in range(BACKLOG + 1):  # the kernel keeps one more than it is asked to
                accepted, address = self._socket.accept()
                self._take(accepted, Endpoint(*address))
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._gone(self)

    def counts(self) -> str:
        """What did not come to a link, for the trace."""
        return f"{self.refused} turned away, {self.vanished} vanished, {self.shortages} shortages"

    def _check_alive(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this listener was closed")
        if self.condition is not None:
            raise LinkLost(self.condition)
