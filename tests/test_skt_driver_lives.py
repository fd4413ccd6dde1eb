"""Between one life of an SKT module and the next: nothing of the old one counts, and nothing is left for a person to do."""

from __future__ import annotations

import pytest
import trio
from skt_driven import (
    BRING_UP,
    DELETE,
    FIND,
    IDLE,
    JOINED,
    NO_ROWS,
    NOT_JOINED,
    OPEN,
    OPENED,
    READ,
    RECEIVE_OFF,
    SERVER_ROW,
    TEST,
    SktModule,
    network,
    opened,
    state,
    up,
)
from test_skt_driver import run_in_scope

from bridge.dialects.skt.downstream import SktNetwork
from bridge.model import Condition, Login
from bridge.network import LinkLost
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

RESET = b"ATCMD READY\r\n"
RULES = {**IDLE, b"AT+SKTCLIENT": OPEN[1] + OPENED, b"AT+SKTRECVCFG": RECEIVE_OFF[1]}


async def mute(module):
    """Deaf in the middle of a read, until it is given up."""
    await module.expect(READ + TEST[0] + TEST[0])
    await trio.sleep(2.1)


@pytest.mark.parametrize("late", [b"+SKTREAD:OK,5,1:hello\r\n", b"+SKTREAD:OK,40,1:hel\r\n"], ids=["whole", "cut"])
async def test_what_a_lost_module_says_late_is_not_the_next_connections(late, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await mute(module)
        assert link.condition is Condition.MODULE_MUTE
        await module.say(late)
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE)
        await trio.sleep(1)
        assert (link.condition, link.take(10)) == (None, b"")


@pytest.mark.parametrize("late", [OPENED, b"\r\n+SKTSERVER:con_id=1\r\n"], ids=repr)
async def test_an_id_that_a_lost_module_gives_late_is_addressed_only_where_it_is_listed(late, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await mute(module)
        await module.say(late + RESET)
        nursery.start_soon(module.serve, RULES | {b"AT+SKTSTATE": NO_ROWS[1]})
        await net.attach()
        await trio.sleep(5)
        assert not any(text.startswith(b"AT+SKTDEL") for text in module.heard)


async def test_a_peer_that_a_lost_module_tells_of_is_addressed_only_where_it_is_listed(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await mute(module)
        peer = b"con_id:2, seed, tcp, address:192.168.1.9, port:64089, socket:1\r\n"
        await module.say(b"\r\n+SKTSERVER: A client connected to server[1]\r\n" + peer)
        nursery.start_soon(module.serve, RULES | {b"AT+SKTSTATE": NO_ROWS[1]})
        await net.attach()
        await trio.sleep(5)
        assert not any(text.startswith(b"AT+SKTDEL") for text in module.heard)


async def test_a_payload_that_breaks_off_while_the_module_is_looked_for_costs_no_more_than_a_probe(autojump_clock):
    async with network() as (net, module, nursery):
        await module.expect(b"\r\n")
        await module.expect(TEST[0])
        await module.say(b"+SKTREAD:OK,40,1:hel\r\n")
        nursery.start_soon(module.serve, RULES | {b"AT+SKTSTATE": NO_ROWS[1]})
        begun = trio.current_time()
        await net.attach()
        assert trio.current_time() - begun < 2
        link = await net.open_stream("192.0.2.1", 80)
        await trio.sleep(1)
        assert link.condition is None  # it was not this one's payload


@pytest.mark.deadline(200)
async def test_a_module_that_was_reset_is_joined_again_with_the_hosts_login(autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        join = (b"AT+WLCONN=ssid,field,pw,secret\r\n", b"\r\n+WLCONN:OK\r\n")
        nursery.start_soon(module.play, join, JOINED)
        await net.attach(Login("field", "secret"))
        await module.say(RESET)
        await trio.sleep(0.1)
        joined = []

        def joins(_):
            joined.append(trio.current_time())
            rules[b"AT+WLSTATE"] = JOINED[1]
            return join[1]

        rules = RULES | {b"AT+WLSTATE": NOT_JOINED[1], b"AT+SKTSTATE": NO_ROWS[1], b"AT+WLCONN": joins}
        nursery.start_soon(module.serve, rules)
        with trio.move_on_after(60):
            await net.attach()
        assert len(joined) == 1
        assert net.state.address == "192.168.1.7"


@pytest.mark.deadline(2000)
async def test_joins_that_take_long_and_bring_no_address_leave_the_wire_to_others(autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        nursery.start_soon(module.play, (b"AT+WLCONN=ssid,field\r\n", b"\r\n+WLCONN:OK\r\n"), JOINED)
        await net.attach(Login("field"))
        third = trio.Event()
        joins = []

        class Slow(SktModule):
            async def say(self, data):
                if b"WLCONN" in data:
                    await trio.sleep(45)
                    joins.append(data)
                    if len(joins) == 3:
                        third.set()
                await super().say(data)

        rules = RULES | {b"AT+WLSTATE": NOT_JOINED[1], b"AT+WLCONN": b"\r\n+WLCONN:OK\r\n", b"AT+GMR": b"\r\n+GMR:v2\r\n"}
        nursery.start_soon(Slow(module.port).serve, rules)
        await third.wait()
        with trio.fail_after(60):
            assert (await net.identity()).revision == "v2"


async def test_a_bridge_that_ends_while_an_id_is_deleted_does_not_address_it_again(autojump_clock):
    ours, theirs = line("module")
    net, module = SktNetwork(ours, load("skt", "s1-uart"), Trace()), SktModule(theirs)
    async with trio.open_nursery() as nursery:
        driving = await nursery.start(run_in_scope, net)
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.aclose)
        await module.expect(b"AT+SKTDEL=1\r\n")
        driving.cancel()
        nursery.start_soon(module.serve, IDLE)
        await trio.sleep(3)
        assert b"AT+SKTDEL=1" not in module.heard
        nursery.cancel_scope.cancel()


async def test_what_is_counted_is_never_counted_back(autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        await module.say(b"x" * 1200)
        await trio.sleep(0.01)
        assert net.counters["overlong-lines"] == 1
        await module.say(b"\r\n" + RESET)
        await up(net, module)
        assert net.counters["overlong-lines"] == 1


async def test_a_server_whose_command_was_lost_after_a_reset_is_listened_for_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        ok = b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n"
        nursery.start_soon(module.play, (b"AT+SKTSERVER=0,5001\r\n", ok))
        listener = await net.listen(5001, room=1)
        await module.say(RESET)
        await module.play(*BRING_UP)
        held = [b""]

        def listens(_):
            held.append(SERVER_ROW)
            return b"" if len(held) == 2 else ok

        def deletes(_):
            held.append(b"")
            return DELETE[1]

        rules = {b"AT+SKTSERVER": listens, b"AT+SKTSTATE": lambda _: state(held[-1]), b"AT+SKTDEL=1": deletes}
        nursery.start_soon(module.serve, RULES | rules)
        with trio.move_on_after(10):
            await listener.accept()
        assert listener.condition is None
        assert held == [b"", SERVER_ROW, b"", SERVER_ROW]  # asked for, though unheard; deleted as nobody's; asked for again


@pytest.mark.deadline(200)
async def test_a_server_that_is_asked_for_in_vain_is_given_up(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        ok = b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n"
        nursery.start_soon(module.play, (b"AT+SKTSERVER=0,5001\r\n", ok))
        listener = await net.listen(5001, room=1)
        await module.say(RESET)
        await module.play(*BRING_UP)
        nursery.start_soon(module.serve, RULES | {b"AT+SKTSERVER": b"", b"AT+SKTSTATE": NO_ROWS[1]})
        with pytest.raises(LinkLost):
            await listener.accept()
        assert listener.condition is Condition.MODULE_MUTE
        await trio.sleep(30)
        assert module.heard.count(b"AT+SKTSERVER=0,5001") == 3
