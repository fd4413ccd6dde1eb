r"""Whose words are at the end of a mapped stream: the peer's payload or the modem's own.

In data mode 2 everything is raw.  The modem's own text (``\r\nNO CARRIER\r\n``, the ``\r\nOK\r\n`` of an escape with
URCs round it) can only stand at the *tail*, because after it the modem is in command state and no payload follows.
So a tail that may still become such a text is held; bytes that contradict it, or time, release it as payload:

1. more bytes that do not fit the grammar: what was held is payload;
2. a text that is not complete: payload after a short silence (the modem writes a line in one go);
3. a complete fallback text: *suspect*.  Only an escape can tell (an answered escape proves that the modem was still
   mapped, so the text was payload), because a peer may send the same bytes;
4. the ``OK`` of an escape is believed only after its guard, at the tail, and after silence;
5. a text after which the modem *stays* mapped (``SHUTDOWN``) is proved by what comes with that ``OK``: `close_escaped`
   gives it apart, and the caller decides whether it was payload.

Sans I/O; the caller brings the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bridge.wire.patterns import Pattern

CRLF = b"\r\n"
_LONGEST = 64  # no text of the modem's in this place is longer
_LINE = 0.05  # seconds: a modem writes one line in less


class Fit(Enum):
    """How a text fits a grammar."""

    NO = 0
    PARTIAL = 1
    FULL = 2


@dataclass(frozen=True)
class Word:
    """One line the modem may say here: literal, or a pattern with its literal head."""

    head: bytes
    pattern: Pattern | None = None

    @classmethod
    def of(cls, text: str) -> Word:
        """From a table's pattern."""
        head, brace, _ = text.partition("{")
        return cls(head.rstrip().encode("ascii"), Pattern(text) if brace else None)

    def begins(self, body: bytes) -> bool:
        """Whether an unfinished line may become this word."""
        if self.head.startswith(body):
            return True
        return self.pattern is not None and body.startswith(self.head) and len(body) < _LONGEST and _printable(body)

    def matches(self, body: bytes) -> bool:
        """Whether a finished line is this word."""
        return body == self.head if self.pattern is None else self.pattern.match(body) is not None


def _printable(body: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in body)


def _one(text: bytes, words: Sequence[Word]) -> tuple[Fit, int]:
    r"""One ``\r\n<word>\r\n`` at the start of a text, and how long it is."""
    if len(text) < len(CRLF):
        return (Fit.PARTIAL if CRLF.startswith(text) else Fit.NO), 0
    if not text.startswith(CRLF):
        return Fit.NO, 0
    end = text.find(CRLF, 2)
    if end < 0:
        body = text[2:].removesuffix(b"\r")
        whole = text.endswith(b"\r") and len(text) > 2
        fits = any(w.matches(body) for w in words) if whole else any(w.begins(body) for w in words)
        return (Fit.PARTIAL if fits else Fit.NO), 0
    if any(word.matches(text[2:end]) for word in words):
        return Fit.FULL, end + 2
    return Fit.NO, 0


@dataclass(frozen=True)
class Answer:
    """What stood at the tail when an escape was answered."""

    payload: bytes
    doubtful: bytes  # behind it: a text after which a modem stays mapped, or payload that looks like one
    lines: list[bytes]  # the modem's


class Tail:
    """The held end of one mapped stream.

    ``stays``: those of the fallback texts after which the modem stays mapped.  ``errors``: what it may say of another
    socket, beside URCs, together with the ``OK`` of an escape.
    """

    def __init__(
        self, fallback: Sequence[str], urcs: Sequence[str], stays: Sequence[str] = (), errors: Sequence[str] = ()
    ) -> None:
        self._fallback = [Word.of(text) for text in fallback]
        self._stays = [Word.of(text) for text in stays]
        self._urcs = [Word.of(text) for text in urcs]
        self._asides = [*self._urcs, *(Word.of(text) for text in errors)]
        self._ok = [Word(b"OK")]
        self._held = b""
        self._stale = b""  # held since before the escape's OK could come: payload, unless no OK comes
        self._believe_from: float | None = None
        self._believing = False
        self.last_byte = 0.0
        self.held_since = 0.0  # when the first held byte came

    @property
    def holding(self) -> int:
        """Bytes that are neither payload nor the modem's yet."""
        return len(self._stale) + len(self._held)

    def feed(self, data: bytes, now: float) -> bytes:
        """Bytes of the stream; returns what is payload for sure."""
        self._age(now)
        payload = b""
        text = self._held + data
        fresh = len(self._held)
        self.last_byte = now
        at = 0
        while 0 <= at < len(text):
            at = text.find(b"\r", at)
            if at < 0:
                break
            if self._fits(text[at:]) is not Fit.NO:
                break
            at += 1
        at = len(text) if at < 0 else at
        if at >= fresh:
            self.held_since = now
        self._held = text[at:]
        if at and self._stale:
            payload, self._stale = payload + self._stale, b""
        return payload + text[:at]

    def suspect(self) -> bool:
        """The tail is a complete fallback text: the modem may be in command state."""
        return self._fallen(self._stale + self._held) is Fit.FULL

    def words(self) -> list[bytes]:
        """The lines of a complete fallback text, if the tail is one."""
        return [line for line in (self._stale + self._held).split(CRLF) if line] if self.suspect() else []

    def release_partial(self) -> bytes:
        """After a short silence: an incomplete text is payload."""
        if not self._held or self._fits(self._held) is Fit.FULL:
            return b""
        payload, self._stale, self._held = self._stale + self._held, b"", b""
        return payload

    def release_all(self) -> bytes:
        """Everything held is payload after all."""
        payload, self._stale, self._held = self._stale + self._held, b"", b""
        return payload

    def believe_ok_from(self, when: float | None) -> None:
        """An escape was sent; its OK cannot be here before ``when``.  None: no escape is under way."""
        self._believe_from = when

    def escaped(self, now: float) -> bool:
        """The tail is ``URC* OK URC*``: the escape was answered (the caller waits for silence)."""
        self._age(now)
        return self._may_believe(now) and b"\r\nOK\r\n" in self._held and self._answered(self._held) is Fit.FULL

    def close_escaped(self) -> Answer:
        """After an answered escape."""
        held, payload, doubtful = self._held, self._stale, b""
        self._stale = self._held = b""
        if (length := self._staying(held)) > 0:
            doubtful, held = held[:length], held[length:]
        elif payload and self._staying(payload) == len(payload):
            doubtful, payload = payload, b""
        return Answer(payload, doubtful, [line for line in held.split(CRLF) if line])

    def _staying(self, text: bytes) -> int:
        """The length of a text at its start after which the modem stays mapped."""
        fit, length = _one(text, self._stays)
        return length if fit is Fit.FULL else 0

    def close_fallen(self) -> tuple[bytes, list[bytes]]:
        """(payload, the modem's lines) where no escape was answered and the modem is in command state."""
        text = self._stale + self._held
        self._stale = self._held = b""
        if self._fallen(text) is Fit.FULL:
            return b"", [line for line in text.split(CRLF) if line]
        return text, []

    def _may_believe(self, now: float) -> bool:
        return self._believe_from is not None and now >= self._believe_from

    def _age(self, now: float) -> None:
        """What was held before an OK could come is no part of the escape's answer, unless it is half of a line."""
        if self._may_believe(now) and self.last_byte < (self._believe_from or 0) and self._held:
            half = now - self.last_byte < _LINE and self._fits(self._held) is Fit.PARTIAL
            if not half:
                self._stale, self._held = self._stale + self._held, b""
        self._believing = self._may_believe(now)

    def _fits(self, text: bytes) -> Fit:
        fits = self._fallen(text)
        if fits is Fit.NO and self._believing:
            return self._answered(text)
        return fits

    def _fallen(self, text: bytes) -> Fit:
        """A fallback line, then any URCs."""
        fit, length = _one(text, self._fallback)
        while fit is Fit.FULL and length < len(text):
            text = text[length:]
            fit, length = _one(text, self._urcs)
        return fit

    def _answered(self, text: bytes) -> Fit:
        """A text after which it stays mapped (or none), URCs and errors, one OK, URCs and errors."""
        seen = False
        text = text[self._staying(text) :]
        while text:
            words = self._asides if seen else [*self._asides, *self._ok]
            fit, length = _one(text, words)
            if fit is not Fit.FULL:
                return fit
            seen = seen or text[2:4] == b"OK"
            text = text[length:]
        return Fit.FULL if seen else Fit.PARTIAL
