"""A host that sends without a pause needs the wire: what is asked in vain meanwhile is asked seldom, and never not at all."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from skt_driven import IDLE, NOTHING, network, opened, up
from test_skt_driver_profiles import PLAIN_JOINED, S2_STATE, S2_UP, s2_link

SENT = b"\r\n+SKTSEND:OK\r\n"
ANSWERS = 0.005  # seconds after which the module answers a send
THINKS = 0.003  # seconds that the host takes between two of its sends
BUSY, ASK, LOOK = 2.0, 0.05, 0.5  # seconds, as the table has them


async def stream(link, seconds):
    """Messages of the host, each of three lines, with hardly a pause."""
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        await link.send_all(b"m" * 300)
        await trio.sleep(THINKS)
    return trio.current_time()


async def serve(module, times, what, answer, rest=IDLE):
    """Answer sends after a while, and everything else at once; ``times`` are those of ``what``."""
    while True:
        text = await module.line()
        module.heard.append(text)
        if text.startswith(b"AT+SKTSENDRAW="):
            await module.say(b">>>")
            await module.expect(b"m" * int(text.rpartition(b",")[2]))
            await trio.sleep(ANSWERS)
            await module.say(b"\r\nOK\r\n")
        elif text.startswith(b"AT+SKTSEND="):
            await trio.sleep(ANSWERS)
            await module.say(SENT)
        elif text.startswith(what):
            times.append(trio.current_time())
            await module.say(answer)
        else:
            await module.say(next(said for start, said in rest.items() if text.startswith(start)))


async def test_reads_in_vain_are_seldom_while_sends_follow_each_other(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        times = []
        nursery.start_soon(serve, module, times, b"AT+SKTREAD", NOTHING)
        over = await stream(link, 11)
        during = [at for at in times if at < over]
        assert len(during) == 5
        assert all(BUSY <= b - a < BUSY + 0.1 for a, b in pairwise(during))
        await trio.sleep(1)
        after = [at for at in times if at >= over]
        assert after[0] - over <= ASK


async def test_a_peer_that_answers_a_stream_is_read_on(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        times = []
        nursery.start_soon(serve, module, times, b"AT+SKTREAD", b"+SKTREAD:OK,3,1:yes\r\n")
        over = await stream(link, 4)
        during = [at for at in times if at < over]
        assert len(during) > 20  # each read that brought something is followed by another
        sent = sum(text.startswith(b"AT+SKTSEND") for text in module.heard)
        assert sent > 20  # and the sends have their turn


async def test_sktstate_is_seldom_while_sends_follow_each_other(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        times = []
        nursery.start_soon(serve, module, times, b"AT+SKTSTATE", S2_STATE[1], {b"AT+WLSTATE": PLAIN_JOINED[1]})
        over = await stream(link, 11)
        during = [at for at in times if at < over]
        assert 3 <= len(during) <= 4
        assert all(b - a >= BUSY + LOOK for a, b in pairwise(during))
        await trio.sleep(2)
        after = [at for at in times if at >= over]
        assert after[0] - over <= BUSY + LOOK
        assert after[1] - after[0] == pytest.approx(LOOK, abs=0.1)
