"""The SKT downstream against literal module bytes: no simulator, so that nobody's misreading is shared."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from skt_driven import (
    CLOSED,
    DELETE,
    EMPTY,
    FIND,
    IDLE,
    JOINED,
    NO_ROWS,
    NOT_JOINED,
    NOTHING,
    OPEN,
    OPENED,
    READ,
    RECEIVE_OFF,
    SktModule,
    network,
    opened,
    up,
)

from bridge.dialects.skt.downstream import SktNetwork
from bridge.model import Condition, Endpoint, Login, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

SENT = b"\r\n+SKTSEND:OK\r\n"


async def test_one_connection_from_its_bring_up_to_its_end(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        assert net.state.phase is Phase.UP
        link = await opened(net, module, nursery)
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"he,l\\o")
        await module.play((b"AT+SKTSEND=6,1:he\\,l\\\\o\r\n", SENT))
        await module.play((READ, b"+SKTREAD:OK,5,1:hello\r\n"), EMPTY)
        assert await link.receive_some() == b"hello"
        await module.play(CLOSED, DELETE)
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED
        await link.aclose()


async def test_what_a_former_life_left_is_deleted_seeds_before_their_server(autojump_clock):
    rows = (
        b"con_id:1,server,tcp,address:192.168.1.7,port:5001,socket:0\r\n"
        b"+SKTSTATE:con_id:2,seed,tcp,address:192.168.1.9,port:64089,socket:-1\r\n"
        b"con_id:4,client,udp,address:192.0.2.9,port:53,socket:3\r\n"
    )
    async with network() as (net, module, _):
        await up(
            net,
            module,
            [
                *FIND,
                RECEIVE_OFF,
                (b"AT+SKTSTATE\r\n", rows + b"\r\n+SKTSTATE:OK\r\n"),
                (b"AT+SKTDEL=2\r\n", DELETE[1]),
                (b"AT+SKTDEL=4\r\n", DELETE[1]),
                (b"AT+SKTDEL=1\r\n", DELETE[1]),
                JOINED,
            ],
        )


async def test_the_next_command_waits_for_the_guard(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"a" * 200)
        await module.play((b"AT+SKTSEND=108,1:" + b"a" * 108 + b"\r\n", SENT))
        answered = trio.current_time()
        await module.expect(b"AT+SKTSEND=92,1:" + b"a" * 92 + b"\r\n")
        assert trio.current_time() == pytest.approx(answered + 0.02)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"x" * 108, [b"AT+SKTSEND=108,1:" + b"x" * 108]),
        (b"x" * 109, [b"AT+SKTSEND=108,1:" + b"x" * 108, b"AT+SKTSEND=1,1:x"]),
        (b"," * 55, [b"AT+SKTSEND=54,1:" + b"\\," * 54, b"AT+SKTSEND=1,1:\\,"]),
        (b"x" * 107 + b",", [b"AT+SKTSEND=107,1:" + b"x" * 107, b"AT+SKTSEND=1,1:\\,"]),
        (b"a\r\nb\r\n", [b"AT+SKTSEND=2,1:a\r", b"AT+SKTSEND=3,1:\nb\r", b"AT+SKTSEND=1,1:\n"]),
        (b"\r\r\n", [b"AT+SKTSEND=1,1:\r", b"AT+SKTSEND=1,1:\r", b"AT+SKTSEND=1,1:\n"]),
        (b"a\rAT+SKTDEL=0", [b"AT+SKTSEND=2,1:a\r", b"AT+SKTSEND=11,1:AT+SKTDEL=0"]),
        (b"a\nb:c", [b"AT+SKTSEND=5,1:a\nb:c"]),
        (
            bytes(range(0x80, 0xFF)),
            [b"AT+SKTSEND=108,1:" + bytes(range(0x80, 0xEC)), b"AT+SKTSEND=19,1:" + bytes(range(0xEC, 0xFF))],
        ),
    ],
    ids=range(9),
)
async def test_lines_of_a_send(data, lines, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        done = []

        async def send():
            await link.send_all(data)
            done.append(True)

        nursery.start_soon(send)
        for text in lines:
            assert len(text) <= 125
            assert not done
            await module.play((text + b"\r\n", SENT))
        await trio.sleep(0.01)
        assert done
        assert link.condition is None


@pytest.mark.parametrize("byte", [0x00, 0x08, 0x09, 0x7F, 0xFF])
async def test_a_byte_that_the_module_cannot_carry_is_refused_before_the_first_one(byte, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        assert byte not in net.limits.alphabet
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND=5": SENT})
        with link.sending(401) as sending:
            await sending.write(b"x" * 400)
            await sending.write(bytes([byte]))
            await trio.sleep(1)
            with pytest.raises(NetworkError) as refused:
                await sending.commit()
        assert refused.value.condition is Condition.BAD_ARGUMENT
        assert not any(text.startswith(b"AT+SKTSEND") for text in module.heard)
        assert link.condition is None
        await link.send_all(b"hello")
        assert b"AT+SKTSEND=5,1:hello" in module.heard


async def test_a_console_that_ends_lines_at_a_cr_is_found_out_and_nothing_is_sent_in_part(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND=": b"\r\n+SKTSEND:ERROR:1\r\n"})
        with pytest.raises(NetworkError) as refused:
            await link.send_all(b"a\r\nb")
        assert refused.value.condition is Condition.BAD_ARGUMENT
        assert link.condition is None
        assert not {0x0D, 0x0A} & net.limits.alphabet


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        (1, "bad-argument"),
        (2, "name-not-found"),
        (3, "bad-argument"),
        (4, "no-free-link"),
        (5, "module-error"),
        (11, "bad-argument"),
        (13, "wrong-state"),
        (17, "not-supported"),
    ],
)
async def test_an_open_that_is_refused_at_once(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (OPEN[0], b"\r\n+SKTCLIENT:ERROR:%d\r\n" % code))
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition == condition


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        (6, "bad-argument"),
        (7, "module-error"),
        (8, "module-error"),
        (9, "connect-refused"),
        (12, "port-in-use"),
        (18, "connect-refused"),
    ],
)
async def test_an_open_that_fails_later(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)

        async def answer():
            await module.play(OPEN)
            await trio.sleep(1)
            await module.say(b"\r\n+SKTCLIENT: ERROR: %d\r\n" % code)

        nursery.start_soon(answer)
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition == condition
        await module.silent_for(1)


@pytest.mark.parametrize("text", [b"+SKTCLIENT:con_id=1", b"[AT+SKTCLIENT] con_id=1", b"[ATPC] con_id=1"])
async def test_an_id_in_any_of_its_forms(text, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (OPEN[0], OPEN[1] + text + b"\r\n"))
        link = await net.open_stream("192.0.2.1", 80)
        assert link.id == 1


async def test_opens_are_one_after_the_other_and_others_go_on_meanwhile(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        ids = []

        async def open_one(host):
            ids.append((host, (await net.open_stream(host, 80)).id))

        nursery.start_soon(open_one, "192.0.2.2")
        await module.play((b"AT+SKTCLIENT=0,192.0.2.2,80\r\n", OPEN[1]))
        nursery.start_soon(open_one, "192.0.2.3")
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"hello")
        await module.play((b"AT+SKTSEND=5,1:hello\r\n", SENT), EMPTY, EMPTY)
        await module.say(b"+SKTCLIENT:con_id=2\r\n")
        await module.expect(b"AT+SKTCLIENT=0,192.0.2.3,80\r\n")
        await module.say(OPEN[1] + b"+SKTCLIENT:con_id=3\r\n")
        await trio.sleep(0.01)
        assert ids == [("192.0.2.2", 2), ("192.0.2.3", 3)]


@pytest.mark.parametrize("host", ["a,b", 'a"b', "a\r\nAT+SKTDEL=0", "", "a b", "x" * 81, "a\\b"])
async def test_an_argument_can_never_become_two(host, autojump_clock):
    await refused_at_once(host)


@pytest.mark.parametrize("host", ["192.168.010.1", "192.168.001.1", "10.1", "0xC0000201", "192.0.2.256", "1.2.3.4.5", "1.2.3.4."])
async def test_an_argument_can_never_become_another_number(host, autojump_clock):
    """The module reads some of these in its own way, so they would reach somebody else than on other modules."""
    await refused_at_once(host)


async def refused_at_once(host):
    async with network() as (net, module, _):
        await up(net, module)
        for call in (net.open_stream(host, 80), net.open_datagram(Endpoint(host, 80)), net.resolve(host)):
            with pytest.raises(NetworkError) as refused:
                await call
            assert refused.value.condition is Condition.BAD_ARGUMENT
        await module.silent_for(1)


async def test_an_open_that_is_given_up_leaves_nothing_behind(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        with trio.move_on_after(0.5):
            nursery.start_soon(module.play, OPEN)
            await net.open_stream("192.0.2.1", 80)
        await trio.sleep(1)
        await module.say(OPENED)
        await module.play(DELETE)


async def test_polls_slow_down_while_nothing_comes_and_are_quick_after_a_send(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        times = []

        def read(_):
            times.append(trio.current_time())
            return NOTHING

        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTREAD=1,512": read, b"AT+SKTSEND=5": SENT})
        await trio.sleep(4)
        gaps = [round(b - a, 3) for a, b in pairwise(times)]
        assert gaps[:4] == [0.05, 0.1, 0.2, 0.4]
        assert set(gaps[4:]) == {0.5}
        await link.send_all(b"hello")
        sent = trio.current_time()
        await trio.sleep(0.1)
        assert times[-1] == pytest.approx(sent + 0.05)


async def test_a_host_that_does_not_read_is_not_read_for(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        chunk = b"+SKTREAD:OK,512,1:" + b"d" * 512 + b"\r\n"
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTREAD=1,512": chunk})
        await trio.sleep(5)
        reads = sum(text.startswith(b"AT+SKTREAD") for text in module.heard)
        assert reads == 5  # 2048 bytes are the low water
        assert link.waiting() == 2560
        assert len(link.take(3000)) == 2560
        await trio.sleep(0.05)
        assert sum(text.startswith(b"AT+SKTREAD") for text in module.heard) > reads


async def test_a_build_with_the_small_buffer_is_read_in_small_pieces(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"\r\n+SKTREAD:ERROR:2\r\n"), (b"AT+SKTREAD=1,127\r\n", b"+SKTREAD:OK,2,1:hi\r\n"))
        assert await link.receive_some() == b"hi"


@pytest.mark.parametrize(("code", "condition"), [(4, "link-reset"), (5, "link-reset"), (7, "peer-closed"), (8, "link-reset")])
async def test_a_read_that_says_the_peer_is_gone_is_never_repeated(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"\r\n+SKTREAD:ERROR:%d\r\n" % code), DELETE)
        assert await link.wait_readable() == 0
        assert link.condition == condition
        await module.silent_for(2)


async def test_a_send_to_a_closed_peer_fails_and_what_the_peer_sent_before_is_read(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        failures = []

        async def send():
            try:
                await link.send_all(b"hello")
            except LinkLost as lost:
                failures.append(lost)

        nursery.start_soon(send)
        await module.play((b"AT+SKTSEND=5,1:hello\r\n", b"\r\n+SKTSEND:ERROR:8\r\n"), (READ, b"+SKTREAD:OK,3,1:bye\r\n"))
        await trio.sleep(0.01)
        assert failures
        assert link.condition is None
        await module.play(CLOSED, DELETE)
        assert await link.receive_some() == b"bye"
        assert link.condition is Condition.PEER_CLOSED


async def test_a_module_without_an_address_joins_with_the_hosts_login(autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        await trio.sleep(0.1)
        assert net.state.phase is Phase.DOWN
        nursery.start_soon(net.attach, Login("field site", "se cret"))
        await module.play((b"AT+WLCONN=ssid,field site,pw,se cret\r\n", b"\r\n+WLCONN:OK\r\n"), NOT_JOINED)
        await module.play(JOINED)
        await trio.sleep(0.01)
        assert net.state.address == "192.168.1.7"
    shown = b"".join(record.data or b"" for record in records)
    assert b"se cret" not in shown
    assert b"12345678" not in shown  # WLSTATE prints the password of the network


@pytest.mark.parametrize("login", [Login("a,b", "c"), Login("a", "b,c"), Login("a\r\nAT+RST", ""), Login("a", "x" * 100)])
async def test_a_login_that_cannot_be_carried_is_refused(login, autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        nursery.start_soon(module.serve, {b"AT+WLSTATE": NOT_JOINED[1]}, None)
        with pytest.raises(NetworkError) as refused:
            await net.attach(login)
        assert refused.value.condition is Condition.BAD_ARGUMENT


@pytest.mark.parametrize(("code", "condition"), [(2, "bad-argument"), (4, "bearer-refused"), (5, "bearer-unavailable")])
async def test_a_join_that_fails(code, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        help_text = b"\r\nUsage:\r\n  AT+WLCONN=ssid,<ssid>\r\n"
        rules = {b"AT+WLSTATE": NOT_JOINED[1], b"AT+WLCONN": b"\r\n+WLCONN:ERROR:%d\r\n" % code + help_text}
        nursery.start_soon(module.serve, rules, None)
        with pytest.raises(NetworkError) as refused:
            await net.attach(Login("field", "secret"))
        assert refused.value.condition == condition


async def test_an_address_that_vanishes_ends_every_link(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        rules = {**IDLE, b"AT+WLSTATE": NOT_JOINED[1]}
        nursery.start_soon(module.serve, rules)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.BEARER_LOST
        assert net.state.phase is Phase.DOWN
        assert net.state.cause is Condition.BEARER_LOST
        rules[b"AT+WLSTATE"] = JOINED[1]
        await net.attach()
        assert net.state.generation == 0


async def test_questions(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(
            module.play,
            (b"AT+WLRSSI\r\n", b"rssi = -47\r\ndata rssi = 0\r\nbeacon rssi = 0\r\n\r\n+WLRSSI:OK\r\n"),
            (b"AT+GMR\r\n", b"\r\n+GMR:v2.3.1,sdk,2023/05/05-10:00:00\r\n"),
            (b"AT+LIST\r\n", b"\r\nAT+TEST\r\nAT+IPDOMAIN\r\n\r\n+LIST:OK\r\n"),
            (b"AT+IPDOMAIN=host.example\r\n", b"\r\n+IPDOMAIN:192.0.2.7\r\n\r\n+IPDOMAIN:192.0.2.8\r\n\r\n+IPDOMAIN:OK\r\n"),
            (b"AT+IPDOMAIN=no.example\r\n", b"\r\n+IPDOMAIN:ERROR:2\r\n"),
        )
        assert await net.signal() == -47
        assert (await net.identity()).revision == "v2.3.1,sdk,2023/05/05-10:00:00"
        assert await net.resolve("host.example") == "192.0.2.7"
        with pytest.raises(NetworkError) as refused:
            await net.resolve("no.example")
        assert refused.value.condition is Condition.NAME_NOT_FOUND


async def test_a_build_that_looks_nothing_up_is_not_asked_to(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+LIST\r\n", b"\r\nAT+TEST\r\n\r\n+LIST:OK\r\n"))
        for _ in range(2):
            with pytest.raises(NetworkError) as refused:
                await net.resolve("host.example")
            assert refused.value.condition is Condition.NOT_SUPPORTED


async def test_leaving_deletes_each_id_and_never_all(autojump_clock):
    ours, theirs = line("module")
    net, module = SktNetwork(ours, load("skt", "s1-uart"), Trace()), SktModule(theirs)
    async with trio.open_nursery() as nursery:
        driving = await nursery.start(run_in_scope, net)
        await up(net, module)
        await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE)
        await trio.sleep(0.2)
        driving.cancel()
        await trio.sleep(3)
        assert module.heard[-1] == b"AT+SKTDEL=1"
        nursery.cancel_scope.cancel()


async def run_in_scope(net, task_status):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(net.run)
            task_status.started(scope)
