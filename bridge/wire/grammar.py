r"""Arguments of a set command, by a table's grammar: ``["link:id?mux", "length:int(1..2048)", "[port:int]"]``.

An entry is ``name:type``, in square brackets where it may be left out or left empty.  Types: ``int(a..b)``,
``id`` (a whole number; its range is the dialect's code), ``str`` or ``str(max)`` (quoted), ``one(A|B)`` (quoted word),
``bare`` (anything unquoted).  Two flags and no more: ``?mux`` (only in multiple connection mode), ``?udp`` (only there).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

_ENTRY = re.compile(r"(\w+):(int|id|str|one|bare)(?:\(([^)]*)\))?(\?mux|\?udp)?")
_NUMBER = re.compile(r"-?[0-9]{1,10}")
_QUOTED = re.compile(r'([^"]*)"')  # from behind the quote that opens it
_ESCAPED = re.compile(r'([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Form(StrEnum):
    """How a command was written: ``=?``, ``?``, ``=...``, or alone."""

    TEST = "test"
    QUERY = "query"
    SET = "set"
    EXECUTE = "execute"


class GrammarError(ValueError):
    """The table's grammar is wrong."""


class ArgumentError(ValueError):
    """The host's arguments do not fit: ``kind`` is count, type, value or parse.

    ``index`` counts from 0; for a count it is ``needed << 8 | given``.  ``name`` is the argument's, where it is known;
    ``too`` says of a value ``long`` (a text) or ``high`` (a number) where it is more than fits.
    """

    def __init__(self, kind: str, index: int, reason: str, name: str = "", too: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.index = index
        self.name = name
        self.too = too


@dataclass(frozen=True, slots=True)
class Token:
    """One argument as written: ``quoted`` tells ``"5"`` from ``5``."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: str
    low: int
    high: int
    words: tuple[str, ...]
    flag: str
    optional: bool


def split(text: str, *, escapes: bool = True) -> list[Token]:
    r"""Arguments between commas.  A quoted one may hold commas, and with ``escapes`` also ``\,`` ``\"`` and ``\\``."""
    tokens: list[Token] = []
    at = 0
    while True:
        if quoted := text.startswith('"', at):
            found = (_ESCAPED if escapes else _QUOTED).match(text, at + 1)
            if found is None:
                raise ArgumentError("parse", len(tokens), "a quote is not closed")
            value = _ESCAPE.sub(r"\1", found[1]) if escapes and "\\" in found[1] else found[1]
            at = found.end()
            if at < len(text) and text[at] != ",":
                raise ArgumentError("parse", len(tokens), "text after a closing quote")
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            value = text[at:end]
            at = end
        tokens.append(Token(value, quoted))
        if at >= len(text):
            return tokens
        at += 1


class Grammar:
    """A compiled list of entries."""

    def __init__(self, texts: Sequence[str]) -> None:
        every = [self._entry(text) for text in texts]
        self.names = [entry.name for entry in every]
        if len(set(self.names)) != len(self.names):
            raise GrammarError("an argument name is used twice")
        self._shapes: dict[tuple[bool, bool], tuple[list[_Entry], int]] = {}  # by (mux, udp): all that may be, how many must
        for mux, udp in product((False, True), repeat=2):
            entries = [e for e in every if (e.flag != "?mux" or mux) and (e.flag != "?udp" or udp)]
            self._shapes[mux, udp] = entries, sum(not e.optional for e in entries)

    @staticmethod
    def _entry(text: str) -> _Entry:
        optional = text.startswith("[") and text.endswith("]")
        found = _ENTRY.fullmatch(text[1:-1] if optional else text)
        if found is None:
            raise GrammarError(f"{text!r} is not name:type; types are int id str one bare, flags ?mux ?udp")
        name, kind, inside, flag = found[1], found[2], found[3] or "", found[4] or ""
        low, high, words = 0, 2**31 - 1, ()
        if kind == "int" and inside:
            bounds = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", inside)
            if bounds is None or int(bounds[1]) > int(bounds[2]):
                raise GrammarError(f"{text!r}: an int's range is (low..high)")
            low, high = int(bounds[1]), int(bounds[2])
        elif kind == "str":
            low, high = 0, int(inside) if inside else 255
        elif kind == "one":
            words = tuple(inside.split("|"))
        return _Entry(name, kind, low, high, words, flag, optional)

    def parse(self, tokens: Sequence[Token], *, mux: bool = False, udp: bool = False) -> dict[str, int | str]:
        """Values by name; left-out arguments are not there.  Raises ArgumentError for the first that is wrong or missing."""
        entries, needed = self._shapes[mux, udp]
        if len(tokens) > len(entries):
            raise self._count(len(tokens), len(entries))
        values: dict[str, int | str] = {}
        for index, (entry, token) in enumerate(zip(entries, tokens, strict=False)):
            if entry.optional and not token.text and not token.quoted:
                continue
            values[entry.name] = self._value(entry, token, index)
        if len(tokens) < needed:
            raise self._count(len(tokens), needed)
        return values

    @staticmethod
    def _count(given: int, needed: int) -> ArgumentError:
        return ArgumentError("count", needed << 8 | given, f"{given} arguments, expected {needed}")

    @staticmethod
    def _value(entry: _Entry, token: Token, index: int) -> int | str:
        if entry.kind in {"int", "id"}:
            if token.quoted or not _NUMBER.fullmatch(token.text):
                raise ArgumentError("type", index, f"{entry.name}: not a whole number", entry.name)
            number = int(token.text)
            if not entry.low <= number <= entry.high:
                reason = f"{entry.name}: {number} is not in {entry.low}..{entry.high}"
                raise ArgumentError("value", index, reason, entry.name, "high" if number > entry.high else "")
            return number
        if entry.kind == "bare":
            return token.text
        if not token.quoted:
            raise ArgumentError("type", index, f"{entry.name}: not quoted", entry.name)
        if entry.kind == "one" and token.text.upper() not in entry.words:
            raise ArgumentError("value", index, f"{entry.name}: not one of {', '.join(entry.words)}", entry.name)
        if entry.kind == "str" and len(token.text) > entry.high:
            raise ArgumentError("value", index, f"{entry.name}: longer than {entry.high}", entry.name, "long")
        return token.text.upper() if entry.kind == "one" else token.text
