"""What every socket of the module has that can be mapped: an index, two buffers, an end.

`StreamSocket` (stream.py) carries bytes and `DatagramSocket` (datagram.py) datagrams; a `Visit` and the
commands know only this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.model import Condition, Endpoint
from bridge.network import DatagramLink, NetworkError, StreamLink

if TYPE_CHECKING:
    from bridge.dialects.wip.module.server import ModuleServer

log = structlog.get_logger("bridge.wip.module")

CLOSE_LIMIT = 10.0  # seconds that a link may take to close after the host was told OK

Tell = Callable[["ModuleSocket"], None]


@dataclass(frozen=True, slots=True)
class DataMode:
    """How a mapped socket's bytes and the host's become each other."""

    transparent: bool  # mode 2: every byte is payload.  Mode 1: DLE and ETX are not
    size: int = 0  # bytes: a transparent stream becomes datagrams of this size ...
    wait: float = 0.0  # ... or of what came within so many seconds of the first byte


class ModuleSocket(ABC):
    """A socket under an index.  It keeps the index until WIPCLOSE, whatever happened to its connection."""

    protocol: int
    mode = DataMode(transparent=True)  # of the visit, or the last one

    def __init__(self, index: int, peer: Endpoint, *, receive_room: int, transmit_room: int) -> None:
        self.index = index
        self.peer = peer  # as the host named it
        self.server: ModuleServer | None = None  # the one that spawned it: its range stays reserved
        self.ended: Condition | None = None  # why the connection ended, or never came; peer-closed: a FIN
        self.end_told = False
        self.announced = False  # a +WIPDATA was printed and the socket was not read since
        self.mapped = False
        self.options: dict[int, int] = {}  # WIPOPT values the host wrote
        self.receive_room = receive_room
        self.transmit_limit = transmit_room
        self._scope = trio.CancelScope()
        self._bell = trio.Event()

    @property
    @abstractmethod
    def link(self) -> StreamLink | DatagramLink | None:
        """The connection; None: not yet."""

    @property
    def name(self) -> tuple[int, int]:
        """Protocol and index: ``1,7`` and ``2,7`` are two sockets."""
        return self.protocol, self.index

    @property
    def connected(self) -> bool:
        """Whether WIPDATA may map it: a closed peer's unread bytes are a separate question."""
        return self.link is not None and self.ended is None

    @property
    def in_order(self) -> bool:
        """Whether it ended by the peer's FIN."""
        return self.ended is Condition.PEER_CLOSED

    def ring(self) -> None:
        """Something changed: wake whoever waits."""
        self._bell.set()
        self._bell = trio.Event()

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._bell.wait()

    # -- the host's bytes

    @property
    def broken(self) -> bool:
        """Whether it ended in any other way than by the peer's FIN: nothing can be sent any more."""
        return self.ended is not None and not self.in_order

    def transmit_room(self) -> int:
        """Bytes the host may still send; 0 is CTS off.  A dead socket swallows everything."""
        return self.transmit_limit if self.broken else max(0, self.transmit_limit - self.outgoing())

    @abstractmethod
    def outgoing(self) -> int:
        """Bytes of the host that the network has not taken yet."""

    @abstractmethod
    def put(self, data: bytes) -> bytes | None:
        """The host's bytes, as they are on the wire.  None: all taken.

        Otherwise they ended the data mode by themselves, and what is returned (perhaps nothing) is typed already.
        """

    def leave(self) -> bytes:
        """Data mode is over: what was collected goes out.  Returns wire bytes the host must still get."""
        return b""

    # -- the peer's

    @abstractmethod
    def waiting(self) -> int:
        """Bytes that can be read now."""

    @abstractmethod
    def pending(self) -> str | None:
        """The +WIPDATA line for what waits; None where nothing does."""

    @abstractmethod
    def take(self, most: int) -> bytes:
        """What waits, as it goes over the wire."""

    @abstractmethod
    async def run(self, *, ready: Tell, arrived: Tell, over: Tell) -> None:
        """Carry until the end.  Returns when it never connected; otherwise lives until `finish`."""

    async def ends(self) -> tuple[int, Endpoint]:
        """Local port and peer: what the Network says, else what the host said."""
        local, peer = await self.link.find_endpoints() if self.link is not None else (None, None)
        return local.port if local else 0, peer or self.peer

    # -- the end

    def lose(self, condition: Condition) -> None:
        """It is gone, by what happened to the module itself."""
        self.ended = condition
        self._scope.cancel()
        self.ring()

    async def finish(self, flush: float) -> None:
        """Close: what the host sent goes out first, for at most ``flush`` seconds.  Its index is already free."""
        with trio.move_on_after(flush):
            while self.outgoing() and not self.broken and self.link is not None:
                await self.changed()
        self._scope.cancel()
        if self.link is not None:
            with trio.move_on_after(CLOSE_LIMIT):
                try:
                    await self.link.aclose()
                except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    log.debug("close failed", protocol=self.protocol, index=self.index, error=str(error))
