"""Names in the file system that a port of ours is found by: bridges that make them take turns."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bridge.ports.descriptor import PortError

__all__ = ["locked_directory"]

_LOCK_PATIENCE = 2.0  # seconds to wait for another bridge that publishes in the same directory
_POLL = 0.005  # seconds


@asynccontextmanager
async def locked_directory(name: str, path: Path) -> AsyncIterator[int]:
    """The directory of ``path``, open, with the lock on it that every bridge takes; raises PortError for ``name``.

    Who wants to take a name out of it later keeps a duplicate: the path may lead elsewhere by then.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as failed:
        problem = f"cannot use the directory {path.parent} ({failed.strerror})"
        raise PortError(name, problem, "create it, or choose another path") from failed
    try:
        await _lock(name, path, directory)
        yield directory
    finally:
        fcntl.flock(directory, fcntl.LOCK_UN)  # closing alone would not: a duplicate shares the lock
        os.close(directory)


async def _lock(name: str, path: Path, directory: int) -> None:
    until = trio.current_time() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if trio.current_time() > until:
                problem = f"another program holds a lock on the directory {path.parent}"
                raise PortError(name, problem, "choose another directory") from None
            await trio.sleep(_POLL)
        else:
            return
