"""Byte streams with a name: serial lines, ptys, and memory ports for tests.

Everything above reads and writes a `Port` and knows nothing of terminals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Port", "PortLost"]


class PortLost(Exception):
    """The other end hung up, the adapter went away, or the descriptor died.  The port is of no more use."""


class Port(ABC):
    """One side of a serial line."""

    name: str

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

    @abstractmethod
    async def aclose(self) -> None:
        """Close at once."""
