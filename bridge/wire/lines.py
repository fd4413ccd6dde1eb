r"""Lines of a module in command state: ``\r\n<text>\r\n``, however the bytes are cut.

Sans I/O: feed bytes, get lines.  Empty lines are dropped, stray CR are stripped, and a line longer than the bound is
given up (counted by the caller): noise must not fill the memory.
"""

from __future__ import annotations

LINE_BOUND = 512  # the longest line of any table is below 256


class Lines:
    """An incremental line splitter.  `next_line` one at a time, so that the caller may switch to data in between."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.overlong = 0  # lines given up, for whoever counts them

    def feed(self, data: bytes) -> None:
        """More bytes of the stream."""
        self._buffer += data

    def next_line(self) -> bytes | None:
        """The next line that is not empty, or None where more bytes are needed."""
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_BOUND:
                    self._buffer.clear()
                    self.overlong += 1
                return None
            line = bytes(self._buffer[:end]).strip(b"\r")
            del self._buffer[: end + 1]
            if line:
                return line

    def rest(self) -> bytes:
        """Everything after the last line given: it belongs to whatever mode comes next."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data
