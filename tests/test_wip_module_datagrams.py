"""Datagrams through the module: borders, sources, what is announced, what is dropped."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import profile, running
from wip_module_udp_host import CONNECT, ODD, OK, PEER, announced, bound, listening, mapped, sent

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.wire import dle

# -- the network's datagrams


async def test_only_the_first_is_announced_and_the_next_after_it_was_read(autojump_clock):
    async with running() as host:
        await host.up()
        link = await listening(host)
        link.feed(b"one", Endpoint("10.0.0.1", 1))
        link.feed(b"second", Endpoint("10.0.0.2", 2))
        await trio.sleep(0.1)
        assert host.got() == announced(3, b"10.0.0.1", 1)
        link.feed(b"3", Endpoint("10.0.0.3", 3))
        await trio.sleep(0.1)
        assert host.got() == b""
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT + b"one\x03second\x033\x03"
        link.feed(b"while mapped", Endpoint("10.0.0.4", 4))
        assert await host.escape() == b"while mapped\x03" + OK
        link.feed(b"later", Endpoint("10.0.0.5", 5))
        await trio.sleep(0.1)
        assert host.got() == announced(5, b"10.0.0.5", 5)


async def test_mapped_and_not_read_it_is_not_announced_again(autojump_clock):
    async with running() as host:
        await host.up()
        await bound(host)
        await mapped(host)
        assert await host.escape() == OK
        host.network.datagrams[0].feed(b"x", PEER)
        await trio.sleep(0.1)
        assert host.got() == announced(1)


async def test_every_byte_is_escaped_and_an_empty_datagram_is_an_etx(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        link.feed(ODD, PEER)
        link.feed(b"", PEER)
        link.feed(b"\x03", PEER)
        await trio.sleep(0.1)
        assert host.got() == dle.encode(ODD) + b"\x03" + b"\x03" + b"\x10\x03\x03"


async def test_an_empty_datagram_is_announced(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        link.feed(b"", PEER)
        await trio.sleep(0.1)
        assert host.got() == announced(0)
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT + b"\x03"


async def test_a_source_that_the_network_does_not_tell_is_the_peer(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        link.feed(b"x")
        await trio.sleep(0.1)
        assert host.got() == announced(1)


async def test_a_flood_is_dropped_in_silence_and_counted(autojump_clock):
    """16384 bytes of buffer, 8 more for each datagram: 16 of 1000 bytes fit."""
    async with running() as host:
        await host.up()
        link = await bound(host)
        for number in range(200):
            link.feed(bytes([0x41 + number % 26]) * 1000, PEER)
        await trio.sleep(0.1)
        assert host.got() == announced(1000)
        assert host.upstream.counters["datagram-dropped"] == 184
        kept = b"".join(bytes([0x41 + number]) * 1000 + b"\x03" for number in range(16))
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT + kept
        for _ in range(100_000):
            link.feed(b"", PEER)
        await trio.sleep(0.01)
        await host.escape()
        assert host.upstream._module.sockets[1, 1]._received.cost <= 16384


async def test_the_other_socket_does_not_suffer_from_a_flood(autojump_clock):
    async with running() as host:
        await host.up()
        flooded = await bound(host, 1, b"5001")
        quiet = await bound(host, 2, b"5002")
        for _ in range(1000):
            flooded.feed(b"x" * 1000, PEER)
        quiet.feed(b"hello", PEER)
        await trio.sleep(0.1)
        got = host.got()
        assert announced(5, index=2) in got
        assert got.count(b"+WIPDATA") == 2
        assert await host.ask(b"AT+WIPDATA=1,2,1") == CONNECT + b"hello\x03"


async def test_a_datagram_that_was_begun_is_written_whole(autojump_clock):
    """The line is stalled when the host leaves: what is left of the first goes before OK, the second stays."""
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        stuck = trio.Event()
        real = host.upstream._writer._port.send

        async def slow(data):
            await stuck.wait()
            return await real(data)

        host.upstream._writer._port.send = slow
        first = bytes(range(256)) * 4
        link.feed(first, PEER)
        link.feed(b"second", PEER)
        await trio.sleep(1.1)
        await host.port.send(b"+++")
        await trio.sleep(1.1)
        stuck.set()
        await trio.sleep(0.1)
        assert host.got() == dle.encode(first) + b"\x03" + announced(6) + OK
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT + b"second\x03"


# -- the host's datagrams


async def test_an_etx_sends_one_datagram_and_stays_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        await host.say(b"one\x03two")
        assert sent(link) == [b"one"]
        await host.say(b"\x03\x03" + dle.encode(ODD) + b"\x03")
        assert sent(link) == [b"one", b"two", b"", ODD]
        assert await host.escape() == OK
        assert len(link.sent) == 4


async def test_leaving_sends_what_was_collected_and_half_a_pair_is_nothing(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        await host.say(b"unfinished\x10")
        assert sent(link) == []
        assert await host.escape() == OK
        await trio.sleep(0.1)
        assert sent(link) == [b"unfinished"]
        await mapped(host)
        await host.say(b"\x03next\x03")  # the DLE of the visit before escapes nothing
        assert sent(link) == [b"unfinished", b"", b"next"]


async def test_the_largest_size_sends_and_its_etx_is_not_another_one(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        await host.say(b"a" * 5904)
        assert [len(data) for data in sent(link)] == [5904]
        await host.say(b"\x03")
        assert len(link.sent) == 1
        await host.say(b"\x03")
        assert sent(link)[1:] == [b""]
        await host.say(b"b" * 6000 + b"\x03" + b"c\x03")
        assert sent(link)[2:] == [b"b" * 5904, b"b" * 96, b"c"]


async def test_what_the_network_refuses_is_dropped_and_the_socket_lives(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        host.network.error["send_datagram"] = NetworkError(Condition.TOO_LONG)
        await host.say(b"too long\x03")
        host.network.error.clear()
        await host.say(b"fits\x03")
        assert sent(link) == [b"fits"]
        assert host.upstream.counters["datagram-refused"] == 1


async def test_a_listening_socket_cannot_transmit(autojump_clock):
    async with running() as host:
        await host.up()
        link = await listening(host)
        link.feed(b"x", Endpoint("10.9.9.9", 99))
        await trio.sleep(0.1)
        host.got()
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT + b"x\x03"
        assert await host.say(b"answer\x03more") == b""
        assert await host.escape() == OK
        assert link.sent == []
        assert host.upstream.counters["datagram-unsendable"] == 2


async def test_a_slow_network_holds_the_host_back(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        host.network.delay["send_datagram"] = 0.5
        data = [random.Random(n).randbytes(1000) for n in range(40)]
        await host.port.send(b"".join(dle.encode(one) + b"\x03" for one in data))
        await trio.sleep(0.5)
        assert host.upstream._module.sockets[1, 1].outgoing() <= 10240 + 8
        await trio.sleep(25)
        assert sent(link) == data


async def test_close_sends_first_what_the_host_wrote(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        host.network.delay["send_datagram"] = 1.0
        await host.say(b"one\x03two")
        assert await host.escape() == OK
        assert await host.ask(b"AT+WIPCLOSE=1,1", 3) == OK
        assert sent(link) == [b"one", b"two"]
        assert link.closed


@pytest.mark.parametrize(
    "pieces", [[b"one\x03AT+CMEE?\r"], [bytes([b]) for b in b"one\x03AT+CMEE?\r"]], ids=["whole", "bytewise"]
)
async def test_the_switch_that_makes_etx_end_the_data_mode(autojump_clock, pieces):
    async with running(profile(module_udp_etx_ok=True)) as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        await host.say(b"a\x10\x03b")  # an escaped one ends nothing
        for piece in pieces:
            await host.port.send(piece)
        await trio.sleep(0.1)
        assert host.got() == OK + b"\r\n+CMEE: 1\r\n" + OK
        assert sent(link) == [b"a\x03bone"]
        await mapped(host)  # and it can be mapped again


async def test_the_switch_and_bytes_in_the_same_read_as_the_command(autojump_clock):
    async with running(profile(module_udp_etx_ok=True)) as host:
        await host.up()
        link = await bound(host)
        got = await host.say(b"AT+WIPDATA=1,1,1\r\nquick\x03AT+WIPDATA=1,1,1\r", 0.1)
        assert got == CONNECT + OK + CONNECT
        assert sent(link) == [b"quick"]


# -- any grouping of bytes


async def _carried(pieces, datagrams):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        for piece in pieces:
            await host.port.send(piece)
            await trio.sleep(0.01)
        for datagram in datagrams:
            link.feed(datagram, PEER)
        await trio.sleep(0.5)
        got = host.got()
        assert await host.escape() == OK
        return sent(link), got


@given(
    st.lists(st.lists(st.sampled_from([b"\x03", b"\x10", b"+++", b"AT\r"]) | st.binary(max_size=30)).map(b"".join), max_size=6),
    st.data(),
)
@settings(max_examples=40, deadline=None)
def test_datagrams_in_every_split_arrive_with_their_borders(datagrams, data):
    wire = b"".join(dle.encode(one) + b"\x03" for one in datagrams)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a < b]
    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(_carried, pieces, datagrams, clock=clock) == (datagrams, wire)
