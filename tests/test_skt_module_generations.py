r"""What differs by generation: S1b, S2 and the guide, byte-exact."""

from __future__ import annotations

import pytest
import trio
from skt_module_host import running

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError

OK = b"\r\nOK\r\n"
EVERY = bytes(range(256))


def error(number):
    return b"\r\nERROR: %d\r\n" % number


# -- S1b


async def test_s1b(autojump_clock):
    for quirks in (False, True):
        async with running("s1b", quirks=quirks) as host:
            assert await host.ask(b"AT+TEST") == OK
            assert await host.ask(b"AT+SKTRECVCFG") == error(1)
            said, link = await host.client(wait=0.5)
            assert said == OK + b"+SKTCLIENT:con_id=1\r\n"
            assert await host.ask(b"AT+SKTSEND=1,5:hello") == OK
            assert await host.ask(b"AT+SKTSEND=5,1:hello") == error(1)
            assert bytes(link.sent) == b"hello"
            link.feed(b"abc")
            assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:3,1:abc\r\nOK\r\n"
            assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:0,1:\r\nOK\r\n"
            assert await host.ask(b"AT+SKTSTATE") == b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket_fd:0\r\n" + OK
            assert await host.ask(b"AT+SKTRECVCFG=1") == OK
            link.feed(b"auto")
            await trio.sleep(0.1)
            assert host.got() == b"+SKTREAD:4,1:auto"
            assert await host.ask(b"AT+SKTREAD=1,100") == error(6)
            link.peer_close()
            await trio.sleep(1)
            assert host.got() == b""  # nothing says so in this generation
            assert await host.ask(b"AT+SKTSEND=1,1:x") == error(2)
            assert await host.ask(b"AT+SKTDEL=-1") == error(2)
            assert await host.ask(b"AT+SKTDEL=5") == error(3)
            assert await host.ask(b"AT+SKTDEL=1") == OK
            assert await host.ask(b"AT+SKTTT=1") == error(1)


async def test_s1b_ends(autojump_clock):
    async with running("s1b") as host:
        _, link = await host.client()
        link.peer_close()
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:0,1:\r\nOK\r\n"
        _, link = await host.client()
        link.lose(Condition.LINK_RESET)
        assert await host.ask(b"AT+SKTREAD=2,100") == error(11)
        _, link = await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        link.lose(Condition.LINK_RESET)
        await trio.sleep(0.1)
        assert host.got() == b"+SKTREAD:3\r\n" + error(11)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"AT+SKTSEND=1", 1),
        (b"AT+SKTSEND=9,2:ab", 1),
        (b"AT+SKTSEND=1,3:ab", 1),
        (b"AT+SKTREAD=1", 1),
        (b"AT+SKTREAD=77,10", 2),
        (b"AT+SKTREAD=1,0", 3),
        (b"AT+SKTREAD=9,10", 4),
        (b"AT+SKTCLIENT=1,192.0.2.1,80", 11),
        (b"AT+SKTSENDRAW=1", 1),
        (b"AT+SKTSENDRAW=9,5", 1),
        (b"AT+SKTSENDRAW=1,0", 1),
    ],
)
async def test_s1b_refusals(autojump_clock, line, number):
    async with running("s1b") as host:
        await host.client()
        assert await host.ask(line, 2) == error(number)


async def test_s1b_arrival(autojump_clock):
    async with running("s1b") as host:
        said, listener = await host.serve()
        assert said == OK + b"\r\n+SKTSERVER:con_id=1\r\n"
        listener.knock("192.168.99.185", 64089)
        await trio.sleep(0.1)
        assert host.got() == (
            b"\r\n+SKTSERVER: A client connected to server[con_id:1]\r\n"
            b"con_id:2, seed, tcp, address:192.168.99.185, port:64089, socket_fd:1\r\n"
        )
        assert await host.ask(b"AT+SKTSTATE") == (
            b"con_id:1,server,tcp,address:10.0.0.2,port:5001,socket_fd:0\r\n"
            b"con_id:2,seed,tcp,address:192.168.99.185,port:64089,socket_fd:1\r\n" + OK
        )


# -- S2


async def opened(host, link_id=3, auto=1):
    assert await host.ask(b"AT+SKTCLIENT=%d,1,,192.0.2.1,80,,%d" % (link_id, auto)) == OK
    return host.network.links[-1]


async def test_s2(autojump_clock):
    for quirks in (False, True):
        async with running("s2", quirks=quirks) as host:
            assert await host.ask(b"AT+TEST") == OK
            assert await host.ask(b"AT+SKTRECVCFG=1") == b""
            link = await opened(host)
            assert await host.ask(b"AT+SKTSEND=3,5,,,hello") == OK
            assert await host.ask(b"AT+SKTSEND=3,3,,,a\\,b") == OK
            assert await host.ask(b"AT+SKTSEND=3,3,,,a,b") == error(1)
            assert await host.ask(b"AT+SKTSEND=3,4,,,hello") == error(1)
            assert await host.ask(b"AT+SKTSEND=4,5,,,hello") == error(1)
            assert bytes(link.sent) == b"helloa,b"
            link.feed(EVERY)
            await trio.sleep(0.1)
            assert host.got() == b"[$][SKT][DATA][3][256]:" + EVERY + b"\r\n"
            assert await host.ask(b"AT+SKTREAD=3,10") == error(1)
            assert await host.ask(b"AT+SKTSTATE") == (
                b"link_id:3,client,tcp,src_address:10.0.0.2,src_port:50000,dst_address:192.0.2.1,dst_port:80,socket_fd:0\r\n" + OK
            )
            link.peer_close()
            await trio.sleep(1)
            assert host.got() == b""
            assert b"socket_fd:-1\r\n" in await host.ask(b"AT+SKTSTATE")
            assert await host.ask(b"AT+SKTSEND=3,1,,,x") == error(1)
            assert await host.ask(b"AT+SKTDEL=3") == OK
            assert await host.ask(b"AT+SKTDEL=3") == error(1)


async def test_s2_reads(autojump_clock):
    async with running("s2") as host:
        link = await opened(host, auto=0)
        assert await host.ask(b"AT+SKTREAD=3,10") == b"+SKTREAD:3,0,\r\nOK\r\n"
        link.feed(b"abcde")
        assert await host.ask(b"AT+SKTREAD=3,3") == b"+SKTREAD:3,3,abc\r\nOK\r\n"
        link.peer_close()
        assert await host.ask(b"AT+SKTREAD=3,30") == b"+SKTREAD:3,2,de\r\nOK\r\n"
        assert await host.ask(b"AT+SKTREAD=3,30") == error(4)
        assert await host.ask(b"AT+SKTREAD=3,30") == error(1)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"AT+SKTCLIENT=1,1,,192.0.2.1,80", 1),
        (b"AT+SKTCLIENT=10,1,,192.0.2.1,80,,1", 1),
        (b"AT+SKTCLIENT=,1,,192.0.2.1,80,,1", 1),
        (b"AT+SKTCLIENT=3,1,,192.0.2.1,80,,1", 1),
        (b"AT+SKTCLIENT=1,1,,no.such.name,80,,1", 1),
        (b"AT+SKTCLIENT=1,1,,192.0.2.1,0,,1", 1),
        (b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,2", 1),
        (b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,", 1),
        (b"AT+SKTCLIENT=1,0,,192.0.2.1,80,,1", 1),
        (b"AT+SKTCLIENT=1,2,,192.0.2.1,80,,1", 6),
        (b"AT+SKTCLIENT=1,1,,192.0.2.66,80,,1", 2),
        (b"AT+SKTSERVER=3,1,,80,1", 1),
        (b"AT+SKTSERVER=1,1,,0,1", 1),
        (b"AT+SKTSERVER=1,2,,80,1", 6),
        (b"AT+SKTSERVER=1,1,,80", 1),
        (b"AT+SKTREAD=1,10", 1),
        (b"AT+SKTREAD=3", 1),
        (b"AT+SKTDEL=", 1),
        (b"AT+SKTDEL=0", 1),
        (b"AT+SKTSENDRAW=1,10", 1),
        (b"AT+SKTCFG", 1),
        (b"AT+SKTCFG=,,2,,,,", 1),
    ],
)
async def test_s2_refusals(autojump_clock, line, number):
    async with running("s2") as host:
        host.network.refused["192.0.2.66"] = Condition.CONNECT_REFUSED
        await opened(host)
        assert await host.ask(line, 2) == error(number)
        assert (await host.ask(b"AT+SKTSTATE")).count(b"link_id:") == 1


async def test_s2_link_0_is_a_link(autojump_clock):
    async with running("s2") as host:
        await opened(host, 0)
        await opened(host, 9)
        assert await host.ask(b"AT+SKTDEL=0") == OK
        assert [link.closed for link in host.network.links] == [True, False]


async def test_s2_servers(autojump_clock):
    for quirks in (False, True):
        async with running("s2", quirks=quirks) as host:
            assert await host.ask(b"AT+SKTSERVER=0,1,,5001,1") == OK
            (listener,) = host.network.listeners
            links = [listener.knock("10.1.1.1", 1000 + number) for number in range(10)]
            await trio.sleep(0.5)
            assert host.got() == b"".join(
                b"[$][SKT][EVENT]: A client[link_id:%d,seed,tcp,dst_address:10.1.1.1,dst_port:%d]"
                b" connected to server[link_id:0]\r\n" % (1 + number, 1000 + number)
                for number in range(9)
            )
            assert [link.closed for link in links] == [False] * 9 + [True]  # the server lives on
            links[0].feed(b"hi")
            await trio.sleep(0.1)
            assert host.got() == b"[$][SKT][DATA][1][2]:hi\r\n"
            host.network.error["listen"] = NetworkError(Condition.PORT_IN_USE)
            await host.ask(b"AT+SKTDEL=4")
            assert await host.ask(b"AT+SKTSERVER=4,1,,5002,1") == error(2)


async def test_s2_udp(autojump_clock):
    async with running("s2") as host:
        assert await host.ask(b"AT+SKTCLIENT=1,0,,192.0.2.7,53,5000,0") == OK
        client = host.network.datagrams[0]
        client.feed(b"ab", Endpoint("192.0.2.7", 53))
        assert await host.ask(b"AT+SKTREAD=1,9") == b"+SKTREAD:1,2,192.0.2.7,53,ab\r\nOK\r\n"
        assert await host.ask(b"AT+SKTSERVER=2,0,,5002,1") == OK
        server = host.network.datagrams[1]
        server.feed(EVERY, Endpoint("192.0.2.8", 7))
        await trio.sleep(0.1)
        assert host.got() == b"[$][SKT][DATA][2][256][192.0.2.8][7]:" + EVERY + b"\r\n"
        assert await host.ask(b"AT+SKTSEND=2,2,192.0.2.9,8,hi") == OK
        assert await host.ask(b"AT+SKTSEND=2,2,,,hi") == error(1)
        assert await host.ask(b"AT+SKTSENDRAW=2,256,192.0.2.9,8") == b">>>\r\n"
        assert await host.say(EVERY) == OK
        assert server.sent == [(b"hi", Endpoint("192.0.2.9", 8)), (EVERY, Endpoint("192.0.2.9", 8))]
        assert await host.ask(b"AT+SKTSENDRAW=2,5000,192.0.2.9,8") == error(2)


async def test_s2_configuration(autojump_clock):
    async with running("s2") as host:
        assert await host.ask(b"AT+SKTCFG=,,1,1,60,,3") == OK
        assert await host.ask(b"AT+SKTQUERY") == (
            b"\r\nGlobal SOCKET configuration:\r\nso_sndtimeo: 0\r\nso_rcvtimeo: 0\r\ntcp_nodelay: 1\r\nso_keepalive: 1\r\n"
            b"tcp_keepidle: 60\r\ntcp_keepintvl: 0\r\ntcp_keepcnt: 3\r\n" + OK
        )


# -- the raw mode


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("size", [1, 7, 300])
async def test_raw(autojump_clock, quirks, size):
    async with running("s2", quirks=quirks) as host:
        link = await opened(host)
        payload = EVERY + b"\r\nAT+RST\r\n>>>" + EVERY
        assert await host.ask(b"AT+SKTSENDRAW=3,%d" % len(payload)) == b">>>\r\n"
        for at in range(0, len(payload), size):
            await host.port.send(payload[at : at + size])
            if size > 1:
                await trio.sleep(0.01)
        assert await host.say(b"", 0.1) == OK
        assert bytes(link.sent) == payload
        assert await host.ask(b"AT+TEST") == OK


async def test_raw_of_a_host_that_does_not_wait_for_the_prompt(autojump_clock):
    async with running("s2") as host:
        link = await opened(host)
        assert await host.say(b"AT+SKTSENDRAW=3,4\r\n\r\nATAT+TEST\r\n") == b">>>\r\n" + OK + OK
        assert bytes(link.sent) == b"\r\nAT"


async def test_raw_is_longer_than_what_is_kept(autojump_clock):
    async with running("s2") as host:
        link = await opened(host)
        assert await host.ask(b"AT+SKTSENDRAW=3,100000") == b">>>\r\n"
        for _ in range(100):
            await host.port.send(b"z" * 1000)
        assert await host.say(b"", 1) == OK
        assert bytes(link.sent) == b"z" * 100000
        assert max(record.length for record in host.records if record.rule == "raw") <= 4096


async def test_raw_lines_of_others_wait(autojump_clock):
    async with running("s2") as host:
        link = await opened(host)
        await host.ask(b"AT+SKTSENDRAW=3,4")
        link.feed(b"from the peer")
        assert await host.say(b"ab", 1) == b""
        assert await host.say(b"cd", 1) == OK + b"[$][SKT][DATA][3][13]:from the peer\r\n"


async def test_raw_that_fails_counts_to_the_end(autojump_clock):
    async with running("s2") as host:
        link = await opened(host)
        assert await host.ask(b"AT+SKTSENDRAW=3,20") == b">>>\r\n"
        await host.say(b"0123456789")
        link.lose(Condition.LINK_RESET)
        assert await host.say(b"AT+TEST\r\n") == b""
        assert await host.say(b"9") == error(2)
        assert await host.ask(b"AT+TEST") == OK


async def test_raw_given_up_by_marks(autojump_clock):
    async with running("s2") as host:
        link = await opened(host)
        await host.ask(b"AT+SKTSENDRAW=3,100")
        await host.say(b"abc<<<")
        for _ in range(3):
            await host.say(b"<", 0.01)
        assert await host.say(b"", 0.1) == OK
        assert bytes(link.sent) == b"abc<<<"
        await host.ask(b"AT+SKTSENDRAW=3,5")
        for _ in range(3):
            await host.say(b"<", 0.01)
        assert await host.say(b"<<", 0.1) == OK  # they went on in time: it was payload
        assert bytes(link.sent) == b"abc<<<<<<<<"


# -- the guide


async def test_guide_sends_count_every_byte(autojump_clock):
    async with running("guide") as host:
        said, link = await host.client()
        assert said == b"\r\n+SKTCLIENT:OK\r\n[AT+SKTCLIENT] con_id=1\r\n"
        for size in (1, 5, 400):
            wire = b"AT+SKTSEND=260,1:" + EVERY + b"AT\r\n" + b"\r\n"
            for at in range(0, len(wire), size):
                await host.port.send(wire[at : at + size])
            assert await host.say(b"", 0.1) == b"\r\n+SKTSEND:OK,1\r\n"
            assert bytes(link.sent) == EVERY + b"AT\r\n"
            link.sent.clear()
        link.feed(EVERY)
        assert await host.ask(b"AT+SKTREAD=1,1500") == b"+SKTREAD:OK,256,1:" + EVERY + b"\r\n"


async def test_guide_too_short_a_payload_is_given_up(autojump_clock):
    async with running("guide") as host:
        _, link = await host.client()
        await host.port.send(b"AT+SKTSEND=14,1:Hello")
        assert await host.say(b"", 1.9) == b""
        assert await host.say(b"\r\n", 1.9) == b""  # seven of fourteen
        assert await host.say(b"", 0.2) == b"\r\n+SKTSEND:ERROR:1\r\n"
        assert bytes(link.sent) == b""
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_guide_too_long_a_payload_is_no_answer_too_many(autojump_clock):
    async with running("guide") as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTSEND=5,1:Hello and more") == b"\r\n+SKTSEND:OK,1\r\n"
        assert bytes(link.sent) == b"Hello"
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_guide_refused_payload_is_counted_too(autojump_clock):
    async with running("guide") as host:
        await host.client()
        assert await host.ask(b"AT+SKTSEND=10,7:AT+RST\r\n\r\n") == b"\r\n+SKTSEND:ERROR:3\r\n"
        assert await host.ask(b"AT+SKTSEND=3000,1:" + b"AT+RST\r\n" * 375) == b"\r\n+SKTSEND:ERROR:2\r\n"
        assert await host.ask(b"AT+SKTSTATE") == b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:0\r\n\r\n+SKTSTATE:OK\r\n"


async def test_guide_transparent(autojump_clock):
    async with running("guide") as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTTT=1") == b"\r\n+SKTTT:OK\r\n"
        await host.ask(b"Hello world!")
        link.feed(EVERY)
        await trio.sleep(0.1)
        assert host.got() == EVERY  # no information in the head
        assert bytes(link.sent) == b"Hello world!"
        assert await host.ask(b"----") == b""
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_guide_transparent_lines_are_never_commands(autojump_clock):
    async with running("guide") as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTTT=1")
        assert await host.ask(b"AT+SKTSEND=14,1:Hello", 5) == b""
        assert bytes(link.sent) == b"AT+SKTSEND=14,1:Hello"
        await host.ask(b"x" * 5000)  # more than a line can be: not sent, and counted
        assert bytes(link.sent) == b"AT+SKTSEND=14,1:Hello"
        assert host.upstream.counters["through-lost"] == 1
        await host.ask(b"----")
        assert await host.ask(b"AT+SKTSEND=2,1:hi") == b"\r\n+SKTSEND:OK,1\r\n"
