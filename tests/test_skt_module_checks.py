r"""The SKT module side: which of several mistakes a command is refused for, and what numbers its fields are read as."""

from __future__ import annotations

import pytest
import trio
from skt_module_host import running

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError

OK, SEND_OK = b"\r\nOK\r\n", b"\r\n+SKTSEND:OK\r\n"
ARRIVAL = b"\r\n+SKTSERVER: A client connected to server[1]\r\ncon_id:%d, seed, tcp, address:%s, port:%d, socket:%d\r\n"


def error(number):
    return b"\r\nERROR: %d\r\n" % number


def refused(number):
    return b"\r\n+SKTSEND:ERROR:%d\r\n" % number


# -- a send with two mistakes: count, size, id, colon, length, address, and only then what becomes of it


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        (b"9999,7,10.0.0.1:four", 1),  # count before size
        (b"9999,7:a\\nb", 1),  # a bad escape is a wrong line, whatever is in it
        (b"9999,7:four", 2),  # size before id
        (b"9999,1four", 2),  # size before colon
        (b"4,7four", 3),  # id before colon
        (b"5,7:four", 3),  # id before length
        (b"4,2four", 1),  # colon before the server
        (b"5,2:four", 1),  # length before the server
        (b"4,2:four", 7),
        (b"5,3,nowhere,0:four", 1),  # length before address
        (b"5,3:four", 1),
        (b"4,3:four", 1),  # no address of a UDP server
        (b"4,3,nowhere,0:four", 4),
        (b"4,3,10.0.0.1,0:four", 4),
        (b"4,3,10.0.0.1,9:four", 5),  # address before what the network says
    ],
)
@pytest.mark.parametrize("quirks", [False, True])
async def test_the_first_mistake_of_a_send(autojump_clock, quirks, fields, number):
    async with running(quirks=quirks) as host:
        _, link = await host.client()
        await host.serve(0, 5001)
        _, socket = await host.serve(1, 5002)
        host.network.error["send_datagram"] = NetworkError(Condition.HOST_UNREACHABLE)
        assert await host.ask(b"AT+SKTSEND=" + fields) == refused(number)
        assert bytes(link.sent) == b""
        assert socket.sent == []


async def test_a_send_of_s1b_has_at_least_a_byte(autojump_clock):
    async with running("s1b") as host:
        await host.client()
        assert await host.ask(b"AT+SKTSEND=1,0:") == error(1)
        assert await host.ask(b"AT+SKTSEND=1,1:x") == OK


async def test_the_oldest_console_cuts_a_send(autojump_clock):
    async with running(quirks=True, quirk_send_cut=True) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTSEND=94,1:" + b"x" * 94) == SEND_OK  # 99 bytes behind the "="
        assert await host.ask(b"AT+SKTSEND=95,1:" + b"x" * 95) == refused(1)
        assert await host.ask(b"AT+SKTSEND=93,1:\\," + b"x" * 92) == SEND_OK  # as they are typed
        assert await host.ask(b"AT+SKTSEND=94,1:\\," + b"x" * 93) == refused(1)
        assert bytes(link.sent) == b"x" * 94 + b"," + b"x" * 92
    async with running(quirk_send_cut=True) as host:
        await host.client()
        assert await host.ask(b"AT+SKTSEND=95,1:" + b"x" * 95) == SEND_OK


# -- modes are numbers as C reads them


@pytest.mark.parametrize(
    ("command", "generous", "real"),
    [
        (b"SKTCLIENT=00,192.0.2.1,80", b"OK", b"OK"),
        (b"SKTCLIENT=0x,192.0.2.1,80", b"ERROR:17", b"OK"),
        (b"SKTCLIENT=,192.0.2.1,80", b"ERROR:17", b"ERROR:17"),
        (b"SKTCLIENT=-1,192.0.2.1,80", b"ERROR:17", b"ERROR:17"),
        (b"SKTSERVER=01,80", b"OK", b"OK"),
        (b"SKTSERVER=tcp,80", b"ERROR:14", b"OK"),
        (b"SKTSERVER=,80", b"ERROR:1", b"ERROR:1"),
    ],
)
async def test_modes(autojump_clock, command, generous, real):
    for quirks, word in ((False, generous), (True, real)):
        async with running(quirks=quirks) as host:
            name = command.partition(b"=")[0]
            assert await host.ask(b"AT+" + command) == b"\r\n+%s:%s\r\n" % (name, word)


async def test_port_0_is_no_mistake_but_nobody_is_there(autojump_clock):
    async with running(quirks=True) as host:
        ok = b"\r\n+SKTCLIENT:OK\r\n"
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,0", 2) == ok + b"\r\n+SKTCLIENT:ERROR:9\r\n"
        assert host.network.opened == []


# -- S2 has numbers of their own for UDP, and none for a type that is none


@pytest.mark.parametrize("kind", [b"6", b"9", b"-1", b"x", b""])
async def test_a_type_that_s2_does_not_have(autojump_clock, kind):
    async with running("s2") as host:
        assert await host.ask(b"AT+SKTCLIENT=1,%s,,192.0.2.1,80,5000,1" % kind) == error(1)
        assert await host.ask(b"AT+SKTSERVER=1,%s,,80,1" % kind) == error(1)


@pytest.mark.parametrize("condition", [Condition.PORT_IN_USE, Condition.BEARER_UNAVAILABLE, Condition.NO_FREE_LINK])
async def test_what_fails_in_s2(autojump_clock, condition):
    async with running("s2") as host:
        for operation in ("open_stream", "listen", "open_datagram"):
            host.network.error[operation] = NetworkError(condition)
        assert await host.ask(b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,1") == error(2)
        assert await host.ask(b"AT+SKTSERVER=1,1,,80,1") == error(2)
        assert await host.ask(b"AT+SKTCLIENT=1,0,,192.0.2.1,80,5000,1") == error(4)
        assert await host.ask(b"AT+SKTCLIENT=1,0,,224.0.0.251,80,5000,1") == error(4)
        assert await host.ask(b"AT+SKTSERVER=1,0,,80,1") == error(4)
        assert await host.ask(b"AT+SKTSTATE") == OK


async def test_a_crash_in_s2_is_the_task(autojump_clock):
    async with running("s2") as host:
        for operation in ("open_stream", "listen", "open_datagram"):
            host.network.error[operation] = RuntimeError("a bug below")
        assert await host.ask(b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,1") == error(3)
        assert await host.ask(b"AT+SKTSERVER=1,1,,80,1") == error(3)
        assert await host.ask(b"AT+SKTCLIENT=1,0,,192.0.2.1,80,5000,1") == error(5)
        assert await host.ask(b"AT+SKTSERVER=1,0,,80,1") == error(5)
        assert host.upstream.counters.pop("crashes") == 4


# -- servers


async def test_of_two_servers_on_one_port_the_first_is_there(autojump_clock):
    async with running(quirks=True) as host:
        assert await host.ask(b"AT+SKTSERVER=0,5001") == b"\r\n+SKTSERVER:OK\r\n"
        assert await host.ask(b"AT+SKTSERVER=0,5001") == b"\r\n+SKTSERVER:OK\r\n"
        assert await host.say(b"", 2) == b"\r\n+SKTSERVER:con_id=1\r\n\r\n+SKTSERVER:ERROR:9\r\n"
        assert (await host.ask(b"AT+SKTSTATE")).count(b"con_id:") == 1


# -- an end that S1b never tells


async def test_s1b_keeps_the_socket_of_a_peer_that_left(autojump_clock):
    """Its read of 0 bytes is no error, so that nothing shows the end but a send that fails."""
    async with running("s1b") as host:
        row = b"con_id:%d,client,tcp,address:192.0.2.1,port:80,socket_fd:%d\r\n"
        _, link = await host.client()
        link.peer_close()
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:0,1:\r\nOK\r\n"
        assert await host.ask(b"AT+SKTRECVCFG=1") == OK
        _, other = await host.client()
        other.feed(b"bye")
        other.peer_close()
        await trio.sleep(1)
        assert host.got() == b"+SKTREAD:3,2:bye"
        assert await host.ask(b"AT+SKTSTATE") == row % (1, 0) + row % (2, 1) + OK
        assert await host.ask(b"AT+SKTSEND=1,1:x") == await host.ask(b"AT+SKTSEND=2,1:x") == error(2)
        assert await host.ask(b"AT+SKTDEL=0") == OK
        assert link.closed
        assert other.closed


# -- who came, and a server that does not come


def asked(link, seconds, answer):
    """A link whose module says who its peer is only when it is asked."""
    link.peer = None

    async def find_endpoints():
        await trio.sleep(seconds)
        link.peer = answer
        return None, answer

    link.find_endpoints = find_endpoints


async def test_a_network_that_does_not_say_who_came_is_asked(autojump_clock):
    async with running() as host:
        _, listener = await host.serve()
        asked(listener.knock(), 0.5, Endpoint("192.168.99.185", 64089))
        assert await host.say(b"", 0.4) == b""
        assert await host.say(b"", 0.2) == ARRIVAL % (2, b"192.168.99.185", 64089, 1)
        assert b"con_id:2,seed,tcp,address:192.168.99.185,port:64089,socket:1\r\n" in await host.ask(b"AT+SKTSTATE")
        for _ in range(2):  # nobodies are not the same one
            asked(listener.knock(), 0, None)
        assert await host.say(b"") == ARRIVAL % (3, b"0.0.0.0", 0, 2) + ARRIVAL % (4, b"0.0.0.0", 0, 3)
        asked(listener.knock(), 1000, None)
        assert await host.say(b"", 1.9) == b""
        assert await host.say(b"", 0.2) == ARRIVAL % (5, b"0.0.0.0", 0, 4)


async def test_a_server_that_is_deleted_while_a_peer_is_looked_at_closes_it(autojump_clock):
    async with running() as host:
        _, listener = await host.serve()
        link = listener.knock()
        asked(link, 1, Endpoint("192.168.99.185", 64089))
        assert await host.ask(b"AT+SKTDEL=1", 3) == b"\r\n+SKTDEL:OK\r\n"
        assert link.closed


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize(("mode", "operation"), [(0, "listen"), (1, "open_datagram")])
async def test_a_server_that_does_not_come_is_told_in_time(autojump_clock, quirks, mode, operation):
    async with running(quirks=quirks) as host:
        host.network.delay[operation] = 1000
        assert await host.ask(b"AT+SKTSERVER=%d,5001" % mode, 4.9) == b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:ERROR:5\r\n"
        assert host.network.listeners == host.network.datagrams == []
        host.network.delay.clear()
        assert (await host.serve(mode))[0].endswith(b"con_id=1\r\n")
