"""A line as slow as a real one: neither a pty nor memory has a speed of its own.

Both directions follow an absolute schedule: a byte is due ten bit times after the one before it, whenever we happen
to wake up, and each wake-up releases all that is due.  "Send n, sleep n / rate" loses the timer's overshoot every
time and runs at 50 to 80 % of the rate.

Being late by up to `FIFO` is caught up, as a UART does whose FIFO did not run dry; a longer silence was a silence, and
the schedule starts anew.  So is the lateness of the timer at the end of what was received, where an answer follows at
once: else every turn of a dialogue would be a millisecond longer than on a line.  No task runs in the background: `send`
returns when the last byte has left, so `sent` is exact, and what is read ahead is bounded by `FIFO` too, the rest waiting
in the port below (back-pressure).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from bridge.model import Wire
from bridge.ports import Port, PortLost

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FIFO", "PacedPort", "TimedPort"]

FIFO = 0.050  # seconds of line time
BITS = 10  # a byte on the line: start, eight, stop
_GRAIN = 0.001  # seconds between wake-ups within one message; timers are no finer
_PROMPT = 0.002  # seconds: a caller back this soon had its next bytes ready, so the line was never idle
_WAITING = 0.0005  # seconds: a read that took no longer found its bytes waiting
_TINY = 1e-3  # bytes: rounding of the clock


class PacedPort(Port):
    """``inner`` at ``baud``, 8N1, in both directions.  It owns ``inner``."""

    def __init__(self, inner: Port, baud: int) -> None:
        if baud < 1:
            raise ValueError(f"baud must be positive, not {baud}")
        self.inner = inner
        self.name = inner.name
        self.reopens = inner.reopens
        self.flow = inner.flow
        self._default = baud
        self.life = 0  # how often the port below came back
        self._gone = False  # the port below was lost and is not back yet
        self._begin()

    def _begin(self) -> None:
        self.wires = self.inner.wires
        self._set_baud(self._default)
        self._left_at = float("-inf")  # when the last byte sent left the line
        self._offered_at = float("-inf")  # when the last send ended
        self._gave_at = float("-inf")  # when bytes were last delivered
        self._late = 0.0  # seconds by which the timer was later than the line then
        self._held = bytearray()  # read from inner, not yet due; at most _depth
        self._came_at = trio.current_time()  # when the last byte delivered came off the line

    def _set_baud(self, baud: int) -> None:
        self.baud = baud
        self._byte = BITS / baud  # seconds
        self._depth = max(1, round(FIFO / self._byte))  # bytes

    async def receive(self, most: int = 4096) -> bytes:
        """See Port.  Bytes come no faster than the line carries them."""
        with _OneLife(self) as life:
            return await self._receive(most, life)

    async def _receive(self, most: int, life: _OneLife) -> bytes:
        if not self._held:
            await self._read_ahead()
        # A receiver that stayed away longer than the FIFO lasts does not get it all at once.
        self._came_at = max(self._came_at, trio.current_time() - FIFO)
        want = min(most, len(self._held))
        due = self._due(self._came_at, want)
        self._late = 0.0
        if not due:
            last = self._came_at + want * self._byte
            wake_at = min(last, max(self._came_at + self._byte, trio.current_time() + _GRAIN))
            # Cancelled here, the bytes stay in _held.
            await trio.sleep_until(wake_at)
            life.check()
            self._late = trio.current_time() - wake_at
            due = max(1, self._due(self._came_at, want))
        data = bytes(self._held[:due])
        del self._held[:due]
        self._came_at += due * self._byte
        self._gave_at = trio.current_time()
        return data

    async def _read_ahead(self) -> None:
        asked = trio.current_time()
        self._held += await self.inner.receive(self._depth)
        now = trio.current_time()
        # Bytes that waited for us came in while we were busy; others begin to come only now.
        earliest = now - FIFO if now - asked <= _WAITING else now
        self._came_at = max(self._came_at, earliest)

    async def send(self, data: bytes) -> int:
        """See Port.  Returns when the last byte has left; cancelled, what was not yet due stays unsent."""
        with _OneLife(self) as life:
            return await self._send(data, life)

    async def _send(self, data: bytes, life: _OneLife) -> int:
        now = trio.current_time()
        oldest = now
        if now - self._offered_at <= _PROMPT:
            oldest = now - FIFO
        elif now - self._gave_at <= _PROMPT:
            oldest = now - self._late  # an answer, by someone who was woken so much too late
        self._left_at = max(self._left_at, oldest)
        start = 0
        try:
            while start < len(data):
                due = self._due(self._left_at, len(data) - start)
                if due:
                    start += await self._release(data[start : start + due])
                    continue
                last = self._left_at + (len(data) - start) * self._byte
                await trio.sleep_until(min(last, max(self._left_at + self._byte, trio.current_time() + _GRAIN)))
                life.check()
        finally:
            self._offered_at = trio.current_time()
        if not data:
            await trio.lowlevel.checkpoint()
        return len(data)

    async def _release(self, piece: bytes) -> int:
        before = self.inner.sent
        try:
            return await self.inner.send(piece)
        finally:
            # Time stands for what went out, also where the send was cancelled half way.
            self._left_at += (self.inner.sent - before) * self._byte
            # The port below kept us waiting: that time is gone, it is not made up by a burst.
            self._left_at = max(self._left_at, trio.current_time() - FIFO)

    def _due(self, since: float, most: int) -> int:
        """How many bytes a line busy from ``since`` on has carried by now."""
        return max(0, min(most, int((trio.current_time() - since) / self._byte + _TINY)))

    @property
    def sent(self) -> int:
        """See Port."""
        return self.inner.sent

    async def drain(self) -> None:
        """See Port."""
        with _OneLife(self):
            await trio.sleep_until(max(self._left_at, trio.current_time()))
            await self.inner.drain()

    async def aclose(self) -> None:
        """See Port."""
        await self.inner.aclose()

    async def reopen(self) -> None:
        """See Port.  Back at its first speed, with nothing read ahead."""
        await self.inner.reopen()
        if self._gone:  # else the other direction asked before us
            self._gone = False
            self.life += 1
            self._begin()

    def lost_in(self, life: int) -> None:
        """For `_OneLife`: the port below, or a former one, was lost in the middle of something."""
        self._gone = self._gone or life == self.life

    async def set_speed(self, baud: int) -> None:
        """See Port.  A speed of the port below changes too, where it has one."""
        if baud < 1:
            await trio.lowlevel.checkpoint()
            raise ValueError(f"{baud} is no speed")
        await self.drain()
        await self.inner.set_speed(baud)
        self._set_baud(baud)

    async def wait_wire(self, wire: Wire, asserted: bool) -> None:
        """See Port."""
        await self.inner.wait_wire(wire, asserted)

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """See Port."""
        await self.inner.set_lines(dtr=dtr, rts=rts)


class _OneLife:
    """Something that is done on the port below, and only on the one that it was begun on."""

    def __init__(self, port: PacedPort) -> None:
        self._port = port
        self._life = port.life

    def check(self) -> None:
        """Raises PortLost once the port below is another one."""
        if self._life != self._port.life:
            raise PortLost(f"{self._port.name}: was lost")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, PortLost):
            self._port.lost_in(self._life)


class TimedPort(PacedPort):
    """A line whose other end keeps the pace; ours knows when what was sent has left it.

    For a pty opened as a device: the first byte leaves at once, as from a UART, and no timer is waited for on the way.
    At most `FIFO` of line time is handed over ahead, so `drain` and a cancelled `send` tell the truth to that grain.
    """

    async def _receive(self, most: int, life: _OneLife) -> bytes:
        del life
        return await self.inner.receive(most)

    async def _send(self, data: bytes, life: _OneLife) -> int:
        start = 0
        while start < len(data):
            now = trio.current_time()
            self._left_at = max(self._left_at, now)
            if room := int((now + FIFO - self._left_at) / self._byte):
                start += await self._release(data[start : start + room])
                continue
            await trio.sleep_until(self._left_at - FIFO / 2)
            life.check()
        if not data:
            await trio.lowlevel.checkpoint()
        return len(data)
