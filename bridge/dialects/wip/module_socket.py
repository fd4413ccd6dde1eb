"""Sockets of the module: a TCP client's connection, its two buffers, its end; and what a UDP socket knows."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from bridge.model import Condition
from bridge.network import LinkLost, Network, NetworkError, StreamLink

log = structlog.get_logger("bridge.wip.module")

CLOSE_LIMIT = 10.0  # seconds that a link may take to close after the host was told OK
_IN_ORDER = frozenset({Condition.PEER_CLOSED, Condition.LINK_CLOSED})

Tell = Callable[["ModuleSocket"], None]


class ModuleSocket:
    """A socket under an index.  It keeps the index until WIPCLOSE, whatever happened to its connection."""

    protocol = 2

    def __init__(self, index: int, host: str, port: int, *, receive_room: int, transmit_room: int) -> None:
        self.index = index
        self.host = host
        self.port = port
        self.link: StreamLink | None = None
        self.ended: Condition | None = None  # why the connection ended, or never came; peer-closed: a FIN
        self.end_told = False
        self.announced = False  # a +WIPDATA was printed and the socket was not read since
        self.mapped = False
        self.received = bytearray()
        self.options: dict[int, int] = {}  # WIPOPT values the host wrote; kept, without effect
        self._outgoing = bytearray()
        self._receive_room = receive_room
        self._transmit_room = transmit_room
        self._scope = trio.CancelScope()
        self._bell = trio.Event()

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

    def transmit_room(self) -> int:
        """Bytes the host may still send; 0 is CTS off.  A dead socket swallows everything."""
        return self._transmit_room if self.ended is not None else max(0, self._transmit_room - len(self._outgoing))

    def put(self, data: bytes) -> None:
        """The host's bytes."""
        if data and not (self.ended is not None and not self.in_order):
            self._outgoing += data
            self.ring()

    def take(self, most: int) -> bytes:
        """The peer's bytes, for the host."""
        data = bytes(self.received[:most])
        del self.received[:most]
        self.ring()
        return data

    async def run(self, network: Network, *, limit: float, ready: Tell, arrived: Tell, over: Tell) -> None:
        """Connect, carry, end.  Returns when it never connected; otherwise lives until `finish`."""
        with self._scope:
            self.ended = await self._connect(network, limit)
            if self.ended is not None:
                over(self)
                return
            ready(self)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._transmit)
                self.ended = await self._receive(arrived)
                self.ring()
                over(self)
                if not self.in_order:
                    nursery.cancel_scope.cancel()

    async def _connect(self, network: Network, limit: float) -> Condition | None:
        with trio.move_on_after(limit):
            try:
                self.link = await network.open_stream(self.host, self.port)
                return None
            except NetworkError as error:
                return error.condition
            except Exception:
                log.exception("connect", index=self.index)
                return Condition.MODULE_ERROR
        return Condition.CONNECT_TIMEOUT

    async def _receive(self, arrived: Tell) -> Condition:
        link = self.link
        assert link is not None
        try:
            while True:
                while (room := self._receive_room - len(self.received)) <= 0:
                    await self.changed()  # nothing is read meanwhile: the peer's window closes
                if await link.wait_readable() == 0:
                    reason = link.condition or Condition.PEER_CLOSED
                    break
                await link.fetch()
                if data := link.take(room):
                    self.received += data
                    self.ring()
                    arrived(self)
        except (LinkLost, NetworkError) as error:
            reason = error.condition
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            reason = link.condition or Condition.LINK_RESET
        except Exception:
            log.exception("receive", index=self.index)
            reason = Condition.MODULE_ERROR
        return Condition.PEER_CLOSED if reason in _IN_ORDER else reason

    async def _transmit(self) -> None:
        """Bytes leave the buffer when the network took them, so that the buffer's room is the truth."""
        link = self.link
        assert link is not None
        while True:
            while not self._outgoing:
                await self.changed()
            piece = bytes(self._outgoing)
            try:
                await link.send_all(piece)
            except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                # The receiving side learns of the end by itself; what cannot be sent must not block the host's line.
                log.debug("send failed", index=self.index, error=str(error))
                self._outgoing.clear()
            except Exception:
                log.exception("send", index=self.index)
                self._outgoing.clear()
            del self._outgoing[: len(piece)]
            self.ring()

    def lose(self, condition: Condition) -> None:
        """It is gone, by what happened to the module itself."""
        self.ended = condition
        self._scope.cancel()
        self.ring()

    async def finish(self, flush: float) -> None:
        """Close: what the host sent goes out first, for at most ``flush`` seconds.  Its index is already free."""
        with trio.move_on_after(flush):
            while self._outgoing and (self.ended is None or self.in_order) and self.link is not None:
                await self.changed()
        self._scope.cancel()
        if self.link is not None:
            with trio.move_on_after(CLOSE_LIMIT):
                try:
                    await self.link.aclose()
                except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    log.debug("close failed", index=self.index, error=str(error))


class ModuleDatagramSocket:
    """A UDP socket under an index of its own space: ``1,7`` and ``2,7`` are two sockets."""

    protocol = 1

    def __init__(self, index: int, local_port: int, host: str, port: int) -> None:
        self.index = index
        self.local_port = local_port
        self.host = host
        self.port = port
