"""What a host types in transparent mode, sans I/O: gathered until it pauses or the buffer is full, and the way out of it.

``+++`` leaves the mode where it is a burst of its own: nothing but these three bytes between two silences.  A module
measures the silence (``pause``) at its own pin.  We are told of bytes later: whole reads at a time, by an adapter that
may have kept them back for ``latency`` seconds, so that two bursts with a pause between them may be seen closer
together, and one burst may be seen in parts.  Hence, between two reads,

* what is less than ``pause - latency`` (less what the line took for the bytes of the second one) is no silence: the
  burst goes on;
* ``pause`` and a byte's time without a byte (that byte is seen when it is over) is one, for certain: the burst ends;
* in between only that counts which can be meant: ``+`` and ``++`` are one escape, and ``data`` and ``+++`` are two bursts.

The price: data that end in ``+++``, and are seen to halt for `latency` or so right before these three, leave the mode
though the host meant them.  An adapter without latency has no such case: 0 in the table makes the measure exact.
"""

from __future__ import annotations

import math

ESCAPE = b"+++"


class Bursts:
    """Feed what comes, with the time; call `end` when `deadline` is over and nothing came."""

    def __init__(self, most: int, pause: float, latency: float) -> None:
        self._most = most  # bytes
        self._pause = pause  # seconds
        self._before = max(pause - latency, 0.0)  # seconds from which on a new burst can be meant
        self._gathered = bytearray()  # data; less than ``most``
        self._held = b""  # the burst so far, while it may become the escape: one to three of them
        self._plain = False  # the burst has begun, and cannot become the escape
        self._heard = -math.inf
        self.deadline = math.inf  # when the burst is over

    def clear(self) -> None:
        """Nothing was typed, and what is next begins a burst."""
        self._gathered.clear()
        self._held, self._plain = b"", False
        self._heard, self.deadline = -math.inf, math.inf

    def feed(self, data: bytes, now: float, byte: float) -> list[bytes]:
        """More bytes, each of which took ``byte`` seconds of the line: the buffers that are full now."""
        fresh = now - self._heard - len(data) * byte >= self._before
        self._heard = now
        self.deadline = now + self._pause + byte
        if self._plain and fresh:
            self._plain = False
        joined = self._held + data
        if not self._plain and ESCAPE.startswith(joined):
            self._held = joined
        elif self._held and fresh and ESCAPE.startswith(data):
            self._gathered += self._held
            self._held = data
        else:
            self._gathered += joined
            self._held, self._plain = b"", True
        full = []
        while len(self._gathered) >= self._most:
            full.append(bytes(self._gathered[: self._most]))
            del self._gathered[: self._most]
        return full

    def end(self) -> tuple[bytes, bool]:
        """The burst is over: what was gathered, and whether the host wants out."""
        left = self._held == ESCAPE
        data = bytes(self._gathered) if left else bytes(self._gathered) + self._held
        self.clear()
        return data, left
