"""Our driver on our simulated module, at a real line's speed: what both halves make of it together."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio
from fake_network import FakeNetwork

from bridge.dialects.skt.downstream import SktNetwork
from bridge.dialects.skt.upstream import SktUpstream
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

PRINTABLE = bytes(range(0x20, 0x7F)) + b"\r\n"
PROFILES = ["s1-uart", "s1-log", "s1b", "guide", "s2"]


@asynccontextmanager
async def both(profile, baud=115200):
    """(the driver's Network, what lies below the module)."""
    ours, theirs = line("module", baud=baud)
    table, below = load("skt", profile), FakeNetwork()
    net = SktNetwork(ours, table, Trace())
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, SktUpstream(theirs, below, table, Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        yield net, below, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(600)
@pytest.mark.parametrize("profile", PROFILES)
async def test_five_links_lose_nothing(profile, autojump_clock):
    chance = random.Random(3)
    binary_in, binary_out = profile in {"guide", "s2"}, profile in {"guide", "s2", "s1b"}
    async with both(profile) as (net, below, _):
        links = [await net.open_stream("192.0.2.1", 80 + number) for number in range(4)]
        listener = await net.listen(5001, room=2)
        peers = [*below.links, below.listeners[0].knock()]
        links.append(await listener.accept())
        down = [bytes(chance.choices(range(256) if binary_in else PRINTABLE, k=4000)) for _ in links]
        up = [bytes(chance.choices(range(256) if binary_out else PRINTABLE, k=4000)) for _ in links]
        got = [b""] * len(links)

        async def talk(number):
            for start in range(0, 4000, 1000):
                peers[number].feed(down[number][start : start + 1000])
                await links[number].send_all(up[number][start : start + 1000])
            while len(got[number]) < 4000:
                piece = await links[number].receive_some()
                assert piece
                got[number] += piece

        async with trio.open_nursery() as talking:
            for number in range(len(links)):
                talking.start_soon(talk, number)
        assert got == down
        assert [bytes(peer.sent) for peer in peers] == up
        assert not net.counters["payload-losses"]
        if profile != "s1b":  # whose module never tells that a peer has closed
            peers[0].peer_close()
            with trio.fail_after(5):
                assert await links[0].wait_readable() == 0


@pytest.mark.parametrize("profile", ["s1-uart", "s1-log"])
async def test_binary_is_refused_and_the_link_goes_on(profile, autojump_clock):
    async with both(profile) as (net, below, _):
        link = await net.open_stream("192.0.2.1", 80)
        with pytest.raises(NetworkError) as refused:
            await link.send_all(bytes(range(256)))
        assert refused.value.condition is Condition.BAD_ARGUMENT
        await link.send_all(b"after")
        assert bytes(below.links[0].sent) == b"after"


@pytest.mark.parametrize("profile", PROFILES)
async def test_datagrams(profile, autojump_clock):
    async with both(profile) as (net, below, _):
        link = await net.open_datagram(Endpoint("192.0.2.1", 7), local_port=4000)
        for payload in (b"one", b"t,w\\o", b"three:"):
            await link.send(payload)
        assert [data for data, _ in below.datagrams[0].sent] == [b"one", b"t,w\\o", b"three:"]
        below.datagrams[0].feed(b"answer", Endpoint("192.0.2.1", 7))
        assert await link.wait_readable()
        assert link.take().data == b"answer"


@pytest.mark.parametrize("profile", PROFILES)
async def test_refused_connections(profile, autojump_clock):
    async with both(profile) as (net, below, _):
        below.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition is Condition.CONNECT_REFUSED
        below.error.clear()
        link = await net.open_stream("192.0.2.1", 80)
        await link.send_all(b"x")
        await link.aclose()
