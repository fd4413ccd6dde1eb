"""The module's links as its host sees them: ids 0 to 4, handed out and freed by one table."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bridge.dialects.esp_at.channels import Channel
from bridge.model import Endpoint
from bridge.network import NetworkError
from bridge.wire.addresses import dotted

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

log = structlog.get_logger("bridge.esp-at")

LOST = (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
"""All that a link may raise (LinkLost is a BrokenResourceError)."""


class Closable(Protocol):
    """A channel, or what would have become one, or a listener."""

    async def aclose(self) -> None:
        """Close it and return when that is done."""


class LinkState(Enum):
    """Where a link is: an id is taken while connecting or open."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSED = auto()


class Link:
    """One connection by its id (0 in single connection mode); the channel is there while it is open."""

    def __init__(self, number: int, host: str, port: int, *, served: bool = False) -> None:
        self.number = number
        self.host = host
        self.port = port
        self.served = served  # a client of the host's server
        self.state = LinkState.CONNECTING
        self.scope = trio.CancelScope()  # the pump's wait for bytes; never a message that waits for the gate
        self.patience = math.inf  # of one such wait
        self.announced = 0  # passive mode: bytes that wait and that the host was told of
        self.unread = False  # passive mode: it was told, and has not asked since
        self.again: Callable[[], Awaitable[Channel]] | None = None  # opens such a one once more; None: a peer did
        self.given_up = False  # what still waits cannot be had any more
        self.touched = trio.current_time()  # when a byte last went either way
        self._channel: Channel | None = None
        self._stirred = trio.Event()

    @property
    def channel(self) -> Channel:
        """What is behind it.  Only for a link that is or was open."""
        assert self._channel is not None
        return self._channel

    def connected(self, channel: Channel) -> None:
        """It is there."""
        self._channel = channel
        self.state = LinkState.OPEN
        self.touch()

    def expire(self, after: float) -> None:
        """It is lost: what still comes out of it is delivered, until nothing came for ``after`` seconds."""
        self.patience = after
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + after)

    def give_up(self) -> None:
        """What still waits in it cannot be had: its pump ends."""
        self.given_up = True
        self.stir()

    def touch(self) -> None:
        """A byte went either way."""
        self.touched = trio.current_time()

    def stir(self) -> None:
        """The host did something that its pump may wait for."""
        self._stirred.set()
        self._stirred = trio.Event()

    async def wait_stirred(self) -> None:
        """Until then."""
        await self._stirred.wait()

    def is_peer(self, target: Endpoint) -> bool:
        """Whether this is who a datagram without a target goes to: by the name that the host opened it with, or by address."""
        named = self.channel.fixed and target == Endpoint(self.host, self.port)
        return named or target == self.channel.peer

    def remote(self) -> Endpoint:
        """The peer as far as it is known without asking; 0.0.0.0 where its address is not."""
        peer = self._channel.peer if self._channel is not None else None
        peer = peer or Endpoint(self.host, self.port)
        return peer if dotted(peer.host) else Endpoint("0.0.0.0", peer.port)


class LinkTable:
    """The one allocator of ids.  Ids are freed in what the writer renders, so CLOSED and the freeing are one."""

    def __init__(self, unit: EspAtUpstream) -> None:
        self._unit = unit
        self._room = unit.profile.number("links")
        self._links: dict[int, Link] = {}
        self._gone = trio.Event()
        self.used = False  # a connection was up since the host joined
        self.passive = False  # the host asks for what has come (AT+CIPRECVMODE)

    def __len__(self) -> int:
        return len(self._links)

    def free(self) -> int | None:
        """The lowest free id."""
        return next((number for number in range(self._room) if number not in self._links), None)

    def numbers(self) -> range:
        """All ids."""
        return range(self._room)

    def reserve(self, number: int | None, host: str, port: int, *, served: bool = False) -> Link | None:
        """The id for a link that connects now; None where it is taken or no id."""
        if number is None or not 0 <= number < self._room or number in self._links:
            return None
        link = self._links[number] = Link(number, host, port, served=served)
        return link

    def release(self, link: Link) -> None:
        """It did not come to be."""
        if link.state is LinkState.CONNECTING:
            link.state = LinkState.CLOSED
            self._remove(link)

    def open(self, link: Link, channel: Channel) -> bool:
        """It is connected; its pump starts when the host was told.  False: a reset came first, and it is closed behind."""
        if link.state is not LinkState.CONNECTING:
            self.drain(channel)
            return False
        link.connected(channel)
        self.used = self.used or channel.linked or self._unit.profile.number("status_udp") > 0
        self._unit.through.links_changed()
        return True

    def find(self, number: int) -> Link | None:
        """The open link of an id."""
        link = self._links.get(number)
        return link if link is not None and link.state is LinkState.OPEN else None

    def opened(self) -> list[Link]:
        """The open links by id."""
        return [self._links[n] for n in sorted(self._links) if self._links[n].state is LinkState.OPEN]

    def reads_passively(self, link: Link) -> bool:
        """Whether the host asks for what has come on this link.  Some generations tell datagrams whatever it said."""
        if self._unit.through.raw(link):
            return False
        return self.passive and (link.channel.linked or self._unit.profile.number("passive_udp") > 0)

    def close(self, link: Link, *, silent: bool = False) -> bytes:
        """Take a link from open to closed: its CLOSED line; ``b''`` where somebody else did.  The module's work drains behind."""
        if link.state is not LinkState.OPEN:
            return b""
        link.state = LinkState.CLOSED
        self._remove(link)
        link.scope.cancel()
        link.stir()
        self.drain(link.channel)
        self._unit.through.links_changed()
        return b"" if silent else self._unit.through.tell(self._unit.say("closed", id=self.prefix(link)))

    def close_all(self, *, silent: bool = False) -> bytes:
        """The CLOSED lines of all open links."""
        return b"".join(self.close(link, silent=silent) for link in self.opened())

    def forget(self) -> None:
        """A reset: every id is free, without a word; what connects now is closed when it is there."""
        self.close_all(silent=True)
        for link in list(self._links.values()):
            self.release(link)
        self.used = self.passive = False

    def prefix(self, link: Link) -> str:
        """``0,`` in multiple connection mode."""
        return f"{link.number}," if self._unit.mux else ""

    async def wait_none(self) -> None:
        """Until no link is left."""
        while self._links:
            await self._gone.wait()

    def drain(self, below: Closable) -> trio.Event:
        """Close what is below, in the background; the event is set when that is over."""
        over = trio.Event()
        self._unit.spawn(self._drain, below, over)
        return over

    def _remove(self, link: Link) -> None:
        del self._links[link.number]
        self._gone.set()
        self._gone = trio.Event()

    async def _drain(self, below: Closable, over: trio.Event) -> None:
        with trio.move_on_after(self._unit.profile.seconds("close")) as scope:
            try:
                await below.aclose()
            except LOST:
                pass
            except Exception:
                self._unit.crashed("close")
        if scope.cancelled_caught:
            self._unit.counters["close-timeouts"] += 1
            log.warning("a link did not close in time")
        over.set()
