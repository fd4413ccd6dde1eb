r"""The module in data mode: mapping, the escape, peers that end, URCs kept back, full buffers (wip.md 5, 6, 11, 13)."""

# ruff: noqa: PLR0917 (fixtures are asked for by name; a table test has many columns)

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import profile, running

from bridge.dialects.wip.module.escape import EscapeGuard
from bridge.model import Condition, Phase

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
NO_CARRIER = b"\r\nNO CARRIER\r\n"
TEXTS = b"+++\r\nNO CARRIER\r\n\r\nSHUTDOWN\r\n\r\nOK\r\n\r\n+WIPPEERCLOSE: 2,1\r\n\x03\x10\x10\x03+IPD,0,5:AT\r" + bytes(
    range(256)
)


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


# -- the guard itself


@pytest.mark.parametrize(
    ("events", "payload", "escaped"),
    [
        ([(1.0, b"+++")], b"", True),
        ([(0.99, b"+++")], b"+++", False),
        ([(1.0, b"+"), (1.4, b"+"), (1.9, b"+")], b"", True),
        ([(1.0, b"++"), (1.1, b"+")], b"", True),
        ([(1.0, b"+++"), (1.9, b"+")], b"++++", False),
        ([(1.0, b"++++")], b"++++", False),
        ([(1.0, b"++"), (1.1, b"++")], b"++++", False),
        ([(1.0, b"+++"), (1.5, b"x")], b"+++x", False),
        ([(1.0, b"+++x")], b"+++x", False),
        ([(1.0, b"x+++")], b"x+++", False),
        ([(0.5, b"x"), (1.4, b"+++")], b"x+++", False),
        ([(0.5, b"x"), (1.5, b"+++")], b"x", True),
        ([(1.0, b"++"), (3.0, b"+++")], b"++", True),
        ([(1.0, b"++")], b"++", False),
        ([(1.0, b"+"), (1.5, b"+"), (2.1, b"+")], b"+++", False),  # the third is not within a guard of the first
    ],
)
def test_guard(events, payload, escaped):
    guard = EscapeGuard(1.0, 0.0)
    out = b""
    left = False
    for at, data in [*events, (100.0, b"")]:
        if guard.deadline < at:
            gone = guard.expire()
            left = gone is None
            out += gone or b""
        if data:
            out += guard.feed(data, at)
    assert (out, left) == (payload, escaped)


def test_silence_that_nobody_could_break_does_not_count():
    guard = EscapeGuard(1.0, 0.0)
    guard.listen_again(5.0)
    assert guard.feed(b"+++", 5.5) == b"+++"


def test_a_byte_after_the_deadline_that_nobody_noticed_breaks_the_escape():
    guard = EscapeGuard(1.0, 0.0)
    assert guard.feed(b"+++", 1.0) == b""
    assert guard.feed(b"x", 2.5) == b"+++x"


# -- visits


async def test_a_visit(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        link.push(b"before")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,6\r\n"
        assert await host.say(b"AT+WIPDATA=2,1,2\r\n") == CONNECT + b"before"
        assert await host.say(TEXTS) == b""
        assert bytes(link.sent) == TEXTS  # the LF of the command is not the peer's
        link.push(TEXTS)
        await trio.sleep(0.1)
        assert host.got() == TEXTS
        assert await host.escape() == OK
        assert bytes(link.sent) == TEXTS
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        assert link.closed


async def test_the_line_feed_may_come_late_and_data_early(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.port.send(b"AT+WIPDATA=2,1,2\r")
        await trio.sleep(0.005)
        assert await host.say(b"\n\nearly") == CONNECT
        assert bytes(link.sent) == b"\nearly"


@pytest.mark.parametrize(
    ("command", "number"),
    [(b"2,1,1", 801), (b"2,2,2", 831), (b"1,1,1", 831), (b"3,1,2", 837), (b"2,9,2", 830), (b"9,1,2", 837)],
)
async def test_mapping_refused(autojump_clock, command, number):
    async with running() as host:
        await host.up()
        await host.create(1)
        assert await host.ask(b"AT+WIPDATA=" + command) == cme(number)
        assert await host.ask(b"AT") == OK


async def test_ok_comes_after_the_guard_not_before(autojump_clock):
    async with running() as host:
        await host.up()
        await host.create(1)
        await host.map(1)
        await trio.sleep(1.0)
        assert await host.say(b"+++", 0.99) == b""
        await trio.sleep(0.02)
        assert host.got() == OK


@pytest.mark.parametrize(
    ("before", "pieces", "gap", "after", "sent"),
    [
        (0.9, [b"+++"], 0, 3, b"+++"),
        (1.1, [b"++++"], 0, 3, b"++++"),
        (1.1, [b"+++", b"+"], 0.5, 3, b"++++"),
        (1.1, [b"+++", b"x"], 0.9, 3, b"+++x"),
        (1.1, [b"a+++"], 0, 3, b"a+++"),
        (1.1, [b"a", b"+++"], 0.2, 3, b"a+++"),
        (1.1, [b"++"], 0, 3, b"++"),
    ],
)
async def test_what_is_no_escape_goes_to_the_peer(autojump_clock, before, pieces, gap, after, sent):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        await trio.sleep(before - 0.04)
        for piece in pieces:
            await host.port.send(piece)
            await trio.sleep(gap)
        await trio.sleep(after)
        assert host.got() == b""
        assert bytes(link.sent) == sent
        assert await host.escape() == OK  # and the real one still works
        assert bytes(link.sent) == sent


async def test_pluses_split_over_reads_escape(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        await trio.sleep(1.1)
        for _ in range(3):
            await host.port.send(b"+")
            await trio.sleep(0.3)
        await trio.sleep(0.8)
        assert host.got() == OK
        assert not link.sent


async def test_peers_bytes_flow_during_the_guard_and_the_table_sets_it(autojump_clock):
    async with running(profile(module_guard=0.02)) as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        await trio.sleep(0.03)
        await host.port.send(b"+++")
        await trio.sleep(0.01)
        link.push(b"\r\nOK\r\n")
        await trio.sleep(0.1)
        assert host.got() == b"\r\nOK\r\n" + OK
        assert await host.ask(b"AT") == OK


async def test_a_stray_escape_in_command_state_is_silent(autojump_clock):
    async with running() as host:
        await host.up()
        assert await host.escape() == b""
        assert await host.ask(b"") == b""
        assert await host.ask(b"AT") == OK


# -- URCs


async def test_data_is_announced_once_until_it_was_read(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        link.push(b"abc")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,3\r\n"
        link.push(b"defg")
        await trio.sleep(0.1)
        assert host.got() == b""
        assert await host.ask(b"AT+WIPDATA?") == b"\r\n+WIPDATA: 2,1,7\r\n" + OK  # asking does not arm it again
        link.push(b"h")
        await trio.sleep(0.1)
        assert host.got() == b""
        assert await host.ask(b"AT+WIPDATA=2,1,2") == CONNECT + b"abcdefgh"
        assert await host.escape() == OK
        link.push(b"next")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,4\r\n"


async def test_bytes_that_remain_are_announced_again_before_ok(autojump_clock):
    """The host reads nothing while 300 bytes wait: one piece is on its way when it leaves, the rest stays."""
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        stuck = trio.Event()
        real = host.upstream._writer._port.send

        async def slow(data):
            await stuck.wait()
            return await real(data)

        host.upstream._writer._port.send = slow
        link.push(b"x" * 300)
        await trio.sleep(1.1)
        await host.port.send(b"+++")
        await trio.sleep(1.1)
        stuck.set()
        await trio.sleep(0.1)
        assert host.got() == b"x" * 256 + b"\r\n+WIPDATA: 2,1,44\r\n" + OK


async def test_urcs_are_kept_while_mapped_and_come_before_ok(autojump_clock):
    async with running() as host:
        await host.up()
        await host.create(1)
        second = await host.create(2)
        third = await host.create(3)
        host.network.delay["open_stream"] = 1.0
        assert await host.ask(b'AT+WIPCREATE=2,4,"late",7') == OK
        await host.map(1)
        second.push(b"ab")
        await trio.sleep(0.1)
        third.end()
        second.push(b"cd")
        await trio.sleep(5)
        assert host.got() == b""
        kept = b"\r\n+WIPDATA: 2,2,4\r\n\r\n+WIPPEERCLOSE: 2,3\r\n\r\n+WIPREADY: 2,4\r\n"
        assert await host.escape() == kept + OK


async def test_bearer_loss_while_another_is_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        first = await host.create(1)
        second = await host.create(2)
        await host.map(1)
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        await trio.sleep(0.1)
        second.end(Condition.BEARER_LOST)
        await trio.sleep(0.1)
        assert host.got() == b""
        first.end(Condition.BEARER_LOST)
        await trio.sleep(0.3)
        assert host.got() == (NO_CARRIER + b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 2,2,816\r\n\r\n+WIPERROR: 2,1,816\r\n")


# -- the end of a link


async def test_peer_closes_unmapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        link.end()
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPPEERCLOSE: 2,1\r\n"
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)
        assert await host.ask(b'AT+WIPCREATE=2,1,"h",7') == cme(840)
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        await host.create(1)


async def test_peer_closes_unmapped_with_bytes_unread(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        link.push(b"last words")
        link.end()
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,10\r\n\r\n+WIPPEERCLOSE: 2,1\r\n"
        assert await host.ask(b"AT+WIPDATA=2,1,2", 0.5) == CONNECT + b"last words" + NO_CARRIER
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)


async def test_the_strict_reading_refuses_unread_bytes_too(autojump_clock):
    async with running(profile(module_map_unread=False)) as host:
        await host.up()
        link = await host.create(1)
        link.push(b"last words")
        link.end()
        await trio.sleep(0.1)
        host.got()
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)


async def test_reset_unmapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        link.end(Condition.LINK_RESET)
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPERROR: 2,1,843\r\n"
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_peer_closes_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        link.push(b"x" * 5000)
        link.end()
        await trio.sleep(0.05)
        assert host.got() == b"x" * 5000 + NO_CARRIER
        await trio.sleep(0.15)
        assert host.got() == b"\r\n+WIPPEERCLOSE: 2,1\r\n"
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_closed_at_once_after_no_carrier_there_is_no_urc(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        link.end()
        await trio.sleep(0.05)
        assert host.got() == NO_CARRIER
        assert await host.ask(b"AT+WIPCLOSE=2,1", 1) == OK


async def test_reset_mapped_and_what_the_host_goes_on_sending_is_typed(autojump_clock):
    async with running() as host:
        await host.up(b"ATE1")
        got = await host.ask(b'AT+WIPCREATE=2,1,"h",7')
        assert got.endswith(b"\r\n+WIPREADY: 2,1\r\n")
        link = host.network.links[0]
        await host.ask(b"AT+WIPDATA=2,1,2")
        link.end(Condition.LINK_RESET)
        await trio.sleep(0.05)
        assert host.got() == NO_CARRIER
        assert await host.say(b"payload AT+CSQ\r", 0.3) == (
            b"payload AT+CSQ\r\r\n+CSQ: 31,0\r\n" + OK + b"\r\n+WIPERROR: 2,1,843\r\n"
        )
        assert not link.sent


async def test_peer_closes_inside_the_guard(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        await trio.sleep(1.1)
        await host.port.send(b"+++")
        await trio.sleep(0.5)
        link.end()
        await trio.sleep(2)
        assert host.got() == NO_CARRIER + b"\r\n+WIPPEERCLOSE: 2,1\r\n"  # and no OK
        assert await host.ask(b"AT") == OK


@pytest.mark.parametrize(
    ("how", "at_once", "after_escape"),
    [
        ("shutdown", b"\r\nSHUTDOWN\r\n", b"\r\n+WIPPEERCLOSE: 2,1\r\n" + OK),
        ("urc", b"\r\n+WIPPEERCLOSE: 2,1\r\n", b""),
        ("silent", b"", b""),
    ],
)
async def test_other_ways_to_end(autojump_clock, how, at_once, after_escape):
    async with running(profile(module_peerclose=how)) as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        link.end()
        await trio.sleep(0.5)
        assert host.got() == at_once
        assert await host.escape() == after_escape
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_reboot_while_mapped(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        await host.create(1)
        await host.map(1)
        await host.upstream.reboot()
        await trio.sleep(4)
        assert host.got() == b""
        assert await host.ask(b"AT+CREG?") == b"AT+CREG?\r\r\n+CREG: 0,1\r\n" + OK


# -- buffers


async def test_a_full_receive_buffer_stops_reading_the_peer(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        data = random.Random(1).randbytes(40000)
        link.push(data)
        await trio.sleep(1)
        assert link.waiting() == 40000 - 16384
        assert b"2,6,16384" in await host.ask(b"AT+WIPOPT=2,1,1,6")
        assert await host.ask(b"AT+WIPDATA=2,1,2", 1) == CONNECT + data


async def test_a_full_transmit_buffer_stops_reading_the_host(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        link.taking = trio.Event()
        data = random.Random(2).randbytes(30000)
        await host.port.send(data)
        await trio.sleep(15)
        assert len(host.upstream._module.sockets[2, 1]._outgoing) == 10240
        # The line is stalled: pluses wait in it as payload, not as an escape.
        await host.port.send(b"+++")
        await trio.sleep(15)
        link.taking.set()
        await trio.sleep(1)
        assert bytes(link.sent) == data + b"+++"
        assert await host.escape() == OK


async def test_close_sends_first_what_the_host_wrote(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        link.taking = trio.Event()
        await host.say(b"precious")
        assert await host.escape() == OK
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        second = await host.create(1)  # the index is free at OK
        assert not link.closed
        link.taking.set()
        await trio.sleep(0.1)
        assert (bytes(link.sent), link.closed) == (b"precious", True)
        assert not second.closed


async def _carried(pieces):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        for piece in pieces:
            link.push(piece)
            await host.port.send(piece)
        await trio.sleep(5)
        assert host.got() == bytes(link.sent)
        return bytes(link.sent)


@given(st.lists(st.sampled_from([b"+", b"++", b"+++", TEXTS]) | st.binary(min_size=1, max_size=50), max_size=20))
@settings(max_examples=40, deadline=None)
def test_every_payload_in_every_split_arrives(pieces):
    clock = trio.testing.MockClock(autojump_threshold=0)
    # Less than a guard after CONNECT, so that a lone +++ is payload.
    assert trio.run(_carried, pieces, clock=clock) == b"".join(pieces)


async def test_on_a_paced_line(autojump_clock):
    async with running(baud=115200) as host:
        await host.up()
        link = await host.create(1)
        await host.map(1)
        data = random.Random(3).randbytes(20000)
        await host.port.send(data)
        link.push(data)
        await trio.sleep(4)
        assert host.got() == data
        assert bytes(link.sent) == data
        assert await host.escape() == OK
