"""Payload must never be taken for the escape: a run of exactly three ``+`` between two silences.

The modem leaves data mode on ``+++`` when the byte before it is at least a guard old and a guard of silence follows.
A run of pluses that could become that is therefore never the last thing on the wire: it is held until more follows,
and where nothing follows it is broken by a pause in the middle.  (Multi-Tech S000478 p.106; guard in the table.)
"""

from __future__ import annotations

PLUS = 0x2B
_ESCAPE = 3
_NEVER = float("-inf")


class Pluses:
    """Watches what goes out while mapped.  Sans I/O: `plan` tells pauses and pieces."""

    def __init__(self, guard: float) -> None:
        self._silence = guard * 0.8  # what a module's clock may already take for a guard
        self._pause = guard * 1.2  # what it takes for one without doubt
        self._body_at = _NEVER  # when the last byte left that was no plus
        self._run: list[tuple[float, int]] = []  # pluses since then: when, how many
        self.last_out = _NEVER

    def plan(self, data: bytes, now: float, *, more: bool) -> tuple[list[tuple[float, bytes]], bytes]:
        """([(pause before, piece)], held back).  ``more``: the same send has bytes to come."""
        body = data.rstrip(b"+")
        trailing = len(data) - len(body)
        if more and trailing:
            return ([(0.0, body)] if body else []), data[len(body) :]
        if body or not trailing or not self._could_escape([*self._run, (now, trailing)]):
            return [(0.0, data)], b""
        # After a pause, what is on the wire is no part of it any more, and one or two pluses are no escape.
        if trailing != _ESCAPE:
            return [(self._pause, data)], b""
        return [(self._pause, b"+"), (self._pause, b"++")], b""

    def _could_escape(self, run: list[tuple[float, int]]) -> bool:
        """Whether the end of a run of pluses is three of them behind a silence."""
        count = 0
        for at in range(len(run) - 1, -1, -1):
            when, number = run[at]
            count += number
            before = run[at - 1][0] if at else self._body_at
            if count == _ESCAPE and when - before >= self._silence:
                return True
            if count > _ESCAPE or when - before > self._pause:
                return False
        return False

    def entered(self, now: float) -> None:
        """Data mode begins.  Whether a module counts the command before it as silence is its own affair: assume so."""
        self._body_at, self._run = _NEVER, []
        self.last_out = now

    def went_out(self, piece: bytes, now: float) -> None:
        """Bytes have left for the line."""
        body = piece.rstrip(b"+")
        if body:
            self._body_at, self._run = now, []
        if trailing := len(piece) - len(body):
            self._run = [*self._run[-_ESCAPE:], (now, trailing)]
        self.last_out = now
