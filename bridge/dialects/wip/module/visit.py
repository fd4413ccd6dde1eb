"""One visit to a socket: from CONNECT until the UART is back in AT mode."""

from __future__ import annotations

import trio

from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.escape import EscapeGuard
from bridge.dialects.wip.module.socket import ModuleSocket
from bridge.dialects.wip.module.state import Module
from bridge.dialects.wip.module.stream import StreamSocket
from bridge.model import Condition
from bridge.wire import dle

_BEARER_GONE = frozenset(
    {Condition.BEARER_LOST, Condition.BEARER_UNAVAILABLE, Condition.BEARER_REFUSED, Condition.MODULE_RESET, Condition.PORT_LOST}
)
PIECE = 256  # bytes written at a time: what may still come out after an escape was recognised


class Visit:
    """The UART glued to one socket."""

    def __init__(self, module: Module, socket: ModuleSocket) -> None:
        self.socket = socket
        self.guard = EscapeGuard(module.profile.seconds("module_guard"), trio.current_time())
        self.over = False
        self._module = module
        self._read = False  # at least one byte was read: re-arms +WIPDATA
        self._scope = trio.CancelScope()

    def begin(self) -> None:
        """CONNECT is on its way: the socket's bytes follow it."""
        self.socket.mapped = True
        self._module.mapped = self.socket
        self._module.spawn(self._outflow)

    def heard(self, data: bytes) -> bytes:
        """Bytes of the host.  Returns those that are typed already, because the ones before them ended the visit."""
        rest = self.socket.put(self.guard.feed(data, trio.current_time()))
        if rest is None:
            return b""
        self._leave()
        return rest

    def guard_over(self) -> None:
        """The guard's deadline passed in silence: the escape, or pluses that were payload."""
        payload = self.guard.expire()
        if payload is None:
            self._leave()
        else:
            self.socket.put(payload)

    def leave(self) -> None:
        """The host drops DTR.  It is an escape whose second guard need not be waited for."""
        if not self.over:
            self.socket.put(self.guard.expire() or b"")
            self._leave()

    async def _outflow(self) -> None:
        socket = self.socket
        shut = False  # the peer's FIN was told in the stream
        with self._scope:
            while True:
                if piece := socket.take(PIECE):
                    self._read = True
                    # Cancelled while it waits, the piece is written all the same, before the OK of the escape.
                    await self._module.writer.data(piece).wait()
                elif socket.ended is None or (shut and socket.in_order):
                    await socket.changed()
                elif socket.in_order and self._how() == "shutdown":
                    shut = True
                    self._shutdown()  # stays mapped: the host still has to escape, and may send until then
                else:
                    break
            self._over()  # inside the scope: not after an escape that came first

    def _how(self) -> str:
        """What a mapped socket does when its peer closes: in mode 1 all modules do the same."""
        return str(self._module.profile.value["module_peerclose"].value) if self.socket.mode.transparent else "shutdown"

    def _shutdown(self) -> None:
        """Unescaped in the stream (Multi-Tech S000437C p.29).  Where the host had closed its side, that is the end."""
        self._module.writer.post(reply.line("SHUTDOWN"), "shutdown")
        if isinstance(self.socket, StreamSocket) and self.socket.half_closed:
            self.socket.end_told = True

    def _over(self) -> None:
        """All the peer's bytes are out, and the UART falls back by itself (what is printed then is the family's own)."""
        module, socket = self._module, self.socket
        assert socket.ended is not None
        if socket.in_order and self._how() != "nocarrier":
            self._back()
            if self._how() == "urc":
                module.tell_end(socket)
        elif self._aborts():
            mark = b"" if socket.mode.transparent else dle.ETX
            number = module.number_of(socket.ended)
            module.trace.note("socket-ended", f"{socket.protocol},{socket.index}: {socket.ended}")
            socket.end_told = True
            module.writer.post(mark + reply.refusal(number, module.settings), "aborted")
            self._back()
        else:
            module.writer.post(reply.result("NO CARRIER", module.settings), "nocarrier")
            # A bare error after it could not be told from that of another socket.
            socket.end_told = socket.end_told or (module.bare_errors and not socket.in_order)
            self._back()
            module.spawn(self._tell_later)

    def _aborts(self) -> bool:
        """Whether the end is told by ETX and an error number: a reset, not a bearer that is gone."""
        stream = isinstance(self.socket, StreamSocket) and self.socket.broken
        return stream and self._module.bare_errors and self.socket.ended not in _BEARER_GONE

    async def _tell_later(self) -> None:
        await trio.sleep(self._module.profile.seconds("module_peerclose_delay"))
        self._module.tell_end(self.socket)

    def _leave(self) -> None:
        """The host left: kept URCs, what became of this socket, OK."""
        module = self._module
        self._back()
        module.tell_end(self.socket)
        module.writer.post(reply.result("OK", module.settings), "escape")

    def abandon(self) -> None:
        """The module reboots or hangs up: nothing more is said of it."""
        self.over = True
        self.socket.mapped = False
        self._module.mapped = None
        self._scope.cancel()
        self.socket.ring()

    def _back(self) -> None:
        module, socket = self._module, self.socket
        self.abandon()
        if rest := socket.leave():
            module.writer.data(rest)
        module.flush_urcs()
        if self._read:
            socket.announced = False
        if socket.waiting():
            module.arrived(socket)
