r"""UDP sockets of the module: mode 1, datagram borders, sources, what is dropped (wip.md 4.3, 5.3, 5.4, 13)."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import profile, running

from bridge.model import Condition, Datagram, Endpoint, Peers
from bridge.network import NetworkError
from bridge.wire import dle

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
NO_CARRIER = b"\r\nNO CARRIER\r\n"
PEER = Endpoint("10.1.1.1", 7)
ODD = bytes(range(256)) + b"\x10\x10\x03\x03\x10\x03+++\r\nNO CARRIER\r\n"


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


def announced(size, host=b"10.1.1.1", port=7, index=1):
    return b'\r\n+WIPDATA: 1,%d,%d,"%s",%d\r\n' % (index, size, host, port)


async def bound(host, index=1, local=b"5000"):
    assert await host.ask(b'AT+WIPCREATE=1,%d,%s,"10.1.1.1",7' % (index, local)) == OK + b"\r\n+WIPREADY: 1,%d\r\n" % index
    return host.network.datagrams[-1]


async def listening(host, index=1, local=b"5000"):
    assert await host.ask(b"AT+WIPCREATE=1,%d,%s" % (index, local)) == OK + b"\r\n+WIPREADY: 1,%d\r\n" % index
    return host.network.datagrams[-1]


async def mapped(host, index=1):
    assert await host.ask(b"AT+WIPDATA=1,%d,1" % index) == CONNECT


def sent(link):
    assert all(target is None for _, target in link.sent)
    return [data for data, _ in link.sent]


# -- the codec


def _means(data):
    """The same, byte by byte and by the book."""
    found, payload, escaped = [], bytearray(), False
    for byte in data:
        if escaped or byte not in {0x03, 0x10}:
            payload.append(byte)
            escaped = False
        elif byte == 0x10:
            escaped = True
        else:
            found += [bytes(payload), dle.END]
            payload.clear()
    return [*found, bytes(payload)]


def _joined(pieces):
    """Payload between ends as one piece, empty or not."""
    found, payload = [], bytearray()
    for piece in pieces:
        if piece is dle.END:
            found += [bytes(payload), dle.END]
            payload.clear()
        else:
            assert piece
            payload += piece
    return [*found, bytes(payload)]


@given(st.lists(st.lists(st.sampled_from([0x03, 0x10, 0x41]), max_size=5).map(bytes)))
def test_decoding_does_not_depend_on_how_bytes_are_grouped(pieces):
    decoder = dle.Decoder()
    found = [event for piece in pieces for event in decoder.feed(piece)]
    assert _joined(found) == _means(b"".join(pieces))


@given(st.binary(max_size=300))
def test_what_is_encoded_decodes_to_itself(data):
    assert _joined(dle.Decoder().feed(dle.encode(data) + dle.ETX)) == [data, dle.END, b""]


def test_escapes_are_those_of_the_manual():
    assert dle.encode(b"a\x03b\x10c") == b"a\x10\x03b\x10\x10c"
    assert dle.Decoder().feed(b"\x10+++") == [b"+++"]  # a DLE before any other byte is dropped


# -- create


async def test_bound_socket_is_opened_at_the_looked_up_address(autojump_clock):
    async with running() as host:
        await host.up()
        assert await host.ask(b'AT+WIPCREATE=1,2,05000,"example.com","09"') == OK + b"\r\n+WIPREADY: 1,2\r\n"
        link = host.network.datagrams[0]
        assert (link.peer, link.local.port, link.peers) == (Endpoint("93.184.216.34", 9), 5000, Peers.FIXED)
        assert await host.ask(b"AT+WIPOPT=1,2,1,2") == b'\r\n+WIPOPT: 1,2,"93.184.216.34"\r\n' + OK
        assert await host.ask(b"AT+WIPCREATE?") == b'\r\n+WIPCREATE: 1,2,5000,"93.184.216.34",9\r\n' + OK


async def test_a_network_that_resolves_nothing_gets_the_name(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.error["resolve"] = NetworkError(Condition.NOT_SUPPORTED)
        assert await host.ask(b'AT+WIPCREATE=1,1,,"example.com",9') == OK + b"\r\n+WIPREADY: 1,1\r\n"
        assert host.network.datagrams[0].peer == Endpoint("example.com", 9)


@pytest.mark.parametrize("arguments", [b"", b",", b",0", b",,"])
async def test_without_a_local_port_the_network_gives_one(autojump_clock, arguments):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=1,1" + arguments) == OK + b"\r\n+WIPREADY: 1,1\r\n"
        assert await host.ask(b"AT+WIPOPT=1,1,1,0") == b"\r\n+WIPOPT: 1,0,50500\r\n" + OK


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (b"1,0,5000", 830),
        (b"1,9,5000", 830),
        (b"1,1,65536", 832),
        (b"1,1,x", 832),
        (b'1,1,5000,"h"', 832),
        (b'1,1,5000,"h",0', 832),
        (b"1,1,5000,,7", 800),
    ],
)
async def test_create_refused(autojump_clock, arguments, number):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=" + arguments) == cme(number)
        assert not host.network.datagrams


@pytest.mark.parametrize(
    ("operation", "condition", "number"),
    [
        ("open_datagram", Condition.PORT_IN_USE, 833),
        ("open_datagram", Condition.NOT_SUPPORTED, 834),
        ("open_datagram", Condition.NO_FREE_LINK, 838),
        ("open_datagram", Condition.ADDRESS_REFUSED, 842),
        ("resolve", Condition.NAME_NOT_FOUND, 839),
    ],
)
async def test_create_fails_late_and_keeps_the_index(autojump_clock, operation, condition, number):
    async with running() as host:
        await host.up()
        host.network.error[operation] = NetworkError(condition)
        command = b'AT+WIPCREATE=1,1,5000,"example.com",9'
        assert await host.ask(command) == OK + b"\r\n+WIPERROR: 1,1,%d\r\n" % number
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(command) == cme(840)
        assert await host.ask(b"AT+WIPCLOSE=1,1") == OK
        host.network.error.clear()
        assert await host.ask(command) == OK + b"\r\n+WIPREADY: 1,1\r\n"


async def test_closing_frees_the_local_port_before_ok(autojump_clock):
    """Drivers close blindly and create again, with the same port, at once."""
    async with running() as host:
        await host.up()
        for number in range(3):
            await bound(host)
            host.network.delay["aclose"] = 0.5
            assert await host.ask(b"AT+WIPCLOSE=1,1", 0.4) == b""
            await trio.sleep(0.2)
            assert host.got() == OK, number
        host.network.delay["aclose"] = 1e9
        await bound(host)
        assert await host.ask(b"AT+WIPCLOSE=1,1", 2.1) == OK  # a network that does not close costs 2 s, not the host


async def test_closed_while_it_is_looked_up(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.delay["resolve"] = 5.0
        assert await host.ask(b'AT+WIPCREATE=1,1,5000,"example.com",9') == OK
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=1,1", 10) == OK
        assert not host.network.datagrams


async def test_indexes_of_udp_and_tcp_are_two_spaces_with_one_total(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIPCFG=2,6,3")
        await host.create(1)
        await bound(host, 1, b"5001")
        await bound(host, 2, b"5002")
        assert await host.ask(b"AT+WIPCREATE=1,3,5003") == cme(838)
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        await bound(host, 3, b"5003")


# -- options, lists


async def test_options(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        link.feed(b"abc", PEER)
        link.feed(b"de", PEER)
        await trio.sleep(0.1)
        assert host.got() == announced(3)
        shown = {0: b"5000", 1: b"7", 2: b'"10.1.1.1"', 3: b"1", 6: b"5", 8: b"64", 9: b"0"}
        for number in range(10):
            got = await host.ask(b"AT+WIPOPT=1,1,1,%d" % number)
            assert got == (b"\r\n+WIPOPT: 1,%d,%s\r\n" % (number, shown[number]) + OK if number in shown else cme(835))
        assert await host.ask(b"AT+WIPOPT=1,1,1,40") == cme(800)
        assert await host.ask(b"AT+WIPOPT=1,1,2,8,12") == OK
        assert await host.ask(b"AT+WIPOPT=1,1,1,8") == b"\r\n+WIPOPT: 1,8,12\r\n" + OK
        assert await host.ask(b"AT+WIPOPT=1,1,2,0,12") == cme(835)
        assert await host.ask(b"AT+WIPOPT=1,1,2,8,256") == cme(801)


async def test_a_listening_socket_has_no_peer_whoever_sends(autojump_clock):
    async with running() as host:
        await host.up()
        link = await listening(host)
        link.feed(b"x", Endpoint("10.9.9.9", 99))
        await trio.sleep(0.1)
        assert host.got() == announced(1, b"10.9.9.9", 99)
        for number, value in ((1, b"0"), (2, b'"0.0.0.0"'), (3, b"0")):
            assert await host.ask(b"AT+WIPOPT=1,1,1,%d" % number) == b"\r\n+WIPOPT: 1,%d,%s\r\n" % (number, value) + OK
        assert await host.ask(b"AT+WIPCREATE?") == b'\r\n+WIPCREATE: 1,1,5000,"0.0.0.0",0\r\n' + OK
        assert await host.ask(b"AT+WIPDATA?") == announced(1, b"10.9.9.9", 99) + OK


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


# -- modes, ends


@pytest.mark.parametrize(("command", "number"), [(b"1,1,2", 801), (b"1,1,0", 801), (b"2,1,1", 801), (b"1,2,1", 831)])
async def test_c1_has_mode_1_for_udp_only_and_mode_2_for_tcp_only(autojump_clock, command, number):
    async with running() as host:
        await host.up()
        await bound(host)
        await host.create(1)
        assert await host.ask(b"AT+WIPDATA=" + command) == cme(number)
        assert await host.ask(b"AT") == OK


async def test_bearer_lost_while_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        link.feed(b"last", PEER)
        await host.say(b"half a data")
        link.lose(Condition.BEARER_LOST)
        await trio.sleep(0.05)
        assert host.got() == NO_CARRIER
        await trio.sleep(0.2)
        assert host.got() == b"\r\n+WIPERROR: 1,1,816\r\n"
        assert link.sent == []
        assert await host.ask(b"AT") == OK
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=1,1") == OK


async def test_bearer_stopped_by_the_host(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        assert await host.ask(b"AT+WIPBR=5,6") == OK + b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 1,1,816\r\n"
        assert link.closed


async def test_reboot_in_the_middle_of_a_datagram(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        link = await bound(host)
        await mapped(host)
        await host.say(b"half\x10")
        await host.upstream.reboot()
        await trio.sleep(4)
        assert (link.closed, link.sent) == (True, [])
        host.got()
        await host.up()
        again = await bound(host)
        await mapped(host)
        await host.say(b"\x03whole\x03")
        assert sent(again) == [b"", b"whole"]


async def test_a_cut_datagram_is_delivered_and_counted(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        link._inbox.append(Datagram(b"part", PEER, True))
        link._wake()
        await trio.sleep(0.1)
        assert host.got() == b"part\x03"
        assert host.upstream.counters["datagram-cut"] == 1


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
