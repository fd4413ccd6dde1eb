r"""Data modes of the GSM modules: mode 1 with its DLE and ETX, mode 2 for both protocols, every end of a peer (wip.md 5)."""

# ruff: noqa: PLR0917 (a table test has many columns)

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import HalfLink, profile, running

from bridge.model import Condition, Endpoint, Phase
from bridge.wire import dle

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
CONNECT = b"\r\nCONNECT\r\n"
SHUTDOWN = b"\r\nSHUTDOWN\r\n"
NO_CARRIER = b"\r\nNO CARRIER\r\n"
PEERCLOSE = b"\r\n+WIPPEERCLOSE: 2,1\r\n"
TEXTS = b"+++\r\nNO CARRIER\r\n\r\nSHUTDOWN\r\n\r\nOK\r\n\x03\x10\x10\x03+IPD,0,5:AT\r" + bytes(range(256))
GSM = ("f4", "w5", "wismo")


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


async def connected(host, *, half=True):
    if half:
        host.network.kind = HalfLink
    await host.up_gsm()
    return await host.create(1)


# -- mode 1, TCP: both directions


@pytest.mark.parametrize("which", GSM)
async def test_a_visit_in_mode_1(autojump_clock, which):
    async with running(profile(which)) as host:
        link = await connected(host)
        link.push(TEXTS)
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,%d\r\n" % len(TEXTS)  # payload bytes, as they came
        assert await host.ask(b"AT+WIPDATA=2,1,1") == CONNECT + dle.encode(TEXTS)
        assert await host.say(dle.encode(TEXTS)) == b""
        assert bytes(link.sent) == TEXTS
        assert await host.escape() == OK
        link.push(b"again")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,5\r\n"


@pytest.mark.parametrize(
    ("sent", "payload"),
    [(b"\x10\x03", b"\x03"), (b"\x10\x10", b"\x10"), (b"\x10a", b"a"), (b"a\x10+b", b"a+b"), (b"x\x10", b"x")],
)
@pytest.mark.parametrize("split", [False, True])
async def test_what_a_dle_makes_of_the_next_byte(autojump_clock, sent, payload, split):
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 1)
        for piece in [sent[n : n + 1] for n in range(len(sent))] if split else [sent]:
            await host.say(piece)
        assert await host.escape() == OK  # half a pair is nothing
        assert bytes(link.sent) == payload
        await host.map(1, 1)
        await host.say(b"\x03")
        assert link.eof == payload  # and does not reach into the next visit


async def test_pluses_behind_a_dle_are_payload(autojump_clock):
    """The way for a host to send a lone +++ (wip.md 5.5 rule 6)."""
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 1)
        await trio.sleep(2)
        assert await host.say(b"\x10+++", 2) == b""
        assert bytes(link.sent) == b"+++"


async def test_etx_is_a_half_close(autojump_clock):
    """posA: ETX, the peer's last bytes, SHUTDOWN, still mapped; then +++ gives OK alone and WIPCLOSE OK."""
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 1)
        assert await host.say(b"request\x03never") == b""
        assert (link.eof, bytes(link.sent)) == (b"request", b"request")
        assert host.upstream.counters["after-half-close"] == 1
        link.push(b"reply\x03")
        link.end()
        await trio.sleep(0.1)
        assert host.got() == b"reply\x10\x03" + SHUTDOWN
        assert await host.escape() == OK
        assert await host.ask(b"AT+WIPDATA=2,1,1") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_the_fin_waits_for_what_was_sent_before(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 1)
        link.taking = trio.Event()
        await host.say(b"x" * 5000 + b"\x03", 5)
        assert link.eof is None
        link.taking.set()
        await trio.sleep(0.1)
        assert link.eof == b"x" * 5000


async def test_a_network_without_half_close_gives_the_fin_with_wipclose(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host, half=False)
        await host.map(1, 1)
        await host.say(b"request\x03")
        assert host.upstream.counters["no-half-close"] == 1
        link.push(b"reply")
        await trio.sleep(0.1)
        assert host.got() == b"reply"
        assert await host.escape() == OK
        assert not link.closed
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        assert link.closed


# -- the peer ends, mapped: (profile, mode, end) -> bytes at once, bytes of the escape or None: no longer mapped

ENDS = [
    ("f4", 1, Condition.PEER_CLOSED, SHUTDOWN, PEERCLOSE + OK),
    ("f4", 2, Condition.PEER_CLOSED, SHUTDOWN, PEERCLOSE + OK),
    ("w5", 2, Condition.PEER_CLOSED, SHUTDOWN, PEERCLOSE + OK),
    ("wismo", 1, Condition.PEER_CLOSED, SHUTDOWN, PEERCLOSE + OK),
    ("c1", 2, Condition.PEER_CLOSED, NO_CARRIER + PEERCLOSE, None),
    ("f4", 1, Condition.LINK_RESET, b"\x03" + cme(843), None),
    ("f4", 2, Condition.LINK_RESET, cme(843), None),
    ("wismo", 1, Condition.LINK_RESET, b"\x03" + cme(843), None),
    ("c1", 2, Condition.LINK_RESET, NO_CARRIER + b"\r\n+WIPERROR: 2,1,843\r\n", None),
    ("f4", 1, Condition.BEARER_LOST, NO_CARRIER, None),
    ("w5", 2, Condition.BEARER_LOST, NO_CARRIER, None),
]


@pytest.mark.parametrize(("which", "mode", "condition", "at_once", "after"), ENDS)
async def test_the_peer_ends_while_mapped(autojump_clock, which, mode, condition, at_once, after):
    async with running(profile(which)) as host:
        host.network.kind = HalfLink
        await (host.up if which == "c1" else host.up_gsm)()
        link = await host.create(1)
        await host.map(1, mode)
        link.push(b"last")
        link.end(condition)
        await trio.sleep(1)
        assert host.got() == b"last" + at_once
        if after is None:
            assert await host.ask(b"AT") == OK  # typed, not sent
        else:
            assert await host.say(b"AT\r") == b""
            assert bytes(link.sent) == b"AT\r"  # the peer may still listen
            assert await host.escape() == after
        assert await host.ask(b"AT+WIPDATA=2,1,%d" % mode) == cme(
            843 if condition is Condition.LINK_RESET and which != "c1" else 831
        )
        assert await host.ask(b'AT+WIPCREATE=2,1,"h",7') == cme(840)  # used until it is closed
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        assert await host.ask(b"AT") == OK


@pytest.mark.parametrize("how", ["nocarrier", "shutdown", "urc", "silent"])
async def test_mode_2_ends_as_the_table_says_and_mode_1_never_does(autojump_clock, how):
    told = {"nocarrier": NO_CARRIER + PEERCLOSE, "shutdown": SHUTDOWN, "urc": PEERCLOSE, "silent": b""}
    async with running(profile("w5", module_peerclose=how)) as host:
        link = await connected(host)
        await host.map(1, 2)
        link.end()
        await trio.sleep(0.5)
        assert host.got() == told[how]
        assert await host.escape() == (PEERCLOSE + OK if how == "shutdown" else b"")
        await host.ask(b"AT+WIPCLOSE=2,1")
        link = await host.create(1)
        await host.map(1, 1)
        link.end()
        await trio.sleep(0.5)
        assert host.got() == SHUTDOWN


async def test_a_reset_after_shutdown(autojump_clock):
    """The only thing that can follow a true SHUTDOWN: the ETX of a later reset, when the host still sends."""
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 1)
        link.end()
        await trio.sleep(0.1)
        assert host.got() == SHUTDOWN
        link.reset()
        await trio.sleep(0.1)
        assert host.got() == b""  # nobody learns of it before something is sent
        assert await host.say(b"more") == b"\x03" + cme(843)
        assert await host.ask(b"AT") == OK
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_the_reset_is_an_error_without_a_number_where_numbers_are_off(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.ask(b"AT+CMEE=0")
        await host.map(1, 1)
        link.end(Condition.LINK_RESET)
        await trio.sleep(0.1)
        assert host.got() == b"\x03" + ERROR


async def test_what_follows_a_reset_is_typed(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.ask(b"ATE1")
        await host.say(b"AT+WIPDATA=2,1,1\r")
        link.end(Condition.LINK_RESET)
        await trio.sleep(0.1)
        host.got()
        assert await host.say(b"rest of it AT+CSQ\r") == b"rest of it AT+CSQ\r\r\n+CSQ: 31,0\r\n" + OK
        assert not link.sent


@pytest.mark.parametrize("which", GSM)
async def test_unmapped_ends(autojump_clock, which):
    async with running(profile(which)) as host:
        link = await connected(host)
        second = await host.create(2)
        link.push(b"unread")
        link.end()
        second.end(Condition.LINK_RESET)
        await trio.sleep(0.1)
        told = host.got()
        assert told.count(cme(843)) == 1
        assert told.replace(cme(843), b"") == b"\r\n+WIPDATA: 2,1,6\r\n" + PEERCLOSE
        assert await host.ask(b"AT+WIPDATA=2,1,1", 0.5) == CONNECT + b"unread" + SHUTDOWN
        assert await host.escape() == OK  # it was told before
        assert await host.ask(b"AT+WIPDATA=2,2,1") == cme(843)
        assert await host.ask(b"AT+WIPOPT=2,2,1,6") == cme(831)  # so a host that asks finds which one it was
        assert await host.ask(b"AT+WIPOPT=2,1,1,6") == b"\r\n+WIPOPT: 2,6,0\r\n" + OK


async def test_urcs_of_others_wait_for_the_line_after_the_reset(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host)
        second = await host.create(2)
        await host.map(1, 1)
        second.push(b"abc")
        await trio.sleep(0.1)
        link.end(Condition.LINK_RESET)
        await trio.sleep(0.1)
        assert host.got() == b"\x03" + cme(843) + b"\r\n+WIPDATA: 2,2,3\r\n"


async def test_a_half_open_socket_holds_its_host_back(autojump_clock):
    async with running(profile("f4")) as host:
        link = await connected(host)
        await host.map(1, 2)
        link.end()
        await trio.sleep(0.1)
        assert host.got() == SHUTDOWN
        link.taking = trio.Event()
        await host.say(b"x" * 40000, 1)
        assert host.upstream._module.sockets[2, 1].outgoing() == 10240
        link.taking.set()
        await trio.sleep(1)
        assert len(link.sent) == 40000


# -- UDP


async def test_udp_in_mode_1(autojump_clock):
    async with running(profile("w5")) as host:
        await host.up_gsm()
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        assert await host.ask(b"AT+WIPDATA=1,1,1") == CONNECT
        await host.say(b"one\x03t\x10\x03wo\x03")
        link = host.network.datagrams[0]
        assert [data for data, _ in link.sent] == [b"one", b"t\x03wo"]
        link.feed(b"a\x10", Endpoint("10.1.1.1", 7))
        link.feed(b"b", Endpoint("10.1.1.1", 7))
        await trio.sleep(0.1)
        assert host.got() == b"a\x10\x10\x03b\x03"
        assert await host.escape() == OK


async def test_udp_in_mode_2_has_no_borders(autojump_clock):
    async with running(profile("w5")) as host:
        await host.up_gsm()
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        assert await host.ask(b"AT+WIPDATA=1,1,2,100,50") == CONNECT
        link = host.network.datagrams[0]
        await host.say(b"x" * 250, 0.9)
        assert [data for data, _ in link.sent] == [b"x" * 100, b"x" * 100]
        await trio.sleep(0.2)  # 50 units of 20 ms after the first byte
        assert [data for data, _ in link.sent][2:] == [b"x" * 50]
        for data in (b"\x03\x10", b"", b"second"):
            link.feed(data, Endpoint("10.1.1.1", 7))
        await trio.sleep(0.1)
        assert host.got() == b"\x03\x10second"
        await host.say(b"\x03last", 0.01)
        assert await host.escape() == OK
        assert [data for data, _ in link.sent][3:] == [b"\x03last"]


async def test_leaving_mode_2_sends_what_was_collected(autojump_clock):
    async with running(profile("w5"), wired=True) as host:
        await host.up_gsm()
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        await host.ask(b"AT+WIPDATA=1,1,2,1000,100")
        await host.say(b"pending")
        host.wire.dtr(False)  # &D1 is the default here
        await trio.sleep(0.1)
        assert host.got() == OK
        assert [data for data, _ in host.network.datagrams[0].sent] == [b"pending"]


async def test_the_mode_left_out_is_1(autojump_clock):
    async with running(profile("w5")) as host:
        link = await connected(host)
        assert await host.ask(b"AT+WIPDATA=2,1") == CONNECT
        await host.say(b"a\x10\x03\x03")
        assert link.eof == b"a\x03"


async def test_udp_etx_ok_ends_the_data_mode_with_ok(autojump_clock):
    async with running(profile("f4", module_udp_etx_ok=True)) as host:
        await host.up_gsm()
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        await host.ask(b"AT+WIPDATA=1,1,1")
        assert await host.say(b"one\x03AT+CSQ\r") == OK + b"\r\n+CSQ: 31,0\r\n" + OK
        assert [data for data, _ in host.network.datagrams[0].sent] == [b"one"]


async def test_udp_whose_bearer_is_lost(autojump_clock):
    """Both families: NO CARRIER in the stream, then commands are heard."""
    async with running(profile("f4")) as host:
        await host.up_gsm()
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        await host.ask(b"AT+WIPDATA=1,1,1")
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        host.network.datagrams[0].lose(Condition.BEARER_LOST)
        await trio.sleep(0.5)
        assert host.got() == NO_CARRIER
        assert await host.ask(b"AT+WIPCLOSE=1,1") == OK


# -- the escape, by time and never per read


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize(
    ("pieces", "escapes"),
    [
        ([(b"+++", 1.1)], True),
        ([(b"++", 0.4), (b"+", 1.1)], True),
        ([(b"+", 0.4), (b"+", 0.4), (b"+", 1.1)], True),
        ([(b"+++", 0.9), (b"+", 1.1)], False),
        ([(b"++++", 1.1)], False),
        ([(b"++", 1.1), (b"+", 1.1)], False),
    ],
)
@pytest.mark.parametrize("guard", [1.0, 0.1])
async def test_escape(autojump_clock, mode, pieces, escapes, guard):
    async with running(profile("w5", module_guard=guard)) as host:
        link = await connected(host)
        await host.map(1, mode)
        await trio.sleep(1.1 * guard)
        for data, pause in pieces:
            await host.port.send(data)
            await trio.sleep(pause * guard)
        assert host.got() == (OK if escapes else b"")
        assert bytes(link.sent) == (b"" if escapes else b"".join(data for data, _ in pieces))


# -- whole sessions, in every split

PAYLOAD = random.Random(5).randbytes(600) + TEXTS


async def _session(which, mode, cuts):
    """Both ways at once, the host's bytes in pieces at ``cuts``; ends by the peer's FIN and the escape."""
    async with running(profile(which)) as host:
        link = await connected(host)
        await host.map(1, mode)
        wire = dle.encode(PAYLOAD) if mode == 1 else PAYLOAD
        edges = [0, *sorted({cut % len(wire) for cut in cuts}), len(wire)]
        for start, end in pairwise(edges):
            if start < end:
                await host.port.send(wire[start:end])
                link.push(PAYLOAD[start:end])
            await trio.sleep(0.0001)
        link.push(PAYLOAD[len(wire) :])
        await trio.sleep(0.3)
        got = host.got()
        link.end()
        await trio.sleep(0.1)
        return bytes(link.sent), got, host.got(), await host.escape()


def _whole(which, mode, cuts):
    clock = trio.testing.MockClock(autojump_threshold=0)
    sent, got, end, left = trio.run(_session, which, mode, cuts, clock=clock)
    assert sent == PAYLOAD
    assert got == (dle.encode(PAYLOAD) if mode == 1 else PAYLOAD)
    assert (end, left) == (SHUTDOWN, PEERCLOSE + OK)


@pytest.mark.parametrize("mode", [1, 2])
def test_byte_by_byte(mode):
    _whole("w5", mode, range(2 * len(PAYLOAD)))


@given(st.sampled_from(GSM), st.sampled_from([1, 2]), st.lists(st.integers(0, 5000), max_size=30))
@settings(max_examples=30, deadline=None)
def test_in_random_splits(which, mode, cuts):
    _whole(which, mode, cuts)
