"""How the profiles of a table inherit: plain dictionaries in, one dictionary out, before anything is checked.

A profile starts as a copy of what it extends; tables merge, lists of tables append, everything else replaces.  Three
things are about commands: a row with a ``disposition`` (or ``same``) of its own begins from nothing, ``same`` makes a
row another name of a command, and an ``absent`` group refuses many commands for one reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]


class LayerError(ValueError):
    """The table's profiles do not fit together.  The text names key path, reason and remedy."""


def resolve(tree: Tree, profiles: Mapping[str, Any], chosen: str) -> Tree:
    """The rows of one profile; those with ``same`` are not filled yet (`copy_same`).  Raises LayerError."""
    merged = _layer({}, tree)
    for name in _lineage(profiles, chosen):
        merged = _layer(merged, {k: v for k, v in profiles[name].items() if k not in {"extends", "title", "source"}})
    return merged


def _lineage(profiles: Mapping[str, Any], name: str) -> list[str]:
    line: list[str] = []
    while name:
        if name not in profiles:
            raise LayerError(f"profile {name!r} is not there; there are: {', '.join(sorted(profiles))}")
        if name in line:
            raise LayerError(f"profile.{name}.extends: goes in a circle")
        line.insert(0, name)
        name = profiles[name].get("extends", "")
    return line


def _layer(base: Tree, over: Tree) -> Tree:
    """One profile on top of what it extends."""
    groups, before, rows = _table(over, "absent"), _table(base, "command"), _table(over, "command")
    own = {name for name in rows if _table(rows, name).keys() & {"disposition", "same"}}
    kept = {name: row for name, row in before.items() if name not in own}
    merged = _merge({**base, "command": kept}, {key: value for key, value in over.items() if key != "absent"})
    for key in groups:
        group = _table(groups, key)
        if group.keys() - {"note"} != {"commands", "why", "source"}:
            raise LayerError(f"absent.{key}: commands, why and source are needed")
        for name in group["commands"]:
            if name in rows:
                raise LayerError(f"absent.{key}: {name!r} has a row of its own beside it")
            row = {"disposition": "refused", "why": group["why"], "source": group["source"]}
            # What was secret stays so: hosts type it all the same.
            merged["command"][name] = row | {k: v for k, v in before.get(name, {}).items() if k == "secret"}
    return merged


def copy_same(merged: Tree) -> Tree:
    """The rows of a profile, those that are another name of a command filled with a copy of its row.  Raises LayerError."""
    rows = _table(merged, "command")
    return merged | {"command": {name: filled(name, row, rows) for name, row in rows.items()}}


def filled(name: str, row: Any, rows: Mapping[str, Any]) -> Any:
    """One row, with what it has of the command that it is another name of.  Raises LayerError."""
    if not isinstance(row, dict) or "same" not in row:
        return row
    first = rows.get(row["same"])
    if not isinstance(first, dict) or "same" in first:
        raise LayerError(f"command.{name}.same: {row['same']!r} is no command with a row of its own")
    if first.get("disposition") == "refused" and "disposition" not in row:
        # What is refused by one name is refused by the other: nothing that says how it would be done can stay.
        row = {key: value for key, value in row.items() if key in {"same", "source", "note", "secret"}}
    return {**first, **row}


def _table(tree: Tree, key: str) -> Tree:
    value = tree.get(key, {})
    if not isinstance(value, dict):
        raise LayerError(f"{key}: expected a table")
    return value


def _merge(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list) and value and isinstance(value[0], dict):
            merged[key] = [*old, *value]
        else:
            merged[key] = value
    return merged
