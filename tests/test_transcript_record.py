"""A live session's trace becomes a transcript: what the host heard stands in it, and `at-bridge test` plays it."""

import re

import pytest
from recorded import CALL, HEAD, HELLO, SEND, feeds, head, made, taken, text_of

from bridge import cli, endpoint
from bridge.local.policy import Policy
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.service import Options
from bridge.transcripts import record
from bridge.transcripts.run import makers_of, run_script
from bridge.transcripts.script import Kind, parse


def refuses(below):
    below.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)


SESSIONS = {
    "a host that joins": HELLO,
    "a host that is there before the module": (0.5, b"AT\r\n", 0.1, b"AT+GMR\r\n", 8),
    "an open link": CALL,
    "a send": SEND,
    "received while mapped, and the close by the escape": (*SEND, feeds(b"world"), 1.3337, b"AT+CIPCLOSE=0\r\n", 4),
    "announced and read": (*CALL, feeds(bytes(range(32, 127)) * 5), 4),
    "refused": (*HELLO, refuses, b'AT+CIPSTART=0,"TCP","192.0.2.1",80\r\n', 1, b"AT+CIPSEND=0,5\r\n", 1),
    "busy": (*HELLO, b'AT+CIPSTART=0,"TCP","192.0.2.1",80\r\nAT\r\n', 1),
    "commands while a link's bytes are being told": (*CALL, feeds(b"x" * 475), *(b"AT\r\n", 0.0203) * 60, 1),
    "passive": (
        *HELLO,
        b"AT+CIPRECVMODE=1\r\n",
        0.1,
        b'AT+CIPSTART=0,"TCP","192.0.2.1",80\r\n',
        1,
        feeds(b"x" * 70),
        3,
        b"AT+CIPRECVDATA=0,100\r\n",
        1,
    ),
}


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_recorded_and_played_again(name, announce):
    rows, heard = taken(SESSIONS[name], announce=announce)
    quiet = HEAD | {"upstream": HEAD["upstream"] | {"announce": False}}
    text = made(text_of(rows, HEAD if announce else quiet))
    script = parse(text, "recorded")
    assert script.profiles == (("esp-at", "espat-2.3"), ("wip", "c1"))
    assert run_script(script, makers_of(script)).message == ""
    masked = heard.replace(b"hush-hush", b"***")
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.HEAR)) == masked
    typed = b"".join(step for step in SESSIONS[name] if isinstance(step, bytes)).replace(b"hush-hush", b"***")
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.SAY)) == typed
    assert "hush" not in text


def test_a_host_that_is_echoed_by_a_wip_module_is_recorded_and_played_again():
    """The echo follows what it repeats."""
    rows, heard = taken((8, b"AT\r", 1.1, b'AT+WIPCREATE=2,1,"192.0.2.1",80\r', 3), upstream=("wip", "c1"))
    script = parse(made(text_of(rows, head(upstream=("wip", "c1")))), "recorded")
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.HEAR)) == heard


@pytest.fixture(scope="module")
def rows():
    return taken(SEND)[0]


def edited(rows, old, new):
    text = text_of(rows)
    assert text.count(old) == 1
    return text.replace(old, new)


def test_a_bridge_that_says_something_else_now_is_told(rows):
    with pytest.raises(record.RecordError) as said:
        made(edited(rows, '"\\\\r\\\\nSEND OK\\\\r\\\\n"', '"\\\\r\\\\nSEND FAIL\\\\r\\\\n"'))
    assert re.match(r"'host <' at 11\.\d\d\d: played again, the bridge says something else", str(said.value))
    assert "* SEND FAIL" in str(said.value)
    assert "cut it off with --to" in str(said.value)


def test_what_the_bridge_says_without_a_reason_in_the_trace_is_told(rows):
    """The bytes that came in are missing: it waits for them as long as it may, and then something else happens."""
    without = [row for row in rows if row.get("data") != "+WIPREADY: 2,1\\r\\n"]
    assert len(without) == len(rows) - 1
    with pytest.raises(record.RecordError, match="the bridge says something else"):
        made(text_of(without))


def test_the_end_of_a_session_is_told_with_the_time_to_cut_it_at():
    rows = taken(CALL, end=True)[0]
    with pytest.raises(record.RecordError, match=r"'module <' at 10\.\d\d\d: played again(.|\n)*\* AT\+WIPCLOSE=2,1"):
        made(text_of(rows))


def test_what_is_too_long_is_said_before_it_is_played(rows):
    with pytest.raises(record.RecordError, match="takes 1000 s, and a transcript at most 595; cut it with --to"):
        made(text_of([*rows, rows[-1] | {"ns": 1_000_000_000_000}]))


def test_of_several_sessions_the_last_is_taken(rows):
    first, _ = taken((0.5, b"AT\r\n", 1))
    assert made(text_of(first) + '{"torn\n' + text_of(rows)) == made(text_of(rows))


def test_a_hole_behind_the_last_record_is_none_and_any_other_is(rows):
    assert made(text_of([*rows, {"gap": 3}])) == made(text_of(rows))
    with pytest.raises(record.RecordError, match="line 12: records are missing here; cut the session before it, with --to"):
        made(text_of([*rows[:10], {"gap": 3}, *rows[10:]]))


def test_payload_must_be_there():
    with pytest.raises(record.RecordError, match=r"only the length of a link's payload .* --trace-payload"):
        made(text_of(taken(SEND, payload=False)[0]))


@pytest.mark.parametrize(
    ("top", "said"),
    [
        (None, "no header"),
        (HEAD | {"downstream": {"dialect": "local"}}, "no module's wire"),
        (HEAD | {"downstream": None}, "line 1: the header does not say which dialect and profile the downstream has"),
        (HEAD | {"upstream": {"dialect": "esp-at"}}, "which dialect and profile the upstream has"),
        (
            HEAD | {"downstream": HEAD["downstream"] | {"profile": "c1\nhost   > AT"}},
            "which dialect and profile the downstream has",
        ),
        (HEAD | {"downstream": HEAD["downstream"] | {"dialect": "unheard-of"}}, "no dialect 'unheard-of' on the module's side"),
        (HEAD | {"ack": "bridge"}, "ack=bridge"),
    ],
)
def test_sessions_that_cannot_be_played(rows, top, said):
    with pytest.raises(record.RecordError) as told:
        made(text_of(rows, top))
    assert said in str(told.value)


def test_a_host_that_was_not_there_is_no_conversation():
    rows = taken((8,), announce=False)[0]
    with pytest.raises(record.RecordError, match="nothing was said on the wire of the host"):
        made(text_of(rows, HEAD | {"upstream": HEAD["upstream"] | {"announce": False}}))


def test_a_byte_that_is_none_is_told_with_its_line(rows):
    with pytest.raises(record.RecordError, match="line 5: unknown escape"):
        made(text_of([*rows[:3], rows[3] | {"data": "\\q"}, *rows[4:]]))


def test_nothing_in_the_header_becomes_a_line_of_the_transcript(rows):
    text = made(text_of(rows, HEAD | {"wall": "now\nhost   > AT\n# Profiles: a:b"}))
    assert text.splitlines()[1].startswith("# Source: ")


def test_the_command_line(rows, tmp_path, capsys):
    trace, script = tmp_path / "t.jsonl", tmp_path / "s.txt"
    trace.write_text(text_of(rows))
    assert cli.main(["trace", "transcript", str(trace)]) == 0
    script.write_text(capsys.readouterr().out)
    assert cli.main(["test", str(script)]) == 0
    capsys.readouterr()
    assert cli.main(["trace", "transcript", str(trace), "--to", "8.001"]) == 0
    assert "CWJAP" not in capsys.readouterr().out
    for option in (["--link", "0"], ["--from", "1"], ["--lane", "host"], ["--text", "x"], ["--wide"]):
        assert cli.main(["trace", "transcript", str(trace), *option]) == 2
    capsys.readouterr()
    trace.write_text(text_of(rows, None))
    assert cli.main(["trace", "transcript", str(trace)]) == 1
    out, error = capsys.readouterr()
    assert (out, error.count("no header")) == ("", 1)


@pytest.mark.parametrize(("options", "said"), [("", None), (",announce=no", False)])
def test_a_trace_tells_of_a_bridge_that_does_not_announce_itself(options, said):
    upstream = endpoint.parse(f"esp-at@pty:host{options}", side="upstream")
    about = Options(upstream, endpoint.parse("wip:c1@modem", side="downstream"), Policy.parse([], [])).about()
    assert about["upstream"].get("announce") is said
