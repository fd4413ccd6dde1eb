"""The generations of SKT, each against its own literal bytes: log port, S1b, S2, and the guide as it reads; and UDP."""

from __future__ import annotations

import pytest
import trio
from skt_driven import (
    BRING_UP,
    DELETE,
    EMPTY,
    IDLE,
    NO_ROWS,
    OPEN,
    READ,
    STATION,
    network,
    opened,
    up,
)

from bridge.model import Condition, Endpoint, Peers
from bridge.network import LinkLost, NetworkError

OK = b"\r\nOK\r\n"
EVERY_BYTE = bytes(range(256))
PLAIN_JOINED = (b"AT+WLSTATE\r\n", STATION + OK)
PLAIN_ROWS = (b"AT+SKTSTATE\r\n", OK)
LEAVE_RAW = [(b"<<<", b"")]


# --- which generation ---


@pytest.mark.parametrize(
    ("test", "receive", "profile"),
    [
        (b"\r\n+TEST:OK\r\n", None, "s1-uart"),
        (b"AT+TEST\r\r\n\r\n+TEST:OK\r\n\n\r[MEM] After do cmd, available heap 1\n\r\r\n\n#\r\n", None, "s1-log"),
        (OK, b"\r\nERROR: 1\r\n", "s1b"),
        (OK, b"", "s2"),
    ],
)
async def test_the_generation_is_found_by_probes_that_harm_none(test, receive, profile, autojump_clock):
    async with network() as (net, module, _):
        await module.play((b"\r\n", b""), (b"AT+TEST\r\n", test))
        if receive is not None:
            await module.play((b"AT+SKTRECVCFG\r\n", receive))
        await trio.sleep(1.5)
        assert net._profile.profile == profile
        assert (net.limits.alphabet is None) == (profile in {"s1b", "s2"})
        assert b"SKTDEL" not in module.spare


# --- the log port ---


def logged(command, answer):
    """As the log port shows it: echo, log line, answer, trailer."""
    echo = command.removesuffix(b"\r\n") + b"\r\r\n"
    return command, echo + b"[WLAN-A] log\r\n" + answer + b"\n\r[MEM] After do cmd, available heap 12345\n\r\r\n\n#\r\n"


async def test_the_log_port_with_its_echo_and_trailer(autojump_clock):
    async with network("s1-log") as (net, module, nursery):
        await module.play((b"\r\n", b"\r#"))
        await up(net, module, [logged(*pair) for pair in BRING_UP[1:]])
        nursery.start_soon(module.play, logged(OPEN[0], OPEN[1]))
        nursery.start_soon(later, module, b"+SKTCLIENT:con_id=1\r\n")
        link = await net.open_stream("192.0.2.1", 80)
        nursery.start_soon(link.send_all, b"a\n+SKTREAD:ERROR:7,1")
        sent = b"AT+SKTSEND=20,1:a\n+SKTREAD:ERROR:7\\,1\r\n"
        await module.play(logged(sent, b"\r\n+SKTSEND:OK\r\n"))
        await module.play(logged(READ, b"+SKTREAD:OK,5,1:hello\r\n"), logged(*EMPTY))
        assert await link.receive_some() == b"hello"
        assert link.condition is None
        assert 0x1B not in net.limits.alphabet


async def later(module, text):
    await trio.sleep(1)
    await module.say(text)


async def test_the_log_ports_prompt_is_waited_for(autojump_clock):
    async with network("s1-log") as (net, module, nursery):
        await module.play((b"\r\n", b"\r#"))
        await up(net, module, [logged(*pair) for pair in BRING_UP[1:]])
        nursery.start_soon(net.signal)
        await module.play((b"AT+WLRSSI\r\n", b"AT+WLRSSI\r\r\nrssi = -40\r\n\r\n+WLRSSI:OK\r\n"))
        nursery.start_soon(net.identity)
        await module.silent_for(0.5)
        await module.say(b"\n\r[MEM] After do cmd\n\r\r\n\n#\r\n")
        await module.expect(b"AT+GMR\r\n")


async def test_an_unknown_command_on_the_log_port_is_no_silence(autojump_clock):
    async with network("s1-log") as (net, module, nursery):
        await module.play((b"\r\n", b"\r#"))
        await up(net, module, [logged(*pair) for pair in BRING_UP[1:]])
        nursery.start_soon(module.play, logged(b"AT+LIST\r\n", b"\r\nunknown command 'AT+LIST'\r\n"))
        before = trio.current_time()
        with pytest.raises(NetworkError):
            await net.resolve("host.example")
        assert trio.current_time() - before < 1


# --- the guide ---


async def test_the_guides_module_takes_and_gives_every_byte(autojump_clock):
    async with network("guide") as (net, module, nursery):
        assert net.limits.alphabet is None
        await up(net, module)
        link = await opened(net, module, nursery)
        read = b"AT+SKTREAD=1,1500\r\n"
        await module.play((read, b"+SKTREAD:OK,256,1:" + EVERY_BYTE + b"\r\n"), (read, EMPTY[1]))
        assert await link.receive_some() == EVERY_BYTE
        nursery.start_soon(link.send_all, EVERY_BYTE)
        await module.play((b"AT+SKTSEND=256,1:" + EVERY_BYTE + b"\r\n", b"\r\n+SKTSEND:OK,1\r\n"))


# --- S1b ---

S1B_UP = [*LEAVE_RAW, (b"\r\n", b""), (b"AT+TEST\r\n", OK), (b"AT+SKTRECVCFG=0\r\n", OK), PLAIN_ROWS, PLAIN_JOINED]


async def s1b_link(net, module, nursery):
    nursery.start_soon(module.play, (OPEN[0], OK + b"+SKTCLIENT:con_id=1\r\n"))
    return await net.open_stream("192.0.2.1", 80)


async def test_s1b(autojump_clock):
    async with network("s1b") as (net, module, nursery):
        await up(net, module, S1B_UP)
        link = await s1b_link(net, module, nursery)
        await module.play((READ, b"+SKTREAD:5,1:hello" + OK), (READ, b"+SKTREAD:0,1:" + OK))
        assert await link.receive_some() == b"hello"
        nursery.start_soon(link.send_all, EVERY_BYTE)
        await module.play((b"AT+SKTSENDRAW=1,256\r\n", b">>>\r\n"), (EVERY_BYTE, OK))
        await module.play((READ, b"\r\nERROR: 11\r\n"), (DELETE[0], OK))
        assert link.condition is Condition.LINK_RESET


async def test_s1b_a_cut_payload_that_the_answers_end_fills_up_is_a_loss(autojump_clock):
    async with network("s1b") as (net, module, nursery):
        await up(net, module, S1B_UP)
        link = await s1b_link(net, module, nursery)
        await module.play((READ, b"+SKTREAD:8,1:ab" + OK))
        await trio.sleep(2.5)
        assert link.condition is Condition.DATA_LOST
        assert link.take(10) == b""


async def test_s1b_nothing_else_is_asked_while_an_open_is_pending(autojump_clock):
    async with network("s1b") as (net, module, nursery):
        await up(net, module, S1B_UP)
        outcome = []

        async def open_one():
            try:
                await net.open_stream("192.0.2.1", 80)
            except NetworkError as error:
                outcome.append(error.condition)

        nursery.start_soon(open_one)
        await module.play((OPEN[0], OK))
        nursery.start_soon(net.signal)
        await module.silent_for(5)
        await module.say(b"\r\nERROR: 9\r\n")
        await module.expect(b"AT+WLRSSI\r\n")
        assert outcome == [Condition.CONNECT_REFUSED]


# --- S2 ---

S2_UP = [*LEAVE_RAW, (b"\r\n", b""), (b"AT+TEST\r\n", OK), PLAIN_ROWS, PLAIN_JOINED]
S2_OPEN = (b"AT+SKTCLIENT=9,1,,192.0.2.1,80,,1\r\n", OK)
S2_ROW = b"link_id:9,client,tcp,src_address:192.168.1.7,src_port:5000,dst_address:192.0.2.1,dst_port:80,socket_fd:%d\r\n"
S2_STATE = (b"AT+SKTSTATE\r\n", S2_ROW % 0 + OK)
S2_DELETE = (b"AT+SKTDEL=9\r\n", OK)


async def s2_link(net, module, nursery):
    nursery.start_soon(module.play, S2_OPEN)
    return await net.open_stream("192.0.2.1", 80)


async def test_s2_carries_every_byte_both_ways(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        await module.say(b"[$][SKT][DATA][9][256]:" + EVERY_BYTE + b"\r\n")
        assert await link.receive_some() == EVERY_BYTE
        nursery.start_soon(link.send_all, EVERY_BYTE * 17)
        await module.play((b"AT+SKTSENDRAW=9,4096\r\n", b">>>"), (EVERY_BYTE * 16, b"[$][SKT][DATA][9][6]:\r\nOK\r\n\r\n" + OK))
        await module.play((b"AT+SKTSENDRAW=9,256\r\n", b"[$][SKT][DATA][9][3]:>>>\r\n>>>\r\n"), (EVERY_BYTE, OK))
        assert await link.receive_some() == b"\r\nOK\r\n>>>"
        assert link.condition is None


async def test_s2_waits_between_the_watermarks(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        nursery.start_soon(link.send_all, b"x" * 3000)
        await module.play((b"AT+SKTSENDRAW=9,3000\r\n", b">>>\r\n[$][TT]:High Watermark\r\n"))
        await trio.sleep(0.2)
        assert len(module.spare) <= 1024
        await module.say(b"[$][TT]:Low Watermark\r\n")
        await module.play((b"x" * 3000, OK))


async def test_s2_a_close_is_seen_by_sktstate(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        begun = trio.current_time()
        await module.play(S2_STATE, (b"AT+SKTSTATE\r\n", S2_ROW % -1 + OK), S2_DELETE)
        assert trio.current_time() - begun < 1.2
        assert link.condition is Condition.PEER_CLOSED


async def test_s2_a_send_to_a_closed_peer(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        failed = []

        async def send():
            try:
                await link.send_all(b"hello")
            except LinkLost as lost:
                failed.append(lost)

        nursery.start_soon(send)
        await module.play((b"AT+SKTSENDRAW=9,5\r\n", b"\r\nERROR: 1\r\n"), (b"AT+TEST\r\n", OK))
        await module.play((b"AT+SKTSTATE\r\n", S2_ROW % -1 + OK), S2_DELETE)
        assert failed
        assert link.condition is Condition.PEER_CLOSED


async def test_s2_a_raw_mode_that_is_stuck_is_left(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        failed = []

        async def send():
            try:
                await link.send_all(b"hello")
            except LinkLost as lost:
                failed.append(lost.condition)

        nursery.start_soon(send)
        await module.play((b"AT+SKTSENDRAW=9,5\r\n", b">>>\r\n"), (b"hello", b""), (b"<<<", b""))
        await module.play((b"\r\n", b""), (b"AT+TEST\r\n", OK), S2_STATE, S2_DELETE)
        assert failed == [Condition.MODULE_MUTE]


@pytest.mark.parametrize(
    "text",
    [
        b"A client[link_id:0,seed,tcp,dst_address:192.168.1.9,dst_port:600] connected to server[link_id:1]",
        b"A client[link_id:0, seed, tcp, address:192.168.1.9, port:600] connected to server[link_id:1]",
    ],
)
async def test_s2_servers_have_low_ids_and_peers_come(text, autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=1,1,,5001,1\r\n", OK))
        listener = await net.listen(5001, room=2)
        await module.say(b"[$][SKT][EVENT]: " + text + b"\r\n[$][SKT][DATA][0][2]:hi\r\n")
        link = await listener.accept()
        assert link.peer == Endpoint("192.168.1.9", 600)
        assert await link.receive_some() == b"hi"


@pytest.mark.parametrize(("host", "condition"), [("host.example", "name-not-found"), ("192.0.2.1", "module-error")])
async def test_s2_one_number_for_a_name_and_for_an_id(host, condition, autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=9,1,,%s,80,,1\r\n" % host.encode(), b"\r\nERROR: 1\r\n"))
        with pytest.raises(NetworkError) as refused:
            await net.open_stream(host, 80)
        assert refused.value.condition == condition


@pytest.mark.parametrize(("profile", "script"), [("s1b", S1B_UP), ("s2", S2_UP)])
async def test_a_lost_bearer_that_is_told_is_looked_after_at_once(profile, script, autojump_clock):
    async with network(profile) as (net, module, _):
        await up(net, module, script)
        await module.say(b"[$]wifi disconnected\r\n")
        with trio.fail_after(0.1):
            await module.expect(b"AT+WLSTATE\r\n")


# --- UDP ---

PEER = Endpoint("192.0.2.9", 53)
UDP_READ = b"AT+SKTREAD=1,512\r\n"


async def udp(net, module, nursery, *, local=b"", **more):
    nursery.start_soon(module.play, (b"AT+SKTCLIENT=1,192.0.2.9,53%s\r\n" % local, OPEN[1] + b"+SKTCLIENT:con_id=1\r\n"))
    return await net.open_datagram(PEER, **more)


async def test_a_datagram_each_way(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery, local=b",4000", local_port=4000)
        await module.play((UDP_READ, b"+SKTREAD:OK,3,1:abc\r\n"), (UDP_READ, b"+SKTREAD:OK,2,1:de\r\n"))
        await trio.sleep(0.01)
        first, second = link.take(), link.take()
        assert (first.data, first.cut, second.data) == (b"abc", False, b"de")
        await module.play((UDP_READ, b"+SKTREAD:OK,0,1:\r\n"))
        nursery.start_soon(link.send, b"query\n")
        await module.play((b"AT+SKTSEND=6,1:query\n\r\n", b"\r\n+SKTSEND:OK\r\n"))


async def test_a_datagram_that_fills_the_read_may_have_lost_its_tail(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        await module.play((UDP_READ, b"+SKTREAD:OK,512,1:" + b"x" * 512 + b"\r\n"))
        assert await link.wait_readable()
        assert link.take().cut


async def test_a_datagram_that_a_nul_cut_is_dropped_and_its_socket_lives(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        await module.play((UDP_READ, b"+SKTREAD:OK,9,1:ab\r\n"))
        row = b"con_id:1,client,udp,address:192.0.2.9,port:53,socket:0\r\n"
        rules = {**IDLE, b"AT+SKTSTATE": row + NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        await trio.sleep(2)
        assert link.condition is None
        assert link.waiting() == 0
        assert net.counters["datagrams-dropped"] == 1


@pytest.mark.parametrize("data", [b"x" * 109, b"," * 55, b"a\r\nb", b"a\rAT+RST", b"a\0b", b""])
async def test_a_datagram_that_does_not_fit_into_one_line_is_refused_whole(data, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        nursery.start_soon(module.serve, IDLE)
        with pytest.raises(NetworkError):
            await link.send(data)
        assert not any(text.startswith(b"AT+SKTSEND") for text in module.heard)
        assert link.condition is None


@pytest.mark.parametrize("code", [5, 6])
async def test_a_datagram_that_cannot_be_sent_leaves_its_socket(code, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND": b"\r\n+SKTSEND:ERROR:%d\r\n" % code})
        with pytest.raises(NetworkError) as refused:
            await link.send(b"abc")
        assert refused.value.condition is Condition.HOST_UNREACHABLE
        assert link.condition is None


@pytest.mark.parametrize(("peers", "second"), [(Peers.LAST, Endpoint("192.0.2.8", 8)), (Peers.FIRST, Endpoint("192.0.2.7", 7))])
async def test_a_peer_that_may_change(peers, second, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+SKTSERVER=1,4000\r\n", b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n"))
        link = await net.open_datagram(None, local_port=4000, peers=peers)
        await module.play((UDP_READ, b"+SKTREAD:OK,0,1,,0:\r\n"), (UDP_READ, b"+SKTREAD:OK,1,1,192.0.2.7,7:a\r\n"))
        await module.play((UDP_READ, b"+SKTREAD:OK,1,1,192.0.2.8,8:b\r\n"), (UDP_READ, b"+SKTREAD:OK,0,1,,0:\r\n"))
        assert link.peer == second
        assert link.take().source == Endpoint("192.0.2.7", 7)
        nursery.start_soon(link.send, b"answer")
        sent = b"AT+SKTSEND=6,1,%s,%d:answer\r\n" % (second.host.encode(), second.port)
        await module.play((sent, b"\r\n+SKTSEND:OK\r\n"))


async def test_s2_udp(autojump_clock):
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=9,0,,192.0.2.9,53,50000,1\r\n", OK))
        link = await net.open_datagram(PEER)
        await module.say(b"[$][SKT][DATA][9][4][192.0.2.9][53]:\0\r\n:\r\n")
        assert await link.wait_readable()
        datagram = link.take()
        assert (datagram.data, datagram.source) == (b"\0\r\n:", PEER)
        nursery.start_soon(link.send, b"\0")
        await module.play((b"AT+SKTSENDRAW=9,1\r\n", b">>>\r\n"), (b"\0", OK))
