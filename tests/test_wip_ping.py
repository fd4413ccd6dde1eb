"""Pings of a WIP modem."""

from __future__ import annotations

import pytest
import trio
from wip_gsm import ERROR, OK, cme, gsm, opened, up
from wip_modem import network
from wip_modem import up as c1_up

from bridge.model import Capability, Condition, Phase
from bridge.network import NetworkError

ASKED = b'AT+WIPPING="192.0.2.1"\r'


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (OK + b"\r\n+WIPPING: 0,0,123\r\n", 0.123),
        (OK + b"\r\n+WIPPING:0, 1, 0\r\n", 0.0),
        (OK + b"\r\n+WIPPING: 1,0,0\r\n", Condition.CONNECT_TIMEOUT),
        (OK, Condition.CONNECT_TIMEOUT),
        (OK + cme(819), Condition.CONNECT_TIMEOUT),
        (cme(819), Condition.CONNECT_TIMEOUT),
        (cme(839), Condition.NAME_NOT_FOUND),
        (ERROR, Condition.NOT_SUPPORTED),
    ],
)
async def test_ping(said, outcome, autojump_clock):
    async with gsm() as (net, module, nursery):
        assert Capability.PING in net.limits.capabilities
        await up(net, module)
        nursery.start_soon(module.play, (ASKED, said))
        if isinstance(outcome, float):
            assert await net.ping("192.0.2.1", 10) == outcome
        else:
            with pytest.raises(NetworkError) as failed:
                await net.ping("192.0.2.1", 10)
            assert failed.value.condition is outcome
        await module.silent_for(1)
        assert net.state.phase is Phase.UP
        await opened(net, module, nursery)  # the wire is free


async def test_a_ping_takes_its_limit_and_a_late_answer_is_nobodys(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (ASKED, OK))
        began = trio.current_time()
        with pytest.raises(NetworkError) as failed:
            await net.ping("192.0.2.1", 1)
        assert failed.value.condition is Condition.CONNECT_TIMEOUT
        assert trio.current_time() - began == pytest.approx(1)
        await module.silent_for(6)
        await module.say(b"\r\n+WIPPING: 0,0,7000\r\n")
        nursery.start_soon(module.play, (ASKED, OK + b"\r\n+WIPPING: 0,0,5\r\n"))
        assert await net.ping("192.0.2.1", 1) == 0.005


async def test_an_answer_before_the_ok_is_the_former_pings(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (ASKED, OK))
        with pytest.raises(NetworkError):
            await net.ping("192.0.2.1", 10)
        nursery.start_soon(module.play, (ASKED, b"\r\n+WIPPING: 0,0,5400\r\n" + OK + b"\r\n+WIPPING: 0,0,123\r\n"))
        assert await net.ping("192.0.2.1", 10) == 0.123


@pytest.mark.parametrize("host", ['a"b', "a\rAT", "", "x" * 121])
async def test_a_ping_is_no_way_to_type_a_command(host, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module)
        with pytest.raises(NetworkError) as failed:
            await net.ping(host, 1)
        assert failed.value.condition is Condition.BAD_ARGUMENT
        await module.silent_for(1)


async def test_a_c1_cannot_ping(autojump_clock):
    async with network() as (net, module, _):
        await c1_up(net, module)
        assert Capability.PING not in net.limits.capabilities
        with pytest.raises(NetworkError) as failed:
            await net.ping("192.0.2.1", 1)
        assert failed.value.condition is Condition.NOT_SUPPORTED
        await module.silent_for(1)
