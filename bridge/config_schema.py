"""What a configuration file may hold: its tables, their keys, and the types of their values.

A key's meaning stands beside it; what a value may be beyond its type is checked in `bridge.config`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import msgspec

from bridge.trace import printable

__all__ = ["Bridge", "Defaults", "Limits", "Local", "Module", "Problems", "Top", "convert", "nearest"]

T = TypeVar("T", bound=msgspec.Struct)


class Limits(msgspec.Struct, frozen=True):
    """[bridge.NAME.limits]: what this host can bear, in seconds."""

    connect: float | None = None
    payload: float | None = None


class Module(msgspec.Struct, frozen=True):
    """[bridge.NAME.module]: what the module needs to get onto its network."""

    apn: str | None = None
    user: str | None = None
    password_file: str | None = None
    pin_file: str | None = None


class Local(msgspec.Struct, frozen=True):
    """[local] and [bridge.NAME.local]: where hosts may go through the gateway's own network."""

    allow: list[str] | None = None
    map: dict[str, str] | None = None
    bind: str | None = None
    listen: dict[str, str] | None = None


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """[defaults]: what holds for each bridge that does not say otherwise."""

    joined_at_start: bool | None = None
    announce: bool | None = None
    quirks: bool | None = None
    ssid: str | None = None
    password_file: str | None = None
    trace: str | None = None  # {bridge} stands for the bridge's name
    trace_payload: bool | None = None
    ack: str | None = None  # who has a send's bytes when its host is told SEND OK: "module" or "bridge"
    limits: dict[str, Any] | None = None
    module: dict[str, Any] | None = None


class Bridge(Defaults, frozen=True, kw_only=True):
    """[bridge.NAME]."""

    upstream: str
    downstream: str
    reset_on: str | None = None
    local: dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """The file as a whole."""

    version: Literal[1]
    bridge: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    local: dict[str, Any] = {}


class Problems:
    """Everything that is wrong with one file: who mends one error should not have to look for the next by another run."""

    def __init__(self, file: object) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, where: str, problem: str, remedy: str) -> None:
        """One more, with the key's path."""
        line = printable(f"{self.file}: {where}: {problem}; {remedy}")
        if line not in self.lines:  # what is wrong in [defaults] is found by each bridge
            self.lines.append(line)


def convert(raw: Any, kind: type[T], where: str, problems: Problems) -> T | None:
    """A table of the file as a struct; None where something was wrong, which is then among the problems."""
    if not isinstance(raw, dict):
        problems.add(where, "is not a table", f"write [{where}]")
        return None
    before = len(problems.lines)
    dot = f"{where}." if where else ""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in fields:
            problems.add(dot + key, "unknown key", nearest(key, fields))
            continue
        try:
            values[key] = msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            problems.add(dot + key, *_told(error, value))
    for name, field in fields.items():
        if field.required and name not in raw:
            problems.add(dot + name, "is missing", _EXAMPLES.get(name, "add it"))
    return kind(**values) if len(problems.lines) == before else None


_EXAMPLES = {
    "version": "write version = 1 at the top",
    "upstream": 'write what the host was made for and where it is, as upstream = "esp-at@/dev/serial/by-id/..."',
    "downstream": 'write what the module is and where it is, as downstream = "wip:c1@/dev/serial/by-id/...", or "local"',
}


_KINDS = {  # msgspec's names, an operator's, and how to write one
    "str": ("a text", 'write it in quotes: "..."'),
    "bool": ("true or false", "write true or false, without quotes"),
    "float": ("a number", "write a number, without quotes"),
    "int": ("a number", "write a number, without quotes"),
    "array": ("a list", 'write a list: ["...", "..."]'),
    "object": ("a table", 'write a table: { NAME = "..." }'),
}


def _told(error: msgspec.ValidationError, value: Any) -> tuple[str, str]:
    """Problem and remedy of a value of the wrong type."""
    text, _, path = str(error).partition(" - at `$")
    found = re.fullmatch(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`", text)
    if not found:
        return f"{value!a} is not known here", "write what the example shows"
    said, remedy = _KINDS[found[1]]
    got = _KINDS.get(found[2], (found[2],))[0]
    inside = f" (at {path.rstrip('`').lstrip('.')} in it)" if path else ""
    return f"is {got} where {said} is needed{inside}", remedy


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt word."""
    names = sorted(known)
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
