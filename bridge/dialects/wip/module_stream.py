"""TCP sockets of the module: a client's connection, and a peer's that a server accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from bridge.dialects.wip.module_socket import ModuleSocket, Tell
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError, StreamLink

log = structlog.get_logger("bridge.wip.module")

_IN_ORDER = frozenset({Condition.PEER_CLOSED, Condition.LINK_CLOSED})

Connect = Callable[[], Awaitable[StreamLink]]


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
    ) -> None:
        super().__init__(index, peer, receive_room=receive_room, transmit_room=transmit_room)
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
        """See ModuleSocket.  Mode 2: every byte is payload."""
        if data and not (self.ended is not None and not self.in_order):
            self._outgoing += data
            self.ring()
        return None

    def waiting(self) -> int:
        """See ModuleSocket."""
        return len(self.received)

    def pending(self) -> str | None:
        """See ModuleSocket."""
        return f"+WIPDATA: {self.protocol},{self.index},{len(self.received)}" if self.received else None

    def take(self, most: int) -> bytes:
        """See ModuleSocket."""
        data = bytes(self.received[:most])
        del self.received[:most]
        self.ring()
        return data

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
                if not self.in_order:
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
        while True:
            while not self._outgoing:
                await self.changed()
            piece = bytes(self._outgoing[: self._send_size])
            try:
                await link.send_all(piece)
            except NetworkError as error:
                # The link lives and these bytes did not go out: a stream with a hole must not go on.
                log.warning("send refused", index=self.index, error=str(error))
                self._outgoing.clear()
                self.ended = self.ended or error.condition
                receiving.cancel()
                return
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                # The receiving side learns of the end by itself; what cannot be sent must not block the host's line.
                log.debug("send failed", index=self.index, error=str(error))
                self._outgoing.clear()
            except Exception:
                log.exception("send", index=self.index)
                self._outgoing.clear()
            del self._outgoing[: len(piece)]
            self.ring()
