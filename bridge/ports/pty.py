"""A pseudo-terminal of ours, for a host that opens a path."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
import termios
import tty
import zlib
from contextlib import suppress
from pathlib import Path

import trio

from bridge.ports import PortLost
from bridge.ports.descriptor import DescriptorPort, PortError
from bridge.ports.places import locked_directory

__all__ = ["PortError", "PtyPort"]

_POLL = 0.005  # seconds
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, process
_TARGET = re.compile(r"/dev/pts/(?P<ours>\./)?\d+")


class PtyPort(DescriptorPort):
    """The master of a new raw pty.  `publish` makes its slave known as a symlink at ``path``; `aclose` takes it away.

    We keep the slave open, so the port outlives every peer that opens and closes it: it never hangs up.  With nobody
    there, about 12 kB are taken and then a send waits for ever, with no error: deadlines are the caller's.

    What `publish` replaces: nothing, except a symlink left behind by a bridge that was killed.  That is one that

    * dangles, pointing to ``/dev/pts/N`` where no such pty exists any more; or
    * is spelt ``/dev/pts/./N``, as only we spell it, where N was given to somebody else since: the pty is there, but
      no bridge holds the record lock on it that each holds on its own.  (An open-file-description lock, so it is in
      nobody's way: serial programs use flock, which is independent of it.)

    Files, directories, links to elsewhere, other programs' live pty links (socat's, say) and those of a live bridge
    are refused.  Bridges that publish at the same time take turns by a lock on the directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()  # where the symlink will be, whatever the working directory becomes
        try:
            master, self._slave = os.openpty()
        except OSError as failed:
            raise PortError(f"pty:{path}", f"no pty to be had ({failed.strerror})", "see /proc/sys/kernel/pty/max") from failed
        # A fresh slave echoes and edits: raw before anybody can see it.
        tty.setraw(self._slave, termios.TCSANOW)
        self.device = os.ttyname(self._slave)
        fcntl.fcntl(self._slave, fcntl.F_OFD_SETLK, _lock_of(self.path))
        self._link = self.device.replace("/dev/pts/", "/dev/pts/./")
        self._directory = -1  # where `publish` made the symlink, whatever its path leads to since
        super().__init__(f"pty:{path}", master)

    async def publish(self) -> None:
        """Make the symlink; raises PortError where something that is not ours is in the way."""
        async with locked_directory(self.name, self.path) as directory:
            self._make_link(directory)

    def _make_link(self, directory: int) -> None:
        name = self.path.name
        try:
            if self._directory < 0:
                self._directory = os.dup(directory)
            try:
                os.symlink(self._link, name, dir_fd=directory)
            except FileExistsError:
                self._check_stale(directory)
                os.unlink(name, dir_fd=directory)
                # symlink() replaces nothing: whatever came in between is reported, not overwritten.
                os.symlink(self._link, name, dir_fd=directory)
        except PortError:
            raise
        except OSError as failed:
            problem = f"cannot make the symlink ({failed.strerror})"
            raise PortError(self.name, problem, "choose a path in a directory that this user may write to") from failed

    def _check_stale(self, directory: int) -> None:
        kind = os.stat(self.path.name, dir_fd=directory, follow_symlinks=False).st_mode
        if not stat.S_ISLNK(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "a file"
            raise PortError(self.name, f"{what} is there", "it is not ours to replace: choose another path")
        target = os.readlink(self.path.name, dir_fd=directory)
        form = _TARGET.fullmatch(target)
        if not form:
            raise PortError(self.name, f"a link to {target} is there", "it is not ours to replace: choose another path")
        if target == self._link or not Path(target).exists():
            return  # its pty is gone; where we were given the same number, the link tells of a former life
        if not form["ours"]:
            raise PortError(
                self.name, f"another program's link to {target} is there", "stop that program, or choose another path"
            )
        if _held_by_a_bridge(target, self.path):
            raise PortError(self.name, "another bridge has published its pty there", "stop that bridge, or choose another path")

    async def taken(self, *, poll: float = _POLL) -> None:
        """Return when the peer has read everything.  With no peer it waits for ever: deadlines are the caller's.

        What is unread when the master closes is lost, so a side that has said its last word waits for this first.
        """
        quiet = 0
        # The kernel moves bytes to the reader's queue a moment after the write: one empty look is not enough.
        while quiet < 2:
            await trio.sleep(poll)
            if self._slave < 0:
                raise PortLost(f"{self.name}: closed")
            waiting = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)))[0]
            quiet = 0 if waiting else quiet + 1

    def close(self) -> None:
        """Take the symlink away, if it is still ours, and close."""
        if self._slave < 0:
            return
        if self._directory >= 0:
            with suppress(OSError):
                if os.readlink(self.path.name, dir_fd=self._directory) == self._link:
                    os.unlink(self.path.name, dir_fd=self._directory)
            os.close(self._directory)
            self._directory = -1
        super().close()
        os.close(self._slave)
        self._slave = -1


def _lock_of(path: Path) -> bytes:
    """The byte of a pty that stands for the path it is published at: numbers of closed ptys are reused at once."""
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, zlib.crc32(os.fsencode(path)), 1, 0)


def _held_by_a_bridge(target: str, path: Path) -> bool:
    """Whether some bridge's PtyPort holds its lock on this pty, for this path; in doubt, yes."""
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failed:
        return failed.errno not in {errno.ENOENT, errno.ENXIO, errno.EIO}
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock_of(path))
    finally:
        os.close(descriptor)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
