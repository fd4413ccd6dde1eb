"""The trace as a file: private, ordered, complete or honest about what is missing, and never in the way."""

import json
import os
import stat
import time
from datetime import datetime

import pytest
import trio

from bridge.trace import Lane, Trace
from bridge.trace_file import TraceFile


def rows(path, *, heads=False):
    read = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    return [row for row in read if heads or "trace" not in row]


async def test_records_are_written_in_order_and_payload_only_where_asked(tmp_path):
    path = tmp_path / "trace"
    sink = TraceFile(path)
    trace = Trace(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.line(Lane.FROM_HOST, b"AT\r\n", "line")
        trace.payload(Lane.TO_MODULE, b"secret", "data")
        trace.note("dropped", "why: \u00e9")
        await trio.sleep(0.3)
        assert len(rows(path, heads=True)) == 4  # while it runs, not only at the end
        trace.line(Lane.TO_HOST, b"\r\nOK\r\n\xff")
        nursery.cancel_scope.cancel()
    first, second, third, last = rows(path)
    assert (first["lane"], first["rule"], first["data"], first["length"]) == ("host >", "line", "AT\\r\\n", 4)
    assert (second["length"], "data" in second) == (6, False)
    assert b"secret" not in path.read_bytes()
    assert (third["lane"], third["rule"]) == (None, "dropped")
    assert last["data"] == "\\r\\nOK\\r\\n\\xff"
    assert first["ns"] <= last["ns"]
    assert not {"time", "link"} & first.keys()


async def test_nobody_else_may_read_it_and_what_was_there_stays(tmp_path):
    path = tmp_path / "trace"
    path.write_text('{"old": 1}\n')
    path.chmod(0o644)
    sink = TraceFile(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        Trace(sink).note("new")
        nursery.cancel_scope.cancel()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    old, new = rows(path)
    assert old == {"old": 1}
    assert new["rule"] == "new"


async def test_a_gap_is_recorded_where_the_disk_is_slower_than_the_wires(tmp_path):
    path = tmp_path / "trace"
    sink = TraceFile(path, room=3)
    trace = Trace(sink)
    for number in range(10):
        trace.note(str(number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        await trio.sleep(0.3)
        trace.note("after")
        nursery.cancel_scope.cancel()
    assert sink.dropped == 7
    assert [row.get("rule", row.get("gap")) for row in rows(path)] == ["0", "1", "2", 7, "after"]


@pytest.mark.parametrize("kind", ["folder", "fifo", "symlink"])
def test_only_a_regular_file_is_taken(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        TraceFile(path)


class Disk:
    """os.write of a disk that has room for so many bytes."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self._write = os.write
        monkeypatch.setattr("bridge.trace_file.os.write", self)

    def __call__(self, descriptor, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        count = self._write(descriptor, bytes(data[: self.room]))
        self.room -= count
        return count


async def test_a_full_disk_does_not_end_the_bridge_and_the_gap_is_told_when_there_is_room_again(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    sink = TraceFile(path)
    trace = Trace(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.note("before")
        await trio.sleep(0.3)
        disk = Disk(monkeypatch, 70)  # in the middle of a record
        for number in range(3):
            trace.note(str(number))
        await trio.sleep(0.3)
        trace.note("still full")
        await trio.sleep(0.3)
        assert sink.failure is not None
        assert sink.dropped == 4
        disk.room = 10**6
        trace.note("after")
        await trio.sleep(0.3)
        assert sink.failure is None
        nursery.cancel_scope.cancel()
    assert [row.get("rule", row.get("gap")) for row in rows(path)] == ["before", 4, "after"]


async def test_a_disk_that_is_full_from_the_start_keeps_the_header_for_later(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    disk = Disk(monkeypatch, 0)
    sink = TraceFile(path, about={"bridge": "gate"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        Trace(sink).note("lost")
        await trio.sleep(0.3)
        disk.room = 10**6
        Trace(sink).note("kept")
        nursery.cancel_scope.cancel()
    head, gap, kept = rows(path, heads=True)
    assert (head["trace"], head["bridge"], gap, kept["rule"]) == (1, "gate", {"gap": 1}, "kept")


async def test_the_header_ties_the_clock_to_the_wall_and_names_versions(tmp_path):
    path = tmp_path / "trace"
    before = (time.time(), time.monotonic_ns())  # the anchor is one moment on both clocks: both lie in what follows
    sink = TraceFile(path, about={"upstream": {"dialect": "x"}})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        Trace(sink).payload(Lane.TO_HOST, b"abc", "data", link="3")
        nursery.cancel_scope.cancel()
    after = (time.time(), time.monotonic_ns())
    head, row = rows(path, heads=True)
    assert head["upstream"] == {"dialect": "x"}
    assert {"at_bridge", "python", "trio", "kernel"} < head.keys()
    wall = datetime.fromisoformat(head["wall"]).timestamp()
    assert before[0] - 1e-6 <= wall <= after[0] + 1e-6  # written to the microsecond
    assert before[1] <= head["ns"] <= after[1]
    assert row["link"] == "3"


async def test_an_attempt_that_said_nothing_leaves_nothing(tmp_path):
    path = tmp_path / "trace"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TraceFile(path).run)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert path.read_bytes() == b""


async def test_a_line_torn_by_a_kill_is_ended_before_the_next_record(tmp_path):
    path = tmp_path / "trace"
    path.write_text('{"ns": 1, "la')
    sink = TraceFile(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        Trace(sink).note("new")
        nursery.cancel_scope.cancel()
    torn, head, new = path.read_text().splitlines()
    assert torn == '{"ns": 1, "la'
    assert json.loads(head)["trace"] == 1
    assert json.loads(new)["rule"] == "new"


async def test_two_writers_of_one_file_are_refused(tmp_path):
    first = TraceFile(tmp_path / "trace")
    with pytest.raises(OSError, match="another bridge writes to it"):
        TraceFile(tmp_path / "trace")
    os.close(first._fd)


def test_a_file_that_cannot_be_read_is_let_go(tmp_path, monkeypatch):
    """Else the next attempt of the same bridge would find its own lock on it."""
    path = tmp_path / "trace"
    path.write_text('{"old": 1}\n')

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("bridge.trace_file.os.pread", broken)
        with pytest.raises(OSError, match="Input/output error"):
            TraceFile(path)
    os.close(TraceFile(path)._fd)


async def test_a_gap_stands_before_what_came_while_the_disk_refused(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    sink = TraceFile(path)
    trace = Trace(sink)
    write = os.write

    def refuse_once(descriptor, data):
        trio.from_thread.run_sync(trace.note, "meanwhile")
        monkeypatch.setattr("bridge.trace_file.os.write", write)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge.trace_file.os.write", refuse_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.note("lost")
        await trio.sleep(0.3)
        trace.note("after")
        nursery.cancel_scope.cancel()
    assert [row.get("rule", row.get("gap")) for row in rows(path)] == [1, "meanwhile", "after"]
    assert sink.dropped == 1


async def test_what_waits_for_a_thread_when_the_bridge_ends_is_written(tmp_path):
    path = tmp_path / "trace"
    sink = TraceFile(path)
    trace = Trace(sink)
    threads = trio.to_thread.current_default_thread_limiter()
    threads.total_tokens = 1
    await threads.acquire_on_behalf_of("a lookup that hangs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.note("first")
        await trio.sleep(0.3)
        trace.note("second")
        nursery.cancel_scope.cancel()
        threads.release_on_behalf_of("a lookup that hangs")
    assert [row["rule"] for row in rows(path)] == ["first", "second"]
