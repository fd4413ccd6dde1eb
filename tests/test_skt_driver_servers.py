"""Opens and servers of an SKT module: lines that come late, peers that come unasked, and servers that die."""

from __future__ import annotations

import pytest
import trio
from skt_driven import (
    DELETE,
    IDLE,
    JOINED,
    LISTENING,
    NO_ROWS,
    ONE_ROW,
    OPEN,
    OPENED,
    SERVER_ROW,
    TEST,
    arrival,
    listening,
    network,
    seed_row,
    state,
    up,
)

from bridge.model import Condition
from bridge.network import NetworkError

# --- opens ---


@pytest.mark.deadline(200)
async def test_a_second_line_that_comes_after_its_time_is_deleted(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {b"AT+SKTCLIENT": OPEN[1], b"AT+SKTSTATE": NO_ROWS[1], **{k: v for k, v in IDLE.items() if k != b"AT+SKTSTATE"}}
        nursery.start_soon(module.serve, rules)
        begun = trio.current_time()
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition is Condition.CONNECT_TIMEOUT
        assert 90 <= trio.current_time() - begun < 91
        await trio.sleep(5)
        await module.say(OPENED)
        rules[b"AT+SKTSTATE"] = ONE_ROW[1]
        await trio.sleep(1)
        assert b"AT+SKTDEL=1" in module.heard
        assert not any(text.startswith(b"AT+SKTREAD") for text in module.heard)


@pytest.mark.deadline(200)
async def test_a_late_line_is_not_taken_for_the_next_opens(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        late_row = b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:0\r\n"
        new_row = b"con_id:2,client,tcp,address:192.0.2.2,port:80,socket:1\r\n"
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1], b"AT+SKTSTATE": NO_ROWS[1], b"AT+SKTREAD=2": b"+SKTREAD:OK,0,2:\r\n"}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("192.0.2.1", 80)
        got = []

        async def second():
            got.append(await net.open_stream("192.0.2.2", 80))

        nursery.start_soon(second)
        await trio.sleep(0.5)
        rules[b"AT+SKTSTATE"] = state(late_row)
        await module.say(OPENED)
        await trio.sleep(0.5)
        assert not got
        assert b"AT+SKTDEL=1" in module.heard
        rules[b"AT+SKTSTATE"] = state(new_row)
        await module.say(b"+SKTCLIENT:con_id=2\r\n")
        await trio.sleep(0.5)
        assert [link.id for link in got] == [2]


@pytest.mark.deadline(200)
async def test_an_open_whose_second_line_was_lost_is_found_by_its_row(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTCLIENT": OPEN[1]})
        link = await net.open_stream("192.0.2.1", 80)
        assert link.id == 1
        await module.say(OPENED)  # and its line after all
        await trio.sleep(1)
        assert link.condition is None


# --- servers ---


async def test_peers_come_with_and_without_being_told(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        rules = {**IDLE, b"AT+SKTSTATE": state(SERVER_ROW, seed_row(2)), b"AT+SKTREAD=": b"+SKTREAD:OK,0,2:\r\n"}
        nursery.start_soon(module.serve, rules)
        link = await listener.accept()
        assert link.id == 2
        assert str(link.peer) == "192.168.1.9:64089"
        rules[b"AT+SKTREAD=3"] = b"+SKTREAD:OK,0,3:\r\n"
        await module.say(arrival(3, 64090))
        assert (await listener.accept()).peer.port == 64090


async def test_an_arrival_between_the_prints_of_sktstate(autojump_clock):
    first, second = arrival(2).split(b"\r\ncon_id")
    text = SERVER_ROW + first + b"\r\n" + seed_row(3) + b"con_id" + second + b"\r\n+SKTSTATE:OK\r\n"
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.play((b"AT+SKTSTATE\r\n", text))
        ids = {(await listener.accept()).id, (await listener.accept()).id}
        assert ids == {2, 3}


async def test_a_surplus_peer_is_deleted_before_the_pool_runs_dry(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery, room=8)
        rules = {
            b"AT+SKTREAD=": lambda text: b"+SKTREAD:OK,0,%c:\r\n" % text[11],
            b"AT+SKTDEL=": DELETE[1],
            b"AT+WLSTATE": JOINED[1],
        }
        nursery.start_soon(module.serve, rules)
        for number in range(2, 10):
            await module.say(arrival(number, 60000 + number))
            await trio.sleep(0.2)
        assert module.heard.count(b"AT+SKTDEL=9") == 1
        assert [text for text in module.heard if text.startswith(b"AT+SKTDEL")] == [b"AT+SKTDEL=9"]
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition is Condition.NO_FREE_LINK
        assert (await listener.accept()).id == 2


async def test_a_server_has_no_more_peers_than_its_room(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await listening(net, module, nursery, room=1)
        await module.say(arrival(2) + arrival(3, 1))
        await module.play((b"AT+SKTDEL=3\r\n", DELETE[1]))


@pytest.mark.parametrize("code", [10, 11, *range(22, 29)])
async def test_the_death_of_a_server_ends_its_peers_and_it_listens_again(code, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(arrival(2))
        link = await listener.accept()
        await module.say(b"\r\n+SKTSERVER:ERROR:%d\r\n" % code)
        await module.play(TEST, NO_ROWS, NO_ROWS, (b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:OK\r\n" + LISTENING))
        assert await link.wait_readable() == 0
        assert link.condition is Condition.LINK_RESET
        await module.say(arrival(2, 7))
        assert (await listener.accept()).peer.port == 7


@pytest.mark.parametrize(
    ("code", "condition"), [(2, "bad-argument"), (3, "no-free-link"), (13, "wrong-state"), (14, "not-supported")]
)
async def test_a_server_that_is_refused(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:ERROR:%d\r\n" % code))
        with pytest.raises(NetworkError) as refused:
            await net.listen(5001, room=1)
        assert refused.value.condition == condition


@pytest.mark.parametrize(("code", "condition"), [(5, "module-error"), (7, "port-in-use"), (8, "port-in-use"), (9, "port-in-use")])
async def test_a_server_that_fails_after_its_ok(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        ok = (b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:ERROR:%d\r\n" % code)
        nursery.start_soon(module.play, ok)
        with pytest.raises(NetworkError) as refused:
            await net.listen(5001, room=1)
        assert refused.value.condition == condition


async def test_a_closed_server_stays_for_its_last_peer_and_can_be_had_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(arrival(2))
        link = await listener.accept()
        await listener.aclose()
        await module.say(arrival(3, 5))
        await module.play((b"AT+SKTDEL=3\r\n", DELETE[1]))
        again = await net.listen(5001, room=2)
        assert link.condition is None
        await again.aclose()
        nursery.start_soon(link.aclose)
        await module.play((b"AT+SKTDEL=2\r\n", DELETE[1]), DELETE)


async def test_the_death_of_a_server_is_seen_while_a_question_is_asked_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(arrival(2))
        link = await listener.accept()
        answers = [b"\r\n+SKTSERVER:ERROR:11\r\n" + JOINED[1], b""]
        rules = {
            b"AT+WLSTATE": lambda _: answers.pop() if answers else JOINED[1],
            b"AT+SKTSTATE": lambda _: state(*([SERVER_ROW, seed_row(2)] if answers else [])),
            b"AT+SKTREAD=2": b"+SKTREAD:OK,0,2:\r\n",
            b"AT+SKTSERVER": b"\r\n+SKTSERVER:OK\r\n" + LISTENING,
        }
        nursery.start_soon(module.serve, {**IDLE, **rules})
        assert await link.wait_readable() == 0
        said = module.heard[-module.heard[::-1].index(b"AT+WLSTATE") :]
        assert said[:3] == [b"AT+TEST", b"AT+SKTSTATE", b"AT+SKTSTATE"]
