"""The ``{name}`` in a table's texts: what code fills in.

A text is filled in while a host waits for it; one that cannot be would be found on the day when it is needed.  So it is
looked at when the table is loaded.  Which names the code has is not written down anywhere: an operator's text may have
those that the table's own row has, in any profile; a contributor's rows are all shown on the wire by transcripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

__all__ = ["MAIN", "BlankError", "Known", "blanks", "known", "strange"]

MAIN = {"text": "text", "template": "send", "refusal": "text"}  # the sections whose rows have blanks, and in which key

Known = Mapping[tuple[str, str], frozenset[str]]  # by section and name ("" for the list) what may be filled in


class BlankError(ValueError):
    """A text that cannot be filled in."""


def blanks(text: str) -> frozenset[str]:
    """What is to be filled in, each as ``name`` or ``name:format``.  Raises BlankError."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:  # "Single '{' encountered in format string" and the like
        raise BlankError(f"{error}; a brace that is meant is written twice") from None
    found: set[str] = set()
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or conversion:
            raise BlankError(f"{{{name}}} is no name of something to fill in; a brace that is meant is written twice")
        if "{" in (form or ""):
            raise BlankError(f"{{{name}}} has a format with a brace in it; leave it out")
        found.add(f"{name}:{form}" if form else name)
    return frozenset(found)


def known(layers: Iterable[Mapping[str, Any]]) -> Known:
    """What the rows of a table and of all its profiles have.  Rows that are wrong have nothing here."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for layer in layers:
        for section, name, row in _rows(layer):
            try:
                found[section, name] = found.get((section, name), frozenset()) | blanks(row[MAIN[section]])
            except (BlankError, KeyError, TypeError):
                continue
    return found


def strange(text: str, there: frozenset[str]) -> str:
    """What cannot be filled in where ``there`` can; "" where all can.  The plain name will do for one with a format."""
    names = {blank.partition(":")[0] for blank in there}
    return ", ".join(sorted(f"{{{blank}}}" for blank in blanks(text) - there - names))


def _rows(layer: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for section in MAIN:
        rows = layer.get(section, {})
        if isinstance(rows, Mapping):
            yield from ((section, name, row) for name, row in rows.items())
        elif isinstance(rows, list):
            yield from ((section, "", row) for row in rows)
