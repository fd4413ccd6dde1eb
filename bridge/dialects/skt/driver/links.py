"""Streams of an SKT module: bounded buffers between the seam and the driver's task."""

from __future__ import annotations

from collections.abc import Callable

import trio

from bridge.dialects.skt.driver.asking import Asked, Pace
from bridge.dialects.skt.driver.payload import Alphabet
from bridge.driving.streams import DrivenStream
from bridge.model import Condition, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError, Sending


class SktSending(Sending):
    """One counted send of a link.  It is held whole (at most ``send_size`` bytes): only then its bytes can be judged."""

    def __init__(self, link: SktLink, total: int) -> None:
        self.link = link
        self.total = total
        self.out = 0  # bytes that the module took
        self.touched = False  # a command with bytes of it went out
        self.refused: NetworkError | None = None  # before any byte; the link lives
        self.broken: LinkLost | None = None
        self._data = bytearray()
        self._committed = False

    async def write(self, piece: bytes) -> None:
        """See Sending."""
        if self._done or len(self._data) + len(piece) > self.total:
            raise ValueError("more bytes than announced")
        await trio.lowlevel.checkpoint()
        self._data += piece
        self.link.want()
        self._check()

    async def commit(self) -> None:
        """See Sending.  NetworkError: the module cannot carry it, nothing went out and the link lives."""
        if len(self._data) != self.total:
            raise ValueError(f"{len(self._data)} of {self.total} announced bytes were written")
        await trio.lowlevel.checkpoint()
        byte = self.link.alphabet.unfit(self._data)
        if byte is not None:
            self._close()
            raise NetworkError(Condition.BAD_ARGUMENT, f"this module cannot carry a byte of value {byte}")
        self._committed = True
        self.link.want()
        while self.out < self.total:
            self._check()
            await self.link.changed()
        self._close()

    def abort(self) -> None:
        """See Sending."""
        if self._done:
            return
        self._close()
        if self.touched:
            self.link.end(Condition.ABORTED)
            self.link.want()

    def ready(self, size: int) -> bytes:
        """What may go out now: chunks of so many bytes once they are whole, all of it at the end."""
        if self._done or self.refused is not None or self.broken is not None:
            return b""
        streams = self.link.alphabet.values is None
        if self._committed or len(self._data) == self.total:
            return bytes(self._data[self.out :]) if self._committed or streams else b""
        left = len(self._data) - self.out
        return bytes(self._data[self.out :]) if streams and left >= size else b""

    def took(self, count: int) -> None:
        """The module took so many more bytes."""
        self.out += count
        self.link.wake()

    def fail(self, condition: Condition, detail: str, *, untouched: bool) -> None:
        """The module refused.  ``untouched``: it said so before it took anything of this send."""
        if untouched:
            self.refused = NetworkError(condition, detail)
        else:
            self.broken = LinkLost(condition, Delivered.SOME if self.out else Delivered.UNKNOWN)
        self.link.wake()

    def _check(self) -> None:
        if self.refused is not None:
            self._close()
            raise self.refused
        if self.broken is not None:
            self._close()
            raise self.broken
        if self.link.condition is not None:
            delivered = Delivered.UNKNOWN if self.touched else Delivered.NONE
            self._close()
            raise LinkLost(self.link.condition, delivered)

    def _close(self) -> None:
        self._done = True
        if self.link.current is self:
            self.link.current = None


class SktLink(Asked, DrivenStream):
    """One TCP connection of the module: a client's, or a seed of a server."""

    def __init__(self, pace: Pace, alphabet: Alphabet, want: Callable[[], None]) -> None:
        super().__init__(pace, want)
        self.alphabet = alphabet
        self.current: SktSending | None = None
        self.draining: Condition | None = None  # why it will end once nothing is left to read in the module

    # --- the seam ---

    def sending(self, total: int) -> SktSending:
        """See StreamLink."""
        if self.closing:
            raise trio.ClosedResourceError
        if total < 1:
            raise ValueError("a send has at least one byte")
        if self.current is not None:
            raise trio.BusyResourceError("another send is under way")
        if self.condition is not None or self.draining is not None:
            raise LinkLost(self.condition or self.draining or Condition.ABORTED, Delivered.NONE)
        self.current = SktSending(self, total)
        return self.current

    async def fetch(self) -> int:
        """See StreamLink.  The driver asks the module as long as there is room; nothing need be said for it."""
        await trio.lowlevel.checkpoint()
        return len(self._buffer)

    # --- for the driver ---

    @property
    def full(self) -> bool:
        """See Asked.  What is not read stays in the module, whose window holds the peer back."""
        return len(self._buffer) > self.pace.low_water

    def asked(self, now: float, count: int) -> None:
        """See Asked."""
        super().asked(now, count)
        if not count and self.draining is not None:
            self.end(self.draining)

    def deliver(self, data: bytes, source: Endpoint | None, *, cut: bool) -> bool:
        """See Held."""
        self.keep(data, self.pace.most)
        return True

    def drain(self, condition: Condition) -> None:
        """The peer is gone, and what it sent before is read first."""
        if self.pace.pushed:
            self.end(condition)
        elif self.condition is None:
            self.draining = self.draining or condition
            self.ask_now()
