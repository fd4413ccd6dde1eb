"""Both wires side by side as it happens: the host's on the left, the module's on the right."""

from __future__ import annotations

import shutil
import sys

import trio

from bridge.trace import Lane, Record, escape

_MARK = {
    Lane.FROM_HOST: "host   >",
    Lane.TO_HOST: "host   <",
    Lane.TO_MODULE: "module <",
    Lane.FROM_MODULE: "module >",
}
_NARROW = 36  # characters of one column at least, so that a command can be recognised


def say(text: str = "") -> None:
    """A line to the user, at once: the wires and the summary must come in order."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Wires:
    """A trace sink that prints two columns."""

    def __init__(self) -> None:
        self._origin = trio.current_time()
        columns = shutil.get_terminal_size((120, 40)).columns
        self._width = max(_NARROW, (columns - 12) // 2)

    def title(self) -> None:
        """The columns' heads."""
        left, right = "host's wire (ESP-AT)", "module's wire (WIP)"
        say(f"{'seconds':>8}  {left:<{self._width}}| {right}")
        say("-" * 10 + "-" * self._width + "+" + "-" * self._width)

    def __call__(self, record: Record) -> None:
        """Print a record; notes of the bridge itself are not shown."""
        if record.lane is None:
            return
        shown = f"[{record.length} bytes]" if record.data is None else escape(record.data)
        text = f"{_MARK[record.lane]} {shown}"
        if len(text) > self._width - 1:
            tail = f"... ({record.length} bytes)"
            text = text[: self._width - 1 - len(tail)] + tail
        seconds = f"{record.seconds - self._origin:8.3f}"
        if record.lane in {Lane.FROM_HOST, Lane.TO_HOST}:
            say(f"{seconds}  {text:<{self._width}}|")
        else:
            say(f"{seconds}  {'':<{self._width}}| {text}")
