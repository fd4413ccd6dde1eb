"""The escape out of data mode: silence, three pluses, silence.  Pure; times in seconds of one clock.

The real module decides by time, never by how bytes happen to be grouped:

1. the last host byte before the first plus is at least one guard old;
2. the three pluses come within one guard of the first;
3. one guard of silence follows; a fourth plus or any other byte inside it makes all of them payload.

The three bytes are not sent to the peer.  What is held while the guard runs goes out, in order, when it fails.
"""

from __future__ import annotations

import math

_PLUS = b"+"
_LENGTH = 3


class EscapeGuard:
    """Watches what the host sends while a socket is mapped."""

    def __init__(self, guard: float, now: float) -> None:
        self._guard = guard
        self._heard_at = now
        self._first_at = 0.0
        self._held = 0

    @property
    def deadline(self) -> float:
        """When `expire` must be called if nothing is heard until then; inf where nothing is held."""
        if not self._held:
            return math.inf
        return (self._first_at if self._held < _LENGTH else self._heard_at) + self._guard

    def listen_again(self, now: float) -> None:
        """We did not listen until now (transmit buffer full): silence that nobody could break does not count."""
        self._heard_at = max(self._heard_at, now)

    def feed(self, data: bytes, now: float) -> bytes:
        """Bytes of the host, heard now; returns what goes to the peer.

        Called although the deadline has passed, it takes the bytes as inside the guard: a process that was late
        cannot know, and an escape too few is repeated by the host, one too many turns payload into commands.
        """
        if not self._held:
            if now - self._heard_at >= self._guard:
                self._first_at = now
            else:
                self._heard_at = now
                return data
        self._heard_at = now
        if self._held + len(data) <= _LENGTH and not data.strip(_PLUS):
            self._held += len(data)
            return b""
        return self.release() + data

    def release(self) -> bytes:
        """The held pluses, as payload."""
        held, self._held = self._held, 0
        return _PLUS * held

    def expire(self) -> bytes | None:
        """The deadline has passed in silence: None is the escape, bytes go to the peer."""
        if self._held == _LENGTH:
            self._held = 0
            return None
        return self.release()
