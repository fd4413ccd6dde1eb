"""Where a second look costs little and a rash word much: shorter lines for the first S1 build, a broken line of the station."""

from __future__ import annotations

import re

import pytest
import trio
from skt_driven import BRING_UP, IDLE, JOINED, NOT_JOINED, network, opened, up

from bridge.model import Condition, Endpoint, Login
from bridge.network import NetworkError


@pytest.mark.parametrize(
    ("before", "data"), [(b"", b"x" * 200), (b"", b"," * 100), (b"hello", b"x" * 108), (b"", b"a\rb" + b"x" * 107)]
)
async def test_a_build_that_keeps_less_of_a_line_is_sent_less(before, data, autojump_clock):
    """The first S1 build cuts the arguments of a send at 99 bytes, and refuses what is left of it: nothing went out."""
    got = bytearray()

    def send(text):
        head, _, escaped = text.partition(b":")
        payload = re.sub(rb"\\(.)", rb"\1", escaped, flags=re.DOTALL)
        if len(text) - len(b"AT+SKTSEND=") > 99:
            return b"\r\n+SKTSEND:ERROR:1\r\n"
        assert int(head.split(b"=")[1].split(b",")[0]) == len(payload)
        got.extend(payload)
        return b"\r\n+SKTSEND:OK\r\n"

    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": send})
        if before:
            await link.send_all(before)
        await link.send_all(data)
        await link.send_all(data)
        assert got == before + data + data
        assert sum(len(text) - len(b"AT+SKTSEND=") > 99 for text in module.heard) == 1


async def test_a_short_line_that_is_refused_is_not_said_again(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b"\r\n+SKTSEND:ERROR:1\r\n"})
        for data, lines in ((b"x" * 108, 3), (b"y" * 108, 4)):  # 108 and 90 of the first, and 90 of the second
            with pytest.raises(NetworkError):
                await link.send_all(data)
            assert link.condition is None
            assert sum(text.startswith(b"AT+SKTSEND") for text in module.heard) == lines - 1


async def test_one_broken_line_of_the_station_costs_no_link(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        answers = [NOT_JOINED[1]]
        rules = IDLE | {b"AT+WLSTATE": lambda _: answers.pop() if answers else JOINED[1]}
        nursery.start_soon(module.serve, rules)
        await trio.sleep(15)
        assert answers == []
        assert link.condition is None
        assert net.state.address == "192.168.1.7"


async def test_a_socket_with_one_peer_refuses_another_target_and_lives(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        ok = (b"AT+SKTCLIENT=1,192.0.2.1,53\r\n", b"\r\n+SKTCLIENT:OK\r\n+SKTCLIENT:con_id=1\r\n")
        nursery.start_soon(module.play, ok)
        link = await net.open_datagram(Endpoint("192.0.2.1", 53))
        assert not link.targets
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b"\r\n+SKTSEND:OK\r\n"})
        with pytest.raises(NetworkError) as refused:
            await link.send(b"astray", Endpoint("192.0.2.2", 53))
        assert refused.value.condition is Condition.NOT_SUPPORTED
        await link.send(b"straight", Endpoint("192.0.2.1", 53))
        assert [text for text in module.heard if b"SKTSEND" in text] == [b"AT+SKTSEND=8,1:straight"]


async def test_a_login_goes_out_in_the_bytes_that_the_host_typed(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await module.play(*BRING_UP[:-1], NOT_JOINED)
        await trio.sleep(0.1)
        nursery.start_soon(net.attach, Login("Café".encode().decode("latin-1"), "ü".encode().decode("latin-1")))
        await module.play((b"AT+WLCONN=ssid,Caf\xc3\xa9,pw,\xc3\xbc\r\n", b"\r\n+WLCONN:OK\r\n"), JOINED)
        await trio.sleep(0.1)
        assert net.state.address == "192.168.1.7"


@pytest.mark.parametrize("name", ["日本", "a\x7f", "a\xff", "a\udcff"], ids=ascii)
async def test_a_login_that_the_console_would_change_is_refused(name, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await module.play(*BRING_UP[:-1], NOT_JOINED)
        nursery.start_soon(module.serve, {b"AT+WLSTATE": NOT_JOINED[1]}, None)
        with pytest.raises(NetworkError) as refused:
            await net.attach(Login(name))
        assert refused.value.condition is Condition.BAD_ARGUMENT


@pytest.mark.parametrize("shown", [b"192.16", b"192.168.1.", b"[WLAN-A] RX mgnt", b"192.168.1.1"])
async def test_an_address_that_one_broken_line_shows_costs_no_link(shown, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        answers = [JOINED[1].replace(b"192.168.1.7", shown)]
        nursery.start_soon(module.serve, IDLE | {b"AT+WLSTATE": lambda _: answers.pop() if answers else JOINED[1]})
        await trio.sleep(15)
        assert answers == []
        assert link.condition is None
        assert net.state.address == "192.168.1.7"


@pytest.mark.parametrize("shown", [b"192.16", b"[WLAN-A] RX mgnt"])
async def test_what_is_no_address_is_none(shown, autojump_clock):
    async with network() as (net, module, nursery):
        broken = JOINED[1].replace(b"192.168.1.7", shown)
        await module.play(*BRING_UP[:-1], (JOINED[0], broken))
        await trio.sleep(0.01)
        assert net.state.address is None
        nursery.start_soon(module.serve, IDLE)
        await net.attach()
        assert net.state.address == "192.168.1.7"
