r"""What a line says: the command's name and its fields, and the escapes of a payload.  Pure.

Fields have no quotes and no ranges: numbers go through C's ``atoi`` (``abc`` is 0, ``5x`` is 5), an empty field is an
empty text, and a ``"`` is part of the value.  Escapes exist in a send alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.tables import Command
from bridge.wire.grammar import Grammar, Token

MASK = "***"
_NAME = re.compile(r"[A-Z][A-Z0-9]*")
_ATOI = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """A line that is a command.  ``text`` is what stands behind the ``=``; None: there is none."""

    name: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A command on its way to its hook."""

    name: str
    text: str  # behind the "="
    values: Mapping[str, str] = field(default_factory=dict)  # by the names of the row; left-out ones are not there
    payload: bytes | None = None  # counted; None: it is in the text

    def number(self, name: str) -> int:
        """A field as C reads it."""
        return atoi(self.values.get(name, ""))


def call(line: str, *, space: bool) -> Call | None:
    """The command of a line; None: it is none.  ``space``: one may follow ``AT+``."""
    if not line.startswith("AT+"):
        return None
    head, equals, text = line[3:].partition("=")
    head = head.removeprefix(" ") if space else head
    return Call(head, text if equals else None) if _NAME.fullmatch(head) else None


def values(row: Command, text: str | None) -> dict[str, str]:
    """The fields by the names of the row.  Raises ArgumentError where there are too many or too few."""
    if row.set is None or (text is None and row.execute):
        return {}
    tokens = [] if text is None else [Token(part, quoted=False) for part in text.split(",")]
    return {name: str(value) for name, value in Grammar(row.set).parse(tokens).items()}


def atoi(text: str) -> int:
    """A number as C's ``atoi`` reads it."""
    found = _ATOI.match(text)
    return max(-_INT, min(int(found[1][:12]), _INT)) if found else 0


def unescaped(text: str, most: int) -> list[str] | None:
    r"""Fields, at most ``most`` of them: ``\,`` is a comma and ``\\`` a backslash.  None: another escape is in it.

    With ``most`` the last field keeps its commas where they are not escaped; 0: every comma ends a field.
    """
    fields = [""]
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
            if at >= len(text) or text[at] not in ",\\":
                return None
            fields[-1] += text[at]
        elif char == "," and len(fields) != most:
            fields.append("")
        else:
            fields[-1] += char
        at += 1
    return fields


def masked(line: str, rows: Mapping[str, Command], *, colon: bool) -> tuple[str, str]:
    """The line for the trace, and the payload in it: of a command with a secret nothing behind its ``=`` is shown.

    Its fields are name and value in any order.  ``colon``: a payload is behind one; without, it is behind four fields.
    """
    head, equals, text = line.partition("=")
    name = head.removeprefix("AT+").strip()
    if name.startswith("SKTSEND"):
        parts = text.split(",", 4)
        at = text.find(":") + 1 if colon else 0
        at = at or (len(text) - len(parts[4]) if len(parts) > 4 else len(text))
        return head + equals + text[:at], text[at:]
    for known, row in rows.items():
        if row.secret and (at := line.upper().find(known)) >= 0:
            end = at + len(known) + (line[at + len(known) : at + len(known) + 1] == "=")
            return line[:end] + MASK if line[end:] else line, ""
    return line, ""
