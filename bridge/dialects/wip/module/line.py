"""What a host types: bytes to command lines, lines to calls, and lines without their secrets.  Pure.

The parser hunts for ``AT``: everything before it is ignored, so that a stray ``+++`` or the rest of a payload that
fell into command state produces no reply by itself (and does become a command where it happens to hold one: that is
what the real module does).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bridge.tables import Command
from bridge.wire.grammar import ArgumentError, Form, Grammar, Token, split

MASK = "***"
_CR, _LF, _BACKSPACE = 0x0D, 0x0A, 0x08
_EXTENDED = re.compile(r"(?P<name>[+$*#%][A-Z0-9]+)(?P<form>=\?|\?|=)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_BASIC = re.compile(r"(&?[A-Z])(\d*)", re.IGNORECASE)


class SyntaxProblem(ValueError):
    """The line is no command line: always a plain ERROR."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What `CommandReader.feed` made of some bytes."""

    echo: bytes  # to be echoed, where echo is on
    line: str | None  # a whole line without its AT; None: not yet
    too_long: bool  # a whole line that did not fit
    rest: bytes  # not looked at: it may already belong to a data mode


class CommandReader:
    """Bytes to lines.  A line ends with CR; an LF right after it is swallowed; ``A/`` repeats without any end."""

    def __init__(self, room: int) -> None:
        self._room = room  # longest line in bytes, AT and CR not counted
        self._line: bytearray | None = None  # None: hunting for AT
        self._last_letter = 0
        self._too_long = False
        self._after_end = False
        self._repeat = ""

    def reset(self) -> None:
        """Forget a half-typed line and the line to repeat."""
        self._line = None
        self._last_letter = 0
        self._too_long = self._after_end = False
        self._repeat = ""

    def forget_end(self) -> None:
        """An LF that comes now ends nothing any more: data were in between."""
        self._after_end = False

    def feed(self, data: bytes) -> Heard:
        """Look at bytes up to the end of the first whole line."""
        echo = bytearray()
        for at, byte in enumerate(data):
            if byte == _LF and self._after_end:
                self._after_end = False
                continue
            self._after_end = False
            echo.append(byte)
            if self._line is None:
                if self._hunt(byte):
                    return Heard(bytes(echo), self._repeat, too_long=False, rest=data[at + 1 :])
            elif byte == _CR:
                line, too_long = bytes(self._line).decode("latin-1"), self._too_long
                self._line, self._too_long, self._after_end = None, False, True
                if not too_long:
                    self._repeat = line
                return Heard(bytes(echo), line, too_long, data[at + 1 :])
            else:
                self._collect(self._line, byte)
        return Heard(bytes(echo), None, too_long=False, rest=b"")

    def _hunt(self, byte: int) -> bool:
        """True where ``A/`` is complete."""
        letter, before = byte & 0xDF, self._last_letter
        self._last_letter = letter
        if before != ord("A"):
            # An LF after a CR that ended nothing is swallowed all the same: the host cleans the line with CR LF.
            self._after_end = byte == _CR
            return False
        if letter == ord("T"):
            self._line, self._last_letter = bytearray(), 0
        return byte == ord("/")

    def _collect(self, line: bytearray, byte: int) -> None:
        if byte == _BACKSPACE:
            del line[-1:]
        elif byte < 0x20:
            return  # control characters are ignored (V.25ter 5.2.2)
        elif len(line) >= self._room:
            self._too_long = True
        else:
            line.append(byte)


@dataclass(frozen=True, slots=True)
class Call:
    """One command of a line.  ``name`` is upper case, without a ``+``; ``start`` is where its arguments begin."""

    name: str
    form: Form
    text: str
    start: int


def calls(line: str) -> list[Call]:
    """The commands of a line: basic ones follow each other, extended ones end at a ``;`` outside quotes."""
    found: list[Call] = []
    at = 0
    while at < len(line):
        if line[at] in " ;":
            at += 1
        elif line[at] in "+$*#%":
            end = _segment_end(line, at)
            match = _EXTENDED.fullmatch(line, at, end)
            if match is None:
                raise SyntaxProblem("no command name")
            form = {"=?": Form.TEST, "?": Form.QUERY, "=": Form.SET, None: Form.EXECUTE}[match["form"]]
            if form is not Form.SET and match["rest"].strip():
                raise SyntaxProblem("text after the command")
            found.append(Call(match["name"].upper().lstrip("+"), form, match["rest"].strip(), match.start("rest")))
            at = end
        else:
            match = _BASIC.match(line, at)
            if match is None:
                raise SyntaxProblem("no command")
            found.append(Call(match[1].upper(), Form.SET, match[2] or "0", match.start(2)))
            at = match.end()
    return found


def _segment_end(line: str, at: int) -> int:
    quoted = False
    for end in range(at, len(line)):
        if line[end] == '"':
            quoted = not quoted
        elif line[end] == ";" and not quoted:
            return end
    return len(line)


@cache
def _grammar(entries: tuple[str, ...]) -> Grammar:
    return Grammar(entries)


def arguments(row: Command, text: str) -> dict[str, int | str]:
    """The values of a set form.  Hosts quote ports and leave names unquoted, so quotes decide nothing here.

    Raises ArgumentError.
    """
    entries = row.set or ()
    tokens = split(text, escapes=False)
    relaxed = [_relaxed(entries[n], token) if n < len(entries) else token for n, token in enumerate(tokens)]
    return _grammar(entries).parse(relaxed)


def _relaxed(entry: str, token: Token) -> Token:
    kind = entry.strip("[]").partition(":")[2]
    if kind.startswith(("int", "id")):
        return Token(token.text.strip(), quoted=False)
    return token if kind == "bare" else Token(token.text, quoted=True)


def masked(line: str, rows: Mapping[str, Command]) -> str:
    """The line for the trace.

    From the first secret argument on everything is masked to the end: where a host forgot a quote, nobody can tell
    where its password stops.
    """
    try:
        found: Sequence[Call] = calls(line)
    except SyntaxProblem:
        # The names are searched for, because a line that cannot be parsed may still hold a password.
        found = [
            Call(name, Form.SET, "", line.upper().index(name) + len(name))
            for name, row in rows.items()
            if row.secret and name in line.upper()
        ]
    for call in found:
        row = rows.get(call.name)
        if row is not None and row.secret and call.form is Form.SET:
            start = _secret_start(line, call, row)
            if line[start:]:
                return line[:start] + MASK
    return line


def _secret_start(line: str, call: Call, row: Command) -> int:
    if not call.text:
        return call.start
    first = min(_grammar(row.set or ()).names.index(name) for name in row.secret)
    at = call.start
    for _ in range(first):
        comma = line.find(",", at)
        if comma < 0:
            return len(line)
        at = comma + 1
    return at


__all__ = ["MASK", "ArgumentError", "Call", "CommandReader", "Heard", "SyntaxProblem", "arguments", "calls", "masked"]
