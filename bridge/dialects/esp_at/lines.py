r"""What a host types, sans I/O: command lines, payload, and what of a line may be shown.

A reader has four ways to take a byte: into the command line, into an announced payload (counted, never scanned), into
one that may also end with ``\0`` (AT+CIPSENDEX), or away (the rest of a line that was longer than a module's buffer).
The caller switches between two events, so the result does not depend on how the bytes were cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.tables import Command as Row
from bridge.wire.grammar import ArgumentError, Form, split

_PLUS = re.compile(r"[Aa][Tt]\+([A-Za-z0-9_]+)(=\?|\?|=(.*))?", re.DOTALL)
_BACKSLASH, _END = b"\\0"
_BASIC = re.compile(r"[Aa][Tt]([A-Za-z][0-9]*)?")


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line with its terminator; ``raw`` is empty where it was longer than the buffer."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an announced payload, and how many are still to come."""

    data: bytes
    left: int
    typed: bytes | None = None  # where it has escapes: the bytes as they came


class LineReader:
    """Feed bytes, then take events until there is none."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._due = 0
        self._escaped = False
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """More bytes from the host."""
        self._buffer += data

    def collect(self, count: int, *, escaped: bool = False) -> None:
        r"""The next ``count`` bytes are payload, whatever they are.

        ``escaped``: ``\0`` ends it earlier and is no part of it, any other ``\c`` is ``c``; what is counted is what is meant.
        """
        self._due = count
        self._escaped = escaped

    def rest(self) -> bytes:
        """What came after the last event, which is nobody's line."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def abandon(self) -> None:
        """No more payload: what comes next is a line."""
        self._due = 0
        self._buffer.clear()

    def clear(self) -> None:
        """Forget everything, as a reset module does."""
        self._buffer.clear()
        self._due = 0
        self._skipping = False

    def next(self) -> Line | Piece | None:
        """The next event; None: more bytes are needed.  Keeps at most one longest line between two calls."""
        if self._due and self._escaped:
            return self._next_escaped()
        if self._due:
            if not self._buffer:
                return None
            data = bytes(self._buffer[: self._due])
            del self._buffer[: self._due]
            self._due -= len(data)
            return Piece(data, self._due)
        end = self._buffer.find(b"\n") + 1
        if not end:
            if self._skipping or len(self._buffer) > self._longest:
                self._skipping = True
                self._buffer.clear()
            return None
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        too_long = self._skipping or end > self._longest
        self._skipping = False
        return Line(b"" if too_long else raw)

    def _next_escaped(self) -> Piece | None:
        """A piece without its escapes.  A backslash alone waits for the byte after it, which may be long in coming."""
        data = bytearray()
        at = 0
        while at < len(self._buffer) and len(data) < self._due:
            byte = self._buffer[at]
            if byte == _BACKSLASH:
                if at + 1 == len(self._buffer):
                    break
                at += 1
                byte = self._buffer[at]
                if byte == _END:
                    at += 1
                    self._due = len(data)
                    break
            data.append(byte)
            at += 1
        if not at:
            return None
        typed = bytes(self._buffer[:at])
        del self._buffer[:at]
        self._due -= len(data)
        return Piece(bytes(data), self._due, typed)


@dataclass(frozen=True, slots=True)
class Request:
    """A line that has the shape of a command: ``X`` for ``AT+X``, ``ATE0`` for itself."""

    name: str
    form: Form
    arguments: str = ""


def parse(raw: bytes) -> Request | None:
    """The request in a line; None where it is garbage, empty, or does not end in CR LF."""
    if not raw.endswith(b"\r\n"):
        return None
    text = raw[:-2].decode("latin-1")
    if found := _PLUS.fullmatch(text):
        name, tail = found[1].upper(), found[2] or ""
        if name.startswith("AT"):  # AT+ATE0 is not ATE0
            return None
        if tail == "=?":
            return Request(name, Form.TEST)
        if tail == "?":
            return Request(name, Form.QUERY)
        return Request(name, Form.SET, found[3]) if tail else Request(name, Form.EXECUTE)
    if _BASIC.fullmatch(text):
        return Request(text.upper(), Form.EXECUTE)
    return None


class Mask:
    """What of a host's line may be shown: everything but secrets, and nothing that could be one."""

    HIDDEN = b'"***"'

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._known = frozenset(rows)
        self._open: dict[str, list[bool]] = {}  # of the commands with secrets: which arguments are none
        for name, row in rows.items():
            if row.secret:
                names = [re.split(r"[:\[]", entry.lstrip("["))[0] for entry in row.set or ()]
                self._open[name] = [argument not in row.secret for argument in names]
        self._names = re.compile("|".join(map(re.escape, self._open)).encode("ascii") or b"(?!)", re.IGNORECASE)

    def line(self, raw: bytes, request: Request | None) -> bytes:
        """The line as it may be shown; ``request`` is what `parse` made of it."""
        if request is not None and request.name in self._open and request.form is Form.SET:
            return self._command(request)
        if (request is None or request.form is Form.SET) and (found := self._names.search(raw)):
            return raw[: found.end()] + self.HIDDEN
        known = request is not None and request.name in self._known
        if not known and b'"' in raw:  # of what no row tells, or the second half of a line that a stray LF cut in two
            return raw[: raw.index(b'"')] + self.HIDDEN
        return raw

    def _command(self, request: Request) -> bytes:
        head = b"AT+" + request.name.encode("ascii") + b"="
        try:
            tokens = split(request.arguments)
        except ArgumentError:
            return head + self.HIDDEN
        shown = self._open[request.name]
        parts = [
            (f'"{token.text}"' if token.quoted else token.text).encode("latin-1")
            if index < len(shown) and shown[index]
            else self.HIDDEN
            for index, token in enumerate(tokens)
        ]
        return head + b",".join(parts) + b"\r\n"
