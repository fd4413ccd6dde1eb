"""The trace as a file: private, ordered, complete or honest about what is missing, and never in the way."""

import json
import os
import stat

import pytest
import trio

from bridge.trace import Lane, Trace
from bridge.trace_file import TraceFile


def rows(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


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
        assert len(rows(path)) == 3  # while it runs, not only at the end
        trace.line(Lane.TO_HOST, b"\r\nOK\r\n\xff")
        nursery.cancel_scope.cancel()
    first, second, third, last = rows(path)
    assert (first["lane"], first["rule"], first["data"], first["length"]) == ("host >", "line", "AT\\r\\n", 4)
    assert (second["length"], "data" in second) == (6, False)
    assert b"secret" not in path.read_bytes()
    assert (third["lane"], third["rule"]) == (None, "dropped")
    assert last["data"] == "\\r\\nOK\\r\\n\\xff"
    assert first["ns"] <= last["ns"]
    assert first["time"].endswith("+00:00")


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


async def test_a_full_disk_does_not_end_the_bridge(tmp_path, monkeypatch):
    sink = TraceFile(tmp_path / "trace")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sink, "_put", full)
    trace = Trace(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.note("a")
        await trio.sleep(0.3)
        trace.note("b")
        assert sink.failure is not None
        assert sink.dropped == 2
        nursery.cancel_scope.cancel()
