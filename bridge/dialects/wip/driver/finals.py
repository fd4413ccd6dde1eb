"""Which lines end a command, and whose error a bare one is.

A GSM modem tells the failure of a create by the same bare ``+CME ERROR: n`` that ends a command (Multi-Tech S000437C;
the C1 has ``+WIPERROR`` with an index).  So while a create is pending an error is only believed to be the command's when
no other final result follows at once; where one does, the error was the create's.
"""

from __future__ import annotations

_RESULTS = (b"OK", b"ERROR", b"NO CARRIER")
_CME = b"+CME ERROR:"
NO_CODE = -1  # a bare ERROR


def is_error(line: bytes) -> bool:
    """``ERROR`` or ``+CME ERROR: n``."""
    return line == b"ERROR" or line.startswith(_CME)


def is_final(line: bytes) -> bool:
    """Whether this line ends a command."""
    return line in _RESULTS or line.startswith(_CME)


def is_result(line: bytes) -> bool:
    """Whether nobody but a command of ours can have drawn it."""
    return line in {b"OK", b"CONNECT"} or is_error(line)


def code_of(line: bytes) -> int:
    """The number of an error; -1 where it has none."""
    digits = line.removeprefix(_CME).strip() if line.startswith(_CME) else b""
    return int(digits) if digits.isdigit() else NO_CODE


class Doubt:
    """An error that may be a pending create's and not the command's."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._line: bytes | None = None
        self._since = 0.0

    def forget(self) -> None:
        """Another command."""
        self._line = None

    def hold(self, line: bytes, now: float) -> bool:
        """Keep an error for a moment; False where one is kept already."""
        if self._line is not None:
            return False
        self._line, self._since = line, now
        return True

    def settled(self, now: float) -> bool:
        """Nothing followed: it is the command's."""
        return self._line is not None and now - self._since >= self._settle

    def take(self) -> bytes | None:
        """What is kept, and keep it no longer."""
        line, self._line = self._line, None
        return line
