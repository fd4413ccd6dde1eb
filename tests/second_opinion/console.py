"""The console's line editor: one buffer, cleared only when the running command is done (half-duplex).

Editor A (recent chips): CR LF ends a line, each alone is data.  Editor B (older chips): CR ends it, LF is nothing.
"""

from __future__ import annotations

import time

from .loop import Pause

SAFE = 125  # characters of text that every build takes, of a buffer of 127
GUARD = 0.010  # seconds from the last print until the log port has its trailer, too, and the buffer is cleared
PATIENCE = {"AT+SKTSEND": 9.5, "AT+SKTCLIENT": 28.0, "AT+WLCONN": 58.0, "AT+WLDISCONN": 20.0, "AT+PING": 9.0, "AT+IPDOMAIN": 28.0}
WAITS = 1.9  # seconds that a host waits for any other command, at least


class Console:
    """Bytes to lines.  ``run(line)`` gives the generator that does what a line says."""

    def __init__(self, loop, findings, editor, run):
        assert editor in {"A", "B"}
        self._loop = loop
        self._findings = findings
        self._editor = editor
        self._run = run
        self._text = bytearray()
        self._overflow = False
        self._task = None
        self._line = b""
        self._since = 0.0
        self._wiped = bytearray()
        self._wiped_at = 0.0  # seconds from the line's end to the first of them
        self.raw = None  # takes bytes as they are, while set (raw mode)
        self.excused = False  # the host cannot know that the module is deaf: its reply was lost

    def feed(self, data):
        """What the host wrote."""
        for at, byte in enumerate(data):
            if self.raw is not None:
                self.raw(data[at:])
                return
            if self._task is not None:
                if not self._wiped:
                    self._wiped_at = time.monotonic() - self._since
                self._wiped.append(byte)
            else:
                self._type(byte)

    def reset(self):
        """The chip was reset: whatever ran does not run any more."""
        self._loop.kill(self._task)
        self._task = None
        self.raw = None
        self._clear()

    def _clear(self):
        self._text.clear()
        self._wiped.clear()
        self._overflow = False

    def _type(self, byte):
        if byte == 0:
            self._end()
        elif byte in {0x08, 0x7F}:
            del self._text[-1:]
        elif byte == 0x0A and self._editor == "A" and self._text[-1:] == b"\r":
            del self._text[-1:]
            self._end()
        elif byte == 0x0D and self._editor == "B":
            self._end()
        elif (byte == 0x0A and self._editor == "B") or (byte == 0xFF and self._editor == "A"):
            pass
        else:
            self._store(0x20 if byte == 0x09 else byte)

    def _store(self, byte):
        self._text.append(byte)
        text = bytes(self._text).removesuffix(b"\r") if self._editor == "A" else self._text
        if len(text) <= SAFE:
            return
        if not self._overflow:
            self._findings.breach(f"a line of more than {SAFE} characters: {bytes(self._text)!r}")
        self._overflow = True
        if self._editor == "A":
            self._end()  # what fits is executed
        else:
            del self._text[-1:]

    def _end(self):
        self._line = bytes(self._text)
        self._clear()
        if self._line:
            self._since = time.monotonic()
            self._task = self._loop.spawn(self._execute())

    def _execute(self):
        yield from self._run(self._line)
        yield Pause(GUARD)
        name = self._line.partition(b"=")[0].decode("latin-1")
        impatient = time.monotonic() - self._since > PATIENCE.get(name, WAITS)
        lost = bytes(self._wiped).strip(b"\r\n") if self._editor == "B" else bytes(self._wiped)  # behind a CR, nobody misses them
        if lost and not self.excused and not impatient:
            when = f"{self._wiped_at:.3f} s after it"
            self._findings.breach(f"{lost!r} written {when} while {self._line!r} was running or in its guard")
        self.excused = False
        self._clear()
        self._task = None
