"""Reads a trace file and shows it to a person.

A trace is not to be trusted: the bytes in it come from hosts and peers, and the file may be cut, edited or another's.  All
that is shown is printable; what is no record is reported by its line number and left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.trace import Lane, printable
from bridge.trace_file import FORMAT

__all__ = ["Choice", "Row", "View", "chosen", "read"]

LINE_MOST = 1_000_000  # bytes of one line; a record has a host's line or a payload slice, never so much
_NARROW = 30  # characters of one column at least
_RULE = 14  # of the rule's column
_MARK = {Lane.FROM_HOST: ">", Lane.TO_HOST: "<", Lane.TO_MODULE: "<", Lane.FROM_MODULE: ">"}
_LEFT = (Lane.FROM_HOST, Lane.TO_HOST)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file."""

    number: int
    text: str  # as it stands there
    damaged: str = ""  # why it is no record; then nothing below is meant
    head: dict[str, Any] = field(default_factory=dict)  # of a header
    gap: int = 0
    seconds: float = 0.0  # since its header
    lane: Lane | None = None
    data: str | None = None  # escaped; None: payload of which only the length was kept
    length: int = 0
    rule: str = ""
    link: str = ""

    @property
    def record(self) -> bool:
        """Whether it is a message or a note: no header, no gap, not damaged."""
        return not (self.head or self.gap or self.damaged)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which records to show; None: all."""

    lanes: frozenset[Lane | None] | None = None
    begin: float | None = None
    end: float | None = None
    text: str | None = None
    link: str | None = None

    def takes(self, row: Row) -> bool:
        """Whether this record is one of them."""
        return (
            (self.lanes is None or row.lane in self.lanes)
            and (self.begin is None or row.seconds >= self.begin)
            and (self.end is None or row.seconds <= self.end)
            and (self.text is None or self.text in (row.data or "") or self.text in row.rule)
            and (self.link is None or row.link == self.link)
        )


def chosen(rows: Iterable[Row], choice: Choice) -> Iterator[Row]:
    """The records that were asked for, and whatever a reader must not miss: headers, gaps, damage."""
    return (row for row in rows if not row.record or choice.takes(row))


def read(stream: Any) -> Iterator[Row]:
    """The rows of a trace, whatever is in it.  ``stream`` gives bytes."""
    origin: int | None = None
    number = 0
    while line := stream.readline(LINE_MOST):
        number += 1
        # DEL is the one control character that JSON lets stand as it is.
        text = line.rstrip(b"\n").decode("ascii", "backslashreplace").replace("\x7f", "\\u007f")
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            yield Row(number, text, "is no JSON; its bridge was killed, or the file was cut")
            continue
        try:
            row, origin = _row(number, text, tree, origin)
        except (KeyError, TypeError, ValueError) as error:
            yield Row(number, text, f"is no record of a trace ({type(error).__name__}: {error})")
            continue
        yield row


def _row(number: int, text: str, tree: Any, origin: int | None) -> tuple[Row, int | None]:
    if not isinstance(tree, dict):
        raise TypeError("not an object")
    if "trace" in tree:
        if tree["trace"] != FORMAT:
            raise ValueError(f"format {tree['trace']!a} is not known here")
        return Row(number, text, head=tree), _whole(tree, "ns")
    if "gap" in tree:
        return Row(number, text, gap=max(1, _whole(tree, "gap"))), origin
    ns = _whole(tree, "ns")
    origin = ns if origin is None else origin  # a part of a trace, cut out by `filter` or by rotation
    lane = None if tree["lane"] is None else Lane(tree["lane"])
    data = _text(tree, "data") if "data" in tree else None
    seconds = (ns - origin) / 1e9
    return Row(
        number, text, "", {}, 0, seconds, lane, data, _whole(tree, "length"), _text(tree, "rule"), _text(tree, "link")
    ), origin


def _whole(tree: dict[str, Any], key: str) -> int:
    value = tree[key]
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise TypeError(f"{key} is no number")
    return value


def _text(tree: dict[str, Any], key: str) -> str:
    value = tree.get(key, "")
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    return printable(value)


class View:
    """Two columns, with the seconds before them and the rule behind."""

    def __init__(self, *, wide: bool = False, columns: int | None = None) -> None:
        columns = columns or shutil.get_terminal_size((120, 40)).columns
        self._width = max(_NARROW, (columns - 12 - _RULE) // 2)
        self._wide = wide

    def lines(self, row: Row) -> Iterator[str]:
        """What to print of a row."""
        if row.head:
            yield from self._head(row.head)
        elif row.gap:
            yield f"{'':10}-- {row.gap} records are missing: the disk was slower than the wires, or full"
        elif row.lane is None:
            yield f"{row.seconds:10.3f}  -- {row.rule}{': ' + row.data if row.data else ''}"
        else:
            yield self._message(row, row.lane)

    def _head(self, head: dict[str, Any]) -> Iterator[str]:
        def said(key: str) -> str:
            return printable(str(head.get(key, "?")))

        name = f"bridge {said('bridge')}, " if "bridge" in head else ""
        yield f"== {name}at-bridge {said('at_bridge')}, 0.000 is {said('wall')}"
        for side in ("upstream", "downstream"):
            facts = head.get(side)
            if isinstance(facts, dict):
                yield f"   {side:<11}" + "  ".join(
                    f"{printable(str(key))} {printable(str(value))}" for key, value in facts.items()
                )
        yield f"{'seconds':>10}  {'host':<{self._width}}| {'module':<{self._width}} rule"

    def _message(self, row: Row, lane: Lane) -> str:
        link = f"[{row.link}] " if row.link else ""
        shown = f"({row.length} bytes)" if row.data is None else row.data
        text = f"{_MARK[lane]} {link}{shown}"
        room = self._width - 1
        if not self._wide and len(text) > room:
            tail = f"... ({row.length} bytes)"
            text = text[: room - len(tail)] + tail
        left, right = (text, "") if lane in _LEFT else ("", text)
        return f"{row.seconds:10.3f}  {left:<{self._width}}| {right:<{self._width}} {row.rule}".rstrip()
