"""Payload of an SKT module, asked for and pushed: every loss is seen, and none of a peer's bytes is taken for the module's."""

from __future__ import annotations

import random

import pytest
import trio
from skt_driven import (
    DELETE,
    EMPTY,
    IDLE,
    OPEN,
    OPENED,
    PUSHING,
    READ,
    ROW,
    SENT,
    SERVER_ROW,
    listening,
    network,
    opened,
    pushing,
    seed_row,
    state,
    up,
)
from test_skt_driver_profiles import S2_DELETE, S2_UP, s2_link

from bridge.model import Condition, Endpoint, Phase


@pytest.mark.parametrize("shown", [b"", b"ab", b"\r\n+SKTREAD:ERROR:7", b"\r\n+SKTDEL:OK\r\nx"])
async def test_a_read_that_a_nul_cut_is_a_loss_and_none_of_it_is_delivered(shown, autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,40,1:" + shown + b"\r\n"))
        nursery.start_soon(module.serve, IDLE)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.DATA_LOST
        assert link.take(100) == b""
        await trio.sleep(1)
        assert b"AT+SKTDEL=1" in module.heard
        assert net.counters["payload-losses"] == 1
        assert any(record.rule == "payload-lost" for record in records)
        assert net.state.phase is Phase.UP


async def test_text_between_the_prints_of_a_read_is_never_taken_for_payload(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:\r\n[WLAN-A] something\r\nhello\r\n"))
        nursery.start_soon(module.serve, IDLE)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.DATA_LOST


async def test_after_a_payload_that_did_not_end_where_it_should_reads_are_small(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:he\r\nllo\r\n"))
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTCLIENT": OPEN[1] + OPENED})
        await trio.sleep(2)
        module.heard.clear()
        await net.open_stream("192.0.2.1", 80)
        await trio.sleep(0.2)
        assert b"AT+SKTREAD=1,64" in module.heard


async def test_pushed_data_and_a_pushed_close(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        await module.say(b"+SKTREAD:OK,5,1:he\r\no\r\n")
        assert await link.receive_some() == b"he\r\no"
        await module.say(b"+SKTREAD:ERROR:7,1\r\n")
        await module.play(DELETE)
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_pushed_data_between_a_command_and_its_answer(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"hello")
        await module.play((b"AT+SKTSEND=5,1:hello\r\n", b"+SKTREAD:OK,13,1:+SKTSEND:OK\r\n\r\n" + SENT))
        assert await link.receive_some() == b"+SKTSEND:OK\r\n"
        assert link.condition is None


@pytest.mark.parametrize("length", [1024, 1500])
async def test_a_burst_whose_data_are_not_printed_ends_its_link_and_no_other(length, autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=0,192.0.2.2,80\r\n", OPEN[1] + b"+SKTCLIENT:con_id=2\r\n"))
        other = await net.open_stream("192.0.2.2", 80)
        await module.say(b"+SKTREAD:OK,%d,1:\r\n+SKTREAD:OK,5,2:hello\r\n" % length)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.DATA_LOST
        assert await other.receive_some() == b"hello"
        await module.play(DELETE)
        assert other.condition is None


async def test_a_header_without_data_and_then_silence(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        await module.say(b"+SKTREAD:OK,1500,1:\r\n")
        before = trio.current_time()
        assert await link.wait_readable() == 0
        assert trio.current_time() == pytest.approx(before + 0.1)
        assert link.condition is Condition.DATA_LOST
        await module.play(DELETE)


async def test_what_stood_behind_a_cut_push_is_nobodys_and_whoever_was_in_it_is_told(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=0,192.0.2.2,80\r\n", OPEN[1] + b"+SKTCLIENT:con_id=2\r\n"))
        other = await net.open_stream("192.0.2.2", 80)
        await module.say(b"+SKTREAD:OK,500,1:ab\r\n+SKTREAD:OK,5,2:hello\r\n")
        two = b"con_id:2,client,tcp,address:192.0.2.2,port:80,socket:1\r\n"
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSTATE": state(ROW, two), b"AT+SKTDEL=2": DELETE[1]})
        assert await link.wait_readable() == 0
        assert await other.wait_readable() == 0
        assert other.take(10) == b""
        assert other.condition is Condition.DATA_LOST


async def test_data_of_an_id_that_is_told_later_are_not_lost(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        nursery.start_soon(module.play, (OPEN[0], OPEN[1] + b"+SKTREAD:OK,3,1:abc\r\n" + OPENED))
        link = await net.open_stream("192.0.2.1", 80)
        assert await link.receive_some() == b"abc"


async def test_what_is_pushed_for_a_peer_that_is_not_announced_waits_until_it_is_found(autojump_clock):
    """A build that announces no arrivals: SKTSTATE finds the peer, after seconds where sends keep the wire busy."""
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        listener = await listening(net, module, nursery)
        rules = {**IDLE, b"AT+SKTSTATE": state(SERVER_ROW)}
        nursery.start_soon(module.serve, rules)
        await module.say(b"+SKTREAD:OK,5,2:hello\r\n")
        await trio.sleep(2.4)
        rules[b"AT+SKTSTATE"] = state(SERVER_ROW, seed_row(2))
        link = await listener.accept()
        assert await link.receive_some() == b"hello"


async def test_an_id_that_was_never_learnt_is_never_addressed(autojump_clock):
    async with network(pushing()) as (net, module, _):
        await up(net, module, PUSHING)
        await module.say(b"+SKTREAD:ERROR:8,3\r\n+SKTREAD:OK,3,4:abc\r\n")
        await module.silent_for(5)


async def test_a_link_that_nobody_reads_is_ended_and_the_others_go_on(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        for _ in range(17):
            await module.say(b"+SKTREAD:OK,1000,1:" + b"d" * 1000 + b"\r\n")
        await module.play(DELETE)
        assert link.condition is Condition.RECEIVE_OVERRUN
        assert link.peak <= 16384


async def test_a_loss_is_seen_whatever_the_clock_shows(autojump_clock):
    """Idle times are sums of odd fractions of a second: none of them may be waited for without end."""
    chance = random.Random(11)
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=1,192.0.2.9,53\r\n", OPEN[1] + OPENED))
        link = await net.open_datagram(Endpoint("192.0.2.9", 53))
        row = b"con_id:1,client,udp,address:192.0.2.9,port:53,socket:0\r\n"
        answers = {**IDLE, b"AT+SKTREAD=1,": b"+SKTREAD:OK,9,1:ab\r\n", b"AT+SKTSTATE": state(row)}

        async def slowly(data):
            await trio.sleep(chance.random() / 10)
            await module.port.send(data)

        module.say = slowly
        nursery.start_soon(module.serve, answers)
        await trio.sleep(50)
        assert link.condition is None
        assert net.counters["datagrams-dropped"] > 50


HOSTILE = [
    b"\r\n+SKTREAD:ERROR:7,1\r\n",
    b"+SKTREAD:OK,3,1:abc\r\n",
    b"\r\nATCMD READY\r\n",
    b"\r\n+SKTSERVER:ERROR:11\r\n",
    b"\r\n\r\n\r\n",
    b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:-1\r\n",
    bytes(range(1, 256)),
    b">>>",
]


@pytest.mark.parametrize("payload", HOSTILE, ids=repr)
@pytest.mark.parametrize("cut", ["byte by byte", "random", "whole"])
async def test_payload_that_imitates_the_module_is_delivered_whole(payload, cut, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.expect(READ)
        text = b"+SKTREAD:OK,%d,1:" % len(payload) + payload + b"\r\n"
        chance = random.Random(len(payload))
        while text:
            size = {"byte by byte": 1, "whole": len(text)}.get(cut) or chance.randint(1, 7)
            await module.say(text[:size])
            text = text[size:]
            await trio.sleep(0.001)
        await module.play(EMPTY)
        assert await link.receive_some() == payload
        assert link.condition is None
        assert net.state.generation == 0


@pytest.mark.parametrize("payload", [b"", b"x", b"a\r\nb", b"+SKTCLIENT:con_id=9", b"+SKTREAD:OK,0,1:"], ids=repr)
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_urc_between_the_last_prints_of_a_read(payload, size, autojump_clock):
    """An open that is over is told by another task of the module: before the CR LF that ends a payload, if it likes."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        other = []

        async def open_another():
            other.append(await net.open_stream("192.0.2.1", 81))

        nursery.start_soon(open_another)
        await module.play((b"AT+SKTCLIENT=0,192.0.2.1,81\r\n", OPEN[1]))
        await module.expect(READ)
        text = b"+SKTREAD:OK,%d,1:" % len(payload) + payload + b"+SKTCLIENT:con_id=2\r\n" + b"\r\n"
        for start in range(0, len(text), size):
            await module.say(text[start : start + size])
            await trio.sleep(0.001)
        await trio.sleep(0.01)
        assert (link.condition, other[0].condition) == (None, None)
        assert link.take(100) == payload


async def test_a_urc_that_fills_up_a_cut_payload_is_no_part_of_it(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.expect(READ)
        await module.say(b"+SKTREAD:OK,5,1:abc\r\n+SKTSERVER:con_id=2\r\n\r\n")  # after a NUL nothing is printed
        await trio.sleep(1)
        assert link.condition is not None
        assert link.take(100) == b""


@pytest.mark.parametrize("late", [b"+SKTREAD:OK,3,1:abc\r\n", b"+SKTREAD:OK,1500,1:\r\n"], ids=["whole", "cut"])
async def test_what_is_pushed_for_an_id_that_is_deleted_is_not_the_next_connections(late, autojump_clock):
    """The task that pushes had read it before the connection was deleted, and prints it after the OK."""
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.aclose)
        await module.expect(DELETE[0])
        await module.say(DELETE[1])
        await trio.sleep(0.01)
        await module.say(late)
        await trio.sleep(0.2)
        link = await opened(net, module, nursery)
        await trio.sleep(0.1)
        assert (link.condition, link.take(10)) == (None, b"")


async def test_what_is_pushed_for_an_id_that_the_host_chooses_again_is_not_the_next_connections(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        nursery.start_soon(link.aclose)
        await module.expect(S2_DELETE[0])
        await module.say(S2_DELETE[1])
        await trio.sleep(0.01)
        await module.say(b"[$][SKT][DATA][9][3]:abc\r\n")
        await trio.sleep(0.01)
        link = await s2_link(net, module, nursery)
        assert (link.condition, link.take(10)) == (None, b"")


async def test_what_came_behind_a_lost_payload_before_its_id_was_told_is_not_delivered(autojump_clock):
    async with network(pushing()) as (net, module, nursery):
        await up(net, module, PUSHING)
        early = b"+SKTREAD:OK,1500,1:\r\n+SKTREAD:OK,3,1:abc\r\n"
        nursery.start_soon(module.play, (OPEN[0], OPEN[1] + early + OPENED))
        link = await net.open_stream("192.0.2.1", 80)
        assert (link.condition, link.take(10)) == (Condition.RECEIVE_OVERRUN, b"")
