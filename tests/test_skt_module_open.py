"""Clients, servers, seeds and the pool of the SKT module side: two answers, error numbers by step, who may live on."""

from __future__ import annotations

import pytest
import trio
from skt_module_host import FakeNetwork, running

from bridge.model import Condition, Limits
from bridge.network import NetworkError
from bridge.tables import load

CLIENT_OK, SERVER_OK = b"\r\n+SKTCLIENT:OK\r\n", b"\r\n+SKTSERVER:OK\r\n"


def client(number):
    return b"\r\n+SKTCLIENT:ERROR:%d\r\n" % number


def server(number):
    return b"\r\n+SKTSERVER:ERROR:%d\r\n" % number


def opened(number):
    return b"+SKTCLIENT:con_id=%d\r\n" % number


def listens(number):
    return b"\r\n+SKTSERVER:con_id=%d\r\n" % number


def arrival(server_id, seed, host, port, socket):
    said = f"\r\n+SKTSERVER: A client connected to server[{server_id}]\r\n"
    return (said + f"con_id:{seed}, seed, tcp, address:{host}, port:{port}, socket:{socket}\r\n").encode()


# -- clients


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        (b"", 1),
        (b"=", 1),
        (b"=0,192.0.2.1", 1),
        (b"=0,192.0.2.1,80,5000,1", 1),
        (b"=0,no.such.name,80", 2),
        (b"=0,,80", 2),
        (b"=0,192.0.2.1,", 3),
        (b"=0,192.0.2.1,-1", 3),
        (b"=0,192.0.2.1,65536", 3),
        (b"=0,192.0.2.1,0", 3),
        (b"=1,192.0.2.1,80,0", 11),
        (b"=1,192.0.2.1,80,65536", 11),
        (b"=1,192.0.2.1,80,", 0),
        (b"=0,192.0.2.1,80,99999", 0),  # a TCP client's local port is looked at by nobody
        (b"=2,192.0.2.1,80", 17),
        (b"=,192.0.2.1,80", 17),
        (b"=7,192.0.2.1,80", 17),
    ],
)
async def test_refused_at_once(autojump_clock, fields, number):
    async with running() as host:
        assert await host.ask(b"AT+SKTCLIENT" + fields) == (client(number) if number else CLIENT_OK)
        assert host.network.opened == [] if number else True
        assert not number or await host.ask(b"AT", 5) == b""  # and nothing follows


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (Condition.CONNECT_REFUSED, 9),
        (Condition.CONNECT_TIMEOUT, 9),
        (Condition.HOST_UNREACHABLE, 9),
        (Condition.BEARER_UNAVAILABLE, 9),
        (Condition.BEARER_LOST, 9),
        (Condition.MODULE_MUTE, 9),
        (Condition.ADDRESS_REFUSED, 9),
        (Condition.NO_FREE_LINK, 7),
        (Condition.NOT_SUPPORTED, 7),
        (Condition.BAD_ARGUMENT, 6),
        (Condition.NAME_NOT_FOUND, 6),
        (Condition.INDEX_IN_USE, 8),
    ],
)
async def test_refused_by_the_network(autojump_clock, condition, number):
    async with running() as host:
        host.network.refused["192.0.2.1"] = condition
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 2) == CLIENT_OK + client(number)
        said, _ = await host.client(0, b"192.0.2.2")
        assert said == CLIENT_OK + opened(1)  # the id was free again


@pytest.mark.parametrize(
    ("address", "condition", "number"),
    [
        (b"192.0.2.1", Condition.PORT_IN_USE, 12),
        (b"192.0.2.1", Condition.INDEX_IN_USE, 10),
        (b"255.255.255.255", Condition.ADDRESS_REFUSED, 14),
        (b"224.0.0.251", Condition.ADDRESS_REFUSED, 15),
        (b"224.0.0.251", Condition.NOT_SUPPORTED, 16),
        (b"224.0.0.251", Condition.PORT_IN_USE, 12),
    ],
)
async def test_datagram_sockets_refused(autojump_clock, address, condition, number):
    async with running() as host:
        host.network.error["open_datagram"] = NetworkError(condition)
        assert await host.ask(b"AT+SKTCLIENT=1,%s,80,5000" % address, 2) == CLIENT_OK + client(number)


async def test_a_name_is_looked_up_before_ok(autojump_clock):
    async with running() as host:
        host.network.delay["resolve"] = 3
        await host.port.send(b"AT+SKTCLIENT=0,example.com,80\r\n")
        await trio.sleep(2.9)
        assert host.got() == b""
        await trio.sleep(1)
        assert host.got() == CLIENT_OK + opened(1)
        assert host.network.opened == [("93.184.216.34", 80, 0)]


async def test_a_name_that_takes_too_long_is_not_found(autojump_clock):
    async with running() as host:
        host.network.delay["resolve"] = 1000
        assert await host.ask(b"AT+SKTCLIENT=0,example.com,80", 24.9) == b""
        assert await host.say(b"", 0.2) == client(2)


async def test_a_network_without_lookups_gets_the_name(autojump_clock):
    async with running() as host:
        host.network.error["resolve"] = NetworkError(Condition.NOT_SUPPORTED)
        await host.ask(b"AT+SKTCLIENT=0,example.com,80", 2)
        assert host.network.opened == [("example.com", 80, 0)]


async def test_the_real_second_answer_takes_a_second(autojump_clock):
    async with running(quirks=True) as host:
        await host.port.send(b"AT+SKTCLIENT=0,192.0.2.1,80\r\n")
        await trio.sleep(0.99)
        assert host.got() == CLIENT_OK
        assert host.network.opened == []  # the pause comes first
        await trio.sleep(0.02)
        assert host.got() == opened(1)


async def test_a_connection_that_never_comes(autojump_clock):
    async with running() as host:
        host.network.delay["open_stream"] = 10000
        await host.port.send(b"AT+SKTCLIENT=0,192.0.2.1,80\r\n")
        await trio.sleep(10)
        assert host.got() == CLIENT_OK
        assert await host.ask(b"AT+SKTSTATE") == b"\r\n+SKTSTATE:OK\r\n"  # not listed yet
        assert await host.ask(b"AT+SKTREAD=1,10") == b"\r\n+SKTREAD:ERROR:3\r\n"


@pytest.mark.deadline(200)
async def test_its_error_comes_within_the_limit(autojump_clock):
    async with running() as host:
        host.network.delay["open_stream"] = 10000
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 90) == CLIENT_OK + client(9)


async def test_deleted_while_it_connects(autojump_clock):
    async with running() as host:
        host.network.delay["open_stream"] = 5
        await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 2)
        assert await host.ask(b"AT+SKTDEL=1", 10) == b"\r\n+SKTDEL:OK\r\n"
        assert host.network.links == []
        host.network.delay.clear()
        said, _ = await host.client()
        assert said == CLIENT_OK + opened(1)


# -- the pool


async def test_nine_ids_and_no_more(autojump_clock):
    async with running() as host:
        for number in range(1, 10):
            said, _ = await host.client()
            assert said == CLIENT_OK + opened(number)
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80") == client(4)
        assert await host.ask(b"AT+SKTSERVER=0,80") == server(3)
        await host.ask(b"AT+SKTDEL=4")
        await host.ask(b"AT+SKTDEL=7")
        assert (await host.client())[0] == CLIENT_OK + opened(4)
        assert (await host.serve())[0] == SERVER_OK + listens(7)


@pytest.mark.parametrize(
    ("field", "generous", "real", "closes"),
    [
        (b"", b"ERROR:1", b"ERROR:1", (0, 0)),
        (b"=0", b"OK", b"OK", (2, 2)),
        (b"=", b"ERROR:1", b"OK", (0, 2)),
        (b"=x", b"ERROR:1", b"OK", (0, 2)),
        (b"=1", b"OK", b"OK", (1, 1)),
        (b"=5", b"OK", b"OK", (0, 0)),
        (b"=1,2", b"ERROR:1", b"ERROR:1", (0, 0)),
    ],
)
async def test_del(autojump_clock, field, generous, real, closes):
    for quirks, word, closed in ((False, generous, closes[0]), (True, real, closes[1])):
        async with running(quirks=quirks) as host:
            await host.client()
            await host.client()
            await host.ask(b"AT+SKTRECVCFG=1")
            assert await host.ask(b"AT+SKTDEL" + field) == b"\r\n+SKTDEL:" + word + b"\r\n"
            assert sum(link.closed for link in host.network.links) == closed
            if closed == 2:  # automatic receiving is off, too
                _, link = await host.client()
                link.feed(b"x")
                assert await host.ask(b"AT+SKTREAD=1,5") == b"+SKTREAD:OK,1,1:x\r\n"


async def test_del_waits_for_a_slow_close_but_not_for_ever(autojump_clock):
    async with running() as host:
        await host.client()
        host.network.delay["aclose"] = 8
        assert await host.ask(b"AT+SKTDEL=1", 0.9) == b""
        assert await host.say(b"", 0.2) == b"\r\n+SKTDEL:OK\r\n"
        await trio.sleep(8)
        assert host.network.links[0].closed


# -- servers


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        (b"", 1),
        (b"=0", 1),
        (b"=,80", 1),
        (b"=0,80,1", 1),
        (b"=0,", 2),
        (b"=0,0", 2),
        (b"=0,65536", 2),
        (b"=0,-1", 2),
        (b"=2,80", 14),
        (b"=9,80", 14),
    ],
)
async def test_servers_refused_at_once(autojump_clock, fields, number):
    async with running() as host:
        assert await host.ask(b"AT+SKTSERVER" + fields, 5) == server(number)
        assert host.network.listeners == []


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (Condition.PORT_IN_USE, 7),
        (Condition.BEARER_UNAVAILABLE, 7),
        (Condition.NOT_SUPPORTED, 8),
        (Condition.NO_FREE_LINK, 5),
        (Condition.MODULE_ERROR, 5),
        (Condition.BAD_ARGUMENT, 6),
    ],
)
async def test_servers_refused_by_the_network(autojump_clock, condition, number):
    async with running() as host:
        host.network.error["listen"] = NetworkError(condition)
        assert await host.ask(b"AT+SKTSERVER=0,80", 2) == SERVER_OK + server(number)
        host.network.error.clear()
        assert (await host.serve())[0] == SERVER_OK + listens(1)


async def test_the_same_server_twice(autojump_clock):
    async with running() as host:
        await host.serve(0, 5001)
        await host.serve(1, 5001)
        assert await host.ask(b"AT+SKTSERVER=0,5001", 2) == SERVER_OK + server(9)
        assert await host.ask(b"AT+SKTSERVER=1,5001", 2) == SERVER_OK + server(12)
        assert (await host.serve(0, 5002))[0] == SERVER_OK + listens(3)


async def test_seeds(autojump_clock):
    async with running() as host:
        said, listener = await host.serve()
        assert said == SERVER_OK + listens(1)
        link = listener.knock("192.168.99.185", 64089)
        await trio.sleep(0.1)
        assert host.got() == arrival(1, 2, "192.168.99.185", 64089, 1)
        listener.knock("192.168.99.186", 64090)
        await trio.sleep(0.1)
        assert host.got() == arrival(1, 3, "192.168.99.186", 64090, 2)
        await host.client()
        assert await host.ask(b"AT+SKTSTATE") == (
            b"con_id:1,server,tcp,address:10.0.0.2,port:5001,socket:0\r\n"
            b"+SKTSTATE:con_id:2,seed,tcp,address:192.168.99.185,port:64089,socket:1\r\n"
            b"+SKTSTATE:con_id:3,seed,tcp,address:192.168.99.186,port:64090,socket:2\r\n"
            b"con_id:4,client,tcp,address:192.0.2.1,port:80,socket:3\r\n"
            b"\r\n+SKTSTATE:OK\r\n"
        )
        assert await host.ask(b"AT+SKTSEND=2,2:hi") == b"\r\n+SKTSEND:OK\r\n"
        assert bytes(link.sent) == b"hi"
        assert await host.ask(b"AT+SKTSEND=2,1:hi") == b"\r\n+SKTSEND:ERROR:7\r\n"
        assert await host.ask(b"AT+SKTREAD=1,5") == b"\r\n+SKTREAD:ERROR:6\r\n"
        assert await host.ask(b"AT+SKTDEL=1") == b"\r\n+SKTDEL:OK\r\n"
        assert [one.closed for one in host.network.links] == [True, True, False]
        assert listener.closed
        assert await host.ask(b"AT+SKTSTATE") == b"con_id:4,client,tcp,address:192.0.2.1,port:80,socket:3\r\n\r\n+SKTSTATE:OK\r\n"


async def test_seeds_in_auto_mode(autojump_clock):
    async with running() as host:
        await host.ask(b"AT+SKTRECVCFG=1")
        _, listener = await host.serve()
        link = listener.knock("192.168.99.185", 64089)
        link.feed(b"early")
        await trio.sleep(0.1)
        assert host.got() == arrival(1, 2, "192.168.99.185", 64089, 1) + b"+SKTREAD:OK,5,2:early\r\n"


async def test_the_same_peer_twice_is_dropped_without_a_word(autojump_clock):
    async with running() as host:
        _, listener = await host.serve()
        listener.knock("192.168.99.185", 64089)
        again = listener.knock("192.168.99.185", 64089)
        await trio.sleep(0.1)
        assert host.got() == arrival(1, 2, "192.168.99.185", 64089, 1)
        assert again.closed


async def test_a_peer_too_many_is_refused(autojump_clock):
    async with running() as host:
        _, listener = await host.serve()
        assert listener.room == 10
        links = [listener.knock("10.1.1.1", 1000 + number) for number in range(9)]
        await trio.sleep(0.5)
        assert host.got() == b"".join(arrival(1, 2 + n, "10.1.1.1", 1000 + n, 1 + n) for n in range(8))
        assert [link.closed for link in links] == [False] * 8 + [True]
        assert host.upstream.counters["peers-refused"] == 1
        await host.ask(b"AT+SKTDEL=5")
        listener.knock("10.1.1.2", 7)
        await trio.sleep(0.1)
        assert host.got() == arrival(1, 5, "10.1.1.2", 7, 4)


async def test_a_peer_too_many_ends_the_real_server(autojump_clock):
    async with running(quirks=True) as host:
        _, listener = await host.serve()
        links = [listener.knock("10.1.1.1", 1000 + number) for number in range(9)]
        await trio.sleep(0.5)
        assert host.got() == b"".join(arrival(1, 2 + n, "10.1.1.1", 1000 + n, 1 + n) for n in range(8)) + server(11)
        assert all(link.closed for link in links)
        assert listener.closed
        assert await host.ask(b"AT+SKTSTATE") == b"\r\n+SKTSTATE:OK\r\n"
        assert (await host.serve())[0] == SERVER_OK + listens(1)


async def test_a_server_that_ends_takes_its_seeds_with_it(autojump_clock):
    async with running() as host:
        _, listener = await host.serve()
        seed = listener.knock()
        await host.client()
        host.got()
        listener.lose(Condition.MODULE_RESET)
        await trio.sleep(0.1)
        assert host.got() == server(10)
        assert seed.closed
        assert b"con_id:3,client" in await host.ask(b"AT+SKTSTATE")
        assert b"con_id:2" not in await host.ask(b"AT+SKTSTATE")


async def test_the_room_of_a_smaller_network(autojump_clock):
    network = FakeNetwork()
    network.limits = Limits(3, 3, 2048, network.limits.capabilities, datagram_size=1472)
    async with running(network=network) as host:
        _, listener = await host.serve()
        assert listener.room == 3


async def test_the_host_left_its_network(autojump_clock):
    async with running() as host:
        assert await host.ask(b"AT+WLDISCONN") == b"\r\n+WLDISCONN:OK\r\n"
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 2) == CLIENT_OK + client(9)
        assert await host.ask(b"AT+SKTCLIENT=0,example.com,80", 2) == client(2)
        assert await host.ask(b"AT+WLCONN=ssid,home,pw,hush") == b"\r\n+WLCONN:OK\r\n"
        assert (await host.client())[0] == CLIENT_OK + opened(1)


async def test_a_crash_is_an_error_number_and_nothing_worse(autojump_clock):
    async with running() as host:
        host.network.error["open_stream"] = RuntimeError("a bug below")
        host.network.error["listen"] = RuntimeError("a bug below")
        assert await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 2) == CLIENT_OK + client(5)
        assert await host.ask(b"AT+SKTSERVER=0,80", 2) == SERVER_OK + server(4)
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"
        assert host.upstream.counters.pop("crashes") == 2


# -- every number of the guide

GUIDE = {"SKTSERVER": 27, "SKTCLIENT": 22, "SKTDEL": 1, "SKTTT": 5, "SKTSEND": 8, "SKTREAD": 8, "SKTRECVCFG": 2}


@pytest.mark.parametrize(("command", "numbers"), GUIDE.items())
@pytest.mark.parametrize("name", ["s1-uart", "guide"])
def test_every_error_number_of_the_guide_has_its_row(command, numbers, name):
    table = load("skt", name)
    rows = [row for row in table.refusal if row.during == command]
    reached = set()
    for row in rows:
        condition = Condition.ABORTED if row.condition == "*" else Condition(row.condition)
        assert table.refusal_of(condition, command, about=row.about) in {r.text for r in rows}
        reached.add(int(table.refusal_of(condition, command, about=row.about)))
    assert set(range(1, numbers + 1)) <= reached
    if name == "guide":
        assert reached == set(range(1, numbers + 1))
