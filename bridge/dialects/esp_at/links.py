"""The module's links as its host sees them: ids 0 to 4, one pump each, exactly one CLOSED."""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.model import Endpoint
from bridge.network import NetworkError, StreamLink
from bridge.trace import Lane

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

log = structlog.get_logger("bridge.esp-at")

LOST = (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
"""All that a link may raise (LinkLost is a BrokenResourceError)."""


class LinkState(Enum):
    """Where a link is: an id is taken while connecting or open."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSED = auto()


class Link:
    """One connection of the host's, by the id the host gave it (0 in single connection mode)."""

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.host = host
        self.port = port
        self.state = LinkState.CONNECTING
        self.stream: StreamLink | None = None
        self.scope = trio.CancelScope()  # the pump's wait for bytes; never a message that waits for the gate
        self.patience = math.inf  # of one such wait

    def expire(self, after: float) -> None:
        """It is lost: what still comes out of it is delivered, until nothing came for ``after`` seconds."""
        self.patience = after
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + after)


class LinkTable:
    """The one allocator of ids.  Ids are freed in what the writer renders, so CLOSED and the freeing are one."""

    def __init__(self, unit: EspAtUpstream) -> None:
        self._unit = unit
        self._room = unit.profile.number("links")
        self._links: dict[int, Link] = {}
        self._gone = trio.Event()
        self.used = False  # one was open since the host joined

    def __len__(self) -> int:
        return len(self._links)

    def reserve(self, number: int, host: str, port: int) -> Link | None:
        """The id for a link that connects now; None where it is taken or no id."""
        if not 0 <= number < self._room or number in self._links:
            return None
        link = self._links[number] = Link(number, host, port)
        return link

    def release(self, link: Link) -> None:
        """It did not come to be."""
        if link.state is LinkState.CONNECTING:
            link.state = LinkState.CLOSED
            self._remove(link)

    def open(self, link: Link, stream: StreamLink) -> None:
        """It is connected; its pump starts when the host was told."""
        link.stream = stream
        link.state = LinkState.OPEN
        self.used = True

    def find(self, number: int) -> Link | None:
        """The open link of an id."""
        link = self._links.get(number)
        return link if link is not None and link.state is LinkState.OPEN else None

    def opened(self) -> list[Link]:
        """The open links by id."""
        return [self._links[n] for n in sorted(self._links) if self._links[n].state is LinkState.OPEN]

    def close(self, link: Link, *, silent: bool = False) -> bytes:
        """Take a link from open to closed: its CLOSED line; ``b''`` where somebody else did.  The module's work drains behind."""
        if link.state is not LinkState.OPEN:
            return b""
        link.state = LinkState.CLOSED
        self._remove(link)
        link.scope.cancel()
        assert link.stream is not None
        self._unit.spawn(self._drain, link.stream)
        return b"" if silent else self._unit.say("closed", id=self.prefix(link))

    def close_all(self, *, silent: bool = False) -> bytes:
        """The CLOSED lines of all open links."""
        return b"".join(self.close(link, silent=silent) for link in self.opened())

    def prefix(self, link: Link) -> str:
        """``0,`` in multiple connection mode."""
        return f"{link.number}," if self._unit.mux else ""

    async def wait_none(self) -> None:
        """Until no link is left."""
        while self._links:
            await self._gone.wait()

    def _remove(self, link: Link) -> None:
        del self._links[link.number]
        self._gone.set()
        self._gone = trio.Event()

    async def _drain(self, stream: StreamLink) -> None:
        with trio.move_on_after(self._unit.profile.seconds("close")) as scope:
            try:
                await stream.aclose()
            except LOST:
                pass
            except Exception:
                self._unit.crashed("close")
        if scope.cancelled_caught:
            self._unit.counters["close-timeouts"] += 1
            log.warning("a link did not close in time")


async def pump(unit: EspAtUpstream, link: Link) -> None:
    """Everything that comes out of a link, then its CLOSED (unless its host closed it)."""
    try:
        await _deliver(unit, link)
    except LOST:
        pass
    except Exception:
        unit.crashed("pump")
    if link.state is LinkState.OPEN:
        condition = link.stream.condition if link.stream is not None else None
        await unit.writer.urc(lambda: unit.links.close(link), rule=f"closed: {condition}")


async def _deliver(unit: EspAtUpstream, link: Link) -> None:
    stream = link.stream
    assert stream is not None
    slice_size = unit.profile.number("slice")
    while link.state is LinkState.OPEN:
        with trio.move_on_after(link.patience) as link.scope:
            if not await stream.wait_readable():
                return
            while not await stream.fetch():  # noqa: ASYNC110 - the module knew of bytes and gave none; it tells no event
                await trio.sleep(unit.profile.seconds("fetch_again"))
            if unit.dinfo and stream.peer is None:
                await _find_peer(unit, stream)
        if link.scope.cancelled_caught:
            return
        await _deliver_slice(unit, link, stream, slice_size)


async def _deliver_slice(unit: EspAtUpstream, link: Link, stream: StreamLink, most: int) -> None:
    data = b""

    def render() -> bytes | None:
        nonlocal data
        if link.state is not LinkState.OPEN or not (data := stream.take(most)):
            return None
        return unit.say("ipd", id=unit.links.prefix(link), length=len(data), peer=_peer(unit, link)) + data

    await unit.writer.urc(render, rule="data", shown=lambda sent: sent[: len(sent) - len(data)])
    if data:
        unit.trace.payload(Lane.TO_HOST, data)


async def _find_peer(unit: EspAtUpstream, stream: StreamLink) -> None:
    with trio.move_on_after(unit.profile.seconds("endpoints")):
        _, stream.peer = await stream.find_endpoints()


def _peer(unit: EspAtUpstream, link: Link) -> str:
    if not unit.dinfo:
        return ""
    peer = remote(link)
    return unit.say("ipd_peer", address=peer.host, port=peer.port).decode("latin-1")


def remote(link: Link) -> Endpoint:
    """The peer as far as it is known without asking; 0.0.0.0 where its address is not."""
    if link.stream is not None and link.stream.peer is not None:
        return link.stream.peer
    return Endpoint(link.host if is_address(link.host) else "0.0.0.0", link.port)


def is_address(text: str) -> bool:
    """A dotted IPv4 address."""
    parts = text.split(".")
    return len(parts) == 4 and all(p.isascii() and p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)
