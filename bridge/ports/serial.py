"""A serial device, or the slave of somebody's pty, by the name the operator gave."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

import trio

from bridge.endpoint import BAUD_RANGE, EndpointSpec
from bridge.model import Wire
from bridge.ports import PortLost, tty
from bridge.ports.descriptor import DescriptorPort
from bridge.ports.reopening import until_back
from bridge.ports.wires import Look, entered

__all__ = ["SerialPort", "is_pty"]

_PTY_MAJORS = range(136, 144)  # Unix98 pty slaves
_POLL_LEAST, _POLL_MOST = 0.001, 0.020  # seconds between looks at the driver's queue
# Seconds between looks at a wire.  The kernel's own wait (TIOCMIWAIT) would hold a thread that nothing can end, and
# its counters tell of what was shorter than this.
_WIRE_POLL = 0.020


def is_pty(path: str) -> bool:
    """Whether the path leads to a pty's slave; False where there is nothing."""
    with suppress(OSError, ValueError):
        found = Path(path).stat()
        return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _PTY_MAJORS
    return False


class SerialPort(DescriptorPort):
    """An open serial device.  Make it with `open`.

    Hang-ups, which the system reports in four ways, are all `PortLost`.  `reopen` waits for the same *name*: a link in
    ``/dev/serial/by-id`` finds the adapter in whatever socket and under whatever number it comes back.  It has the
    endpoint's speed and lines again then, not those set since.
    """

    reopens = True

    def __init__(self, spec: EndpointSpec, baud: int, descriptor: int, *, pty: bool) -> None:
        super().__init__(spec.port, descriptor)
        self._spec = spec
        self._default = baud
        self.flow = spec.flow == "rtscts"
        self._bits = 9 + (spec.parity != "none") + spec.stop
        self._left_at = 0.0  # when the last byte left, had nothing held it up
        self._ended = False  # closed by us: it does not come back
        self._turn = trio.Lock()  # both directions of a session may ask to reopen
        self._begin(descriptor, pty=pty)

    @classmethod
    async def open(cls, spec: EndpointSpec, *, baud: int) -> Self:
        """Open ``spec.port`` with the spec's frame, flow and modem lines; raises PortError."""
        pty = is_pty(spec.port)
        return cls(spec, baud, await tty.open_tty(spec, baud, pty=pty), pty=pty)

    def _begin(self, descriptor: int, *, pty: bool) -> None:
        self._pty = pty
        self._set_baud(self._default)
        self.wires = tty.wires_of(descriptor)
        # What happens from here on is news to the first `wait_wire`.
        self._looks = {wire: tty.look(descriptor, wire) for wire in self.wires}

    def _set_baud(self, baud: int) -> None:
        self.baud = baud
        self._byte = self._bits / baud  # seconds

    async def aclose(self) -> None:
        """See Port."""
        self._ended = True
        await super().aclose()

    async def reopen(self) -> None:
        """See Port.  Returns at once where the port is open (again)."""
        async with self._turn:
            if self._stream.fileno() < 0:
                self._check_wanted()
                await until_back(self.name, self._attempt)

    async def _attempt(self) -> None:
        self._check_wanted()
        pty = is_pty(self.name)
        descriptor = await tty.open_tty(self._spec, self._default, pty=pty)
        try:
            self._check_wanted()  # we may have been closed meanwhile
            self._begin(descriptor, pty=pty)
        except BaseException:
            os.close(descriptor)
            raise
        self._stream = trio.lowlevel.FdStream(descriptor)

    def _check_wanted(self) -> None:
        if self._ended:
            raise PortLost(f"{self.name}: closed")

    async def send(self, data: bytes) -> int:
        """See Port."""
        before = self._sent
        self._left_at = max(self._left_at, trio.current_time())
        try:
            return await super().send(data)
        finally:
            self._left_at += (self._sent - before) * self._byte

    async def drain(self) -> None:
        """See Port.  Polls the driver's queue and the UART: tcdrain would stick in a thread when the line stands still."""
        await trio.lowlevel.checkpoint()
        if self._pty:
            return
        while (queued := self._queued()) > 0:  # noqa: ASYNC110 - the driver gives no event
            await trio.sleep(min(_POLL_MOST, max(_POLL_LEAST, queued * self._byte)))
        # An adapter's own buffer shows in no count; at full speed it is empty by then.
        await trio.sleep_until(max(self._left_at, trio.current_time()))

    async def discard(self) -> bool:
        """See Port."""
        await trio.lowlevel.checkpoint()
        if self._pty:
            return False
        try:
            tty.discard(self._descriptor())
        except OSError as gone:
            self._lost(gone)
        self._left_at = trio.current_time()
        return True

    def _queued(self) -> int:
        try:
            return tty.queued(self._descriptor())
        except OSError as gone:
            self._lost(gone)

    async def set_speed(self, baud: int) -> None:
        """See Port."""
        if baud not in BAUD_RANGE:
            await trio.lowlevel.checkpoint()
            raise ValueError(f"{baud} is no speed")
        await self.drain()
        try:
            tty.change_speed(self._descriptor(), baud)
        except OSError as gone:
            self._lost(gone)
        self._set_baud(baud)

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """See Port."""
        await trio.lowlevel.checkpoint()
        try:
            tty.set_lines(self._descriptor(), dtr=dtr, rts=rts)
        except OSError as gone:
            self._lost(gone)

    async def wait_wire(self, wire: Wire, asserted: bool) -> None:
        """See Port.  Pulses between two looks are not missed where the driver counts changes; most do."""
        await trio.lowlevel.checkpoint()
        if wire not in self.wires:
            raise ValueError(f"{self.name} has no {wire} to wait for")
        before = self._looks[wire]
        while True:
            now = self._look(wire)
            if entered(before, now, asserted):
                self._looks[wire] = now
                return
            await trio.sleep(_WIRE_POLL)

    def _look(self, wire: Wire) -> Look:
        try:
            return tty.look(self._descriptor(), wire)
        except OSError as gone:
            self._lost(gone)
