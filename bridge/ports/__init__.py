"""Byte streams with a name: serial lines, ptys, and memory ports for tests.

Everything above reads and writes a `Port` and knows nothing of terminals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import trio

from bridge.model import Wire

__all__ = ["Port", "PortLost", "Wire"]


class PortLost(Exception):
    """The other end hung up, the adapter went away, or the descriptor died.  The port is of no more use."""


class Port(ABC):
    """One side of a serial line.

    After PortLost a port with ``reopens`` can be used again once `reopen` has returned; every other one is of no more
    use.  Every call in between raises PortLost.
    """

    name: str
    baud: int = 0  # bits per second now; 0: this port has no speed
    reopens: bool = False
    flow: bool = False  # RTS and CTS hold the sender of either side back
    wires: frozenset[Wire] = frozenset()  # the signals that `wait_wire` can see

    @abstractmethod
    async def receive(self, most: int = 4096) -> bytes:
        """At least one byte and at most ``most``; raises PortLost.  Cancelling loses no byte."""

    @abstractmethod
    async def send(self, data: bytes) -> int:
        """Hand all of ``data`` to the line; waits while the line is full.  Raises PortLost.

        Returns len(data).  Where it is cancelled, `sent` tells how far it came.
        """

    @property
    @abstractmethod
    def sent(self) -> int:
        """Bytes handed to the line since it was opened."""

    @abstractmethod
    async def drain(self) -> None:
        """Return when everything sent has left the line (by its speed, where the line has one)."""

    async def discard(self) -> bool:
        """Drop what was sent and has not left the line; False where that cannot be done, and nothing was.

        An adapter's own few bytes may leave all the same.  Raises PortLost.
        """
        await trio.lowlevel.checkpoint()
        return False

    @abstractmethod
    async def aclose(self) -> None:
        """Close at once."""

    async def reopen(self) -> None:
        """After PortLost: wait until the port is there again, by its name and with back-off, and open it as before.

        One log event says that it is lost, one that it is back.  Raises PortLost where it never will be.
        """
        await trio.lowlevel.checkpoint()
        raise PortLost(self.name)

    async def set_speed(self, baud: int) -> None:
        """Another speed, both ways, once everything sent has left.  Without effect where the port has no speed.

        Raises ValueError where the port refuses that speed (the old one stays), PortLost.
        """
        await trio.lowlevel.checkpoint()
        if self.baud:
            self.baud = baud

    async def wait_wire(self, wire: Wire, asserted: bool) -> None:
        """Return when the wire is so, or was so since the last call for it: a short pulse is not missed.

        A break counts as asserted once, and as released at once.  Raises ValueError for a wire not in ``wires``, PortLost.
        """
        await trio.lowlevel.checkpoint()
        raise ValueError(f"{self.name} has no {wire} to wait for ({asserted})")

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Set our own modem lines, where there are any; None leaves one as it is."""
        await trio.lowlevel.checkpoint()
