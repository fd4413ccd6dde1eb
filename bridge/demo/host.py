"""The demo's host: what a frozen firmware does with its ESP module, and nothing more than that.

It is written against ESP-AT alone, from the outside: it opens the terminal by its path, sends command lines, and reads
answers, prompts and length-counted ``+IPD``.  It knows nothing of the bridge, so that it can find it wrong.
"""

from __future__ import annotations

import os
import re
import termios
import tty
from collections import deque

import trio

_IPD = re.compile(rb"\r\n\+IPD,(\d+),(\d+):")
_CLOSED = re.compile(r"(\d),CLOSED")
FINAL = ("OK", "ERROR", "SEND OK", "SEND FAIL")


class HostError(Exception):
    """The module behaved as no ESP module does."""


class Host:
    """One side of a terminal.  Use `run` in a nursery, then the commands."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(descriptor, termios.TCSANOW)
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._buffer = bytearray()
        self._lines: deque[str] = deque()
        self._prompt = False
        self._changed = trio.Event()
        self.received: dict[int, bytearray] = {}
        self.closed: list[int] = []

    async def run(self) -> None:
        """Read for ever."""
        async with self._stream:
            while True:
                self._buffer += await self._stream.receive_some()
                while self._digest():
                    pass
                self._changed.set()
                self._changed = trio.Event()

    def _digest(self) -> bool:
        """Take one thing off the front of the buffer.  Payload is counted, never looked at."""
        buffer = self._buffer
        if found := _IPD.match(buffer):
            link, length = int(found[1]), int(found[2])
            if len(buffer) < found.end() + length:
                return False
            self.received.setdefault(link, bytearray()).extend(buffer[found.end() : found.end() + length])
            del buffer[: found.end() + length]
            return True
        if buffer.startswith(b"\r\n+IPD,"):
            return False  # the head is not complete
        if buffer.startswith(b">"):
            del buffer[:1]
            self._prompt = True
            return True
        if len(buffer) < len(b"\r\n+") and buffer.startswith(b"\r"):
            return False  # an empty line, or the beginning of +IPD
        if b"\r\n+IPD,".startswith(buffer[:7]) and len(buffer) < len(b"\r\n+IPD,"):
            return False
        end = buffer.find(b"\r\n")
        if end < 0:
            return False
        line = buffer[:end].decode("latin-1")
        del buffer[: end + 2]
        if found_closed := _CLOSED.fullmatch(line):
            self.closed.append(int(found_closed[1]))
        if line:
            self._lines.append(line)
        return True

    async def until(self, done: object, limit: float, what: str) -> None:
        """Wait until the callable ``done`` is true.  Raises HostError after ``limit`` seconds."""
        assert callable(done)
        with trio.move_on_after(limit):
            while not done():
                await self._changed.wait()
            return
        raise HostError(f"{what}: nothing after {limit:.0f} s; last lines: {list(self._lines)[-4:]}")

    async def command(self, line: str, *, limit: float = 20.0) -> list[str]:
        """Send a line and return everything up to its OK.  Raises HostError for another end."""
        self._lines.clear()
        await self._stream.send_all(line.encode() + b"\r\n")
        return await self._result(line, "OK", limit)

    async def _result(self, what: str, wanted: str, limit: float) -> list[str]:
        await self.until(lambda: any(said in FINAL for said in self._lines), limit, what)
        said: list[str] = []
        while self._lines:
            said.append(self._lines.popleft())
            if said[-1] in FINAL:
                break
        if said[-1] != wanted:
            raise HostError(f"{what}: {said[-1]}")
        return said

    async def send(self, link: int, data: bytes, *, limit: float = 20.0) -> None:
        """One CIPSEND from its line to SEND OK."""
        self._prompt = False
        await self.command(f"AT+CIPSEND={link},{len(data)}")
        await self.until(lambda: self._prompt, limit, "the prompt")
        await self._stream.send_all(data)
        said = await self._result(f"sending {len(data)} bytes on link {link}", "SEND OK", limit)
        if f"Recv {len(data)} bytes" not in said:
            raise HostError(f"no 'Recv {len(data)} bytes' before SEND OK: {said}")

    async def take(self, link: int, length: int, *, limit: float = 20.0) -> bytes:
        """Exactly ``length`` bytes of a link; more than that stays for the next time."""
        held = self.received.setdefault(link, bytearray())
        await self.until(lambda: len(held) >= length, limit, f"{length} bytes on link {link} (there are {len(held)})")
        data = bytes(held[:length])
        del held[:length]
        return data

    async def take_closed(self, link: int, *, limit: float = 20.0) -> bytes:
        """Everything up to the link's CLOSED."""
        await self.until(lambda: link in self.closed, limit, f"{link},CLOSED")
        self.closed.remove(link)
        return bytes(self.received.pop(link, b""))
