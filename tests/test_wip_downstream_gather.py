"""What a fetch waits for: a message that a slow line tears into pieces is told in one piece."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel
import trio.testing
from wip_modem import MAP, network, opened, up

from bridge.dialects.wip.driver.links import GATHER, WHOLE


async def reading(net, module, nursery, announced):
    await up(net, module)
    link = await opened(net, module, nursery)
    await module.say(b"\r\n+WIPDATA: 2,1,%d\r\n" % announced)
    await link.wait_readable()
    got = []

    @nursery.start_soon
    async def fetch():
        while True:
            await link.fetch()
            if data := link.take(4096):
                got.append(data)
            else:
                await link.wait_readable()

    await module.play(MAP)
    return got


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.2])
async def test_announced_bytes_are_waited_for(pause, autojump_clock):
    async with network() as (net, module, nursery):
        got = await reading(net, module, nursery, 5)
        for byte in (b"k", b"n", b"o", b"c", b"k"):
            await module.say(byte)
            await trio.sleep(pause)
        await trio.sleep(GATHER * 2)
        assert got == [b"knock"]
        nursery.cancel_scope.cancel()


async def test_bytes_nobody_announced_are_gathered_while_they_stream(autojump_clock):
    async with network() as (net, module, nursery):
        got = await reading(net, module, nursery, 1)
        for at in range(0, 300, 10):
            await module.say(bytes(range(at % 200, at % 200 + 10)))
            await trio.sleep(GATHER / 2)
        await trio.sleep(GATHER * 2)
        await module.say(b"later")
        await trio.sleep(GATHER * 2)
        assert [len(data) for data in got] == [300, 5]
        nursery.cancel_scope.cancel()


async def test_a_full_segment_does_not_wait(autojump_clock):
    async with network() as (net, module, nursery):
        got = await reading(net, module, nursery, 9000)
        await module.say(bytes(WHOLE))
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert [len(data) for data in got] == [WHOLE]
        nursery.cancel_scope.cancel()


async def test_an_announcement_that_was_wrong_holds_nothing_back_for_good(autojump_clock):
    """The modem announced more than it gives: after the visit it is asked again, and what came is told."""
    async with network() as (net, module, nursery):
        got = await reading(net, module, nursery, 500)
        await module.say(b"only this")
        await module.expect(b"+++")
        await trio.sleep(1.0)
        await module.say(b"\r\nOK\r\n")
        await module.play((b"AT+WIPDATA?\r", b"\r\nOK\r\n"))
        await trio.sleep(GATHER * 2)
        assert got == [b"only this"]
        nursery.cancel_scope.cancel()
