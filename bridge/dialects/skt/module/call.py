r"""What a line says: the command's name and its fields, and the escapes of a payload.  Pure.

Fields have no quotes and no ranges: numbers go through C's ``atoi`` (``abc`` is 0, ``5x`` is 5), an empty field is an
empty text, and a ``"`` is part of the value.  Escapes exist in a send alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

from bridge.tables import Command
from bridge.wire.grammar import Grammar, Token

MASK = "***"
_NAME = re.compile(r"[A-Z][A-Z0-9]*")
_ATOI = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_PART = re.compile(r"0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*)")
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


def address(text: str) -> str | None:
    """A numeric address as C's ``inet_aton`` reads it (1 to 4 parts, ``0x`` hexadecimal, ``0`` octal), dotted."""
    parts = []
    for part in text.split("."):
        found = _PART.fullmatch(part[:16])
        if found is None or len(part) > 16:
            return None
        parts.append(int(found[1], 16) if found[1] else int(found[2], 8) if found[2] else int(found[3]))
    *front, last = parts
    if len(front) > 3 or any(part > 255 for part in front) or last >= 256 ** (4 - len(front)):
        return None
    number = last + sum(part << (24 - 8 * index) for index, part in enumerate(front))
    return str(IPv4Address(number))


def dotted(text: str) -> bool:
    """Whether this is a plain dotted address."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


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


def masked(line: str, rows: Mapping[str, Command]) -> str:
    """The line for the trace: of a command with a secret nothing behind its ``=`` is shown.

    Its fields are name and value in any order, and a payload is nobody's business either.
    """
    head, equals, text = line.partition("=")
    name = head.removeprefix("AT+").strip()
    if name.startswith("SKTSEND"):
        return head + equals + (text.partition(":")[0] + ":..." if ":" in text else ",".join(text.split(",")[:4]))
    for known, row in rows.items():
        if row.secret and (at := line.upper().find(known)) >= 0:
            end = at + len(known) + (line[at + len(known) : at + len(known) + 1] == "=")
            return line[:end] + MASK if line[end:] else line
    return line
