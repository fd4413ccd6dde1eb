"""The host's line: its bytes, and its DTR.

The host's DTR is one of *our* wires (a null-modem cable brings it to DSR; the table says which).  A port that can be
reopened and is lost counts as DTR off: for a pty or a USB adapter that is what an unplugged cable looks like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio

from bridge.ports import Port, PortLost, Wire


class HostLine:
    """A port across its losses."""

    def __init__(self, port: Port, dtr: Wire, counters: Counter[str], dtr_off: Callable[[], None]) -> None:
        self._port = port
        self._dtr = dtr
        self._counters = counters
        self._dtr_off = dtr_off
        self._opened = 0  # how often: a loss that is noticed late must not count for the port that came after it
        self._lost = trio.Event()
        self._back = trio.Event()

    async def receive(self, most: int) -> bytes:
        """See Port.  Waits while a port that reopens is away."""
        while True:
            opened = self._opened
            try:
                return await self._port.receive(most)
            except PortLost as lost:
                await self._away(opened, lost)

    async def send(self, data: bytes) -> None:
        """See Port.  What did not go out at all waits for the port; of what was cut in the middle the rest is lost."""
        while True:
            opened, before = self._opened, self._port.sent
            try:
                await self._port.send(data)
                return
            except PortLost as lost:
                out = self._port.sent - before
                await self._away(opened, lost)
                if out:
                    self._counters["lost-with-port"] += len(data) - out
                    return

    @property
    def baud(self) -> int:
        """Bits per second; 0: the port has no speed."""
        return self._port.baud

    async def set_speed(self, baud: int) -> bool:
        """Another speed once everything sent has left.  False, and a count: the port refuses it and stays as it is."""
        while self._port.baud not in {0, baud}:
            opened = self._opened
            try:
                await self._port.set_speed(baud)
            except ValueError:
                self._counters["speed-refused"] += 1
                return False
            except PortLost as lost:
                await self._away(opened, lost)
        return True

    async def set_lines(self, *, dtr: bool | None, rts: bool | None) -> None:
        """See Port.  While a port that reopens is away there is nobody to see them."""
        opened = self._opened
        try:
            await self._port.set_lines(dtr=dtr, rts=rts)
        except PortLost as lost:
            await self._away(opened, lost)

    async def _away(self, opened: int, lost: PortLost) -> None:
        """Wait until it is back; where it does not come back, raise what it was lost with."""
        if not self._port.reopens:
            raise lost
        if opened == self._opened:
            back = self._back
            self._lost.set()
            await back.wait()

    async def run(self) -> None:
        """Reopen the port when it is lost and watch DTR.  Raises PortLost where it never comes back."""
        async with trio.open_nursery() as nursery:
            if self._dtr in self._port.wires:
                nursery.start_soon(self._watch)
            if self._port.reopens:
                nursery.start_soon(self._keep_open)

    async def _keep_open(self) -> None:
        while True:
            await self._lost.wait()
            self._dtr_off()
            await self._port.reopen()
            self._opened += 1
            self._lost = trio.Event()
            back, self._back = self._back, trio.Event()
            back.set()

    async def _watch(self) -> None:
        while True:
            opened = self._opened
            try:
                await self._port.wait_wire(self._dtr, asserted=False)
                self._dtr_off()
                await self._port.wait_wire(self._dtr, asserted=True)
            except PortLost as lost:
                await self._away(opened, lost)
