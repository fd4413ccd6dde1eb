r"""The trace as a file of JSON Lines, for engineers: one object per message, mode 0600, never in the bridge's way.

Records are kept in a bounded buffer and written by a thread; where the disk is slower than the wires, records are
dropped and the gap is written in their place, so that a reader knows.

``{"time": "2026-01-01T00:00:00.000000+00:00", "ns": 1, "lane": "host >", "rule": "line", "length": 4, "data": "AT\\r\\n"}``;
``data`` is escaped as in the transcripts and missing where it is payload that was not asked for; ``lane`` null is a
note of the bridge itself; ``{"gap": 12}`` stands for 12 records.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import trio

from bridge.trace import Record, escape

ROOM = 10_000  # records that may wait for the disk
PAUSE = 0.1  # seconds between two writes: a crash loses at most this much
FLUSH = 0.5  # seconds that the last write may take


class TraceFile:
    """A sink for `bridge.trace.Trace`.  Make it, add it, and run `run` while the bridge runs.

    Raises OSError where the file cannot be opened.  What is there already is kept; new records follow it.
    """

    def __init__(self, path: Path, *, room: int = ROOM) -> None:
        # NONBLOCK and the check below: a FIFO or a device must not hang the start.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise OSError(None, "not a regular file", str(path))
        os.fchmod(self._fd, 0o600)  # it may have been there with another mode
        self._room = room
        self._waiting: deque[str] = deque()
        self._gap = 0
        self._origin = time.time_ns() - time.monotonic_ns()
        self.dropped = 0
        self.failure: OSError | None = None

    def __call__(self, record: Record) -> None:
        """Take a record; never waits."""
        if self.failure is not None or len(self._waiting) >= self._room:
            self._gap += 1
            self.dropped += 1
            return
        if self._gap:
            self._waiting.append(json.dumps({"gap": self._gap}))
            self._gap = 0
        self._waiting.append(self._line(record))

    def _line(self, record: Record) -> str:
        row: dict[str, object] = {
            "time": datetime.fromtimestamp((record.ns + self._origin) / 1e9, UTC).isoformat(timespec="microseconds"),
            "ns": record.ns,
            "lane": None if record.lane is None else str(record.lane),
            "rule": record.rule,
            "length": record.length,
        }
        if record.data is not None:
            row["data"] = escape(record.data)
        return json.dumps(row)

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
        if self._gap and len(self._waiting) < self._room:
            self._waiting.append(json.dumps({"gap": self._gap}))
            self._gap = 0
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lines and self.failure is None:
            data = "".join(f"{line}\n" for line in lines).encode("ascii")
            try:
                await trio.to_thread.run_sync(self._put, data, abandon_on_cancel=False)
            except OSError as error:  # a full disk must not end the bridge; the records are counted as dropped
                self.failure = error
                self.dropped += len(lines)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
