"""One counted send on a socket of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bridge.model import Delivered
from bridge.network import LinkLost, Sending

if TYPE_CHECKING:
    from bridge.local.links import LocalStreamLink


class LocalSending(Sending):
    """One counted send: the pieces go straight into the socket."""

    def __init__(self, link: LocalStreamLink, total: int) -> None:
        self._link = link
        self._total = total
        self._out = 0
        self._writing = False

    async def write(self, piece: bytes) -> None:
        """Return when the kernel has the piece.  ValueError: more than announced; nothing of it went out."""
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this send")
        if self._done:
            raise self._over()
        if len(piece) > self._total - self._out:
            raise ValueError(f"{self._out + len(piece)} bytes written, {self._total} announced")
        self._writing = True
        try:
            await trio.lowlevel.checkpoint()
            rest = memoryview(piece)
            while rest:
                if self._done:  # aborted by another task while we waited
                    raise self._over()
                sent = self._link.push(rest)
                self._out += sent
                rest = rest[sent:]
                if rest:
                    await self._link.wait_writable()
        except LinkLost as lost:
            delivered = self._delivered()
            self.abort()
            raise LinkLost(lost.condition, delivered) from lost
        except BaseException:
            # Cancelled (or closed under our feet) in the middle: the peer must not take the half for the whole.
            self.abort()
            raise
        finally:
            self._writing = False

    async def commit(self) -> None:
        """Settle the send.  The kernel has every byte already, so a cancellation here would only lie about it."""
        if self._done:
            raise self._over()
        if self._out != self._total:
            raise ValueError(f"{self._out} bytes written, {self._total} announced")
        self._done = True
        self._link.settled(self)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def abort(self) -> None:
        """Give up: see `Sending.abort`."""
        if self._done:
            return
        self._done = True
        self._link.settled(self)
        if self._out:
            self._link.break_off()

    def _delivered(self) -> Delivered:
        return Delivered.SOME if self._out else Delivered.NONE

    def _over(self) -> Exception:
        """Why an operation on a finished send fails."""
        if self._link.closed:
            return trio.ClosedResourceError("this link was closed")
        if self._link.condition is not None:
            return LinkLost(self._link.condition, self._delivered())
        return trio.ClosedResourceError("this send is over")
