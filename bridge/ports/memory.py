"""A line in memory, for tests in virtual time; paced where it is given a speed."""

from __future__ import annotations

import trio
import trio.testing

from bridge.ports import Port, PortLost


class MemoryPort(Port):
    """One end of a line in memory.  Make both with `line`."""

    def __init__(self, name: str, out: trio.testing.MemorySendStream, into: trio.testing.MemoryReceiveStream, baud: int) -> None:
        self.name = name
        self._out = out
        self._in = into
        self.baud = baud
        self._free_at = 0.0
        self._sent = 0

    async def receive(self, most: int = 4096) -> bytes:
        """See Port."""
        try:
            data = await self._in.receive_some(most)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PortLost(self.name) from None
        if not data:
            raise PortLost(self.name)
        return bytes(data)

    async def send(self, data: bytes) -> int:
        """See Port.  With a speed, bytes arrive at the other end in slices, when they would have left a UART."""
        if not self.baud:
            await self._put(data)
            return len(data)
        self._free_at = max(self._free_at, trio.current_time())
        for start in range(0, len(data), 16):
            piece = data[start : start + 16]
            # Within one send by an absolute schedule: a timer's lateness must not add up to a slower line.
            self._free_at += len(piece) * 10 / self.baud
            await trio.sleep_until(self._free_at)
            await self._put(piece)
        return len(data)

    async def _put(self, data: bytes) -> None:
        try:
            await self._out.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PortLost(self.name) from None
        self._sent += len(data)

    @property
    def sent(self) -> int:
        """See Port."""
        return self._sent

    async def drain(self) -> None:
        """See Port."""
        await trio.sleep_until(max(self._free_at, trio.current_time()))

    async def set_speed(self, baud: int) -> None:
        """See Port."""
        await self.drain()
        await super().set_speed(baud)

    async def aclose(self) -> None:
        """See Port."""
        self._out.close()
        self._in.close()
        await trio.lowlevel.checkpoint()


def line(name: str = "line", *, baud: int = 0) -> tuple[MemoryPort, MemoryPort]:
    """Both ends of a line; ``baud`` 0: no pacing."""
    a_out, b_in = trio.testing.memory_stream_one_way_pair()
    b_out, a_in = trio.testing.memory_stream_one_way_pair()
    return MemoryPort(f"{name}-a", a_out, a_in, baud), MemoryPort(f"{name}-b", b_out, b_in, baud)
