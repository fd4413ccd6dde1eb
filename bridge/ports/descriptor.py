"""What ports on a terminal's descriptor share; and the error of a port that cannot be opened."""

from __future__ import annotations

import os
from typing import NoReturn

import trio

from bridge.ports import Port, PortLost

__all__ = ["DescriptorPort", "PortError"]

_READ_MOST = 4095  # a pty never gives more at once


class PortError(OSError):
    """A port cannot be opened or published.  The message names it and the remedy."""

    def __init__(self, name: str, problem: str, remedy: str, *, absent: bool = False) -> None:
        super().__init__(f"{name}: {problem}; {remedy}")
        self.name = name
        self.remedy = remedy
        self.absent = absent  # there is simply nothing: the usual case while one waits for it to come back


class DescriptorPort(Port):
    """Bytes to and from a non-blocking terminal descriptor, which it owns."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._sent = 0

    async def receive(self, most: int = 4096) -> bytes:
        """See Port."""
        # FdStream would look first and wait then: one turn of the scheduler and one vain read more for each message.
        while True:
            try:
                await trio.lowlevel.wait_readable(self._descriptor())
                data = os.read(self._descriptor(), min(most, _READ_MOST))
            except trio.ClosedResourceError:
                raise PortLost(f"{self.name}: closed") from None
            except BlockingIOError:  # somebody else was faster
                continue
            except OSError as gone:
                self._lost(gone)
            if not data:
                self._lost(None)
            return data

    async def send(self, data: bytes) -> int:
        """See Port.  Waits for ever while the other end takes nothing: deadlines are the caller's."""
        # FdStream.send_all cannot say how much of a cancelled send went out; this loop can.
        await trio.lowlevel.checkpoint_if_cancelled()
        view = memoryview(data)
        while view:
            descriptor = self._descriptor()
            try:
                count = os.write(descriptor, view)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(descriptor)
                except trio.ClosedResourceError:
                    raise PortLost(f"{self.name}: closed") from None
            except OSError as gone:
                self._lost(gone)
            else:
                self._sent += count
                view = view[count:]
        await trio.lowlevel.cancel_shielded_checkpoint()  # others' turn comes when the bytes are on their way
        return len(data)

    def _descriptor(self) -> int:
        descriptor = self._stream.fileno()
        if descriptor < 0:
            raise PortLost(f"{self.name}: closed")
        return descriptor

    def _lost(self, cause: BaseException | None) -> NoReturn:
        # Closed at once: while a stale descriptor is open, an adapter comes back under another name.
        self.close()
        raise PortLost(f"{self.name}: {cause or 'hung up'}") from cause

    @property
    def sent(self) -> int:
        """See Port."""
        return self._sent

    async def drain(self) -> None:
        """See Port.  A pty has no speed: bytes have left when they are written."""
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close now; may be called again."""
        self._stream.close()

    async def aclose(self) -> None:
        """See Port."""
        self.close()
        await trio.lowlevel.checkpoint()
