"""Transparent mode: a host that only types, on a network that has nothing but counted sends, in virtual time."""

from __future__ import annotations

import random

import pytest
import trio
from fake_network import FakeNetwork
from structlog.testing import capture_logs
from test_esp_at import OK, Host, bridge

from bridge import tables
from bridge.dialects.esp_at.upstream import EspAtUpstream
from bridge.model import HostSettings
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.trace import Trace

pytestmark = pytest.mark.deadline(2000)

PROFILES = ["espat-2.3", "espat-2.1", "nonos-1.7"]
PROMPT = b"\r\nOK\r\n\r\n>"
MUTE = float("inf")
REMOTE = b"\r\nOK\r\n\r\n>\r\nSEND OK\r\n+++\r\nCLOSED\r\n\r\n+IPD,0,3:abc\x00\xff\r\nready\r\n"


async def begin(host, *, kind="TCP"):
    """Joined, connected and in the mode; returns the link."""
    await host.ask("ATE0")
    assert (await host.ask('AT+CWJAP="net","secret-word"')).endswith(OK)
    assert await host.ask(f'AT+CIPSTART="{kind}","1.2.3.4",80') == b"CONNECT\r\n" + OK
    assert await host.ask("AT+CIPMODE=1") == OK
    assert await host.ask("AT+CIPSEND") == PROMPT
    return (host.network.links if kind == "TCP" else host.network.datagrams)[-1]


async def leave(host):
    await trio.sleep(0.03)
    assert await host.ask(b"+++", 0.05) == b""
    assert await host.ask("AT") == OK


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("pieces", ["whole", "bytes", "random"])
async def test_every_byte_both_ways(autojump_clock, profile, pieces):
    dice = random.Random(7)
    typed = dice.randbytes(1500) + b"+++" + REMOTE + b"AT+CIPMODE=0\r\n" + dice.randbytes(1500) + b"++"
    async with bridge(profile=profile) as host:
        link = await begin(host)
        rest, answer = typed, REMOTE * 40
        while rest:
            count = {"whole": len(rest), "bytes": 1, "random": dice.randint(1, 50)}[pieces]
            await host.type(rest[:count])
            rest = rest[count:]
            await trio.sleep(dice.uniform(0, 0.003))
            link.feed(answer[:17])
            answer = answer[17:]
        link.feed(answer)
        assert await host.read(1) == REMOTE * 40
        assert link.sent == typed
        assert link.commits < 5  # gathered, whatever the pieces
        await leave(host)
        assert link.sent == typed
        assert await host.ask("AT+CIPCLOSE") == b"CLOSED\r\n" + OK


async def test_what_follows_the_command_at_once_is_data(autojump_clock):
    async with bridge() as host:
        link = await begin(host)
        await leave(host)
        assert await host.ask(b"AT+CIPSEND\r\nAT\r\nAT+GMR\r\n") == PROMPT
        assert link.sent == b"AT\r\nAT+GMR\r\n"


async def test_the_escape_at_once_after_the_prompt_and_in_parts(autojump_clock):
    async with bridge() as host:
        link = await begin(host)
        for part in (b"+", b"+", b"+"):
            await host.type(part)
            await trio.sleep(0.016)
        await trio.sleep(0.02)
        assert await host.ask("AT") == OK
        assert link.sent == b""
        assert link.condition is None


async def test_what_was_typed_before_the_escape_goes_first(autojump_clock):
    """On a network that takes its time: until it has gone the host finds the module busy."""
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        network.delay["commit"] = 3
        await host.type(b"x" * 5000)
        await trio.sleep(0.025)
        await host.type(b"+++")
        await trio.sleep(0.025)
        assert await host.ask("AT+CIPCLOSE", 1) == b"\r\nbusy p...\r\n"
        assert await host.ask("AT+CIPCLOSE", 8) == b"\r\nbusy p...\r\n"
        assert await host.ask("AT+CIPCLOSE") == b"CLOSED\r\n" + OK
        assert link.sent == b"x" * 5000
        assert link.aborts == 0


async def test_a_slow_line(autojump_clock):
    near, far = line("host", baud=9600)
    upstream = EspAtUpstream(near, FakeNetwork(), tables.load("esp-at"), Trace(), HostSettings(announce=False))
    async with trio.open_nursery() as nursery:
        host = Host(far, upstream.network, upstream, [])
        nursery.start_soon(host.listen)
        await nursery.start(run_session, upstream, upstream.network)
        for command in ("ATE0", 'AT+CWJAP="net","secret"', 'AT+CIPSTART="TCP","1.2.3.4",80', "AT+CIPMODE=1", "AT+CIPSEND"):
            assert OK in await host.ask(command, 0.3)
        data = b"0123456789abcdef" * 4 + b"+++"  # the memory line gives 16 bytes at a time: 17 ms, and 3 in the last read
        await host.ask(data, 0.3)
        assert upstream.network.links[0].sent == data
        await host.type(b"+++")
        assert await host.ask("AT", 0.3) == b""
        await host.type(b"+++")
        assert await host.ask("AT", 0.3) == b""  # no pause before the next: data
        assert upstream.network.links[0].sent == data + b"+++AT\r\n+++AT\r\n"
        await host.type(b"+++")
        await trio.sleep(0.025)
        assert await host.ask("AT", 0.3) == OK
        nursery.cancel_scope.cancel()


async def test_a_bridge_that_was_held_up_takes_no_silence_for_granted(autojump_clock):
    async with bridge() as host:
        link = await begin(host)
        await host.type(b"+++")
        await trio.sleep(0.001)
        autojump_clock.jump(0.1)  # nobody ran; meanwhile more came
        await host.type(b"!")
        await trio.sleep(0.1)
        assert host.upstream.through.active
        assert link.sent == b"+++!"


# Back-pressure


async def test_a_slow_network_holds_the_host_and_loses_nothing(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        network.delay["commit"] = 10
        data = random.Random(1).randbytes(60000)
        taken = 0
        receive = host.upstream.port.receive

        async def counted(most=4096):
            nonlocal taken
            data = await receive(most)
            taken += len(data)
            return data

        host.upstream.port.receive = counted
        await host.type(b"0")  # the read that runs is not counted yet
        await trio.sleep(0.1)
        await host.type(data)
        await trio.sleep(15)
        assert 16384 < taken <= 16384 + 4096 + 3 * 2048
        assert 16384 <= host.upstream.counters["through-peak"] <= 16384 + 4096
        network.delay.clear()
        await trio.sleep(30)
        assert link.sent == b"0" + data
        await leave(host)


async def test_a_send_that_is_never_taken_ends_the_link_and_the_host_is_heard_again(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        await begin(host)
        network.delay["commit"] = MUTE
        await host.type(b"x" * 30000)
        with capture_logs() as logs:
            await trio.sleep(30)
        assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == ["not taken in time"]
        network.delay.clear()
        await trio.sleep(10)
        await host.ask(b"new")
        assert network.links[-1].sent.endswith(b"new")
        assert network.links[-1] is not network.links[0]
        assert host.upstream.counters["through-lost"] + len(network.links[-1].sent) == 30003
        await leave(host)
