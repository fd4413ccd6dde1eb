"""How a generation says that a command is over: ``+NAME:OK`` and ``+NAME:ERROR:n``, or a bare ``OK`` and ``ERROR: n``."""

from __future__ import annotations

import re

SILENT, GARBLED, UNKNOWN, REFUSED = -1, -2, -3, -4  # codes of ours: no answer, answer lost, no such command, no number
_UNKNOWN_TEXT = b"unknown command"  # of the log port; the AT port is silent instead


class Finals:
    """How this generation says that a command is over."""

    def __init__(self, results: str) -> None:
        self.named = results == "named"
        self.probing = False  # any generation's answer is one
        self.by_name = False  # the last answer was S1's

    def code(self, command: str, line: bytes) -> int | None:
        """0 where the command succeeded, its error's number, or None: this line is no final result of it."""
        if line.startswith(_UNKNOWN_TEXT):
            return UNKNOWN
        if command == "GMR" and self.named:
            return 0 if line.startswith(b"+GMR:") else None  # no OK follows
        name = command.encode("ascii")
        if self.probing and not line.startswith(b"+"):
            self.by_name = False
            found = re.fullmatch(rb"ERROR: ?(\d+)", line)
            return 0 if line == b"OK" else int(found[1]) or REFUSED if found is not None else None
        if self.named or self.probing:
            self.by_name = True
            if re.fullmatch(rb"\+%s: ?OK(?:,\d+)?" % name, line):
                return 0
            found = re.fullmatch(rb"\+%s: ?ERROR: ?(\d+)" % name, line)
        else:
            if line == b"OK":
                return 0
            found = re.fullmatch(rb"ERROR: ?(\d+)", line)
        return None if found is None else int(found[1]) or REFUSED
