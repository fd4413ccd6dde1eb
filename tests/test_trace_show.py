"""``at-bridge trace show|filter``: both wires for a person; nothing in a trace can steer the terminal or crash the reader."""

import io
import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bridge import cli
from bridge.trace import Lane, Trace
from bridge.trace_file import TraceFile
from bridge.trace_view import View, read

HEAD = {"trace": 1, "wall": "2026-01-01T00:00:00.000000+00:00", "ns": 1_000_000_000, "at_bridge": "0.1.0", "bridge": "gate"}
HEAD |= {"upstream": {"dialect": "esp-at", "profile": "p", "table": "abcd"}, "downstream": {"dialect": "local"}}


def row(seconds, lane, rule="", data=None, *, length=None, link=None):
    made = {"ns": round(1e9 + seconds * 1e9), "lane": lane, "rule": rule, "length": len(data or "") if length is None else length}
    return made | ({} if data is None else {"data": data}) | ({} if link is None else {"link": link})


ROWS = [
    HEAD,
    row(0.5, "host >", "command", "AT+GMR\\r\\n"),
    row(0.501, "host <", "answer", "OK\\r\\n"),
    row(1.0, "module <", "create", "AT+WIPCREATE=2,1\\r", link="1"),
    row(1.25, "module >", "", length=512, link="1"),
    {"gap": 7},
    row(2.0, None, "refused", "no-free-link"),
]


@pytest.fixture
def trace(tmp_path):
    def trace(*rows):
        file = tmp_path / "t"
        file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return str(file)

    return trace


def run(capsys, *arguments):
    status = cli.main(["trace", *arguments])
    return status, *capsys.readouterr()


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def test_show(capsys, trace):
    status, out, error = run(capsys, "show", trace(*ROWS))
    assert (status, error) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "== bridge gate, at-bridge 0.1.0, 0.000 is 2026-01-01T00:00:00.000000+00:00"
    assert lines[1] == "   upstream   dialect esp-at  profile p  table abcd"
    body = lines[4:]
    assert [line.split() for line in body] == [
        ["0.500", ">", "AT+GMR\\r\\n", "|", "command"],
        ["0.501", "<", "OK\\r\\n", "|", "answer"],
        ["1.000", "|", "<", "[1]", "AT+WIPCREATE=2,1\\r", "create"],
        ["1.250", "|", ">", "[1]", "(512", "bytes)"],
        ["--", "7", "records", "are", "missing:", "the", "disk", "was", "slower", "than", "the", "wires,", "or", "full"],
        ["2.000", "--", "refused:", "no-free-link"],
    ]
    assert len({line.index("|") for line in body[:4]}) == 1
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ([], [1, 2, 3, 4, 6]),
        (["--lane", "host"], [1, 2]),
        (["--lane", "host>"], [1]),
        (["--lane", "module", "--lane", "note"], [3, 4, 6]),
        (["--from", "0.501", "--to", "1"], [2, 3]),
        (["--text", "WIPCREATE"], [3]),
        (["--text", "refused"], [6]),
        (["--link", "1"], [3, 4]),
        (["--link", "1", "--lane", "module>"], [4]),
        (["--link", "2"], []),
    ],
)
def test_filters(capsys, trace, options, kept):
    """Headers and gaps stay: without them a reader would be misled."""
    status, out, _ = run(capsys, "filter", trace(*ROWS), *options)
    assert status == 0
    expected = [r for n, r in enumerate(ROWS) if n in kept or n in {0, 5}]
    assert [json.loads(line) for line in out.splitlines()] == expected


def test_what_filter_prints_show_reads(capsys, trace, monkeypatch):
    _, part, _ = run(capsys, "filter", trace(*ROWS), "--lane", "module")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(part.encode())))
    _, out, _ = run(capsys, "show", "-")
    assert "1.000" in out
    assert "AT+GMR" not in out


def test_two_starts_in_one_file_have_their_own_zero(capsys, trace):
    _, out, _ = run(capsys, "show", trace(*ROWS[:2], HEAD | {"ns": 50_000_000_000}, row(49.75, "host >", "", "AT\\r\\n")))
    assert [line.split()[0] for line in out.splitlines() if "> AT" in line] == ["0.500", "0.750"]


def test_a_long_line_is_cut_unless_wide(capsys, trace):
    file = trace(HEAD, row(0, "host >", "r", "x" * 500))
    _, out, _ = run(capsys, "show", file)
    assert "x... (500 bytes)" in out
    assert "x" * 100 not in out
    _, out, _ = run(capsys, "show", file, "--wide")
    assert "x" * 500 in out


def test_nothing_in_it_steers_the_terminal(capsys, trace):
    evil = "\x1b[2J\r\u202e\n\x9b"
    raw = json.dumps(row(0, "host >", "r")).replace('"r"', '"\x7f"')  # JSON lets this one stand as it is
    head = HEAD | {"bridge": evil, "wall": evil, "upstream": {evil: evil}}
    for action in ("show", "filter"):
        _, out, error = run(
            capsys, action, trace(head, row(0, "host >", evil, evil, link=evil), row(0, None, evil, evil), raw, evil[:-2])
        )
        for text in (out, error):
            assert text.isascii()
            assert all(c.isprintable() for c in text.replace("\n", ""))


@pytest.mark.parametrize(
    "bad",
    [
        '{"ns": 1, "la',
        "[]",
        "3",
        '{"ns": 1}',
        '{"ns": "1", "lane": null, "rule": "", "length": 0}',
        '{"ns": 1e400, "lane": null, "rule": "", "length": 0}',
        '{"ns": 1, "lane": "nowhere", "rule": "", "length": 0}',
        '{"ns": 1, "lane": null, "rule": 3, "length": 0}',
        '{"gap": -1.5}',
        '{"trace": 2}',
        '{"trace": 1}',
        "[" * 100_000,
        "",
    ],
)
def test_damage_is_told_with_its_line_and_the_rest_is_shown(capsys, trace, bad):
    status, out, error = run(capsys, "show", trace(HEAD, bad, row(1, "host >", "", "AT\\r\\n")))
    assert status == 1
    assert error.startswith("at-bridge: line 2: is no ")
    assert "> AT" in out


def test_no_file(capsys, tmp_path):
    status, _, error = run(capsys, "show", str(tmp_path / "none"))
    assert (status, "cannot be read" in error) == (2, True)
    assert run(capsys, "show", str(tmp_path))[0] == 2


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_a_crash(data):
    for found in read(io.BytesIO(data)):
        for line in View(columns=80).lines(found) if not found.damaged else ():
            assert line.isprintable()


KEYS = st.sampled_from(["trace", "gap", "ns", "lane", "rule", "length", "data", "link"])
VALUES = st.none() | st.integers() | st.text("a\x1b\x7f\u202e", max_size=3) | st.booleans() | st.floats()


@given(st.dictionaries(KEYS, VALUES))
def test_any_object_is_read_without_a_crash(tree):
    for found in read(io.BytesIO(json.dumps(tree).encode())):
        for line in View(columns=80).lines(found) if not found.damaged else ():
            assert line.isprintable()


async def test_what_the_bridge_writes_is_what_is_read(tmp_path):
    sink = TraceFile(tmp_path / "t", about={"bridge": "a"})
    trace = Trace(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        trace.line(Lane.FROM_HOST, b"AT\x1b\xff\r\n", "command")
        trace.payload(Lane.TO_MODULE, b"abc", "data", link="4")
        trace.note("refused", "why\x1b")
        nursery.cancel_scope.cancel()
    with (tmp_path / "t").open("rb") as stream:
        head, line, payload, note = read(stream)
    assert head.head["bridge"] == "a"
    assert (line.lane, line.data, line.length, line.rule) == (Lane.FROM_HOST, "AT\\x1b\\xff\\r\\n", 6, "command")
    assert (payload.data, payload.length, payload.link) == (None, 3, "4")
    assert (note.lane, note.data) == (None, "why\\x1b")
    assert 0 <= line.seconds < 5
