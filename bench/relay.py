"""The smallest relay that can be written with trio: two ptys, bytes copied both ways.  The floor for a trio program."""

import os
import sys
import tty
from pathlib import Path

import trio


async def copy(source: trio.lowlevel.FdStream, sink: trio.lowlevel.FdStream) -> None:
    """Move bytes until the source ends."""
    async for data in source:
        await sink.send_all(data)


async def main(paths: list[str]) -> None:
    """A pty at each path, joined."""
    sides = []
    for path in paths:
        master, slave = os.openpty()
        tty.setraw(slave)
        Path(path).symlink_to(os.ttyname(slave))  # noqa: ASYNC240 - before anything runs
        sides.append(trio.lowlevel.FdStream(master))  # the slave stays open: no hang-up while nobody has it
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy, sides[0], sides[1])
        nursery.start_soon(copy, sides[1], sides[0])


if __name__ == "__main__":
    trio.run(main, sys.argv[1:3])
