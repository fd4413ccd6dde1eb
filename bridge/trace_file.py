r"""The trace as a file of JSON Lines, for engineers: one object per message, mode 0600, never in the bridge's way.

Records are kept in a bounded buffer and written by a thread; where the disk is slower than the wires, or full, records are
dropped and the gap is written in their place as soon as there is room again, so that a reader knows.

``{"ns": 1, "lane": "host >", "rule": "line", "length": 4, "data": "AT\\r\\n"}``

``ns`` is monotonic; ``data`` is escaped as in the transcripts and missing where it is payload that was not asked for;
``link`` is there where the message belongs to one; ``lane`` null is a note of the bridge itself; ``{"gap": 12}`` stands for
12 records.  Each start of a bridge begins with a header, which ties ``ns`` to the wall clock, once:

``{"trace": 1, "wall": "2026-01-01T00:00:00.000000+00:00", "ns": 1, "at_bridge": "0.1.0", ..., "upstream": {...}}``
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import stat
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import trio

from bridge import __version__
from bridge.trace import Record, escape

log = structlog.get_logger("bridge")

FORMAT = 1  # of the file; a reader refuses what it does not know
ROOM = 10_000  # records that may wait for the disk
PAUSE = 0.1  # seconds between two writes: a crash loses at most this much
FLUSH = 0.5  # seconds that the last write may take


class TraceFile:
    """A sink for `bridge.trace.Trace`.  Make it, add it, and run `run` while the bridge runs.

    Raises OSError where the file cannot be opened.  What is there already is kept; new records follow it.
    ``about`` goes into the header: which bridge, which profiles, which tables.
    """

    def __init__(self, path: Path, *, room: int = ROOM, about: Mapping[str, Any] | None = None) -> None:
        # NONBLOCK and the check below: a FIFO or a device must not hang the start.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise OSError(None, "not a regular file", str(path))
        try:
            os.fchmod(self._fd, 0o600)  # it may have been there with another mode
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._torn = _ends_torn(self._fd)
        except BlockingIOError:
            os.close(self._fd)
            raise OSError(None, "another bridge writes to it", str(path)) from None
        except OSError:
            os.close(self._fd)
            raise
        self._path = path
        self._room = room
        self._waiting: deque[str] = deque()
        self._head = _header(about or {})  # written with the first record: an attempt that said nothing leaves nothing
        self._gap = 0
        self.dropped = 0
        self.failure: OSError | None = None  # of the last write; None: it went well

    def __call__(self, record: Record) -> None:
        """Take a record; never waits."""
        if self._head:
            self._waiting.append(self._head)
            self._head = ""
        if len(self._waiting) > self._room:
            self._gap += 1
            self.dropped += 1
            return
        self._close_gap()
        self._waiting.append(_line(record))

    def _close_gap(self) -> None:
        if self._gap:
            self._waiting.append(_gap(self._gap))
            self._gap = 0

    async def run(self) -> None:
        """Write until cancelled, then write the rest (for at most `FLUSH` seconds) and close."""
        try:
            while True:
                await trio.sleep(PAUSE)
                await self._write()
        finally:
            with trio.move_on_after(FLUSH, shield=True):
                await self._write()
            os.close(self._fd)

    async def _write(self) -> None:
        if len(self._waiting) <= self._room:
            self._close_gap()
        if not self._waiting:
            return
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        data = "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            await trio.to_thread.run_sync(self._put, data, abandon_on_cancel=False)
        except trio.Cancelled:  # only while it waits for a thread: nothing is written yet, the last write takes it
            self._waiting.extendleft(reversed(lines))
            raise
        except OSError as error:  # a full disk must not end the bridge
            if self.failure is None:
                log.warning(
                    "trace cannot be written; its records are lost until it can", file=str(self._path), why=error.strerror
                )
            self.failure = error
            self._keep_heads(lines)
        else:
            if self.failure is not None:
                log.info("trace is written again", file=str(self._path), lost=self.dropped)
            self.failure = None

    def _keep_heads(self, lines: list[str]) -> None:
        """Of what could not be written, only headers and gaps are kept: a reader cannot do without them.

        They stand before the records that have come since.
        """
        kept: list[str] = []
        gap = 0
        for line in lines:
            if line.startswith('{"trace":'):
                kept.append(line)
            elif line.startswith('{"gap":'):
                gap += int(json.loads(line)["gap"])
            else:
                gap += 1
                self.dropped += 1
        if gap:
            kept.append(_gap(gap))
        self._waiting.extendleft(reversed(kept))

    def _put(self, data: bytes) -> None:
        """All of it, or nothing and OSError: a reader must not meet a record that is counted as lost, nor half a line."""
        view = memoryview(b"\n" + data if self._torn else data)
        end = os.fstat(self._fd).st_size
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, end)
            raise
        self._torn = False


def _ends_torn(descriptor: int) -> bool:
    """Whether the last line of what is there has no end: its bridge was killed in mid-write."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _gap(count: int) -> str:
    return json.dumps({"gap": count})


def _header(about: Mapping[str, Any]) -> str:
    return json.dumps(
        {
            "trace": FORMAT,
            "wall": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds"),
            "ns": time.monotonic_ns(),
            "at_bridge": __version__,
            "python": platform.python_version(),
            "trio": trio.__version__,
            "kernel": platform.release(),
            **about,
        }
    )


def _line(record: Record) -> str:
    row: dict[str, object] = {
        "ns": record.ns,
        "lane": None if record.lane is None else str(record.lane),
        "rule": record.rule,
        "length": record.length,
    }
    if record.link:
        row["link"] = record.link
    if record.data is not None:
        row["data"] = escape(record.data)
    return json.dumps(row)
