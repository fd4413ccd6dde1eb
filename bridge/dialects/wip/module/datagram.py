"""UDP sockets of the module: bound to a peer, or listening to everybody; mode 1 between them and the host.

Host to network: an ETX ends a datagram, so do the largest size and the end of the data mode.  An ETX right after
another one (or after CONNECT) is an empty datagram.  Network to host: every datagram is followed by an ETX; one that
was begun is written whole, whatever happens to the data mode meanwhile.

Mode 2 knows no borders: what the network sent comes as one stream, and the host's bytes are cut by size and time.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from bridge.dialects.wip.module.socket import ModuleSocket, Tell
from bridge.model import Condition, Datagram, Endpoint
from bridge.network import DatagramLink, LinkLost, NetworkError
from bridge.trace import Trace
from bridge.wire import dle

log = structlog.get_logger("bridge.wip.module")

NOBODY = Endpoint("0.0.0.0", 0)
_HEADER = 8  # bytes that each waiting datagram costs besides its payload, so that empty ones are bounded too


@dataclass(frozen=True, slots=True)
class Line:
    """How datagrams and the host's bytes become each other."""

    most: int  # bytes; a datagram of the host goes out when it has grown to this
    etx_ends: bool  # the host's ETX ends the data mode too


class _Queue:
    """Datagrams in their order, and what they cost."""

    def __init__(self) -> None:
        self._items: deque[Datagram] = deque()
        self.size = 0  # payload bytes

    @property
    def cost(self) -> int:
        return self.size + _HEADER * len(self._items)

    @property
    def first(self) -> Datagram | None:
        return self._items[0] if self._items else None

    def append(self, datagram: Datagram) -> None:
        self._items.append(datagram)
        self.size += len(datagram.data)

    def popleft(self) -> Datagram:
        datagram = self._items.popleft()
        self.size -= len(datagram.data)
        return datagram


class DatagramSocket(ModuleSocket):
    """A UDP socket.  What it must drop, either way, is counted."""

    protocol = 1

    def __init__(
        self,
        index: int,
        peer: Endpoint,
        *,
        receive_room: int,
        transmit_room: int,
        line: Line,
        connect: Callable[[DatagramSocket], Awaitable[DatagramLink]],
        limit: float,
        counters: Counter[str],
        trace: Trace,
    ) -> None:
        super().__init__(index, peer, receive_room=receive_room, transmit_room=transmit_room)
        self._line = line
        self._connect = connect
        self._limit = limit  # seconds for lookup and opening
        self._counters = counters
        self._trace = trace
        self._link: DatagramLink | None = None
        self._decoder = dle.Decoder()
        self._collected = bytearray()  # of the datagram that the host is writing
        self._due = math.inf  # when it goes out by time
        self._cut = False  # the last datagram went out by its size: an ETX now is the end of that one
        self._outgoing = _Queue()
        self._received = _Queue()
        self._encoded = bytearray()  # what is left of the datagram that the host is reading

    @property
    def link(self) -> DatagramLink | None:
        """See ModuleSocket."""
        return self._link

    @property
    def listening(self) -> bool:
        """Without a peer: it hears everybody and cannot transmit."""
        return self.peer == NOBODY

    # -- the host's bytes

    def outgoing(self) -> int:
        """See ModuleSocket."""
        return len(self._collected) + self._outgoing.cost

    def put(self, data: bytes) -> bytes | None:
        """See ModuleSocket."""
        if self.mode.transparent:
            self._cut_up(data)
            return None
        if not self._line.etx_ends:
            self._collect(data)
            return None
        for at in range(len(data)):
            if self._collect(data[at : at + 1]):
                return data[at + 1 :]
        return None

    def _collect(self, data: bytes) -> bool:
        """True where an ETX was in it."""
        ended = False
        for piece in self._decoder.feed(data):
            if piece is dle.END:
                ended = True
                if not self._cut:
                    self._send()
                self._cut = False
                continue
            self._collected += piece
            self._cut = False
            while len(self._collected) >= self._line.most:
                self._send(self._line.most)
                self._cut = not self._collected
        return ended

    def _cut_up(self, data: bytes) -> None:
        if data and not self._collected:
            self._due = trio.current_time() + self.mode.wait
            self.ring()
        self._collected += data
        while len(self._collected) >= self.mode.size:
            self._send(self.mode.size)

    def _send(self, size: int | None = None) -> None:
        data = bytes(self._collected[:size])
        del self._collected[:size]
        if not self._collected:
            self._due = math.inf
        if self.listening:
            self._drop("datagram-unsendable", f"{len(data)} bytes of a host on a listening socket")
        elif self.ended is not None:
            self._drop("datagram-refused", f"{len(data)} bytes: {self.ended}")
        else:
            self._outgoing.append(Datagram(data))
            self.ring()

    def leave(self) -> bytes:
        """See ModuleSocket.  Half a DLE pair is nothing."""
        self._decoder = dle.Decoder()
        if self._collected:
            self._send()
        self._cut = False
        rest = bytes(self._encoded)
        self._encoded.clear()
        return rest

    # -- the network's datagrams

    async def ends(self) -> tuple[int, Endpoint]:
        """See ModuleSocket.  Whoever sent last does not become the peer of a listening socket."""
        local_port, peer = await super().ends()
        return local_port, NOBODY if self.listening else peer

    def waiting(self) -> int:
        """See ModuleSocket."""
        return self._received.size

    def pending(self) -> str | None:
        """See ModuleSocket.  Only the first waiting datagram is told, with its sender."""
        if (first := self._received.first) is None:
            return None
        source = first.source or self.peer
        return f'+WIPDATA: {self.protocol},{self.index},{len(first.data)},"{source.host}",{source.port}'

    def take(self, most: int) -> bytes:
        """See ModuleSocket."""
        while not self._encoded and self._received.first is not None:
            payload = self._received.popleft().data
            self._encoded += payload if self.mode.transparent else dle.encode(payload) + dle.ETX
        data = bytes(self._encoded[:most])
        del self._encoded[:most]
        self.ring()
        return data

    async def run(self, *, ready: Tell, arrived: Tell, over: Tell) -> None:
        """See ModuleSocket."""
        with self._scope:
            found = await self._connecting()
            if isinstance(found, Condition):
                self.ended = found
                over(self)
                return
            self._link = found
            ready(self)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._transmit, found)
                self.ended = await self._receive(found, arrived)
                self.ring()
                over(self)
                nursery.cancel_scope.cancel()

    async def _connecting(self) -> DatagramLink | Condition:
        with trio.move_on_after(self._limit):
            try:
                return await self._connect(self)
            except NetworkError as error:
                return error.condition
            except Exception:
                log.exception("open", index=self.index)
                return Condition.MODULE_ERROR
        return Condition.CONNECT_TIMEOUT

    async def _receive(self, link: DatagramLink, arrived: Tell) -> Condition:
        try:
            while await link.wait_readable():
                await link.fetch()
                while (datagram := link.take()) is not None:
                    self._keep(datagram, arrived)
        except (LinkLost, NetworkError) as error:
            return error.condition
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:
            log.exception("receive", index=self.index)
            return Condition.MODULE_ERROR
        return link.condition or Condition.MODULE_ERROR

    def _keep(self, datagram: Datagram, arrived: Tell) -> None:
        """The newest is lost where there is no room, as in the module: nobody is told."""
        waits = self._received.cost + len(self._encoded)
        if waits + len(datagram.data) + _HEADER > self.receive_room:
            self._drop("datagram-dropped", f"{len(datagram.data)} bytes, {waits} of {self.receive_room} wait")
            return
        if datagram.cut:
            self._drop("datagram-cut", f"{len(datagram.data)} bytes are left of it")
        self._received.append(datagram)
        self.ring()
        arrived(self)

    async def _transmit(self, link: DatagramLink) -> None:
        """A datagram leaves the buffer when the network took it; one that it refuses is lost, as on any network."""
        while True:
            while (first := self._outgoing.first) is None:
                with trio.CancelScope(deadline=self._due):
                    await self.changed()
                if self._collected and trio.current_time() >= self._due:
                    self._send()
            data = first.data
            try:
                await link.send(data)
            except NetworkError as error:
                self._drop("datagram-refused", f"{len(data)} bytes: {error}")
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._drop("datagram-refused", f"{len(data)} bytes: {error!r}")
            except Exception:
                log.exception("send", index=self.index)
                self._drop("datagram-refused", f"{len(data)} bytes")
            self._outgoing.popleft()
            self.ring()

    def _drop(self, counter: str, detail: str) -> None:
        self._counters[counter] += 1
        self._trace.note(counter, f"1,{self.index}: {detail}")
