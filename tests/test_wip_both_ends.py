"""Our driver on our simulated module, at a real line's speed and with real guards: what both halves make of it together."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio
from fake_network import FakeNetwork

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Datagram, Endpoint
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


@asynccontextmanager
async def both():
    """(the driver's Network, what lies below the module)."""
    ours, theirs = line("module", baud=115200)
    table, below = load("wip", "c1"), FakeNetwork()
    net = WipNetwork(ours, table, Trace())
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(theirs, below, table, Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        yield net, below, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def test_datagrams_keep_their_borders_both_ways(autojump_clock):
    payloads = [b"one", b"\x03\x10\x10\x03", b"\r\nOK\r\n", b"+++", bytes(range(256)), b"\x10" * 1400]
    async with both() as (net, below, _):
        link = await net.open_datagram(Endpoint("192.0.2.1", 7))
        for payload in payloads:
            await link.send(payload)
        assert [data for data, _ in below.datagrams[0].sent] == payloads
        for payload in payloads:
            below.datagrams[0].feed(payload)
        got = []
        while len(got) < len(payloads):
            assert await link.wait_readable()
            await link.fetch()
            got.append(link.take())
        assert got == [Datagram(payload, Endpoint("192.0.2.1", 7)) for payload in payloads]


async def test_a_server_is_heard_beside_a_talking_link(autojump_clock):
    async with both() as (net, below, nursery):
        listener = await net.listen(80, room=3)
        link = await net.open_stream("192.0.2.1", 80)
        await link.send_all(b"x")
        peer = below.listeners[0].knock()
        accepted = await listener.accept()
        _, endpoint = await accepted.find_endpoints()
        assert endpoint == Endpoint("10.0.0.9", 40000)
        peer.feed(b"GET /")
        assert await accepted.receive_some() == b"GET /"
        await accepted.send_all(b"200")
        assert bytes(peer.sent) == b"200"
        nursery.start_soon(accepted.aclose)
        await listener.aclose()


@pytest.mark.deadline(400)
async def test_five_links_one_of_them_a_servers_lose_nothing(autojump_clock):
    """Each is served within a visit of each other one: batch or longest time, and the guards of leaving it."""
    table = load("wip", "c1")
    bound = 5 * sum(table.seconds(name) for name in ("visit", "guard", "escape_answer"))
    rng = random.Random(7)
    async with both() as (net, below, _):
        listener = await net.listen(80, room=1)
        links = [await net.open_stream("192.0.2.1", 80 + number) for number in range(4)]
        peers = list(below.links)
        peers.append(below.listeners[0].knock())
        links.append(await listener.accept())
        sent = [rng.randbytes(8000) for _ in links]
        fed = [rng.randbytes(8000) for _ in links]
        got = [b"" for _ in links]
        waits = []

        async def send(number):
            for start in range(0, 8000, 2000):
                begun = trio.current_time()
                await links[number].send_all(sent[number][start : start + 2000])
                waits.append(trio.current_time() - begun)

        async def receive(number):
            while len(got[number]) < 8000:
                got[number] += await links[number].receive_some()

        async with trio.open_nursery() as work:
            for number, peer in enumerate(peers):
                peer.feed(fed[number])
                work.start_soon(send, number)
                work.start_soon(receive, number)
        assert got == fed
        assert [bytes(peer.sent) for peer in peers] == sent
        assert max(waits) < bound
