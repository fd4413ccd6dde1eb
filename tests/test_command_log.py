"""One event for each host command: what became of it and where its time went; and nothing that is nobody's business."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
import structlog
import trio
from test_esp_at import BUSY, ERROR, OK, PROMPT, bridge
from wired_port import plugged

from bridge import logs
from bridge.command_log import BURST, STEPS_MOST, CommandLog, Part, final_words
from bridge.model import Condition, Wire
from bridge.network import NetworkError
from bridge.ports.memory import line
from bridge.trace import Lane, Trace

pytestmark = pytest.mark.deadline(9000)

BAUD = 9600
BYTE = 10 / BAUD


@pytest.fixture
def logged():
    with structlog.testing.capture_logs() as entries:
        yield entries


def told(entries, *keys):
    """The events of commands, as far as asked for; emptied."""
    events = [event for event in entries if event["event"] == "command"]
    entries.clear()
    return [tuple(event.get(key) for key in keys) for event in events] if keys else events


def log(trace=None, baud=0, finals=frozenset()):
    port, _ = line(baud=baud)
    return CommandLog(trace or Trace(), port, finals)


# On its own


async def test_the_three_times_are_all_there_was(autojump_clock, logged):
    event = log(baud=BAUD).begin("SEND", "set", "translated", 20)
    await trio.sleep(0.5)
    event.said(6)  # 6.25 ms of it on the wire
    with event.waiting(Part.MODULE):
        await trio.sleep(2)
        with event.waiting(Part.WIRE):
            await trio.sleep(3)
            event.heard(100)
        await trio.sleep(1)
    await trio.sleep(0.25)
    event.end(b"\r\nSEND OK\r\n")
    ((went_in, out, wire, module, own, final, level),) = told(
        logged, "bytes_in", "bytes_out", "wire", "module", "own", "final", "log_level"
    )
    assert (went_in, out, final, level) == (120, 17, "SEND OK", "debug")
    assert (wire, module, own) == pytest.approx((3 + (20 + 6 + 11) * BYTE, 3, 0.75 - 6 * BYTE), abs=1e-4)
    assert wire + module + own == pytest.approx(6.75 + (20 + 11) * BYTE, abs=2e-4)  # nothing is counted twice


async def test_more_on_the_wire_than_there_was_time_is_not_less_than_nothing(autojump_clock, logged):
    event = log(baud=BAUD).begin("X", "set", "answered", 4)
    event.said(1000)
    event.end(b"OK")
    assert told(logged, "own", "module") == [(0, 0)]


async def test_a_port_without_speed_takes_no_time(autojump_clock, logged):
    log().begin("X", "set", "answered", 4000).end(b"OK")
    assert told(logged, "wire", "module", "own") == [(0, 0, 0)]


async def test_one_event_whatever_comes_after_the_end(autojump_clock, logged):
    commands = log()
    event = commands.begin("X", "set", "answered", 4)
    event.end(b"OK")
    event.abandon("reset")
    event.end(b"ERROR")
    commands.abandon("reset")
    assert told(logged, "final") == [("OK",)]


async def test_steps_are_those_between_begin_and_end(autojump_clock, logged):
    trace = Trace()
    commands = log(trace)
    trace.line(Lane.TO_MODULE, b"AT\r", "before")
    event = commands.begin("X", "set", "translated", 4)
    for name in ("create", "map"):
        trace.line(Lane.TO_MODULE, b"AT\r", name)
        trace.line(Lane.FROM_MODULE, b"OK\r\n", name)
        trace.line(Lane.TO_HOST, b"OK\r\n", name)
        trace.payload(Lane.TO_MODULE, b"abc", name)
    event.end(b"OK")
    trace.line(Lane.TO_MODULE, b"AT\r", "after")
    assert told(logged, "steps", "more_steps") == [(["create", "map"], None)]


async def test_steps_are_bounded(autojump_clock, logged):
    trace = Trace()
    event = log(trace).begin("X", "set", "translated", 4)
    for _ in range(STEPS_MOST + 5):
        trace.line(Lane.TO_MODULE, b"AT\r", "poll")
    event.end(b"OK")
    assert told(logged, "steps", "more_steps") == [(["poll"] * STEPS_MOST, 5)]


@pytest.mark.parametrize(
    ("condition", "level"),
    [
        (Condition.BAD_ARGUMENT, "info"),
        (Condition.NOT_SUPPORTED, "info"),
        (Condition.WRONG_STATE, "info"),
        (Condition.CONNECT_TIMEOUT, "warning"),
        (Condition.NO_FREE_LINK, "warning"),
        (Condition.MODULE_MUTE, "warning"),
        (Condition.ADDRESS_REFUSED, "warning"),
    ],
)
async def test_levels(autojump_clock, logged, condition, level):
    event = log().begin("X", "set", "translated", 4)
    event.refused(condition, "why")
    event.end(b"ERROR")
    assert told(logged, "log_level", "condition", "reason") == [(level, str(condition), "why")]


async def test_a_flood_of_failures_is_counted_and_does_not_fill_a_journal(autojump_clock, logged):
    commands = log()
    seconds = 60
    for number in range(100 * seconds):
        event = commands.begin("X", "set", "translated", 4)
        event.refused((Condition.MODULE_MUTE, Condition.BAD_ARGUMENT)[number % 2])
        event.end(b"ERROR")
        await trio.sleep(0.01)
    events = told(logged)
    assert len(events) == 100 * seconds
    loud = [event for event in events if event["log_level"] != "debug"]
    assert BURST + seconds - 2 <= len(loud) <= BURST + seconds + 1
    last = max(number for number, event in enumerate(events) if event["log_level"] != "debug")
    assert sum(event.get("unlogged", 0) for event in loud) == last + 1 - len(loud)


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (b"\r\nOK\r\n", "OK"),
        (b"+CIFSR:1\r\n\r\nOK\r\n", "OK"),
        (b"\r\nERROR\r\n0,CLOSED\r\n", "ERROR"),
        (b"0,CLOSED\r\n\r\nOK\r\nWIFI DISCONNECT\r\n", "OK"),
        (b"NO CHANGE\r\n\r\nOK\r\n", "OK"),
        (b"something else\r\n", "something else"),
        (b"", ""),
    ],
)
def test_the_final_result_is_the_last_line_that_is_one(answer, final):
    finals = final_words(["\r\nOK\r\n", "\r\nERROR\r\n", "{id}CLOSED\r\n", "DNS Fail\r\n\r\nERROR\r\n"])
    assert log(finals=finals).final(answer) == final


# On a host


async def test_every_line_of_a_host_has_one_event_and_the_bytes_that_went(autojump_clock, logged):
    lines = [
        "AT",
        "ATE0",
        "AT+GMR",
        "AT+NOSUCH",
        "AT+CIPMUX=1",
        "AT+CIPMUX=7",
        "nonsense",
        "AT+CIPMUX?",
        "AT+CWQAP",
        "AT+CIPSEND=1,2",
    ]
    rng = random.Random(3)
    lines += [rng.choice(lines) for _ in range(40)]
    async with bridge() as host:
        heard = b""
        for text in lines:
            heard += await host.ask(text)
    events = told(logged)
    assert len(events) == len(lines)
    assert sum(event["bytes_in"] for event in events) == sum(len(text) + 2 for text in lines)
    assert sum(event["bytes_out"] for event in events) == len(heard)
    verbs = {text: text.removeprefix("AT+").rstrip("?").partition("=")[0] for text in lines} | {"nonsense": ""}
    assert [event["verb"] for event in events] == [verbs[text] for text in lines]
    by = {event["verb"]: event for event in events}
    assert (by["GMR"]["form"], by["GMR"]["disposition"], by["GMR"]["final"]) == ("execute", "answered", "OK")
    assert (by["NOSUCH"]["disposition"], by["NOSUCH"]["condition"], by["NOSUCH"]["log_level"]) == (
        "refused",
        "not-supported",
        "info",
    )
    assert Counter(event["final"] for event in events).keys() == {"OK", "ERROR"}


async def test_a_connection_that_fails_says_why_and_where_the_time_went(autojump_clock, logged):
    async with bridge() as host:
        await host.join()
        told(logged)
        host.network.delay["open_stream"] = 1.25
        host.network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED, "number 823")
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80', 2) == b"\r\nERROR\r\n"
        assert told(logged, "verb", "log_level", "condition", "reason", "module", "own", "final") == [
            ("CIPSTART", "warning", "connect-refused", "number 823", 1.25, 0, "ERROR")
        ]


async def test_a_limit_that_ends_it(autojump_clock, logged):
    async with bridge() as host:
        await host.join()
        told(logged)
        host.network.delay["open_stream"] = float("inf")
        await host.type(b'AT+CIPSTART=0,"TCP","1.2.3.4",80\r\n')
        await trio.sleep(1)
        assert await host.ask("AT") == BUSY
        await host.read(200)
        busy, failed = told(logged, "verb", "final", "condition", "log_level")
        assert busy == ("AT", "busy p...", None, "debug")
        assert failed == ("CIPSTART", "ERROR", "module-mute", "warning")


async def test_a_send_waits_for_its_host_and_for_the_module(autojump_clock, logged):
    async with bridge() as host:
        await host.join(links=(0,))
        told(logged)
        host.network.delay |= {"write": 0.5, "commit": 2}
        assert await host.ask("AT+CIPSEND=0,6") == PROMPT
        await trio.sleep(3)
        await host.type(b"abc")
        await trio.sleep(4)
        await host.ask(b"def", 10)
        ((verb, went_in, out, wire, module, own, final),) = told(
            logged, "verb", "bytes_in", "bytes_out", "wire", "module", "own", "final"
        )
        assert (verb, went_in, final) == ("CIPSEND", 16 + 6, "SEND OK")
        assert out == len(PROMPT + b"\r\nRecv 6 bytes\r\n\r\nSEND OK\r\n")
        assert (wire, module, own) == pytest.approx((6.55, 3, 0), abs=0.01)  # a write went on while its host paused


async def test_a_reset_ends_what_runs_with_one_event(autojump_clock, logged):
    async with plugged(wires=(Wire.CTS,), reset_on=Wire.CTS) as host:
        await host.join()
        told(logged)
        host.network.delay["open_stream"] = float("inf")
        await host.type(b'AT+CIPSTART=0,"TCP","1.2.3.4",80\r\n')
        await trio.sleep(1)
        host.wired.set_wire(Wire.CTS, True)
        host.wired.set_wire(Wire.CTS, False)
        await host.read(5)
        assert told(logged, "verb", "final", "condition", "reason") == [("CIPSTART", "", "aborted", "reset")]
        host.network.delay.clear()
        assert await host.ask("AT") == b"AT\r\n" + OK
        assert told(logged, "verb", "final") == [("AT", "OK")]


async def test_an_event_says_which_bridge_and_what_went_well_is_not_in_a_journal(autojump_clock, capsys):
    logs.configure("json", "info")
    structlog.contextvars.bind_contextvars(bridge="meter-1")
    try:
        async with bridge() as host:
            assert (await host.ask("AT+NOSUCH")).endswith(ERROR)
            assert (await host.ask("AT")).endswith(OK)
    finally:
        structlog.contextvars.unbind_contextvars("bridge")
    (row,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (row["bridge"], row["event"], row["verb"], row["level"]) == ("meter-1", "command", "NOSUCH", "info")


SECRET = "Xq7-not-for-logs"
JOINS = [
    '="net","{}"',
    '="net","{}",,1',
    '="net","{}',
    "=net,{}",
    '=net,"{}"',
    '="{}"',
    '="net","{}","{}","{}","{}"',
    '?"{}"',
    "=?{}",
    '"{}"',
]


async def test_no_argument_and_no_payload_is_in_an_event(autojump_clock, logged):
    async with bridge() as host:
        await host.join(links=(0,))
        for name in ("AT+CWJAP", "AT+CWJAPX", "at+cwjap", "AT+CWSAP", "T+CWJAP", "AT+CWJAP_CUR", "AT+NOSUCH", "AT+CIPSTART"):
            for join in JOINS:
                for cut in ("", "\n"):
                    text = join.replace("{}", SECRET)
                    await host.ask(name + text[:-4] + cut + text[-4:], 20)
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80')
        assert await host.ask(f"AT+CIPSEND=0,{len(SECRET)}") == PROMPT
        assert await host.ask(SECRET.encode()) == b"\r\nRecv 16 bytes\r\n\r\nSEND OK\r\n"
    text = str(logged)
    assert text.count("CWJAP") >= 20
    for part in (SECRET, SECRET[:8], SECRET[-8:]):
        assert part not in text


# What the trace says of links and wires


async def test_the_trace_tells_whose_line_it_is(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 3))
        host.records.clear()
        await host.ask("AT+CIPSEND=3,4")
        await host.ask(b"abcd")
        links[1].feed(b"back")
        await host.read()
        links[1].peer_close()
        await host.read()
        await host.ask("AT+GMR")
        await host.ask("AT+CIPCLOSE=5")
        records = [(record.lane, record.rule or record.length, record.link) for record in host.records if record.lane]
        mine = [(lane, rule) for lane, rule, link in records if link == "3"]
        assert mine == [
            (Lane.FROM_HOST, 16),
            (Lane.TO_HOST, "prompt"),
            (Lane.FROM_HOST, 4),
            (Lane.TO_HOST, "recv"),
            (Lane.TO_HOST, "answer"),
            (Lane.TO_HOST, "data"),  # its head
            (Lane.TO_HOST, "data"),
            (Lane.TO_HOST, "closed: peer-closed"),
        ]
        assert [record[:2] for record in records if record[2] != "3"] == [
            (Lane.FROM_HOST, 8),
            (Lane.TO_HOST, "answer"),
            (Lane.FROM_HOST, 15),
            (Lane.TO_HOST, "answer"),
        ]


async def test_in_single_connection_mode_it_is_link_0_and_an_accepted_one_is_named_when_it_has_its_id(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0, links=(0,))
        host.records.clear()
        await host.ask("AT+CIPSEND=4")
        assert {record.link for record in host.records} == {"0"}
        await host.ask(b"abcd")
        await host.ask("AT+CIPCLOSE")
        await host.ask("AT+CIPMUX=1")
        await host.ask("AT+CIPSERVER=1,80")
        host.records.clear()
        host.network.listeners[0].knock()
        assert await host.read() == b"0,CONNECT\r\n"
        assert [(record.rule, record.link) for record in host.records] == [("accepted", "0")]


async def test_the_trace_tells_of_wires_and_speeds(autojump_clock):
    async with plugged(wires=(Wire.DSR, Wire.BREAK), reset_on=Wire.DSR) as host:
        await host.join()
        await host.ask("AT+UART_CUR=9600,8,1,0,0", 1)
        host.records.clear()
        host.wired.set_wire(Wire.DSR, True)
        await trio.sleep(0.1)
        host.wired.set_wire(Wire.DSR, False)
        await host.read(5)
        notes = [(record.rule, record.data) for record in host.records if record.lane is None]
        assert notes[:2] == [("wire", b"dsr asserted"), ("reset", b"by dsr")]
        assert ("wire", b"dsr released") in notes
        assert ("speed", b"115200 bits per second") in notes
