"""What goes wrong on the wire of an SKT module: every loss is seen, nobody is told something untrue, the driver lives."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio
from skt_driven import (
    BRING_UP,
    DELETE,
    EMPTY,
    IDLE,
    JOINED,
    NO_ROWS,
    ONE_ROW,
    OPEN,
    OPENED,
    READ,
    RECEIVE_OFF,
    ROW,
    TEST,
    ReopeningPort,
    SktModule,
    network,
    opened,
    up,
)

from bridge.dialects.skt.downstream import SktNetwork
from bridge.model import Condition, Delivered, Endpoint, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

SENT = b"\r\n+SKTSEND:OK\r\n"
LISTENING = b"\r\n+SKTSERVER:con_id=1\r\n"
SERVER_ROW = b"con_id:1,server,tcp,address:192.168.1.7,port:5001,socket:0\r\n"


def arrival(number, port=64089):
    return (
        b"\r\n+SKTSERVER: A client connected to server[1]\r\n"
        b"con_id:%d, seed, tcp, address:192.168.1.9, port:%d, socket:1\r\n" % (number, port)
    )


def seed_row(number):
    return b"+SKTSTATE:con_id:%d,seed,tcp,address:192.168.1.9,port:64089,socket:1\r\n" % number


async def listening(net, module, nursery, room=4):
    async def answer():
        await module.play((b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:OK\r\n"))
        await trio.sleep(1)
        await module.say(LISTENING)

    nursery.start_soon(answer)
    return await net.listen(5001, room=room)


def state(*rows):
    return b"".join(rows) + b"\r\n+SKTSTATE:OK\r\n"


# --- payload ---


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


def pushing():
    table = load("skt", "s1-uart")
    value = {**table.value, "receive": type(table.value["receive"])(value="push", source="a test")}
    fields = {name: getattr(table, name) for name in table.__struct_fields__}
    return type(table)(**{**fields, "value": value})


RECEIVE_ON = (b"AT+SKTRECVCFG=1\r\n", b"\r\n+SKTRECVCFG:OK\r\n")
PUSHING = [*BRING_UP[:-1], RECEIVE_ON, JOINED]


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


# --- silence, resets, noise ---


async def test_a_send_that_is_not_answered_is_never_repeated(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND": b""})
        with pytest.raises(LinkLost) as lost:
            await link.send_all(b"hello")
        assert lost.value.delivered is Delivered.UNKNOWN
        await trio.sleep(5)
        assert module.heard.count(b"AT+SKTSEND=5,1:hello") == 1
        assert b"AT+SKTDEL=1" in module.heard
        assert net.state.phase is Phase.UP


async def test_a_send_that_fails_in_its_second_line_is_not_told_as_untouched(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND=108": SENT, b"AT+SKTSEND=1,": b"\r\n+SKTSEND:ERROR:1\r\n"})
        with pytest.raises(LinkLost) as lost:
            await link.send_all(b"x" * 109)
        assert lost.value.delivered is Delivered.SOME
        assert link.condition is not None


@pytest.mark.parametrize("banner", [b"ATCMD READY\r\n", b"atio_uart_init @38400bps\n", b"\r\nAT COMMAND READY\r\n\n# "])
@pytest.mark.parametrize("moment", ["in a send", "idle"])
async def test_a_reset_ends_every_link_and_the_module_is_brought_up_again(banner, moment, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        outcome = []

        async def send():
            try:
                await link.send_all(b"hello")
            except LinkLost as lost:
                outcome.append((lost.condition, lost.delivered))

        if moment == "in a send":
            nursery.start_soon(send)
            await module.expect(b"AT+SKTSEND=5,1:hello\r\n")
        await module.say(banner)
        await trio.sleep(0.01)
        assert link.condition is Condition.MODULE_RESET
        assert net.state.generation == 1
        if moment == "in a send":
            assert outcome == [(Condition.MODULE_RESET, Delivered.UNKNOWN)]
        await up(net, module)
        await module.silent_for(1)


async def test_a_module_that_has_forgotten_an_id_was_reset(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"\r\n+SKTREAD:ERROR:3\r\n"), TEST, NO_ROWS, NO_ROWS)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.MODULE_RESET
        assert net.state.generation == 1
        await up(net, module)


async def test_a_module_that_gives_an_id_twice_was_reset(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1] + OPENED, b"AT+SKTRECVCFG": RECEIVE_OFF[1], b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.2", 80)
        assert refused.value.condition is Condition.MODULE_RESET
        assert link.condition is Condition.MODULE_RESET


NOISE = b"\r\n[WLAN-A] RX mgnt\r\n+SKT weird line\r\n[$]wifi something\r\n"


async def test_noise_in_every_gap(autojump_clock):
    async with network() as (net, module, nursery):
        await module.say(NOISE)
        for heard, said in BRING_UP:
            await module.expect(heard)
            await module.say(NOISE + said + NOISE)
        await net.attach()

        async def answer():
            await module.play((OPEN[0], NOISE + OPEN[1] + NOISE + OPENED + NOISE))

        nursery.start_soon(answer)
        link = await net.open_stream("192.0.2.1", 80)
        await module.play((READ, NOISE + b"+SKTREAD:OK,5,1:hello\r\n" + NOISE))
        assert await link.receive_some() == b"hello"
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"x")
        await module.play((b"AT+SKTSEND=1,1:x\r\n", NOISE + SENT + NOISE))
        await module.play((READ, NOISE + b"\r\n+SKTREAD:ERROR:7\r\n" + NOISE), (DELETE[0], NOISE + DELETE[1]))
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


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


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
async def test_every_answer_in_small_pieces(size, autojump_clock):
    class Slow(SktModule):
        async def say(self, data):
            for start in range(0, len(data), size):
                await self.port.send(data[start : start + size])
                await trio.sleep(0.001)

    async with network() as (net, plain, nursery):
        module = Slow(plain.port)
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:h\r\nlo\r\n"))
        assert await link.receive_some() == b"h\r\nlo"
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"x")
        await module.play((b"AT+SKTSEND=1,1:x\r\n", SENT), (READ, b"\r\n+SKTREAD:ERROR:7\r\n"), DELETE)
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("step", range(1, len(BRING_UP)))
async def test_a_module_that_goes_mute_in_the_bring_up_is_asked_from_the_start(step, autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*BRING_UP[:step])
        await module.expect(BRING_UP[step][0])
        await trio.sleep(4.4)
        mute_until = trio.current_time() + 15
        while trio.current_time() < mute_until:
            with trio.move_on_after(1):
                module.spare += await module.port.receive()
        module.spare = b""
        assert net.state.phase is not Phase.UP
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTRECVCFG": RECEIVE_OFF[1], b"AT+SKTSTATE": NO_ROWS[1]})
        await net.attach()


async def test_a_module_that_goes_mute_is_lost_and_its_links_with_it(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.MODULE_MUTE
        await trio.sleep(10)
        assert net.state.cause is Condition.MODULE_MUTE or net.state.phase is Phase.STARTING
        module.spare = b""
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTRECVCFG": RECEIVE_OFF[1]})
        await net.attach()


@pytest.mark.deadline(400)
@pytest.mark.parametrize(
    "mute", [b"AT+SKTCLIENT", b"AT+SKTSEND", b"AT+SKTREAD", b"AT+SKTDEL", b"AT+SKTSTATE", b"AT+WLSTATE", b"AT+TEST"]
)
async def test_a_module_that_is_mute_to_one_command_is_there_again_once_it_answers(mute, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        rules = {**IDLE, b"AT+SKTSEND": SENT, b"AT+SKTRECVCFG": RECEIVE_OFF[1], mute: b""}
        held = {1}

        def rows(_):
            return b"" if mute == b"AT+SKTSTATE" and quiet else state(*[ROW for number in held])

        def delete(_):
            held.discard(1)
            return b"" if mute == b"AT+SKTDEL" and quiet else DELETE[1]

        def answer_open(_):
            held.add(1)
            return b"" if mute == b"AT+SKTCLIENT" and quiet else OPEN[1] + OPENED

        quiet = True
        rules |= {b"AT+SKTSTATE": rows, b"AT+SKTDEL=1": delete, b"AT+SKTCLIENT": answer_open}
        if mute == b"AT+SKTREAD":
            rules[b"AT+SKTREAD=1,"] = b""
        nursery.start_soon(module.serve, rules)
        with trio.move_on_after(10), suppress(LinkLost):
            await (link.aclose() if mute == b"AT+SKTDEL" else link.send_all(b"hello"))
        if mute == b"AT+SKTCLIENT":
            with pytest.raises(NetworkError):
                await net.open_stream("192.0.2.2", 80)
        await trio.sleep(40)
        quiet = False
        rules |= {**IDLE, b"AT+SKTSEND": SENT, b"AT+SKTSTATE": rows, b"AT+SKTDEL=1": delete, b"AT+SKTCLIENT": answer_open}
        await trio.sleep(20)
        await net.attach()
        if link.condition is not None:
            again = await net.open_stream("192.0.2.1", 80)
            await again.send_all(b"hello")


async def test_a_lost_first_command_is_asked_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.expect(READ)
        await module.play((b"AT+TEST\r\n", b""), TEST, ONE_ROW)
        assert link.condition is not None  # what the read took from the module, nobody knows
        await module.play(DELETE)


async def test_the_port_is_lost_and_comes_back(autojump_clock):
    port = ReopeningPort()
    async with network(port=port) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await port.pull()
        await trio.sleep(0.1)
        assert link.condition is Condition.PORT_LOST
        assert net.state.phase is Phase.FAILED
        back = SktModule(port.plug())
        left = (b"AT+SKTSTATE\r\n", ROW + NO_ROWS[1])
        await up(net, back, [*BRING_UP[:3], left, DELETE, JOINED])
        assert await opened(net, back, nursery)


async def test_a_port_that_does_not_come_back_ends_the_network(autojump_clock):
    ours, theirs = line("module")
    net, module = SktNetwork(ours, load("skt", "s1-uart"), Trace()), SktModule(theirs)
    ended = []

    async def run():
        try:
            await net.run()
        except NetworkError as error:
            ended.append(error.condition)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await up(net, module)
        await module.port.aclose()
    assert ended == [Condition.PORT_LOST]


async def test_nothing_is_said_to_zero(autojump_clock):
    async with network() as (net, module, _):
        rows = (b"AT+SKTSTATE\r\n", b"con_id:0,client,tcp,address:192.0.2.1,port:80,socket:0\r\n\r\n+SKTSTATE:OK\r\n")
        await module.play(*BRING_UP[:3], rows)
        await trio.sleep(1)
        assert b"AT+SKTDEL=0" not in module.spare
        assert net.state.phase is not Phase.UP
