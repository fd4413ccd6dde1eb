"""Transparent mode beside everything else: passive receive, servers, what begins by itself, and resets."""

from __future__ import annotations

import pytest
import trio
from fake_network import FakeNetwork
from test_esp_at import ERROR, OK, UP, bridge
from test_esp_at_passthrough import MUTE, PROFILES, PROMPT, begin
from wired_port import OrderedNetwork, plugged

from bridge.model import Condition, Wire

pytestmark = pytest.mark.deadline(2000)

READY = b"\r\nready\r\n"


# What the mode goes with


@pytest.mark.parametrize("profile", PROFILES)
async def test_passive_receive_is_none_while_it_is_on(autojump_clock, profile):
    async with bridge(profile=profile) as host:
        await host.join(mux=0, links=(0,)) if profile != "nonos-1.7" else None
        if profile == "nonos-1.7":
            await host.ask("ATE0")
            await host.ask('AT+CWJAP="net","secret-word"')
            await host.ask('AT+CIPSTART="TCP","1.2.3.4",80')
        link = host.network.links[0]
        assert await host.ask("AT+CIPRECVMODE=1") == OK
        link.feed(b"abc")
        assert await host.read() == b"\r\n+IPD,3\r\n"
        assert await host.ask("AT+CIPMODE=1") in {OK + b"abc", OK}
        await host.read()
        link.feed(b"def")
        assert await host.read() == b"def"
        assert await host.ask("AT+CIPRECVDATA=3") == ERROR
        assert await host.ask("AT+CIPMODE=0") == OK
        link.feed(b"ghi")
        assert await host.read() == b"\r\n+IPD,3\r\n"


async def test_the_interval_outlives_a_reset_and_the_mode_does_not(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        assert await host.ask("AT+CIPRECONNINTV=7") == OK
        assert await host.ask("AT+CIPMODE=1") == OK
        assert await host.ask("AT+RST", 2) == OK + READY
        await host.ask("ATE0")
        assert await host.ask("AT+CIPRECONNINTV?") == b"+CIPRECONNINTV:7\r\n" + OK
        assert await host.ask("AT+CIPMODE?") == b"+CIPMODE:0\r\n" + OK


async def test_a_server_s_client_that_only_hears_is_not_idle_and_other_links_are_told_as_ever(autojump_clock):
    async with bridge() as host:
        await host.join()
        for command in ("AT+CIPSERVERMAXCONN=1", "AT+CIPSERVER=1,80", "AT+CIPSTO=10", "AT+CIPMODE=1"):
            assert await host.ask(command) == OK
        client = host.network.listeners[0].knock()
        assert await host.read() == b"0,CONNECT\r\n"
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == b"1,CONNECT\r\n" + OK
        host.network.links[-1].feed(b"abc")
        assert await host.read() == b"\r\n+IPD,1,3:abc"
        assert await host.ask("AT+CIPSEND") == ERROR  # which of the two?
        client.feed(b"raw")
        assert await host.read() == b"raw"
        assert await host.ask("AT+CIPCLOSE=1") == b"1,CLOSED\r\n" + OK
        assert await host.ask("AT+CIPSEND") == PROMPT
        for _ in range(5):
            await host.ask(b"tick", 8)
        assert client.sent == b"tick" * 5
        assert not client.closed
        assert await host.read(11) == b""
        assert client.closed


async def test_the_data_of_two_clients_are_never_mixed(autojump_clock):
    """The first one came while there was room for more, and stayed."""
    async with bridge() as host:
        await host.join()
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        first = host.network.listeners[0].knock()
        assert await host.read() == b"0,CONNECT\r\n"
        host.network.listeners[0].knock()
        assert await host.read() == b"1,CONNECT\r\n"
        for command in ("AT+CIPSERVER=0", "AT+CIPSERVERMAXCONN=1", "AT+CIPSERVER=1,80", "AT+CIPMODE=1"):
            assert await host.ask(command) == OK
        first.feed(b"abc")
        assert await host.read() == b"\r\n+IPD,0,3:abc"
        assert await host.ask("AT+CIPSEND") == ERROR
        assert await host.ask("AT+CIPCLOSE=1") == b"1,CLOSED\r\n" + OK
        first.feed(b"abc")
        assert await host.read() == b"abc"
        assert await host.ask("AT+CIPSEND") == PROMPT


async def test_a_server_keeps_its_one_client_while_the_mode_is_on(autojump_clock):
    async with bridge() as host:
        await host.join()
        for command in ("AT+CIPSERVERMAXCONN=1", "AT+CIPSERVER=1,80", "AT+CIPMODE=1", "AT+CIPSERVER=0"):
            assert await host.ask(command) == OK
        assert await host.ask("AT+CIPSERVERMAXCONN=2") == ERROR
        assert await host.ask("AT+CIPSERVERMAXCONN=1") == OK
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        first = host.network.listeners[-1].knock()
        assert await host.read() == b"0,CONNECT\r\n"
        assert await host.ask("AT+CIPSEND") == PROMPT
        second = host.network.listeners[-1].knock()
        first.feed(b"abc")
        second.feed(b"def")
        assert await host.read() == b"abc"
        await trio.sleep(0.03)
        assert await host.ask(b"+++") == b""
        assert await host.ask("AT+CIPCLOSE=0") == b"0,CLOSED\r\n" + OK
        assert await host.ask("AT+CIPSERVER=0") == OK
        assert await host.ask("AT+CIPMODE=0") == OK
        assert await host.ask("AT+CIPSERVERMAXCONN=2") == OK


@pytest.mark.parametrize(
    "link",
    ['"1.2.3.4",80,"TCP",7201', '"0.0.0.0",80,"UDP"', '"0",80', '"255.255.255.255",80,"UDP"', '"089.1.1.1",80', '"1.2.3.4"'],
)
async def test_what_could_not_be_opened_is_not_saved(autojump_clock, link):
    async with bridge() as host:
        await host.join(mux=0)
        assert await host.ask(f"AT+SAVETRANSLINK=1,{link}") == ERROR
        assert await host.ask("AT+RST", 3) == OK + READY + UP
        assert await host.ask("AT") == b"AT\r\n" + OK


async def test_raw_data_do_not_wait_for_an_address_that_is_not_told(autojump_clock):
    network = FakeNetwork()
    opening = network.open_stream

    async def open_stream(host, port, *, keepalive=0):
        link = await opening(host, port, keepalive=keepalive)
        link.peer = None
        link.find_endpoints = trio.sleep_forever
        return link

    network.open_stream = open_stream
    async with bridge(network) as host:
        await host.join(mux=0, links=(0,))
        assert await host.ask("AT+CIPDINFO=1") == OK
        assert await host.ask("AT+CIPMODE=1") == OK
        network.links[0].feed(b"abc")
        assert await host.read(0.01) == b"abc"


# What begins by itself after a start


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["TCP", "UDP"])
async def test_a_saved_link_begins_after_every_start(autojump_clock, profile, kind):
    async with plugged(wires=(Wire.CTS,), reset_on=Wire.CTS, profile=profile) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","secret-word"')
        assert await host.ask(f'AT+SAVETRANSLINK=1,"1.2.3.4",80,"{kind}",60') == OK
        for _ in range(2):
            host.wired.set_wire(Wire.CTS, True)
            host.wired.set_wire(Wire.CTS, False)
            host.network.delay["attach"] = 1
            assert await host.read(1) == READY
            await host.type(b"AT+G")
            assert await host.read(3) == UP
            await host.ask(b"hello", 0.1)
            link = (host.network.links if kind == "TCP" else host.network.datagrams)[-1]
            assert link.sent == (b"hello" if kind == "TCP" else [(b"hello", None)])
            link.feed(b"hi")
            assert await host.read() == b"hi"
        assert host.network.opened == ([("1.2.3.4", 80, 60)] * 2 if kind == "TCP" else [])
        host.network.delay.clear()
        await host.type(b"+++")
        await trio.sleep(0.03)
        end = b"\r\r\n" if profile == "nonos-1.7" else b"\r\n"
        assert await host.ask("AT+RESTORE", 3) == b"AT+RESTORE" + end + b"CLOSED\r\n" + OK + READY
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","secret-word"')
        assert await host.ask("AT+RST", 3) == OK + READY + UP
        assert (await host.ask("AT")).endswith(OK)


async def test_a_saved_link_does_not_take_a_host_that_was_faster(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        await host.join(mux=0)
        assert await host.ask('AT+SAVETRANSLINK=1,"1.2.3.4",80') == OK
        network.delay["attach"] = 5
        assert await host.ask("AT+RST", 1) == OK + READY
        assert await host.ask(b"ATE0\r\nAT+CIPMUX=1\r\n", 5) == b"ATE0\r\n" + OK + OK + UP
        assert await host.ask("AT") == OK
        assert network.opened == []


async def test_a_saved_link_is_not_for_a_host_that_joins_by_itself(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        await host.join(mux=0)
        assert await host.ask('AT+SAVETRANSLINK=1,"1.2.3.4",80') == OK
        network.delay["attach"] = 20
        assert await host.ask("AT+RST", 1) == OK + READY
        await host.ask("ATE0")
        assert (await host.ask('AT+CWJAP="net","secret-word"', 15)).endswith(ERROR)
        assert await host.read(30) == UP  # later, by itself
        assert await host.ask("AT", 5) == OK
        assert network.opened == []


# Resets


async def idle(host, link):
    pass


async def blocked(host, link):
    host.network.delay["commit"] = MUTE
    await host.ask(b"x" * (16384 + 2048))  # all that is taken, so that nothing is left on a line that is lost


async def lost(host, link):
    link.lose(Condition.LINK_RESET)
    await host.ask(b"lost")


async def connecting(host, link):
    host.network.delay["open_stream"] = MUTE
    link.lose(Condition.LINK_RESET)
    await trio.sleep(2)


async def leaving(host, link):
    host.network.delay["commit"] = 19
    await host.ask(b"x" * 9000)
    await host.ask(b"+++")


@pytest.mark.parametrize("moment", [idle, blocked, lost, connecting, leaving])
@pytest.mark.parametrize("by", ["wire", "port"])
async def test_a_reset_ends_it_whatever_it_does(autojump_clock, moment, by):
    async with plugged(wires=(Wire.CTS,), reset_on=Wire.CTS, reopens=True, network=OrderedNetwork()) as host:
        link = await begin(host)
        await moment(host, link)
        if by == "wire":
            host.wired.set_wire(Wire.CTS, True)
            await trio.sleep(0.1)
            host.wired.set_wire(Wire.CTS, False)
        else:
            host.wired.lose()
            await trio.sleep(25)
            host.wired.come_back()
        host.network.delay.clear()
        heard = await host.read(3)
        assert heard.startswith(READY)
        assert heard.endswith(UP)
        tail = await host.ask("AT+CIPMODE?")
        assert tail.endswith(b"+CIPMODE:0\r\n" + OK), tail
        assert host.upstream.counters["crashes"] == 0
        link = await begin(host)
        await host.ask(b"after")
        assert link.sent == b"after"
