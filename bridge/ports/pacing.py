"""A line as slow as a real one: neither a pty nor memory has a speed of its own.

Both directions follow an absolute schedule: a byte is due ten bit times after the one before it, whenever we happen
to wake up, and each wake-up releases all that is due.  "Send n, sleep n / rate" loses the timer's overshoot every
time and runs at 50 to 80 % of the rate.

Being late by up to `FIFO` is caught up, as a UART does whose FIFO did not run dry; a longer silence was a silence, and
the schedule starts anew.  No task runs in the background: `send` returns when the last byte has left, so `sent` is
exact, and what is read ahead is bounded by `FIFO` too, the rest waiting in the port below (back-pressure).
"""

from __future__ import annotations

import trio

from bridge.ports import Port

__all__ = ["FIFO", "PacedPort"]

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
        self.baud = baud
        self._byte = BITS / baud  # seconds
        self._depth = max(1, round(FIFO / self._byte))  # bytes
        self._left_at = float("-inf")  # when the last byte sent left the line
        self._offered_at = float("-inf")  # when the last send ended
        self._held = bytearray()  # read from inner, not yet due; at most _depth
        self._came_at = trio.current_time()  # when the last byte delivered came off the line

    async def receive(self, most: int = 4096) -> bytes:
        """See Port.  Bytes come no faster than the line carries them."""
        if not self._held:
            await self._read_ahead()
        # A receiver that stayed away longer than the FIFO lasts does not get it all at once.
        self._came_at = max(self._came_at, trio.current_time() - FIFO)
        want = min(most, len(self._held))
        due = self._due(self._came_at, want)
        if not due:
            now = trio.current_time()
            last = self._came_at + want * self._byte
            # Cancelled here, the bytes stay in _held.
            await trio.sleep_until(min(last, max(self._came_at + self._byte, now + _GRAIN)))
            due = max(1, self._due(self._came_at, want))
        data = bytes(self._held[:due])
        del self._held[:due]
        self._came_at += due * self._byte
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
        now = trio.current_time()
        oldest = now - FIFO if now - self._offered_at <= _PROMPT else now
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
        await trio.sleep_until(max(self._left_at, trio.current_time()))
        await self.inner.drain()

    async def aclose(self) -> None:
        """See Port."""
        await self.inner.aclose()
