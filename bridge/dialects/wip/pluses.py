"""Payload must never be taken for the escape: a run of exactly three ``+`` between two silences.

The modem leaves data mode on ``+++`` when the byte before it is at least a guard old and a guard of silence follows.
A run of pluses that could become that is therefore never the last thing on the wire: it is held until more follows,
and where nothing follows it is broken by a pause in the middle.  (Multi-Tech S000478 p.106; guard in the table.)
"""

from __future__ import annotations

PLUS = 0x2B
_ESCAPE = 3


class Pluses:
    """Watches what goes out while mapped.  Sans I/O: `plan` tells pauses and pieces."""

    def __init__(self, guard: float) -> None:
        self._guard = guard
        self._run = 0  # pluses at the end of what is on the wire
        self._run_after = -1e9  # when the last byte before that run left
        self.last_out = -1e9

    def plan(self, data: bytes, now: float, *, more: bool) -> tuple[list[tuple[float, bytes]], bytes]:
        """([(pause before, piece)], held back).  ``more``: the same send has bytes to come."""
        body = data.rstrip(b"+")
        trailing = len(data) - len(body)
        if more and trailing:
            return ([(0.0, body)] if body else []), data[len(body) :]
        run = trailing if body else self._run + trailing
        before = now if body else self._run_after if self._run else self.last_out
        if not trailing or run != _ESCAPE or now - before < self._guard * 0.8:
            return [(0.0, data)], b""
        # A pause inside the run: what is on the wire stops being a candidate, the rest is too short to be one.
        pause = self._guard * 1.2
        if not body and self._run:
            return [(pause, data)], b""
        cut = len(data) - trailing + 1
        return [(0.0, data[:cut]), (pause, data[cut:])], b""

    def went_out(self, piece: bytes, now: float) -> None:
        """Bytes have left for the line."""
        body = piece.rstrip(b"+")
        trailing = len(piece) - len(body)
        if body:
            self._run, self._run_after = trailing, now
        elif now - self.last_out > self._guard:
            self._run, self._run_after = trailing, self.last_out
        else:
            if not self._run:
                self._run_after = self.last_out
            self._run += trailing
        self.last_out = now
