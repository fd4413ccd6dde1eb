"""What an SKT module holds under its ids: it says little of it, and gives an id on at once."""

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
    OPEN,
    OPENED,
    PUSHING,
    RECEIVE_OFF,
    ROW,
    SERVER_ROW,
    TEST,
    arrival,
    listening,
    network,
    opened,
    pushing,
    seed_row,
    state,
    up,
)
from test_skt_driver_profiles import OK, S1B_UP, S2_UP

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError

LISTEN = b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n"


# --- late opens ---


@pytest.mark.deadline(500)
async def test_a_late_line_that_came_in_between_does_not_cost_the_next_open_its_own(autojump_clock):
    """A name that was given up: its id comes and is deleted, and with that it is settled.  Its row could be anybody's."""
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1], b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("host.example", 80)
        await module.say(OPENED)
        await trio.sleep(1)
        assert module.heard.count(b"AT+SKTDEL=1") == 1
        rules |= {b"AT+SKTCLIENT": OPEN[1] + OPENED, b"AT+SKTSTATE": state(ROW)}
        begun = trio.current_time()
        link = await net.open_stream("192.0.2.1", 80)
        assert link.id == 1
        assert trio.current_time() - begun < 2
        assert module.heard.count(b"AT+SKTDEL=1") == 1


@pytest.mark.deadline(500)
async def test_of_two_requests_for_the_same_the_second_has_the_first_id_that_comes(autojump_clock):
    """A request that was given up may never be answered: the next one for the same must not wait for it."""
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1], b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("192.0.2.1", 80)
        rules |= {b"AT+SKTCLIENT": OPEN[1] + OPENED, b"AT+SKTSTATE": state(ROW)}
        link = await net.open_stream("192.0.2.1", 80)
        assert link.id == 1
        two = b"con_id:2,client,tcp,address:192.0.2.1,port:80,socket:1\r\n"
        rules |= {b"AT+SKTSTATE": state(ROW, two), b"AT+SKTDEL=2": DELETE[1]}
        await module.say(b"+SKTCLIENT:con_id=2\r\n")  # and it was answered after all
        await trio.sleep(1)
        assert link.condition is None
        assert [text for text in module.heard if text.startswith(b"AT+SKTDEL")] == [b"AT+SKTDEL=2"]


async def test_an_id_that_comes_during_the_bring_up_is_deleted_once(autojump_clock):
    """A bridge that was killed while it opened: the module's list walk runs past its end for an id that has gone."""
    async with network() as (net, module, nursery):
        await module.play(*FIND, (RECEIVE_OFF[0], RECEIVE_OFF[1] + OPENED))
        await module.play((b"AT+SKTSTATE\r\n", state(ROW)), DELETE, JOINED)
        await net.attach()
        nursery.start_soon(module.serve, IDLE)
        await trio.sleep(5)
        assert not [text for text in module.heard if text.startswith(b"AT+SKTDEL")]


# --- servers and their peers ---


async def test_a_peer_may_have_the_id_that_is_being_deleted(autojump_clock):
    """The module takes the lowest free id, and it has freed one before it says so."""
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(arrival(2, 600))
        first = await listener.accept()
        nursery.start_soon(first.aclose)
        await module.play((b"AT+SKTDEL=2\r\n", arrival(2, 601) + DELETE[1]))
        with trio.fail_after(1):
            second = await listener.accept()
        assert (second.id, second.peer.port, second.condition) == (2, 601, None)
        await module.play((b"AT+SKTREAD=2,512\r\n", b"+SKTREAD:OK,2,2:hi\r\n"))
        assert await second.receive_some() == b"hi"
        assert first.freed.is_set()


async def test_s2_a_peer_may_have_the_id_that_is_being_deleted(autojump_clock):
    event = b"[$][SKT][EVENT]: A client[link_id:0,seed,tcp,address:192.168.1.9,port:%d] connected to server[link_id:1]\r\n"
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=1,1,,5001,1\r\n", OK))
        listener = await net.listen(5001, room=2)
        await module.say(event % 600)
        first = await listener.accept()
        nursery.start_soon(first.aclose)
        await module.play((b"AT+SKTDEL=0\r\n", event % 601 + OK))
        with trio.fail_after(0.1):
            second = await listener.accept()
        assert (second.id, second.peer.port, second.condition) == (0, 601, None)


async def test_s2_a_peer_that_sktstate_tells_of_first_is_taken(autojump_clock):
    """The rows come by id, and a peer takes a lower one than its server."""
    seed = b"link_id:0,seed,tcp,src_address:192.168.1.7,src_port:5001,dst_address:192.168.1.9,dst_port:600,socket_fd:2\r\n"
    server = b"link_id:1,server,tcp,src_address:192.168.1.7,src_port:5001,dst_address:0.0.0.0,dst_port:0,socket_fd:0\r\n"
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=1,1,,5001,1\r\n", OK))
        listener = await net.listen(5001, room=2)
        await module.play((b"AT+SKTSTATE\r\n", seed + server + OK))
        with trio.fail_after(0.1):
            link = await listener.accept()
        assert (link.id, link.peer) == (0, Endpoint("192.168.1.9", 600))


@pytest.mark.parametrize("mode", ["server", "push"])
async def test_a_reset_that_the_module_does_not_tell_of_is_seen(mode, autojump_clock):
    """Most builds say nothing at a reset, and nothing is read of a server, or where data are pushed."""
    async with network(pushing() if mode == "push" else None) as (net, module, nursery):
        await up(net, module, PUSHING if mode == "push" else BRING_UP)
        if mode == "push":
            held = await opened(net, module, nursery)
        else:
            held = await listening(net, module, nursery)
            await module.say(arrival(2))  # this build announces them: nobody need look for them every second
            nursery.start_soon((await held.accept()).aclose)
            await module.play((b"AT+SKTDEL=2\r\n", DELETE[1]))
        rules = IDLE | {b"AT+SKTSTATE": NO_ROWS[1], b"AT+SKTSERVER": LISTEN}
        nursery.start_soon(module.serve, rules)
        await trio.sleep(9)
        assert b"AT+SKTSTATE" not in module.heard  # seldom: it is an exception
        await trio.sleep(3)
        if mode == "push":
            assert held.condition is Condition.MODULE_RESET
        else:
            assert held.condition is None
            assert module.heard.count(b"AT+SKTSERVER=0,5001") == 1  # it listens again


@pytest.mark.parametrize("code", [10, 11, *range(22, 29)])
async def test_the_death_of_one_server_is_not_the_refusal_of_another(code, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        first = await listening(net, module, nursery)
        got = []

        async def listen():
            got.append(await net.listen(5002, room=1))

        nursery.start_soon(listen)
        died = b"\r\n+SKTSERVER:ERROR:%d\r\n" % code
        await module.play((b"AT+SKTSERVER=0,5002\r\n", died + b"\r\n+SKTSERVER:OK\r\n"))
        await module.play(TEST, NO_ROWS, NO_ROWS)
        await module.say(b"\r\n+SKTSERVER:con_id=1\r\n")
        await module.play((b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=2\r\n"))
        await trio.sleep(0.01)
        assert [listener.condition for listener in (first, *got)] == [None, None]
        assert net.state.generation == 0


async def test_s1b_the_death_of_a_server_is_a_bare_error(autojump_clock):
    async with network("s1b") as (net, module, nursery):
        await up(net, module, S1B_UP)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=0,5001\r\n", OK + b"\r\n+SKTSERVER:con_id=1\r\n"))
        listener = await net.listen(5001, room=2)
        await module.say(b"\r\nERROR: 11\r\n")
        await module.play((b"AT+TEST\r\n", OK), (b"AT+SKTSTATE\r\n", OK), (b"AT+SKTSTATE\r\n", OK))
        await module.play((b"AT+SKTSERVER=0,5001\r\n", OK + b"\r\n+SKTSERVER:con_id=1\r\n"))
        await trio.sleep(0.01)
        assert listener.condition is None


# --- SKTSTATE ---

CUT = b"+SKTREAD:OK,500,1:ab\r\n"  # a push that a NUL cut


async def test_sktstate_and_test_that_a_cut_payload_breaks_are_asked_again(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        await opened(net, module, nursery)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=0,192.0.2.2,80\r\n", OPEN[1] + b"+SKTCLIENT:con_id=2\r\n"))
        other = await net.open_stream("192.0.2.2", 80)
        two = b"con_id:2,client,tcp,address:192.0.2.2,port:80,socket:1\r\n"
        await module.say(CUT)
        await module.play((b"AT+TEST\r\n", CUT + TEST[1]), TEST)
        await module.play((b"AT+SKTSTATE\r\n", ROW + CUT + two + NO_ROWS[1]), (b"AT+SKTSTATE\r\n", state(ROW, two)), DELETE)
        assert other.condition is None
        assert net.state.generation == 0


async def test_sktstate_that_is_never_whole_is_not_asked_for_ever(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSTATE": CUT})
        await module.say(CUT)
        await trio.sleep(2.5)
        assert module.heard.count(b"AT+SKTSTATE") == 3
        assert link.condition is not None


async def test_a_server_row_with_its_seed_is_as_it_was_before(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.play((b"AT+SKTSTATE\r\n", state(SERVER_ROW, seed_row(2))))
        assert (await listener.accept()).id == 2


@pytest.mark.parametrize(
    ("host", "seconds", "condition"),
    [("192.0.2.1", 5, Condition.MODULE_MUTE), ("example.net", 30, Condition.NAME_NOT_FOUND)],
)
async def test_an_open_without_its_first_line_waits_no_longer_than_a_look_up_takes(host, seconds, condition, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        ended = []

        async def open_it():
            with pytest.raises(NetworkError) as failed:
                await net.open_stream(host, 80)
            ended.append((failed.value.condition, trio.current_time() - begun))

        begun = trio.current_time()
        nursery.start_soon(open_it)
        await module.expect(b"AT+SKTCLIENT=0,%s,80\r\n" % host.encode())
        await module.expect(b"AT+TEST\r\n")  # it is never asked for again
        assert ended == [(condition, pytest.approx(seconds, abs=0.1))]


@pytest.mark.deadline(500)
async def test_a_late_open_is_not_taken_for_the_next_one_by_its_row(autojump_clock):
    """Two names: the row of the one that was given up could be of either, and nobody may have the wrong peer."""
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1], b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("one.example", 80)
        rules[b"AT+SKTSTATE"] = b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:0\r\n" + NO_ROWS[1]
        with pytest.raises(NetworkError):
            await net.open_stream("two.example", 80)
        await trio.sleep(2)
