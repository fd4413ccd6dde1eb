"""A host that announces a payload and stops; a connection whose host has less patience than the table; lost bearers."""

from __future__ import annotations

import pytest
import trio
from esp_at_sends import FAIL
from test_esp_at import BUSY, DOWN, ERROR, OK, PROMPT, UP, bridge

from bridge.model import Condition, Phase

pytestmark = pytest.mark.deadline(90000)

MUTE = float("inf")


async def test_a_payload_is_awaited_for_ever_unless_told_otherwise(autojump_clock):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        await host.ask("AT+CIPSEND=0,6")
        assert await host.ask(b"abc", 80000) == b""
        assert await host.ask(b"def") == b"\r\nRecv 6 bytes\r\n\r\nSEND OK\r\n"
        assert bytes(link.sent) == b"abcdef"


async def test_the_send_is_given_up_once_and_the_rest_is_never_a_command(autojump_clock):
    async with bridge(payload=5.0) as host:
        link = (await host.join(links=(0,)))[0]
        rest = b"def\r\nAT+RST\r\nAT+GMR\r\n"
        assert await host.ask(f"AT+CIPSEND=0,{3 + len(rest)}") == PROMPT
        assert await host.ask(b"abc", 4.9) == b""
        assert await host.read(3) == FAIL + b"0,CLOSED\r\n"  # half of it is out
        assert await host.ask(rest, 100) == b""
        assert link.aborts == 1
        assert await host.ask("AT") == OK
        assert host.upstream.counters["late-payload"] == len(rest)


async def test_late_bytes_may_come_one_by_one(autojump_clock):
    async with bridge(payload=5.0) as host:
        await host.join(links=(0,))
        await host.ask("AT+CIPSEND=0,20")
        assert await host.read(6) == FAIL
        heard = b""
        for byte in b"AT+RST\r\nAT+RST\r\nATE1":
            heard += await host.ask(bytes([byte]), 4.9)
        assert heard == b""
        assert await host.ask("AT") == OK


async def test_a_link_of_which_nothing_went_out_lives(autojump_clock):
    async with bridge(payload=5.0) as host:
        link = (await host.join(links=(0,)))[0]
        await host.ask("AT+CIPSEND=0,3")
        assert await host.read(6) == FAIL
        assert await host.ask(b"abc", 5) == b""
        link.feed(b"alive")
        assert await host.read() == b"\r\n+IPD,0,5:alive"
        assert await host.ask("AT+CIPSEND=0,3") == PROMPT
        assert await host.ask(b"new") == b"\r\nRecv 3 bytes\r\n\r\nSEND OK\r\n"
        assert bytes(link.sent) == b"new"


async def test_after_a_second_silence_a_line_is_a_line(autojump_clock):
    async with bridge(payload=5.0) as host:
        await host.join(links=(0,))
        await host.ask("AT+CIPSEND=0,1000")
        assert await host.read(6) == FAIL
        assert await host.ask("AT", 4) == b""  # too early: it may be payload
        assert await host.ask("AT", 5.1) == b""
        assert await host.ask("AT") == OK


async def test_a_slow_host_is_not_silent(autojump_clock):
    async with bridge(payload=5.0) as host:
        link = (await host.join(links=(0,)))[0]
        await host.ask("AT+CIPSEND=0,20", 4.9)
        for byte in b"x" * 19:
            assert await host.ask(bytes([byte]), 4.9) == b""
        assert await host.ask(b"y", 0.1) == b"\r\nRecv 20 bytes\r\n\r\nSEND OK\r\n"
        assert bytes(link.sent) == b"x" * 19 + b"y"


async def test_silence_is_counted_from_the_prompt(autojump_clock):
    async with bridge(payload=0.2) as host:
        links = await host.join(links=(0, 1))
        host.network.delay["fetch"] = 0.01
        links[1].feed(b"z" * 300000)  # let_through keeps the prompt back for a second
        await host.type(b"AT+CIPSEND=0,3\r\n")
        told = b""
        while b">" not in told:
            told += await host.read(0.01)
        assert FAIL not in told
        await host.type(b"abc")
        assert b"SEND OK" in await host.read(0.1)


@pytest.mark.parametrize("lost_at", [1, 4])
async def test_a_lost_link_and_a_silent_host_are_one_failure(autojump_clock, lost_at):
    async with bridge(payload=5.0) as host:
        link = (await host.join(links=(0,)))[0]
        await host.ask("AT+CIPSEND=0,10")
        await host.type(b"abc")
        await trio.sleep(lost_at)
        link.lose(Condition.LINK_RESET)
        assert await host.read(100) == FAIL + b"0,CLOSED\r\n"
        assert await host.ask("AT") == OK


async def test_a_slow_module_is_no_silent_host(autojump_clock):
    async with bridge(payload=5.0) as host:
        await host.join(links=(0,))
        host.network.delay["commit"] = 15
        await host.ask("AT+CIPSEND=0,3")
        assert await host.ask(b"abc", 14) == b"\r\nRecv 3 bytes\r\n"
        assert await host.ask("AT") == BUSY
        assert await host.read(2) == b"\r\nSEND OK\r\n"


@pytest.mark.parametrize(("settings", "patience"), [({}, 9.5), ({"connect": 4.0}, 4.0), ({"connect": 60.0}, 60.0)])
async def test_the_patience_of_a_host_that_connects(autojump_clock, settings, patience):
    async with bridge(**settings) as host:
        await host.join()
        host.network.delay["open_stream"] = MUTE
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80', patience - 0.1) == b""
        assert await host.ask("AT", 0.01) == BUSY
        assert await host.read(0.2) == ERROR
        assert await host.read(100) == b""
        host.network.delay.clear()
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80') == b"0,CONNECT\r\n" + OK


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("step", ["prompt", "payload", "commit"])
async def test_the_bearer_goes_at_each_step_of_a_send(autojump_clock, step, back):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        if step == "commit":
            host.network.delay["commit"] = 1
        assert await host.ask("AT+CIPSEND=0,6") == PROMPT
        if step != "prompt":
            await host.type(b"abc" if step == "payload" else b"abcdef")
        assert await host.read() == (b"\r\nRecv 6 bytes\r\n" if step == "commit" else b"")
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        for link in links:
            link.lose(Condition.BEARER_LOST)
        await trio.sleep(0.1)
        if back:
            host.network.box.change(Phase.UP, address="10.0.0.3")
        told = await host.read(10)
        if step != "commit":
            assert told == b""  # collecting goes on, whatever became of the link
            told = await host.ask(b"abcdef" if step == "prompt" else b"def", 20)
            assert told.startswith(b"\r\nRecv 6 bytes\r\n")
            told = told.removeprefix(b"\r\nRecv 6 bytes\r\n")
        closed = {FAIL + b"0,CLOSED\r\n1,CLOSED\r\n", FAIL + b"1,CLOSED\r\n0,CLOSED\r\n"}
        assert told in {lines + DOWN + (UP if back else b"") for lines in closed}
        assert await host.ask("AT") == OK
