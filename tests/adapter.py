"""A serial adapter that can be unplugged, as far as a pty can show it."""

import os
import tty
from contextlib import suppress

import trio


class Adapter:
    """An adapter under a name: a pty behind a symlink, as udev's by-id links are.  We are what it is wired to."""

    def __init__(self, link):
        self.link = link
        self.plug()

    def plug(self):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        new = self.link.with_suffix(".new")
        new.symlink_to(os.ttyname(self.slave))
        new.replace(self.link)

    def unplug(self, *, name=True):
        if name:
            self.link.unlink()
        os.close(self.slave)
        os.close(self.master)

    async def hear(self, count):
        data = b""
        while len(data) < count:
            await trio.lowlevel.wait_readable(self.master)
            data += os.read(self.master, 4096)
        return data

    def say(self, data):
        os.write(self.master, data)

    def heard(self):
        """What came since the last call; for a test without a trio run."""
        data = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.master, 4096):
                data += piece
        return data
