"""Our driver on our simulated module, every modem of the family: what one half prints the other understands."""

from __future__ import annotations

import random

import pytest
import trio
from fake_network import FakeNetwork

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Condition, Endpoint, HostSettings
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

DATA = random.Random(1).randbytes(3000) + b"+++\r\nSHUTDOWN\r\n\r\nNO CARRIER\r\n\x03\x10\x10\x03"


async def received(link, count):
    got = b""
    with trio.fail_after(30):
        while len(got) < count:
            got += await link.receive_some()
    return got


@pytest.mark.deadline(600)
@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("which", ["c1", "f4", "w5", "wismo"])
async def test_two_links_a_failure_a_datagram_and_both_ends(autojump_clock, which, quirks):
    ours, theirs = line("module", baud=115200)
    table, below = load("wip", which), FakeNetwork()
    net = WipNetwork(ours, table, Trace())
    async with trio.open_nursery() as nursery:
        module = WipUpstream(theirs, below, table, Trace(), HostSettings(quirks=quirks))
        await nursery.start(run_session, module, below)
        await nursery.start(net.run)
        with trio.fail_after(100):
            await net.attach()
        first = await net.open_stream("192.0.2.1", 80)
        second = await net.open_stream("192.0.2.1", 81)
        for link in (first, second):
            await link.send_all(DATA)
        await trio.sleep(10)
        assert [bytes(link.sent) for link in below.links] == [DATA, DATA]
        below.links[0].feed(DATA)
        assert await received(first, len(DATA)) == DATA
        below.links[0].lose(Condition.PEER_CLOSED)
        with trio.fail_after(60):
            assert await first.receive_some() == b""
        await first.aclose()
        below.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        with trio.fail_after(100), pytest.raises(NetworkError) as failed:
            await net.open_stream("192.0.2.9", 9)
        assert failed.value.condition is Condition.CONNECT_REFUSED
        below.error.clear()
        datagrams = await net.open_datagram(Endpoint("192.0.2.1", 7))
        await datagrams.send(b"a\x03b")
        assert [data for data, _ in below.datagrams[-1].sent] == [b"a\x03b"]
        below.links[1].lose(Condition.LINK_RESET)
        with trio.fail_after(60), pytest.raises(LinkLost):
            await second.receive_some()
        assert module.counters["crashes"] == 0
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()
