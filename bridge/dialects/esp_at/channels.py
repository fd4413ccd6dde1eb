"""What stands behind a link's id: a TCP connection or a UDP socket, told and asked in the same words.

A host reads in one of two ways.  Active: the module tells whatever comes (`take`).  Passive: the module tells only that
something waits, and the host asks for so many bytes (`pull`, then `read`).  Bytes that were pulled for a host and not
yet read by it wait here, bounded by what one command asks for; everything else waits below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import trio

from bridge.model import Condition, Datagram, Endpoint
from bridge.network import DatagramLink, StreamLink

if TYPE_CHECKING:
    from bridge.dialects.esp_at.command import Payload

Report = Callable[[str, str], None]  # a counter's name, and the detail for the trace


class Channel(ABC):
    """A connection below.  Raises what a StreamLink or a DatagramLink raises."""

    kind: ClassVar[str]  # as the host's listings name it
    linked: ClassVar[bool]  # whether it is a connection that can be up
    fixed = True  # whether its peer stays who it is
    targets = False  # whether a datagram may go to somebody else

    def __init__(self, again: float) -> None:
        self._again = again  # seconds until the next look, where bytes were known of and none could be had

    @property
    @abstractmethod
    def peer(self) -> Endpoint | None:
        """The other end; None: not known, or nobody yet."""

    @property
    @abstractmethod
    def local(self) -> Endpoint | None:
        """Our end, as far as it is known."""

    @property
    @abstractmethod
    def condition(self) -> Condition | None:
        """Why it ended; None while it lives."""

    @abstractmethod
    def waiting(self) -> int:
        """Payload bytes that wait, here and below."""

    @abstractmethod
    async def wait_readable(self) -> bool:
        """Wait until something waits; False: it ended and everything was taken."""

    @abstractmethod
    async def fetch(self) -> None:
        """Have something here for `take`.  Waits as long as what is below knows of some and gives none."""

    @abstractmethod
    def take(self, most: int) -> Datagram | None:
        """What one message tells: up to ``most`` bytes and where they came from.  None: nothing to tell."""

    @abstractmethod
    async def look(self, most: int) -> None:
        """Make `waiting` the truth, where what waits may turn out to be nothing: looks at ``most`` bytes or so."""

    @abstractmethod
    async def pull(self, count: int) -> None:
        """Have ``count`` bytes here for `read`, or all that there are."""

    @abstractmethod
    def read(self, count: int) -> Datagram:
        """Up to ``count`` bytes of what was pulled, without waiting."""

    @abstractmethod
    async def send(self, payload: Payload, target: Endpoint | None) -> None:
        """Send what the host types, and return when it was taken.  ``target`` is for one datagram."""

    @abstractmethod
    async def carry(self, data: bytes) -> None:
        """Send these bytes: on UDP one datagram.  NetworkError: nothing of it went out."""

    @abstractmethod
    async def find_peer(self) -> None:
        """Ask for the peer's address where it is not known."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close; see StreamLink and DatagramLink."""


class TcpChannel(Channel):
    """A TCP connection: bytes in order, in whatever pieces."""

    kind = "TCP"
    linked = True

    def __init__(self, stream: StreamLink, again: float) -> None:
        super().__init__(again)
        self._stream = stream
        self._held = bytearray()
        self._peer = stream.peer

    @property
    def peer(self) -> Endpoint | None:
        """See Channel."""
        return self._peer

    @property
    def local(self) -> Endpoint | None:
        """See Channel."""
        return self._stream.local

    @property
    def condition(self) -> Condition | None:
        """See Channel."""
        return self._stream.condition

    def waiting(self) -> int:
        """See Channel."""
        return len(self._held) + self._stream.waiting()

    async def wait_readable(self) -> bool:
        """See Channel."""
        return bool(self._held) or bool(await self._stream.wait_readable())

    async def fetch(self) -> None:
        """See Channel."""
        if self._held:
            return
        while not await self._stream.fetch():
            await trio.sleep(self._again)
            if not self._stream.waiting():
                return

    def take(self, most: int) -> Datagram | None:
        """See Channel."""
        data = bytes(self._held[:most]) or self._stream.take(most)
        del self._held[:most]
        return Datagram(data, self._peer) if data else None

    async def look(self, most: int) -> None:
        """See Channel.  A stream's bytes are what they are."""

    async def pull(self, count: int) -> None:
        """See Channel."""
        while len(self._held) < count and self._stream.waiting():
            if await self._stream.fetch():
                self._held += self._stream.take(count - len(self._held))
            else:
                await trio.sleep(self._again)

    def read(self, count: int) -> Datagram:
        """See Channel."""
        data = bytes(self._held[:count])
        del self._held[:count]
        return Datagram(data, self._peer)

    async def send(self, payload: Payload, target: Endpoint | None) -> None:
        """See Channel.  What is counted is sent as it comes; what is not is collected first."""
        assert target is None
        if payload.escaped:
            if data := await payload.whole():
                await self._stream.send_all(data)
            return
        with self._stream.sending(payload.total) as sending:
            while piece := await payload.take():
                await sending.write(piece)
            await sending.commit()

    async def carry(self, data: bytes) -> None:
        """See Channel."""
        await self._stream.send_all(data)

    async def find_peer(self) -> None:
        """See Channel."""
        if self._peer is None:
            _, self._peer = await self._stream.find_endpoints()

    async def aclose(self) -> None:
        """See Channel."""
        await self._stream.aclose()


class UdpChannel(Channel):
    """A UDP socket: one message a datagram.

    A datagram that the module below kept less of than was sent is dropped here, and counted.  UDP may lose one, and
    every host's protocol knows what to do then; half of one told as a whole would be a lie that no host can see.  An
    empty one is dropped as well: a message of no bytes is what hosts' parsers do not expect.
    """

    kind = "UDP"
    linked = False

    def __init__(self, link: DatagramLink, again: float, report: Report, *, fixed: bool) -> None:
        super().__init__(again)
        self.fixed = fixed
        self.targets = link.targets
        self._link = link
        self._report = report
        self._held: deque[Datagram] = deque()

    @property
    def peer(self) -> Endpoint | None:
        """See Channel.  It may change by who sends."""
        return self._link.peer

    @property
    def local(self) -> Endpoint | None:
        """See Channel."""
        return self._link.local

    @property
    def condition(self) -> Condition | None:
        """See Channel."""
        return self._link.condition

    def waiting(self) -> int:
        """See Channel."""
        return self._size() + self._link.waiting()

    def _size(self) -> int:
        return sum(len(datagram.data) for datagram in self._held)

    async def wait_readable(self) -> bool:
        """See Channel."""
        return bool(self._held) or await self._link.wait_readable()

    async def fetch(self) -> None:
        """See Channel."""
        if self._held:
            return
        while not await self._link.fetch():
            await trio.sleep(self._again)
            if not self._link.waiting():
                return

    def take(self, most: int) -> Datagram | None:
        """See Channel.  One that is longer than ``most`` is told in parts."""
        datagram = self._next()
        if datagram is not None and len(datagram.data) > most:
            self._held.appendleft(Datagram(datagram.data[most:], datagram.source))
            datagram = Datagram(datagram.data[:most], datagram.source)
        return datagram

    def _next(self) -> Datagram | None:
        """The next one that can be told; those that cannot are gone."""
        if self._held:
            return self._held.popleft()
        while (datagram := self._link.take()) is not None:
            if datagram.cut:
                self._report("datagrams-cut", f"{len(datagram.data)} bytes of a longer one from {datagram.source}")
            elif not datagram.data:
                self._report("datagrams-empty", f"from {datagram.source}")
            else:
                return datagram
        return None

    async def look(self, most: int) -> None:
        """See Channel."""
        await self.fetch()
        self._gather(most)
        # Only where something waits may a fetch be asked for: it may take until something does.
        while self._size() < most and self._link.waiting() and await self._link.fetch():
            self._gather(most)

    def _gather(self, most: int) -> None:
        """Hold ``most`` bytes, or the datagram that goes beyond it as well."""
        held, self._held = self._held, deque()  # `_next` looks at what is held first
        size = sum(len(datagram.data) for datagram in held)
        while size < most and (datagram := self._next()) is not None:
            held.append(datagram)
            size += len(datagram.data)
        self._held = held

    async def pull(self, count: int) -> None:
        """See Channel."""
        while self._size() < count and self._link.waiting():
            if await self._link.fetch():
                self._gather(count)
            else:
                await trio.sleep(self._again)

    def read(self, count: int) -> Datagram:
        """See Channel.  As a module does: what it asks for less of than there is, is lost; more runs into the next."""
        data, source = b"", None
        while self._held and len(data) < count:
            datagram = self._held.popleft()
            source = source or datagram.source
            rest = datagram.data[count - len(data) :]
            data += datagram.data[: count - len(data)]
            if rest:
                self._report("datagrams-read-short", f"{len(rest)} bytes of {len(datagram.data)} were not asked for")
        return Datagram(data, source)

    async def send(self, payload: Payload, target: Endpoint | None) -> None:
        """See Channel.  A datagram goes out whole."""
        await self._link.send(await payload.whole(), target)

    async def carry(self, data: bytes) -> None:
        """See Channel."""
        await self._link.send(data)

    async def find_peer(self) -> None:
        """See Channel.  A datagram says where it came from, or nothing does."""

    async def aclose(self) -> None:
        """See Channel."""
        await self._link.aclose()
