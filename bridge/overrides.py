"""What an operator puts in the place of a mapping table's entries, for one bridge.

An override names a row that is there: a misspelt name must not become a row that nobody reads.  A plain value goes into
the row's main key (`seconds` of a time, `text` of a text); a table replaces the keys it names.  The row's `source` becomes
the configuration file, so that a reader of the row knows who said it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.blanks import MAIN, BlankError, Known, strange
from bridge.layers import LayerError, filled

__all__ = ["OverrideError", "Overrides", "apply"]

_MAIN = {"value": "value", "time": "seconds", "text": "text", "template": "send", "urc": "pattern"}
# Lists: what tells their rows apart.
_KEYED = {"error": ("code", "during", "after"), "refusal": ("condition", "during", "before", "about")}
_LIST = "capabilities"


@dataclass(frozen=True, eq=False)
class Overrides:
    """Section to name to value, as in the table itself."""

    entries: Mapping[str, Any]
    source: str  # "configuration FILE"


class OverrideError(Exception):
    """An override that does not fit its table."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}; {remedy}")
        self.path = path


def apply(tree: Mapping[str, Any], overrides: Overrides, rows: Mapping[str, type], known: Known) -> dict[str, Any]:
    """The table's tree with the overrides in it, before rows with ``same`` are filled: those follow their command.

    ``rows``: the type of each section's rows; ``known``: what their texts may have to be filled in.  Raises OverrideError.
    """
    result = dict(tree)
    for section, given in overrides.entries.items():
        if section == _LIST:
            result[section] = given
        elif section not in rows:
            raise OverrideError(section, "a table has no such section", _nearest(section, [*rows, _LIST]))
        elif section in _KEYED:
            result[section] = _listed(section, result.get(section, []), given, overrides.source, rows[section])
        elif not isinstance(given, Mapping):
            raise OverrideError(section, "is not a table", f"write {section}.NAME = ...")
        else:
            result[section] = _named(section, result.get(section, {}), given, overrides.source, rows[section])
        if section in MAIN:
            _check_texts(section, result[section], given, known)
    return result


def _check_texts(section: str, rows: Any, given: Any, known: Known) -> None:
    """Whether what the operator wrote can be filled in."""
    key = MAIN[section]
    texts = (
        [(f"{section}[{n}].{key}", "", row[key]) for n, row in enumerate(rows[: len(given)])]
        if isinstance(rows, list)
        else [(f"{section}.{name}.{key}", name, rows[name][key]) for name in given]
    )
    for path, name, text in texts:
        there = known.get((section, name), frozenset())
        try:
            wrong = strange(text, there)
        except BlankError as error:
            problem, _, remedy = str(error).partition("; ")
            raise OverrideError(path, problem, remedy) from None
        if wrong:
            can = ", ".join(sorted(f"{{{blank}}}" for blank in there))
            raise OverrideError(path, f"nothing fills in {wrong}", f"what can be filled in here: {can or 'nothing'}")


def _named(section: str, old: Mapping[str, Any], given: Mapping[str, Any], source: str, kind: type) -> dict[str, Any]:
    merged = dict(old)
    for name, value in given.items():
        path = f"{section}.{name}"
        if name not in old:
            raise OverrideError(path, "the table has no such entry", _nearest(name, old))
        if isinstance(value, Mapping):
            row = {**_base(old[name], value, old), **value}
        elif section in _MAIN:
            row = {**old[name], _MAIN[section]: value}
        else:
            raise OverrideError(path, "is not a table", f"write {path} = {{ ... }} with the keys to replace")
        row.pop("confirmed", None)  # the operator says so
        row["source"] = source
        try:
            _checked(path, filled(name, row, old), kind)
        except LayerError as error:
            raise OverrideError(path, str(error), "leave it as it is") from None
        merged[name] = row
    return merged


def _base(row: Mapping[str, Any], value: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of a row.

    A command that is refused has no forms and no hook any more.  But hosts type it all the same: what was secret stays so.
    """
    if value.get("disposition") != "refused":
        return dict(row)
    before = filled("", row, rows)
    return {key: before[key] for key in ("secret",) if key in before}


def _listed(section: str, old: Iterable[Mapping[str, Any]], given: Any, source: str, kind: type) -> list[Any]:
    if not isinstance(given, list) or not all(isinstance(row, Mapping) for row in given):
        raise OverrideError(section, "is not a list of tables", f"write {section} = [{{ ... }}]")
    new = [_checked(f"{section}[{number}]", {**row, "source": source}, kind) for number, row in enumerate(given)]

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name, "") for name in _KEYED[section])

    replaced = {key(row) for row in new}
    return [*new, *(row for row in old if key(row) not in replaced)]


def _checked(path: str, row: dict[str, Any], kind: type) -> dict[str, Any]:
    names = [field.name for field in msgspec.structs.fields(kind)]
    for key in row:
        if key not in names:
            raise OverrideError(f"{path}.{key}", "a row has no such key", _nearest(key, names))
    try:
        msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise OverrideError(path + where.rstrip("`"), problem, "give a value of the kind that the table has") from None
    return row


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, names := sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
