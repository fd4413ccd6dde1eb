"""The module's connections under their numbers: lowest free first, slot 0 reserved in S1, ids survive the peer's close."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass


@dataclass
class Connection:
    number: int
    role: str  # server, client, seed
    kind: str  # tcp, udp
    sock: socket.socket | None
    host: str = "0.0.0.0"
    port: int = 0
    server: int | None = None  # of a seed
    reported: bool = False  # its end was told, which happens once
    auto: bool = False  # S2: receives by itself
    task: object = None  # accepts for a server
    silent_send: bytes = b""  # the last send that got no answer

    @property
    def dead(self):
        return self.sock is None

    def describe(self):
        return -1 if self.sock is None else self.sock.fileno()

    def close(self, *, hard=False):
        """The socket goes, the number stays."""
        if self.sock is not None:
            if hard:
                with contextlib.suppress(OSError):
                    self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            self.sock = None


class Pool:
    def __init__(self, loop, first, size):
        self._loop = loop
        self._numbers = range(first, size)
        self._held = set()  # taken by an open that is under way
        self.all = {}  # in the order of creation

    def hold(self):
        """The lowest free number, or None."""
        number = next((n for n in self._numbers if n not in self.all and n not in self._held), None)
        if number is not None:
            self._held.add(number)
        return number

    def release(self, number):
        self._held.discard(number)

    def add(self, connection):
        self._held.discard(connection.number)
        self.all[connection.number] = connection

    def seeds(self, server):
        return [one for one in self.all.values() if one.server == server]

    def delete(self, number):
        """A server goes with all its seeds; gives the numbers that are free now."""
        connection = self.all.pop(number, None)
        if connection is None:
            return []
        freed = [number]
        if connection.role == "server":
            self._loop.kill(connection.task)
            for seed in self.seeds(number):
                freed += self.delete(seed.number)
        connection.close()
        return freed

    def rows(self):
        """Servers and clients in their order, each server followed by its seeds."""
        for one in list(self.all.values()):
            if one.role != "seed":
                yield one
                yield from self.seeds(one.number)

    def clear(self):
        for one in list(self.all.values()):
            self._loop.kill(one.task)
            one.close(hard=True)
        self.all.clear()
        self._held.clear()
