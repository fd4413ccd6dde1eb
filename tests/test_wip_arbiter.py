"""Who has the wire: the policy at the top of the arbiter's file, in virtual time."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
import trio
from fake_network import FakeNetwork
from test_wip_downstream_dtr import NullModem
from wip_fakes import WiredPort as ModuleWires
from wip_modem import CLOSE, EMPTY, LISTEN, MAP, network, opened, up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.driver.arbiter import COMMANDS
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Lane, Trace

REAL = load("wip", "c1")


def small():
    """An eighth of the batch, and a visit to match: the bounds scale with it, and the tests take an eighth of the time."""
    batch = msgspec.structs.replace(REAL.value["batch"], value=2048)
    visit = msgspec.structs.replace(REAL.time["visit"], seconds=2.5)
    return msgspec.structs.replace(REAL, value=REAL.value | {"batch": batch}, time=REAL.time | {"visit": visit})


TABLE = small()
OK = b"\r\nOK\r\n"
BAUD = 115200
LINKS = 5
MAPPING = 0.05  # the reference's cost of a mapping; the commands of a visit (WIPDATA, WIPDATA?) are in it


def turn(*, dtr=False, table=TABLE):
    """The promised bound of one visit: mapping, a batch, idle_out, and the guards and the escape or DTR."""
    if table is REAL and not dtr:
        return MAPPING + 16384 * 10 / BAUD + 0.1 + 2.0 + 3 * 10 / BAUD
    batch = table.number("batch") * 10 / BAUD + table.seconds("idle_out")
    if dtr:
        return MAPPING + batch + sum(table.seconds(name) for name in ("fifo", "dtr_pulse", "partial"))
    return MAPPING + batch + sum(table.seconds(name) for name in ("guard", "guard_module", "partial")) + 3 * 10 / BAUD


@asynccontextmanager
async def both(*, dtr=False, table=TABLE):
    """(the driver's Network, what lies below our own simulated module, when each index was mapped)."""
    ours, theirs = line("module", baud=BAUD)
    module_port = ModuleWires(theirs)
    port = NullModem(ours, module_port) if dtr else ours
    visits = {index: [] for index in range(1, 9)}

    def record(said):
        if said.lane is Lane.TO_MODULE and said.rule == "map":
            visits[int(said.data.split(b",")[1])].append(trio.current_time())

    below = FakeNetwork()
    net = WipNetwork(port, table, Trace(record))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(module_port, below, TABLE, Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        yield net, below, visits, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def send_for_ever(link, size):
    while True:
        await link.send_all(b"s" * size)


async def receive_for_ever(link):
    while True:
        await link.receive_some()


async def feed_for_ever(peer, size, pause):
    while True:
        if peer.waiting() < 16384:
            peer.feed(b"r" * size)
        await trio.sleep(pause)


TRAFFIC = {
    "sends": (2048, 0, 0),
    "long sends": (65536, 0, 0),
    "receives": (0, 4096, 0.1),
    "both": (2048, 2048, 0.1),
    "trickles": (0, 50, 0.05),
    "small sends": (10, 0, 0),
}


@pytest.mark.deadline(1000)
@pytest.mark.parametrize("dtr", [False, True], ids=["escape", "dtr"])
@pytest.mark.parametrize(
    ("kind", "table"),
    [*((kind, TABLE) for kind in [*TRAFFIC, "all kinds"]), *((kind, REAL) for kind in ("sends", "both", "all kinds"))],
)
async def test_five_links_with_steady_traffic_are_visited_in_turn(kind, table, dtr, autojump_clock):
    kinds = list(TRAFFIC)[:LINKS] if kind == "all kinds" else [kind] * LINKS
    async with both(dtr=dtr, table=table) as (net, below, visits, nursery):
        links = [await net.open_stream("192.0.2.1", 80 + number) for number in range(LINKS)]
        for number, one in enumerate(kinds):
            sends, feeds, pause = TRAFFIC[one]
            if sends:
                nursery.start_soon(send_for_ever, links[number], sends)
            if feeds:
                nursery.start_soon(feed_for_ever, below.links[number], feeds, pause)
            nursery.start_soon(receive_for_ever, links[number])
        await trio.sleep(15)  # the proof of DTR is over, and everybody is known to have work
        for times in visits.values():
            times.clear()
        begun, bound = trio.current_time(), LINKS * turn(dtr=dtr, table=table)
        await trio.sleep(2.2 * bound)
        for link in links:
            times = [begun, *visits[link.index], trio.current_time()]
            assert max(later - sooner for sooner, later in pairwise(times)) <= bound


@pytest.mark.deadline(1000)
@pytest.mark.parametrize("greedy", list(TRAFFIC))
async def test_whoever_begins_while_another_has_the_wire_is_heard_within_the_bound(greedy, autojump_clock):
    """Nothing is heard of it while the other one is mapped: the other's visit has an end all the same."""
    rng = random.Random(3)
    sends, feeds, pause = TRAFFIC[greedy]
    async with both() as (net, below, _visits, nursery):
        links = [await net.open_stream("192.0.2.1", 80 + number) for number in range(LINKS)]
        if sends:
            nursery.start_soon(send_for_ever, links[0], sends)
        if feeds:
            nursery.start_soon(feed_for_ever, below.links[0], feeds, pause)
        nursery.start_soon(receive_for_ever, links[0])
        waits = []
        for _ in range(6):
            await trio.sleep(rng.uniform(3, 9))
            below.links[3].feed(b"knock")
            begun = trio.current_time()
            assert await links[3].receive_some() == b"knock"
            waits.append(trio.current_time() - begun)
        assert max(waits) <= LINKS * turn()


# --- the link that is alone ---


@pytest.mark.parametrize("size", [1, 2048, 30000])
async def test_sends_that_follow_each_other_on_a_lone_link_pay_no_guard(size, autojump_clock):
    async with both() as (net, _below, visits, _nursery):
        link = await net.open_stream("192.0.2.1", 80)
        await link.send_all(b"x")
        begun = trio.current_time()
        for _ in range(5):
            await link.send_all(b"s" * size)
            await trio.sleep(0.4)
        took = trio.current_time() - begun - 5 * 0.4
        assert took <= 5 * (size * 10 / BAUD + 0.05)
        assert len(visits[1]) == 1


async def test_a_lone_link_stays_mapped_for_30_idle_seconds(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        sent = trio.current_time()
        await module.answer_escape()
        assert 30 <= trio.current_time() - 1.0 - sent <= 30.2
        await module.play(EMPTY)


@pytest.mark.deadline(300)
async def test_and_is_left_every_30_seconds_although_it_is_never_idle(autojump_clock):
    async with both() as (net, _below, visits, nursery):
        link = await net.open_stream("192.0.2.1", 80)
        nursery.start_soon(send_for_ever, link, 2048)
        await trio.sleep(70)
        gaps = [later - sooner for sooner, later in pairwise(visits[1])]
        assert len(gaps) >= 1
        assert min(gaps) >= 30
        assert max(gaps) <= 30 + turn()


@pytest.mark.parametrize("what", ["a listener", "another link"])
async def test_with_anybody_else_it_is_left_after_2_idle_seconds(what, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        if what == "a listener":
            nursery.start_soon(module.play, LISTEN)
            await net.listen(8080, room=5)
        else:
            nursery.start_soon(module.play, (b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', OK + b"\r\n+WIPREADY: 2,2\r\n"))
            await net.open_stream("192.0.2.2", 80)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        sent = trio.current_time()
        await module.answer_escape()
        assert 2.0 <= trio.current_time() - 1.0 - sent <= 2.2
        await module.play(EMPTY)


async def test_a_pending_create_has_the_wire_left_at_once(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(_told, net.open_stream, "192.0.2.2", 80)
        await module.play((b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', OK))
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        sent = trio.current_time()
        await module.answer_escape()
        assert trio.current_time() - 1.0 - sent <= 1.2  # its guard, no more
        await module.play(EMPTY)
        await module.say(b"\r\n+WIPREADY: 2,2\r\n")
        await module.silent_for(5)


async def _told(call, *arguments):
    try:
        await call(*arguments)
    except (NetworkError, LinkLost) as error:
        return error.condition


# --- commands and visits ---


async def test_commands_never_keep_a_send_from_the_wire(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)

        async def ask_for_ever():
            while True:
                link.peer = None
                await link.find_endpoints()

        for _ in range(20):
            nursery.start_soon(ask_for_ever)
        await module.expect(b"AT+WIPOPT=2,1,1,0\r")
        nursery.start_soon(link.send_all, b"x")
        await trio.testing.wait_all_tasks_blocked()
        await module.say(b"\r\n+WIPOPT: 2,0,1024\r\n" + OK)
        commands = 1
        heard = b""
        while heard != MAP[0]:
            heard = b""
            while not heard.endswith(b"\r"):
                heard += module.spare or await module.port.receive()
                module.spare = b""
            if heard != MAP[0]:
                commands += 1
                await module.say(b"\r\n+CME ERROR: 800\r\n")
        assert commands <= 2 * COMMANDS + 1  # a question about endpoints is two commands


async def test_a_storm_of_creates_never_keeps_a_send_from_the_wire(autojump_clock):
    async with both() as (net, below, _visits, nursery):
        link = await net.open_stream("192.0.2.1", 80)
        below.refusal = None

        async def dial_for_ever():
            while True:
                other = await net.open_stream("192.0.2.9", 80)
                nursery.start_soon(other.aclose)

        for _ in range(2):
            nursery.start_soon(dial_for_ever)
        await trio.sleep(5)
        worst = 0.0
        for _ in range(10):
            begun = trio.current_time()
            await link.send_all(b"x" * 100)
            worst = max(worst, trio.current_time() - begun)
            await trio.sleep(3)
        assert worst <= LINKS * turn()


async def test_a_refused_close_keeps_nobody_waiting(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        first = await opened(net, module, nursery)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', OK + b"\r\n+WIPREADY: 2,2\r\n"))
        second = await net.open_stream("192.0.2.2", 80)
        nursery.start_soon(first.aclose)
        await module.play((CLOSE[0], b"\r\n+CME ERROR: 802\r\n"))
        refused = trio.current_time()
        nursery.start_soon(second.send_all, b"x")
        await module.play((b"AT+WIPDATA=2,2,2\r", MAP[1]), (b"x", b""))
        assert trio.current_time() - refused < 0.1
        await module.answer_escape()
        await module.play(EMPTY, CLOSE)
        assert trio.current_time() - refused <= 4


# --- polling ---


async def test_in_command_state_too_the_modem_is_asked_every_30_seconds(autojump_clock):
    """A URC may have been cut, or lost with noise on the line."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        begun = trio.current_time()
        await module.play((EMPTY[0], b"\r\n+WIPDATA: 2,1,3\r\n" + OK), MAP)
        assert 25 <= trio.current_time() - begun <= 31
        await module.say(b"abc")
        assert await link.receive_some() == b"abc"


async def test_with_nothing_open_nothing_is_asked(autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        await module.silent_for(50)


REFUSED = b"\r\n+CME ERROR: 800\r\n"
OPTION = b"AT+WIPOPT=2,1,1,6\r"


async def test_what_was_announced_survives_a_poll_that_is_refused(autojump_clock):
    """Neither the list nor the option: the URC is not repeated, so it must not be forgotten."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        opening = trio.CancelScope()

        async def somebody_else():
            with opening:
                await net.open_stream("192.0.2.9", 80)

        nursery.start_soon(somebody_else)
        await module.expect(b"+++")
        await trio.sleep(1.0)
        await module.say(b"\r\n+WIPDATA: 2,1,3\r\n" + OK)
        opening.cancel()
        await module.play((EMPTY[0], REFUSED), (OPTION, REFUSED), MAP)
        await module.say(b"abc")
        assert await link.receive_some() == b"abc"


async def test_without_any_poll_a_fin_is_followed_by_one_look(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play((EMPTY[0], REFUSED), (OPTION, REFUSED), MAP)
        await module.say(b"rest\r\nNO CARRIER\r\n")
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", OK), CLOSE)
        assert await link.receive_some() == b"rest"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_and_where_it_cannot_be_mapped_any_more_that_is_the_end(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play((EMPTY[0], REFUSED), (OPTION, REFUSED), (MAP[0], b"\r\n+CME ERROR: 831\r\n"), CLOSE)
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_without_any_poll_an_idle_link_is_looked_at_every_30_seconds(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        begun = trio.current_time()
        await module.play((EMPTY[0], REFUSED), (OPTION, REFUSED), MAP)
        assert 25 <= trio.current_time() - begun <= 31


def test_the_real_visit_keeps_the_bound_for_those_who_are_not_heard():
    """A visit begun while nobody else had work, its leaving, the turns of all others but one, and a mapping."""
    left = REAL.seconds("guard") + REAL.seconds("guard_module") + REAL.seconds("partial") + 3 * 10 / BAUD
    for links in range(2, 9):
        worst = MAPPING + REAL.seconds("visit") + left + (links - 2) * turn(table=REAL) + MAPPING
        assert worst <= links * turn(table=REAL)
