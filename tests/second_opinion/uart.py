"""The AT UART on a pty: prints, whole and one after the other, at the pace of the line."""

from __future__ import annotations

import os
import tty

from .loop import Pause

PIECE = 48  # bytes at most that reach the host's driver at once


class Uart:
    def __init__(self, loop, path, baud, rng):
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._path = path
        path.symlink_to(os.ttyname(self._slave))
        self._seconds = 10 / baud  # per byte, 8N1
        self._rng = rng
        self._printing = False
        self.mute = False
        self.printed = bytearray()  # everything, for who looks for a reason afterwards
        self.heard = bytearray()
        loop.spawn(self._listen())
        self.receive = None  # called with what came in

    def fileno(self):
        return self._master

    def close(self):
        self._path.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)

    def _listen(self):
        while True:
            yield Pause(reads=self)
            try:
                data = os.read(self._master, 4096)
            except BlockingIOError:
                continue
            self.heard += data
            self.receive(data)

    def print(self, text):
        """One print: other tasks' prints come before or after it, never inside.  Takes the time of the line."""
        while self._printing:
            yield Pause(0.0002)
        self._printing = True
        try:
            while text:
                piece = text[: self._rng.randint(1, PIECE)]
                if not self.mute:
                    try:
                        piece = piece[: os.write(self._master, piece)]
                    except BlockingIOError:
                        yield Pause(0.001)
                        continue
                    self.printed += piece
                text = text[len(piece) :]
                yield Pause(len(piece) * self._seconds)
        finally:
            self._printing = False
