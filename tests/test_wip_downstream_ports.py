"""A port that is lost and comes back, and one that does not."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from wip_modem import (
    BRING_UP,
    CLOSE,
    LISTEN,
    MAP,
    MAP_UDP,
    OPEN,
    Module,
    ReopeningPort,
    listening,
    opened,
    opened_udp,
    up,
)

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Condition, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports import PortLost
from bridge.tables import load
from bridge.trace import Trace


@asynccontextmanager
async def reopening():
    port = ReopeningPort()
    net = WipNetwork(port, load("wip", "c1"), Trace())
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        yield net, port, Module(port.lines[0]), nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


ORPHANS = (b"AT+WIPCREATE?\r", b'\r\n+WIPCREATE: 2,1,1024,"192.0.2.1",80\r\n\r\nOK\r\n')


async def again(port, net, module_says=b""):
    """It is plugged in again, mapped as it was, and the bridge brings it up and closes the orphan."""
    await trio.sleep(10)
    module = Module(port.plug())
    await module.say(module_says)
    await module.answer_escape()
    script = list(BRING_UP[1:])
    script[script.index((b"AT+WIPCREATE?\r", b"\r\nOK\r\n"))] = ORPHANS
    await module.play(*script[:11], CLOSE, (script[11][0], b"\r\n+CME ERROR: 803\r\n"), *script[12:])
    await net.attach()
    return module


@pytest.mark.parametrize("step", ["idle", "mapping", "mapped", "written", "settled", "escaping", "polling"])
async def test_port_lost_and_back_at_each_step_of_a_send(step, autojump_clock):
    async with reopening() as (net, port, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        seen, outcome = [], []

        async def send():
            try:
                await link.send_all(b"x" * 100)
                await link.receive_some()
            except LinkLost as lost:
                outcome.append(lost.condition)
                seen.append(net.state.phase)

        if step != "idle":
            nursery.start_soon(send)
            await module.expect(MAP[0])
        if step not in {"idle", "mapping"}:
            await module.say(MAP[1])
        if step in {"written", "settled", "escaping", "polling"}:
            await module.expect(b"x" * 100)
        if step in {"settled", "escaping", "polling"}:
            await trio.sleep(0.1)
        if step in {"escaping", "polling"}:
            nursery.start_soon(_refused, net, Condition.PORT_LOST)
            await module.expect(b"+++")
        if step == "polling":
            await trio.sleep(1)
            await module.say(b"\r\nOK\r\n")
            await module.expect(b"AT+WIPDATA?\r")
        await port.pull()
        if step == "idle":
            nursery.start_soon(send)
        await trio.sleep(0.1)
        assert net.state.phase is Phase.FAILED
        assert net.state.cause is Condition.PORT_LOST
        assert outcome == [Condition.PORT_LOST]
        assert seen == [Phase.FAILED]  # the state changes before the links fail
        fresh_module = await again(port, net, b"" if step == "idle" else b"late bytes of the peer")
        assert net.state.phase is Phase.UP
        nursery.start_soon(fresh_module.play, *OPEN)
        fresh = await net.open_stream("192.0.2.1", 80)
        nursery.start_soon(fresh.send_all, b"y")
        await fresh_module.play(MAP, (b"y", b""))


async def _refused(net, condition):
    with pytest.raises(NetworkError) as refused:
        await net.open_stream("192.0.2.9", 80)
    assert refused.value.condition is condition


async def test_port_lost_in_bring_up(autojump_clock):
    async with reopening() as (net, port, module, _):
        await module.play(*BRING_UP[:5])
        await port.pull()
        await trio.sleep(1)
        assert net.state.cause is Condition.PORT_LOST
        await up(net, Module(port.plug()))


@pytest.mark.parametrize("step", ["mapping", "written"])
async def test_port_lost_in_a_datagram(step, autojump_clock):
    async with reopening() as (net, port, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        outcome = []

        async def send():
            try:
                await link.send(b"abc")
            except LinkLost as lost:
                outcome.append(lost.condition)

        nursery.start_soon(send)
        await module.expect(MAP_UDP[0])
        if step == "written":
            await module.say(MAP_UDP[1])
            await module.expect(b"abc\x03")
        await port.pull()
        await trio.sleep(0.1)
        assert outcome == [Condition.PORT_LOST]


async def test_whoever_asked_when_it_was_lost_is_told(autojump_clock):
    async with reopening() as (net, port, module, nursery):
        await up(net, module)
        nursery.start_soon(_refused, net, Condition.PORT_LOST)
        await module.expect(b'AT+WIPCREATE=2,1,"192.0.2.9",80\r')
        nursery.start_soon(_refused, net, Condition.PORT_LOST)
        await trio.sleep(0.1)
        await port.pull()
        await trio.sleep(0.1)
        with pytest.raises(NetworkError) as refused:
            await net.attach()
        assert refused.value.condition is Condition.PORT_LOST


async def test_a_listener_survives_a_lost_port(autojump_clock):
    async with reopening() as (net, port, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await port.pull()
        await trio.sleep(1)
        await Module(port.plug()).play(*BRING_UP, (LISTEN[0], LISTEN[1] + b"\r\n+WIPACCEPT: 1,4\r\n"))
        assert (await listener.accept()).index == 4


async def test_half_a_line_before_the_loss_is_no_part_of_what_comes_after(autojump_clock):
    async with reopening() as (net, port, module, _):
        await up(net, module)
        await module.say(b"\r\n+WIPDATA: 2,")
        await trio.sleep(0.1)
        await port.pull()
        await trio.sleep(0.1)
        await up(net, Module(port.plug()))
        assert net.counters["nobodys-urcs"] == 0


async def test_a_port_that_never_comes_back_ends_the_network(autojump_clock):
    port = ReopeningPort()

    async def never():
        await trio.sleep(1)
        raise PortLost(port.name)

    port.reopen = never
    net = WipNetwork(port, load("wip", "c1"), Trace())
    await port.pull()
    with pytest.raises(NetworkError) as lost:
        await net.run()
    assert lost.value.condition is Condition.PORT_LOST


async def test_without_reopens_listeners_end_with_the_network(autojump_clock):
    port = ReopeningPort()
    port.reopens = False
    net = WipNetwork(port, load("wip", "c1"), Trace())
    ended = []

    async def run():
        with pytest.raises(NetworkError):
            await net.run()
        ended.append(net.state.cause)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        module = Module(port.lines[0])
        await up(net, module)
        listener = await listening(net, module, nursery)
        await port.pull()
        with pytest.raises(LinkLost) as lost:
            await listener.accept()
        assert lost.value.condition is Condition.PORT_LOST
    assert ended == [Condition.PORT_LOST]
