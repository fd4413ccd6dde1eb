"""Ptys and child processes for the benchmarks: plain, blocking, with a deadline on every wait."""
# ruff: noqa: S603 - it runs this checkout's own programs and socat

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0  # seconds any single wait may last


class Wire:
    """A descriptor of a terminal, read and written with a deadline."""

    def __init__(self, descriptor: int) -> None:
        self.fd = descriptor
        tty.setraw(descriptor)
        os.set_blocking(descriptor, False)

    @classmethod
    def at(cls, path: Path) -> Wire:
        """The terminal at a path."""
        return cls(os.open(path, os.O_RDWR | os.O_NOCTTY))

    def write(self, data: bytes) -> None:
        """All of it."""
        while data:
            if not select.select([], [self.fd], [], PATIENCE)[1]:
                raise TimeoutError("the line takes no bytes")
            with suppress(BlockingIOError):
                data = data[os.write(self.fd, data) :]

    def read(self, seconds: float = PATIENCE) -> bytes:
        """What comes next; ``b''`` when nothing came in time."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        return os.read(self.fd, 65536)

    def until(self, *ends: bytes, seconds: float = PATIENCE) -> bytes:
        """Bytes until one of `ends` closes them."""
        got = b""
        deadline = time.monotonic() + seconds
        while not got.endswith(ends):
            piece = self.read(max(0.0, deadline - time.monotonic()))
            if not piece:
                raise TimeoutError(f"expected {ends}, got {got[-200:]!r}")
            got += piece
        return got

    def count(self, total: int, got: bytes = b"") -> bytes:
        """Bytes until there are `total`."""
        while len(got) < total:
            piece = self.read()
            if not piece:
                raise TimeoutError(f"expected {total} bytes, got {len(got)}")
            got += piece
        return got

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


@contextmanager
def program(arguments: list[str], *links: Path) -> Iterator[None]:
    """A child process that shows its ptys at `links`; ended by SIGTERM, killed after 8 s."""
    log = links[0].with_suffix(".log")
    with log.open("wb") as out:
        child = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE
        while not all(link.is_symlink() for link in links):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments} did not come up:\n{log.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(8)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def at_bridge(*arguments: str) -> list[str]:
    """The command line of this checkout's at-bridge."""
    return [sys.executable, "-m", "bridge", *arguments]
