"""CIPSEND, and CIPSENDEX where it is the same: gate, payload, failures, and one final result whatever the Network does."""

# ruff: noqa: PLR0917 - the clock acts by being asked for; the arguments are a table's columns

from __future__ import annotations

import pytest
import trio
import trio.testing
from esp_at_sends import FAIL, sent
from hypothesis import given, settings
from hypothesis import strategies as st
from test_esp_at import BUSY, DOWN, ERROR, OK, PROMPT, UP, bridge

from bridge.model import Condition, Phase
from bridge.network import NetworkError

pytestmark = pytest.mark.deadline(2000)

MUTE = float("inf")
NASTY = (
    bytes(range(256))
    + b"\r\n+IPD,0,5:hello\r\nOK\r\nAT+RST\r\n+++\r\nNO CARRIER\r\n\r\nSHUTDOWN\r\n+WIPPEERCLOSE: 2,1\r\n\x10\x03"
)


REFUSED = {
    "CIPSEND": ["0,0", "0,2049", "0,-1", "0,", "0", "", "1,4", "5,4", "0,4,5", '0,"4"', "0,99999999999"],
    "CIPSENDEX": ["0,0", "0,2049", "1,4", "0", "", '0,4,"1.2.3.4",5'],
}


@pytest.mark.parametrize(("command", "arguments"), [(name, wrong) for name in REFUSED for wrong in REFUSED[name]])
async def test_refused_before_the_prompt(autojump_clock, command, arguments):
    async with bridge() as host:
        await host.join(links=(0,))
        assert await host.ask(f"AT+{command}={arguments}") == ERROR
        assert await host.ask(f"AT+{command}") == ERROR


@pytest.mark.parametrize("how", ["whole", "bytes", "with the command"])
async def test_every_byte_value_both_ways(autojump_clock, how):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        command = b"AT+CIPSEND=0,%d\r\n" % len(NASTY)
        if how == "with the command":
            answer = await host.ask(command + NASTY)
        else:
            answer = await host.ask(command)
            for piece in [NASTY] if how == "whole" else [bytes([b]) for b in NASTY]:
                await host.type(piece)
            answer += await host.read()
        assert answer == PROMPT + sent(len(NASTY))
        assert bytes(link.sent) == NASTY
        link.feed(NASTY)
        assert await host.read() == b"\r\n+IPD,0,%d:" % len(NASTY) + NASTY
        assert await host.ask("AT") == OK


ESCAPED = bytes(range(256)) + b"\\\\0\\0"
CUT_UP = {  # what is typed before the payload, what it is typed as, what it means, what is answered before its Recv
    "CIPSEND": (b"AT+CIPMUX?\r\nAT+CIPSEND=0,%d\r\n" % len(NASTY), NASTY + b"\r\n", NASTY, b"+CIPMUX:1\r\n" + OK + PROMPT),
    "CIPSENDEX": (b"AT+CIPSENDEX=0,2048\r\n", ESCAPED.replace(b"\\", b"\\\\") + b"\\0", ESCAPED, PROMPT),
}


@pytest.mark.parametrize("command", CUT_UP)
@given(cuts=st.lists(st.integers(1, 60), max_size=30))
@settings(max_examples=25, deadline=None)
def test_random_cuts_give_the_same_answers(command, cuts):
    """Two lines that come while the module works are answered busy; none of their bytes is payload."""
    first, typed, meant, answered = CUT_UP[command]
    stream = first + typed + b"AT\r\n\\0\r\n"

    async def session(pieces):
        async with bridge() as host:
            link = (await host.join(links=(0,)))[0]
            host.network.delay["commit"] = 1
            for piece in pieces:
                await host.type(piece)
            return await host.read(5), bytes(link.sent)

    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    busy = BUSY * (3 if command == "CIPSEND" else 2)  # the line end behind a counted payload is a line, too
    expected = answered + b"\r\nRecv %d bytes\r\n" % len(meant) + busy + b"\r\nSEND OK\r\n"
    for cut_up in ([*pieces, stream[at:]], [stream], [bytes([b]) for b in stream]):
        clock = trio.testing.MockClock(autojump_threshold=0)
        assert trio.run(session, [p for p in cut_up if p], clock=clock) == (expected, meant)


async def test_no_urc_in_any_gap_of_a_send(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1, 2))
        host.network.delay["commit"] = 0.2
        assert await host.ask("AT+CIPSEND=0,4") == PROMPT
        links[0].feed(b"one")
        assert await host.ask(b"ab") == b""
        links[1].peer_close()
        host.network.box.change(Phase.DOWN)
        host.network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.ask(b"cd") == b"\r\nRecv 4 bytes\r\n"
        links[2].feed(b"two")
        await host.read(0)
        await trio.sleep(1)
        at = {data: when for when, data in host.heard}
        answer = await host.read(0)
        assert answer == b"\r\nSEND OK\r\n\r\n+IPD,0,3:one1,CLOSED\r\n\r\n+IPD,2,3:two"
        assert at[b"\r\n+IPD,0,3:one"] - at[b"\r\nSEND OK\r\n"] >= 0.005


async def test_host_stops_in_mid_payload(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        assert await host.ask("AT+CIPSEND=0,10") == PROMPT
        links[1].feed(b"later")
        assert await host.ask(b"AT\r\n", 900) == b""
        assert await host.ask(b"AT\r\nxx") == sent(10) + b"\r\n+IPD,1,5:later"


@pytest.mark.parametrize("step", ["prompt", "collecting", "committing"])
async def test_link_dies_at_each_step(autojump_clock, step):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        host.network.delay["commit"] = 1
        if step == "prompt":
            link.lose(Condition.LINK_RESET)
            await host.type(b"AT+CIPSEND=0,4\r\n")
            answer = await host.read()
            if not answer.startswith(PROMPT):  # CLOSED was written first
                assert answer == b"0,CLOSED\r\n" + ERROR
                return
        else:
            assert await host.ask("AT+CIPSEND=0,4") == PROMPT
        await host.type(b"ab")
        if step == "collecting":
            link.feed(b"last")
            link.lose(Condition.LINK_RESET)
        assert await host.read(3) == b""
        await host.type(b"cd")
        answer = await host.read()
        if step == "committing":
            assert answer == b"\r\nRecv 4 bytes\r\n"
            link.lose(Condition.LINK_RESET)
            assert await host.read(10) == FAIL + b"0,CLOSED\r\n"
        else:
            answer += await host.read(10)
            last = b"\r\n+IPD,0,4:last" if step == "collecting" else b""
            assert answer == b"\r\nRecv 4 bytes\r\n" + FAIL + last + b"0,CLOSED\r\n"
        assert await host.ask("AT+CIPSEND=0,4") == ERROR
        assert await host.ask('AT+CIPSTART=0,"TCP","h",1') == b"0,CONNECT\r\n" + OK


@pytest.mark.parametrize("operation", ["write", "commit"])
async def test_a_mute_network_in_a_send(autojump_clock, operation):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        host.network.delay[operation] = MUTE
        assert await host.ask("AT+CIPSEND=0,4") == PROMPT
        assert await host.ask(b"abcd", 19.9) == b"\r\nRecv 4 bytes\r\n"
        assert await host.ask("AT", 0.01) == BUSY
        answer = await host.read(30)
        assert answer.startswith(FAIL)
        assert answer.count(b"SEND") == 1
        assert link.aborts == 1
        assert await host.ask("AT") == OK


@pytest.mark.parametrize(
    ("operation", "text", "limit", "final"),
    [
        ("attach", 'AT+CWJAP="n","p"', 14, DOWN + b"+CWJAP:1\r\n" + ERROR),
        ("open_stream", 'AT+CIPSTART=1,"TCP","h",80', 9.5, ERROR),
        ("resolve", 'AT+CIPDOMAIN="h"', 14, ERROR),
        ("aclose", "AT+CIPCLOSE=0", 0, b"0,CLOSED\r\n" + OK),
        ("detach", "AT+CWQAP", 0, b"0,CLOSED\r\n" + OK + DOWN),
    ],
)
@pytest.mark.parametrize("fault", ["mute", "crash"])
async def test_one_final_result_whatever_the_network_does(autojump_clock, operation, text, limit, final, fault):
    async with bridge() as host:
        await host.join(links=(0,))
        if fault == "mute":
            host.network.delay[operation] = MUTE
        else:
            host.network.error[operation] = RuntimeError("a bug")
        answer = await host.ask(text, limit + 0.1)
        if operation == "attach":
            answer = answer.replace(b"0,CLOSED\r\n", b"")
        assert answer == final
        assert await host.ask("AT") == OK
        assert await host.read(500) == b""
        if fault == "crash":
            assert host.upstream.counters["crashes"] == 1


@pytest.mark.parametrize("operation", ["sending", "write", "commit"])
@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), NetworkError(Condition.RECEIVE_BUFFER_FULL), trio.ClosedResourceError()]
)
@pytest.mark.parametrize(("command", "last"), [("AT+CIPSEND=0,4", b"cd"), ("AT+CIPSENDEX=0,100", b"cd\\0")])
async def test_a_send_that_fails_in_any_way_fails_once(autojump_clock, operation, error, command, last):
    async with bridge() as host:
        await host.join(links=(0, 1))
        host.network.error[operation] = error
        answer = await host.ask(command)
        answer += await host.ask(b"ab")
        answer += await host.ask(last, 10)
        assert answer.startswith(PROMPT + b"\r\nRecv 4 bytes\r\n" + FAIL)
        assert answer.count(b"SEND") == 1
        host.network.error.clear()
        assert await host.ask("AT+CIPSEND=1,2") == PROMPT
        assert await host.ask(b"ab") == sent(2)


async def test_a_crash_in_a_pump_closes_its_link_only(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        host.network.error["fetch"] = RuntimeError("a bug")
        links[0].feed(b"x")
        assert await host.read(1) == b"0,CLOSED\r\n"
        host.network.error.clear()
        links[1].feed(b"y")
        assert await host.read(1) == b"\r\n+IPD,1,1:y"


@pytest.mark.parametrize(("command", "answer"), [("AT+CIPCLOSE=0", b"0,CLOSED\r\n" + OK), ("AT+RST", OK + b"\r\nready\r\n" + UP)])
async def test_data_that_waited_behind_the_gate_of_a_closed_link_are_not_told(autojump_clock, command, answer):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        await host.ask("AT+CIPSEND=0,2")
        link.feed(b"waits")
        assert await host.ask(b"ab", 0.002) == sent(2)
        assert await host.ask(command, 5) == answer
        assert link.closed


async def test_a_host_that_sends_without_a_pause_hears_of_its_links_before_the_next_prompt(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        await host.ask("AT+CIPSEND=0,2")
        links[1].feed(b"a" * 5000)
        assert await host.ask(b"ab", 0.001) == sent(2)
        # The next command comes inside the gap after SEND OK, as from a fast host.
        said = await host.ask("AT+CIPSEND=0,2")
        slices = b"".join(b"\r\n+IPD,1,%d:%s" % (n, b"a" * n) for n in (2048, 2048, 904))
        assert said == slices + PROMPT
        assert await host.ask(b"cd") == sent(2)


async def test_a_payload_that_does_not_wait_for_the_prompt_is_answered_in_order(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        await host.ask("AT+CIPSEND=0,2")
        links[1].feed(b"early")
        assert await host.ask(b"ab", 0.001) == sent(2)
        assert await host.ask(b"AT+CIPSEND=0,2\r\ncd") == b"\r\n+IPD,1,5:early" + PROMPT + sent(2)
        assert links[0].sent == b"abcd"


@pytest.mark.parametrize("profile", ["espat-2.3", "nonos-1.7"])
async def test_the_prompt_comes_in_time_on_a_real_line_with_every_other_link_flooding(autojump_clock, profile):
    """Hosts wait 1 s for it: adafruit ESP_ATcontrol, WiFiEsp, rt-esp-at-nal."""
    async with bridge(profile=profile) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","password"')
        await host.ask("AT+CIPMUX=1")
        for number in range(5):
            await host.ask(f'AT+CIPSTART={number},"TCP","1.2.3.4",80')
        host.upstream.port.baud = 115200
        for link in host.network.links[1:]:
            link.feed(b"x" * 200000)
        await host.read(1)
        for _ in range(5):
            await host.type(b"AT+CIPSEND=0,2\r\n")
            assert (await host.read(0.95)).rstrip(b" ").endswith(b">")
            assert b"SEND OK" in await host.ask(b"ab", 0.3)


async def test_the_prompt_comes_in_time_whatever_floods(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))

        async def flood():
            while True:
                links[1].feed(b"x" * 100)
                await trio.sleep(0.0005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await host.read(0.1)
            await host.type(b"AT+CIPSEND=0,2\r\n")
            assert PROMPT in await host.read(1.2)
            nursery.cancel_scope.cancel()


async def test_a_payload_that_the_module_cannot_carry_costs_one_send_and_no_link(autojump_clock):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        host.network.error["commit"] = NetworkError(Condition.BAD_ARGUMENT, "a NUL")
        assert await host.ask(b"AT+CIPSEND=0,3\r\na\0b") == PROMPT + b"\r\nRecv 3 bytes\r\n" + FAIL
        assert await host.read(60) == b""
        del host.network.error["commit"]
        assert await host.ask(b"AT+CIPSEND=0,3\r\nabc") == PROMPT + sent(3)
        assert bytes(link.sent) == b"abc"
