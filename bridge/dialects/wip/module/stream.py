"""TCP sockets of the module: a client's connection, and a peer's that a server accepted.

In mode 1 an ETX of the host is a half-close (Multi-Tech S000437C p.25): the peer gets a FIN after what was sent
before, and the socket goes on receiving.  After the peer's FIN the host may go on sending; it is told when that fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from bridge.dialects.wip.module.socket import ModuleSocket, Tell
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError, StreamLink
from bridge.wire import dle

log = structlog.get_logger("bridge.wip.module")

_IN_ORDER = frozenset({Condition.PEER_CLOSED, Condition.LINK_CLOSED})

Connect = Callable[[], Awaitable[StreamLink]]
Drop = Callable[[str, str], None]  # a counter, and what to note


async def connecting(connect: Connect, limit: float) -> StreamLink | Condition:
    """The link, or why there is none after ``limit`` seconds at most."""
    with trio.move_on_after(limit):
        try:
            return await connect()
        except NetworkError as error:
            return error.condition
        except Exception:
            log.exception("connect")
            return Condition.MODULE_ERROR
    return Condition.CONNECT_TIMEOUT


class StreamSocket(ModuleSocket):
    """A TCP connection, dialled (``connect``) or accepted (``link``)."""

    protocol = 2

    def __init__(
        self,
        index: int,
        peer: Endpoint,
        *,
        receive_room: int,
        transmit_room: int,
        send_size: int,
        connect: Connect | None = None,
        limit: float = 0.0,
        link: StreamLink | None = None,
        drop: Drop,
    ) -> None:
        super().__init__(index, peer, receive_room=receive_room, transmit_room=transmit_room)
        self.half_closed = False  # the host sent its ETX
        self._drop = drop
        self._decoder = dle.Decoder()
        self.received = bytearray()
        self._send_size = send_size  # bytes that the Network takes at a time
        self._connect = connect
        self._limit = limit  # seconds to connect
        self._link = link
        self._outgoing = bytearray()

    @property
    def link(self) -> StreamLink | None:
        """See ModuleSocket."""
        return self._link

    def outgoing(self) -> int:
        """See ModuleSocket."""
        return len(self._outgoing)

    def put(self, data: bytes) -> bytes | None:
        """See ModuleSocket."""
        if self.mode.transparent:
            self._send(data)
            return None
        for piece in self._decoder.feed(data):
            if piece is dle.END:
                self.half_closed = True
                self.ring()
            else:
                self._send(piece)
        return None

    def _send(self, data: bytes) -> None:
        if not data or self.broken:
            return
        if self.half_closed:
            self._drop("after-half-close", f"{self.protocol},{self.index}: {len(data)} bytes")
            return
        self._outgoing += data
        self.ring()

    def leave(self) -> bytes:
        """See ModuleSocket.  Half a DLE pair is nothing."""
        self._decoder = dle.Decoder()
        return b""

    def waiting(self) -> int:
        """See ModuleSocket."""
        return len(self.received)

    def pending(self) -> str | None:
        """See ModuleSocket."""
        return f"+WIPDATA: {self.protocol},{self.index},{len(self.received)}" if self.received else None

    def take(self, most: int) -> bytes:
        """See ModuleSocket.  In mode 1 a byte may become two."""
        if not self.mode.transparent:
            most = max(1, most // 2)
        data = bytes(self.received[:most])
        del self.received[:most]
        self.ring()
        return data if self.mode.transparent else dle.encode(data)

    async def run(self, *, ready: Tell, arrived: Tell, over: Tell) -> None:
        """See ModuleSocket."""
        with self._scope:
            if self._connect is not None:
                found = await connecting(self._connect, self._limit)
                if isinstance(found, Condition):
                    self.ended = found
                    over(self)
                    return
                self._link = found
                ready(self)
            assert self._link is not None
            async with trio.open_nursery() as nursery:
                receiving = trio.CancelScope()
                nursery.start_soon(self._transmit, self._link, receiving)
                with receiving:
                    self.ended = await self._receive(self._link, arrived)
                self.ring()
                over(self)
                if self.broken:
                    nursery.cancel_scope.cancel()

    async def _receive(self, link: StreamLink, arrived: Tell) -> Condition:
        try:
            while True:
                while self._room() <= 0:
                    await self.changed()  # nothing is read meanwhile: the peer's window closes
                if await link.wait_readable() == 0:
                    reason = link.condition or Condition.PEER_CLOSED
                    break
                await link.fetch()
                if data := link.take(max(0, self._room())):
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

    def _room(self) -> int:
        """Bytes that may still be taken from the peer; the host may make the buffer smaller at any time."""
        return self.receive_room - len(self.received)

    async def _transmit(self, link: StreamLink, receiving: trio.CancelScope) -> None:
        """Bytes leave the buffer when the network took them, so that the buffer's room is the truth."""
        finished = False
        while True:
            while not self._outgoing:
                if self.half_closed and not finished:
                    finished = True
                    await self._finish_sending(link)
                    continue
                await self.changed()
            piece = bytes(self._outgoing[: self._send_size])
            try:
                await link.send_all(piece)
            except NetworkError as error:
                # The link lives and these bytes did not go out: a stream with a hole must not go on.
                log.warning("send refused", index=self.index, error=str(error))
                self._unsendable(error.condition)
                self.ended = self.ended or error.condition
                receiving.cancel()
                return
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.debug("send failed", index=self.index, error=str(error))
                self._unsendable(link.condition or Condition.LINK_RESET)
            except Exception:
                log.exception("send", index=self.index)
                self._unsendable(Condition.MODULE_ERROR)
            del self._outgoing[: len(piece)]
            self.ring()

    def _unsendable(self, condition: Condition) -> None:
        """What cannot be sent must not block the host's line.

        While the peer still sends, the receiving side learns of the end by itself, after all its bytes; after the
        peer's FIN this is the end.
        """
        self._outgoing.clear()
        if self.in_order:
            self.ended = Condition.LINK_RESET if condition in _IN_ORDER else condition
            self.ring()

    async def _finish_sending(self, link: StreamLink) -> None:
        """A FIN, where the Network can end one direction alone.  Otherwise the peer gets it with WIPCLOSE."""
        send_eof = getattr(link, "send_eof", None)
        if send_eof is None:
            self._drop("no-half-close", f"{self.protocol},{self.index}: the network closes both directions or none")
            return
        try:
            await send_eof()
        except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("half-close failed", index=self.index, error=str(error))
        except Exception:
            log.exception("half-close", index=self.index)
