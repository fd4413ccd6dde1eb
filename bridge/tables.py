"""Mapping tables: the facts of one dialect, read from ``mappings/*.toml`` and checked.

A table says what the manual says; code says how it behaves over time.  ``mappings/README.md`` tells a contributor
how to write one.  Everything is checked at load, with file, key path and reason; `load` returns a `Profile`, one
firmware generation with its inheritance resolved.
"""

from __future__ import annotations

import ast
import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from bridge import layers, table_rules
from bridge.blanks import known
from bridge.model import Condition
from bridge.overrides import Overrides, apply

Disposition = Literal["translated", "emulated", "answered", "refused"]


class TableError(Exception):
    """A table breaks a rule.  The text names file, key path, reason and remedy."""


class Fact(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Every row says where it comes from."""

    source: str
    confirmed: bool = True
    note: str = ""


class Value(Fact, frozen=True):
    """A number of bytes, a switch of the renderer, a word."""

    value: bool | int | float | str


class Seconds(Fact, frozen=True):
    """A time limit, guard, settle, linger or idle time."""

    seconds: float


class Text(Fact, frozen=True):
    """Bytes on the wire as a template: ``{name}`` is filled in, everything else is literal."""

    text: str


class Command(Fact, frozen=True):
    """One command of the host side: its grammar per form, and what the bridge does with it."""

    disposition: Disposition
    hook: str = ""  # the behaviour, by name, in the dialect's folder; empty where the row says it all
    set: tuple[str, ...] | None = None
    query: bool = False
    test: bool = False
    execute: bool = False
    secret: tuple[str, ...] = ()
    answer: dict[str, str] = {}  # form -> information lines, where no hook is needed
    final: float | None = None  # seconds until the host must have its final result
    gate: str = ""  # "payload": no URC from its OK to its final result
    why: str = ""  # for answered and refused: why that is true to the host
    same: str = ""  # the command that this is another name of: its row is a copy


class Template(Fact, frozen=True):
    """A command we send to a module."""

    send: str
    limit: float  # seconds until its final result must be here
    secret: tuple[str, ...] = ()


class Urc(Fact, frozen=True):
    """An unsolicited line of a module."""

    pattern: str


class Error(Fact, frozen=True):
    """A module's error -> condition.  The most specific row wins: during and after, during, neither."""

    code: int
    condition: str
    during: str = ""
    after: str = ""


class Refusal(Fact, frozen=True):
    """A condition -> the host dialect's error, narrowed to one command at work (``during``) or not begun (``before``)."""

    condition: str  # or "*"
    text: str
    during: str = ""
    before: str = ""
    about: str = ""  # the argument, or a word of the code, that the command was refused for


class Profile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One firmware generation, inheritance resolved."""

    dialect: str
    profile: str
    title: str
    file: str
    capabilities: tuple[str, ...] = ()
    value: dict[str, Value] = {}
    time: dict[str, Seconds] = {}
    text: dict[str, Text] = {}
    command: dict[str, Command] = {}
    template: dict[str, Template] = {}
    urc: dict[str, Urc] = {}
    error: list[Error] = []
    refusal: list[Refusal] = []

    def seconds(self, name: str) -> float:
        """A time of the table."""
        return self.time[name].seconds

    def number(self, name: str) -> int:
        """A whole number of the table."""
        value = self.value[name].value
        if not isinstance(value, int):
            raise TableError(f"{self.file}: value.{name}: expected a whole number")
        return value

    def words(self, name: str) -> str:
        """A text of the table, with its ``{names}``."""
        return self.text[name].text

    def condition_of(self, code: int, during: str = "", after: str = "") -> Condition:
        """What a module's error number means at this moment; module-error where no row says."""
        best, rank = Condition.MODULE_ERROR, -1
        for row in self.error:
            if row.code != code or row.during not in {"", during} or row.after not in {"", after}:
                continue
            weight = 2 * bool(row.during) + bool(row.after)
            if weight >= rank:  # of two equals the later one, which is the profile's own
                best, rank = Condition(row.condition), weight
        return best

    def refusal_of(self, condition: Condition, during: str = "", before: str = "", about: str = "") -> str:
        """The host dialect's error for a condition, of the row that says most about it.

        The condition weighs more than the command, and the command more than what it is about.
        """
        best, rank = None, -1
        for row in self.refusal:
            if row.condition not in {"*", condition} or row.about not in {"", about}:
                continue
            if row.during not in {"", during} or row.before not in {"", before}:
                continue
            weight = 4 * (row.condition != "*") + 2 * bool(row.during or row.before) + bool(row.about)
            if weight >= rank:  # the later row is the profile's own
                best, rank = row.text, weight
        if best is None:
            raise TableError(f"{self.file}: refusal: no row for {condition!r}; add one for the condition '*'")
        return best


def names() -> list[str]:
    """The dialects that have a table."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


# The type of each section's rows.
_ROWS: Mapping[str, type[Fact]] = {
    "value": Value,
    "time": Seconds,
    "text": Text,
    "command": Command,
    "template": Template,
    "urc": Urc,
    "error": Error,
    "refusal": Refusal,
}


@cache
def load(dialect: str, profile: str = "", *, overrides: Overrides | None = None) -> Profile:
    """The table of a dialect; ``profile`` defaults to the table's own default.  Raises TableError.

    ``overrides`` are the operator's; with them it raises OverrideError, too.
    """
    path = _folder() / f"{dialect}.toml"
    if not path.is_file():
        raise TableError(f"no dialect {dialect!r}; there are: {', '.join(names())}")
    return parse(path.read_text("utf-8"), f"mappings/{dialect}.toml", profile, overrides)


def parse(text: str, file: str, profile: str = "", overrides: Overrides | None = None) -> Profile:
    """A table from its text.  Raises TableError; OverrideError where an override names what is not there."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{file}: not TOML: {error}") from None
    head = tree.pop("dialect", None)
    if not isinstance(head, dict) or not {"name", "title", "default"} <= head.keys():
        raise TableError(f"{file}: [dialect]: name, title and default are needed")
    profiles = tree.pop("profile", {})
    chosen = profile or head["default"]
    try:
        merged = layers.resolve(tree, profiles, chosen)
        if overrides is not None:
            layers.copy_same(merged)  # what is wrong with the table itself is not the override's fault
            merged = apply(merged, overrides, _ROWS, known([tree, *profiles.values()]))
        merged = layers.copy_same(merged)
    except layers.LayerError as error:
        raise TableError(f"{file}: {error}") from None
    merged |= {"dialect": head["name"], "profile": chosen, "title": head["title"], "file": file}
    try:
        table = msgspec.convert(merged, Profile)
    except msgspec.ValidationError as error:
        raise TableError(f"{file}: {error}") from None
    if problems := list(table_rules.problems(table)):
        raise TableError("\n".join(f"{file}: {problem}" for problem in problems))
    return table


def digest(table: Profile) -> str:
    """A short hash of what is in force, overrides and all: tells one table from another in a trace."""
    return hashlib.sha256(msgspec.json.encode(table, order="sorted")).hexdigest()[:16]


def profiles(dialect: str) -> list[str]:
    """The profiles a table has."""
    tree = tomllib.loads((_folder() / f"{dialect}.toml").read_text("utf-8"))
    return list(tree.get("profile", {}))


def _folder() -> Any:
    """``bridge/mappings`` in the wheel, ``mappings`` beside the package in a checkout."""
    packaged = resources.files("bridge") / "mappings"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "mappings"


def unread(table: Profile, folder: Path) -> list[str]:
    """Rows that no code of the dialect's folder names: dead facts (section.key), for ``make check``."""
    said: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                said.add(node.name)
    rows = [
        f"{section}.{name}"
        for section in ("value", "time", "text", "template", "urc")
        for name in getattr(table, section)
        if name not in said
    ]
    rows += [f"command.{n}.hook = {c.hook!r}" for n, c in table.command.items() if c.hook and c.hook not in said]
    return rows
