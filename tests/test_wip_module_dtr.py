r"""The host's DTR and its cable: &D0, &D1, &D2, and a port that is lost and comes back (wip.md 5.5, 11 item 9)."""

from __future__ import annotations

import pytest
import trio
from wip_fakes import running

from bridge.model import Condition, Endpoint, Phase
from bridge.ports import PortLost

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
HUNG_UP = b"\r\n+WIPBR: 6,0\r\n"
OPTIONS = pytest.mark.parametrize("seconds", [0.0, 0.2], ids=["pulse", "off"])


async def drop(host, seconds=0.2, wait=0.1):
    """DTR goes off and on again; what came of it."""
    host.wire.dtr(False)
    await trio.sleep(seconds)
    host.wire.dtr(True)
    await trio.sleep(wait)
    return host.got()


async def everything(host):
    """One socket of each kind, and a peer's."""
    link = await host.create(1)
    assert await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7') == OK + b"\r\n+WIPREADY: 1,1\r\n"
    assert await host.ask(b"AT+WIPCREATE=3,1,80,4,8") == OK
    accepted = host.network.listeners[-1].knock()
    await trio.sleep(0.1)
    assert host.got() == b"\r\n+WIPACCEPT: 1,4\r\n"
    return link, accepted, host.network.datagrams[-1], host.network.listeners[-1]


@OPTIONS
@pytest.mark.parametrize("index", [0, 1, 4])
async def test_d2_closes_everything_mapped_or_not(autojump_clock, index, seconds):
    """It is the default."""
    async with running(wired=True) as host:
        await host.up()
        opened = await everything(host)
        if index:
            await host.map(index)
        assert await drop(host, seconds) == HUNG_UP
        assert [one.closed for one in opened] == [True] * 4
        assert host.network.calls["detach"] == 1
        assert await host.ask(b"AT+WIPCREATE?") == OK
        assert await host.ask(b"AT+WIPBR?") == b"\r\n+WIPBR: 6,0\r\n" + OK
        assert await host.ask(b"AT+WIPBR=4,6", 3) == OK + b"\r\n+WIPBR: 6,1\r\n"  # the stack still runs
        await everything(host)


async def test_d2_tells_what_was_kept_while_mapped(autojump_clock):
    async with running(wired=True) as host:
        await host.up()
        await host.create(1)
        await host.map(1)
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        await trio.sleep(1)
        assert host.got() == b""
        assert await drop(host) == HUNG_UP


async def test_d2_with_nothing_open_says_nothing(autojump_clock):
    async with running(wired=True) as host:
        await host.ask(b"ATE0")
        assert await drop(host) == b""
        assert await host.ask(b"AT") == OK


@OPTIONS
async def test_d1_leaves_the_data_mode_and_keeps_the_call(autojump_clock, seconds):
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        link, accepted, *_ = opened = await everything(host)
        await host.map(1)
        accepted.feed(b"abc")
        await host.say(b"before")
        assert await drop(host, seconds) == b"\r\n+WIPDATA: 2,4,3\r\n" + OK
        assert [one.closed for one in opened] == [False] * 4
        assert bytes(link.sent) == b"before"
        assert await host.ask(b"AT+WIPDATA=2,1,2") == CONNECT
        assert await host.escape() == OK  # the usual way still works


async def test_d1_in_command_state_does_nothing(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        await host.create(1)
        assert await drop(host) == b""
        assert await host.ask(b"AT+WIPBR?") == b"\r\n+WIPBR: 6,1\r\n" + OK
        await host.map(1)  # a drop from before does not end a visit


async def test_d0_is_deaf(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&D0")
        link = await host.create(1)
        await host.map(1)
        assert await drop(host) == b""
        await host.say(b"still payload")
        assert bytes(link.sent) == b"still payload"


async def test_what_was_sent_before_is_payload_and_not_commands(autojump_clock):
    """All of it is in the line when DTR goes off at the same moment."""
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        link = await host.create(1)
        await host.map(1)
        data = b"payload AT+WIPCLOSE=2,1\r" * 1000
        await host.port.send(data)
        assert await drop(host, 0.0) == OK
        assert bytes(link.sent) == data
        assert await host.ask(b"AT+WIPCREATE?") == b'\r\n+WIPCREATE: 2,1,4001,"10.1.1.1",7\r\n' + OK


async def test_d1_ends_a_datagram(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        await host.ask(b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7')
        await host.ask(b"AT+WIPDATA=1,1,1")
        await host.say(b"one\x03two")
        assert await drop(host) == OK
        assert host.network.datagrams[0].sent == [(b"one", None), (b"two", None)]


@pytest.mark.parametrize(("pluses", "payload"), [(b"+", b"+"), (b"++", b"++"), (b"+++", b"")])
async def test_pluses_that_a_guard_held(autojump_clock, pluses, payload):
    """Three were the escape: DTR only saves its second guard."""
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        link = await host.create(1)
        await host.map(1)
        await trio.sleep(1.1)
        await host.say(pluses)
        assert await drop(host) == OK
        assert bytes(link.sent) == payload
        await trio.sleep(3)
        assert host.got() == b""


async def test_dtr_is_the_way_out_of_a_stalled_line(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        link = await host.create(1)
        await host.map(1)
        link.taking = trio.Event()
        await host.port.send(b"x" * 10240)
        await trio.sleep(15)
        assert await drop(host) == OK
        assert await host.ask(b"AT") == OK


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("later", [0.0, 0.005])
async def test_the_peer_ends_it_at_the_same_moment(autojump_clock, later, level):
    async with running(wired=True) as host:
        await host.up(b"AT&D%d" % level)
        link = await host.create(1)
        await host.map(1)
        host.wire.dtr(False)
        await trio.sleep(later)
        link.end()
        await trio.sleep(0.5)
        got = host.got()
        if level == 2:
            assert got.removeprefix(b"\r\nNO CARRIER\r\n") == HUNG_UP
        else:
            told = b"\r\n+WIPPEERCLOSE: 2,1\r\n"
            assert got in {b"\r\nNO CARRIER\r\n" + told, told + OK}
        assert await host.ask(b"AT") == OK


async def test_dropped_between_the_command_and_connect(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&D1")
        await host.create(1)
        await host.port.send(b"AT+WIPDATA=2,1,2\r")
        await trio.sleep(0.005)
        assert await drop(host, 0.0) == b"\r\nNO CARRIER\r\n"
        assert await host.ask(b"AT") == OK


async def test_dropped_while_it_boots(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT+WIND=0")
        await host.ask(b"AT+CFUN=1", 1)
        assert await drop(host) == b""
        await trio.sleep(4)
        assert await host.ask(b"AT") == b"AT\r" + OK


# -- the cable


async def test_a_port_that_is_lost_ends_the_session(autojump_clock):
    async def unplugged():
        async with running(wired=True) as host:
            await host.up()
            host.wire.unplug()
            await trio.sleep(5)

    with pytest.raises(BaseExceptionGroup) as caught:
        await unplugged()
    assert caught.group_contains(PortLost)


@pytest.mark.parametrize("mapped", [0, 1])
@pytest.mark.parametrize("level", [0, 1, 2])
async def test_a_port_that_reopens_counts_as_dtr_off(autojump_clock, level, mapped):
    async with running(reopens=True) as host:
        await host.up(b"AT&D%d" % level)
        link = await host.create(1)
        if mapped:
            await host.map(1)
        host.wire.unplug()
        await trio.sleep(30)
        assert host.got() == b""
        host.wire.plug()
        await trio.sleep(1)
        assert host.wire.reopened == 1
        assert host.got() == (HUNG_UP if level == 2 else OK if level == 1 and mapped else b"")
        assert link.closed == (level == 2)
        if level == 0 and mapped:
            await host.say(b"still payload")
            assert bytes(link.sent) == b"still payload"
            assert await host.escape() == OK
        assert await host.ask(b"AT") == OK
        assert await host.ask(b"AT+WIPBR?") == b"\r\n+WIPBR: 6,%d\r\n" % (level != 2) + OK


STEPS = [
    b"AT+WIPCFG=1\r",
    b"AT+WIPBR=4,6\r",
    b'AT+WIPCREATE=2,1,"h",7\r',
    b"AT+WIPCREATE=3,1,80,4,8\r",
    b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7\r',
    b"AT+WIPDATA=1,1,1\r",
    b"half a data\x10",
    b"gram\x03",
]


@pytest.mark.parametrize("wait", [0.0, 0.005, 0.015, 0.1])
@pytest.mark.parametrize("count", range(len(STEPS) + 1))
async def test_unplugged_at_each_step(autojump_clock, count, wait):
    """Whatever was under way, afterwards it answers and everything is closed."""
    async with running(reopens=True) as host:
        await host.ask(b"ATE0")
        for step in STEPS[:count]:
            await host.port.send(step)
            await trio.sleep(wait if step is STEPS[count - 1] else 3)
        host.wire.unplug()
        await trio.sleep(10)
        host.wire.plug()
        await trio.sleep(5)
        host.got()
        await host.ask(b"AT+CMEE=0")
        assert await host.ask(b"AT") == OK
        assert await host.ask(b"AT+WIPCREATE?") == OK
        assert await host.ask(b"AT+WIPBR?") in {b"\r\n+WIPBR: 6,0\r\n" + OK, b"\r\nERROR\r\n"}
        assert all(link.closed for link in (*host.network.links, *host.network.datagrams, *host.network.listeners))
        assert host.upstream.counters["crashes"] == 0


async def test_lost_while_it_writes(autojump_clock):
    """What did not go out waits for the cable; a piece that was cut in the middle is lost and counted."""
    async with running(reopens=True, baud=9600) as host:
        await host.up(b"AT&D0")
        assert await host.ask(b"AT+WIPCREATE=1,1,5000", 0.2) == OK + b"\r\n+WIPREADY: 1,1\r\n"
        host.network.datagrams[0].feed(b"x" * 1000, Endpoint("10.9.9.9", 9))
        await trio.sleep(0.1)
        host.got()
        await host.port.send(b"AT+WIPDATA=1,1,1\r")
        await trio.sleep(0.2)
        host.wire.unplug()
        await trio.sleep(1)
        before = host.got()
        host.wire.plug()
        await trio.sleep(3)
        after = host.got()
        assert before.startswith(CONNECT + b"x")
        assert after.strip(b"x") == b"\x03"
        lost = host.upstream.counters["lost-with-port"]
        assert 0 < lost < 256
        assert (before + after).count(b"x") + lost == 1000
        assert await host.escape() == OK
