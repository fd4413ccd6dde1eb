"""The bridge's acknowledgement on our WIP driver on our simulated modem, at a real line's speed and with real guards."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio
from fake_network import FakeNetwork

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.emulation.ack import AckNetwork
from bridge.emulation.ack_link import QUEUE
from bridge.model import Condition
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

BAUD = 115200
BYTE = 10 / BAUD  # seconds


@asynccontextmanager
async def both():
    """(the Network for a host, what lies below the module)."""
    ours, theirs = line("module", baud=BAUD)
    table, below = load("wip", "c1"), FakeNetwork()
    driver = WipNetwork(ours, table, Trace())
    network = AckNetwork(driver, Trace())
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(theirs, below, table, Trace()), below)
        await nursery.start(network.run)
        await network.attach()
        yield network, below
        driver.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def send(link, data):
    with link.sending(len(data)) as sending:
        await sending.write(data)
        await sending.commit()


@pytest.mark.deadline(400)
async def test_one_link_fills_nine_tenths_of_the_line(autojump_clock):
    said = random.Random(3).randbytes(16 * QUEUE)
    async with both() as (network, below):
        link = await network.open_stream("192.0.2.1", 80)
        began = trio.current_time()
        for start in range(0, len(said), 2048):
            await send(link, said[start : start + 2048])
        await link.flushed()
        took = trio.current_time() - began
        await link.aclose()
        assert below.links[0].sent == said
        assert len(said) * BYTE / took >= 0.9
        assert link.peak <= QUEUE


@pytest.mark.deadline(900)
async def test_five_links_that_all_send_lose_nothing(autojump_clock):
    chance = random.Random(4)
    said = [chance.randbytes(chance.choice([3000, 20000, 40000])) for _ in range(5)]
    async with both() as (network, below):
        links = [await network.open_stream("192.0.2.1", 80 + number) for number in range(5)]

        async def talk(link, data):
            at = 0
            while at < len(data):
                count = chance.choice([1, 50, 1000, 2048])
                await send(link, data[at : at + count])
                at += count
            await link.aclose()

        async with trio.open_nursery() as talking:
            for link, data in zip(links, said, strict=True):
                talking.start_soon(talk, link, data)
        assert sorted(bytes(peer.sent) for peer in below.links) == sorted(said)
        assert network.counters["undelivered-bytes"] == 0


async def test_bytes_for_a_peer_that_has_gone_are_told_of(autojump_clock):
    async with both() as (network, below):
        link = await network.open_stream("192.0.2.1", 80)
        await send(link, b"mapped")
        await link.flushed()
        await trio.sleep(1)
        below.links[0].lose(Condition.LINK_RESET)
        await send(link, bytes(2048))
        with trio.fail_after(20):
            assert await link.wait_readable() == 0
        await trio.sleep(5)
        assert 0 < network.counters["undelivered-bytes"] <= 2048
        assert link.condition is not None
        await link.aclose()
