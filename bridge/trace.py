"""What went over the wires, for engineers: one record per message, in four lanes.

Records are made where a message's meaning is known, so that secrets are masked by the table *before* they get here;
this module never sees a password.  A sink is any callable; it must not wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import trio


class Lane(StrEnum):
    """Who said it, seen from the bridge in the middle."""

    FROM_HOST = "host >"
    TO_HOST = "host <"
    TO_MODULE = "module <"
    FROM_MODULE = "module >"


@dataclass(frozen=True, slots=True)
class Record:
    """One message.  ``data`` is None where only the length may be kept (payload)."""

    seconds: float  # of trio's clock: virtual in tests
    ns: int  # monotonic
    lane: Lane | None  # None: a note of the bridge itself
    data: bytes | None
    length: int
    rule: str = ""
    link: str = ""  # which connection, by the number that this lane's dialect gives it; "": none


Sink = Callable[[Record], None]


class Trace:
    """Hands records to its sinks.  With no sinks it costs a test or two."""

    def __init__(self, *sinks: Sink, payload: bool = False) -> None:
        self._sinks = list(sinks)
        self._payload = payload
        self._step_watchers: list[Callable[[str], None]] = []

    @property
    def kept(self) -> bool:
        """Whether anybody takes records: what only they need may be left undone."""
        return bool(self._sinks)

    def add(self, sink: Sink) -> None:
        """Another sink from now on."""
        self._sinks.append(sink)

    def watch_steps(self, watcher: Callable[[str], None]) -> None:
        """Tell ``watcher`` the rule of every line to the module: the name of a command.  It must not wait."""
        self._step_watchers.append(watcher)

    def line(self, lane: Lane, shown: bytes, rule: str = "", *, link: str = "") -> None:
        """Protocol text, already masked."""
        if lane is Lane.TO_MODULE:
            for watcher in self._step_watchers:
                watcher(rule)
        if self._sinks:
            self._emit(lane, shown, len(shown), rule, link)

    def payload(self, lane: Lane, data: bytes, rule: str = "", *, link: str = "") -> None:
        """Bytes of a link: kept only where the operator asked for it."""
        if self._sinks:
            self._emit(lane, data if self._payload else None, len(data), rule, link)

    def carrying(self, lane: Lane, head: bytes, data: bytes, tail: bytes, rule: str = "", *, link: str = "") -> None:
        """One message with bytes of a link in it, in the order of the wire.  ``head`` and ``tail`` are already masked."""
        if not data:
            head, tail = head + tail, b""
        if head:
            self.line(lane, head, rule, link=link)
        if data:
            self.payload(lane, data, rule, link=link)
        if tail and self._sinks:  # no line of its own: no step
            self._emit(lane, tail, len(tail), rule, link)

    def note(self, rule: str, detail: str = "") -> None:
        """What the bridge itself decided: dropped, refused, retried, and why."""
        if self._sinks:
            data = detail.encode("utf-8", "backslashreplace")
            self._emit(None, data, len(data), rule)

    def _emit(self, lane: Lane | None, data: bytes | None, length: int, rule: str, link: str = "") -> None:
        record = Record(trio.current_time(), time.monotonic_ns(), lane, data, length, rule, link)
        for sink in self._sinks:
            sink(record)


def escape(data: bytes) -> str:
    r"""Bytes as printable text: ``\r \n \t \xNN`` and a doubled backslash.  The transcripts' notation."""
    out = []
    for byte in data:
        if byte == 0x5C:
            out.append("\\\\")
        elif 0x20 <= byte < 0x7F:
            out.append(chr(byte))
        else:
            out.append({0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t"}.get(byte, f"\\x{byte:02x}"))
    return "".join(out)


def printable(text: str) -> str:
    """Text of anybody's, so that none of it can steer a terminal: what is not printable is escaped."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    )
