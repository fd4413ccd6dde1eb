"""The server: ids, room, idle clients, ends, and old messages that must not name a new client."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_network import FakeNetwork
from test_esp_at import BUSY, DOWN, ERROR, OK, PROMPT, UP, bridge

from bridge.model import Capability, Condition
from bridge.network import NetworkError

pytestmark = pytest.mark.deadline(20000)


async def serving(host, port=80, setup=()):
    await host.join()
    for text in setup:
        assert await host.ask(text) == OK
    assert await host.ask(f"AT+CIPSERVER=1,{port}") == OK
    return host.network.listeners[-1]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("AT+CIPSERVER=1", 333),
        ("AT+CIPSERVER=1,80", 80),
        ('AT+CIPSERVER=1,8080,"TCP"', 8080),
        ('AT+CIPSERVER=1,1,"tcp"', 1),
        ('AT+CIPSERVER=1,81,"TCP",0', 81),
    ],
)
async def test_forms_and_answers(autojump_clock, text, port):
    async with bridge() as host:
        await host.join()
        assert await host.ask("AT+CIPSERVER?") == b"+CIPSERVER:0\r\n" + OK
        assert await host.ask(text) == OK
        assert host.network.listeners[0].local.port == port
        assert host.network.listeners[0].room == 5
        assert await host.ask("AT+CIPSERVER?") == b'+CIPSERVER:1,%d,"TCP",0\r\n' % port + OK
        assert await host.ask(text) == ERROR  # it runs
        assert await host.ask("AT+CIPSERVER=0") == OK
        assert host.network.listeners[0].closed
        assert await host.ask("AT+CIPSERVER=0") == ERROR
        assert await host.ask(text) == OK


@pytest.mark.parametrize(
    "arguments",
    ["1,0", "1,65536", '1,80,"SSL"', '1,80,"UDP"', "2,80", "1,80,TCP", '1,"80"', "", "0,0,0", '1,80,"TCP",1', '1,80,"TCP",0,0'],
)
async def test_bad_forms(autojump_clock, arguments):
    async with bridge() as host:
        await host.join()
        assert await host.ask(f"AT+CIPSERVER={arguments}") == ERROR
        assert host.network.listeners == []


async def test_it_needs_multiple_connections_and_keeps_them(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0)
        assert await host.ask("AT+CIPSERVER=1,80") == ERROR
        await host.ask("AT+CIPMUX=1")
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        assert await host.ask("AT+CIPMUX=0") == ERROR
        assert await host.ask("AT+CIPMUX=1") == OK
        await host.ask("AT+CIPSERVER=0")
        assert await host.ask("AT+CIPMUX=0") == OK


@pytest.mark.parametrize("condition", [Condition.PORT_IN_USE, Condition.NO_FREE_LINK, Condition.NOT_SUPPORTED])
async def test_a_network_that_refuses(autojump_clock, condition):
    async with bridge() as host:
        await host.join()
        host.network.error["listen"] = NetworkError(condition)
        assert await host.ask("AT+CIPSERVER=1,80") == ERROR
        assert host.upstream.counters[f"refused-{condition}"] == 1
        host.network.error.clear()
        assert await host.ask("AT+CIPSERVER=1,80") == OK


async def test_a_network_without_servers_is_not_asked(autojump_clock):
    network = FakeNetwork()
    network.limits = replace(network.limits, capabilities=network.limits.capabilities - {Capability.LISTEN})
    async with bridge(network) as host:
        await host.join()
        assert await host.ask("AT+CIPSERVER=1,80") == ERROR
        assert network.calls["listen"] == 0


async def test_a_mute_network_ends_in_time(autojump_clock):
    async with bridge() as host:
        await host.join()
        host.network.delay["listen"] = float("inf")
        assert await host.ask("AT+CIPSERVER=1,80", 9.4) == b""
        assert await host.ask("AT") == BUSY
        assert await host.read(1) == ERROR
        host.network.delay.clear()
        listener = await serving_again(host)
        host.network.delay["unlisten"] = float("inf")
        assert await host.ask("AT+CIPSERVER=0", 3.9) == b""
        assert await host.read(0.2) == OK
        assert not listener.closed


async def serving_again(host):
    assert await host.ask("AT+CIPSERVER=1,80") == OK
    return host.network.listeners[-1]


async def test_clients_take_the_lowest_free_ids(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == b"1,CONNECT\r\n" + OK
        clients = []
        for number in (0, 2, 3, 4):
            clients.append(listener.knock(port=40000 + number))
            assert await host.read() == b"%d,CONNECT\r\n" % number
        listing = (await host.ask("AT+CIPSTATUS")).split(b"\r\n")
        assert listing[:3] == [
            b"STATUS:3",
            b'+CIPSTATUS:0,"TCP","10.0.0.9",40000,%d,1' % clients[0].local.port,
            b'+CIPSTATUS:1,"TCP","1.2.3.4",80,%d,0' % host.network.links[0].local.port,
        ]
        clients[1].feed(b"hello")
        assert await host.read() == b"\r\n+IPD,2,5:hello"
        assert await host.ask("AT+CIPCLOSE=2") == b"2,CLOSED\r\n" + OK
        clients[0].peer_close()
        assert await host.read() == b"0,CLOSED\r\n"
        listener.knock()
        listener.knock()
        assert await host.read() == b"0,CONNECT\r\n2,CONNECT\r\n"


@pytest.mark.parametrize(("room", "answered"), [(1, 1), (4, 4), (5, 5)])
async def test_ten_clients(autojump_clock, room, answered):
    async with bridge() as host:
        listener = await serving(host, setup=[f"AT+CIPSERVERMAXCONN={room}"])
        assert listener.room == room
        knocking = [listener.knock(port=40000 + n) for n in range(10)]
        assert await host.read(1) == b"".join(b"%d,CONNECT\r\n" % n for n in range(answered))
        assert [link.closed for link in knocking] == [False] * answered + [True] * (10 - answered)
        assert host.upstream.counters["peers-refused"] == 10 - answered
        knocking[0].peer_close()
        assert await host.read() == b"0,CLOSED\r\n"
        again = listener.knock()
        again.feed(b"GET /")
        assert await host.read() == b"0,CONNECT\r\n\r\n+IPD,0,5:GET /"


async def test_a_full_table_refuses_clients(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        for number in range(5):
            await host.ask(f'AT+CIPSTART={number},"TCP","1.2.3.4",80')
        client = listener.knock()
        assert await host.read() == b""
        assert client.closed


async def test_no_more_room_than_the_network_has(autojump_clock):
    network = FakeNetwork()
    network.limits = replace(network.limits, stream_links=3)
    async with bridge(network) as host:
        assert (await serving(host)).room == 3


@pytest.mark.parametrize(
    "text", ["AT+CIPSERVERMAXCONN=0", "AT+CIPSERVERMAXCONN=6", "AT+CIPSERVERMAXCONN=", "AT+CIPSERVERMAXCONN"]
)
async def test_room_that_is_none(autojump_clock, text):
    async with bridge() as host:
        await host.join()
        assert await host.ask(text) == ERROR
        assert await host.ask("AT+CIPSERVERMAXCONN?") == b"+CIPSERVERMAXCONN:5\r\n" + OK


async def test_room_is_set_before_there_is_a_server(autojump_clock):
    async with bridge() as host:
        await serving(host, setup=["AT+CIPSERVERMAXCONN=2"])
        assert await host.ask("AT+CIPSERVERMAXCONN=3") == ERROR
        assert await host.ask("AT+CIPSERVERMAXCONN?") == b"+CIPSERVERMAXCONN:2\r\n" + OK


async def test_the_id_is_taken_when_the_host_is_told(autojump_clock):
    """A client that comes behind a gate does not take the id that the host is about to use."""
    async with bridge() as host:
        listener = await serving(host)
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        assert await host.ask("AT+CIPSEND=4,2") == PROMPT
        listener.knock()
        assert await host.ask(b"ab", 0.002) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80', 0.001) == b"0,CONNECT\r\n" + OK
        assert await host.read() == b"1,CONNECT\r\n"


async def test_old_messages_never_name_a_new_client(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        old = listener.knock()
        assert await host.read() == b"0,CONNECT\r\n"
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        await host.ask("AT+CIPSEND=4,2")
        old.feed(b"old data")  # its message waits behind the gate,
        old.peer_close()
        new = listener.knock()  # and so does the next client
        new.feed(b"new")
        assert await host.ask(b"ab", 0.001) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert await host.ask("AT+CIPCLOSE=0", 0.001) == b"0,CLOSED\r\n" + OK
        assert await host.read() == b"0,CONNECT\r\n\r\n+IPD,0,3:new"
        assert old.closed


async def test_stopping_leaves_the_clients_or_closes_them(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        listener.knock()
        listener.knock()
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        assert await host.ask("AT+CIPSERVER=0") == OK
        host.network.links[0].feed(b"still here")
        assert await host.read() == b"\r\n+IPD,0,10:still here"
        await host.ask("AT+CIPSERVER=1,80")
        assert await host.ask("AT+CIPSERVER=0,1") == b"0,CLOSED\r\n1,CLOSED\r\n" + OK
        assert [link.closed for link in host.network.links] == [True, True, False]


async def test_a_client_that_comes_while_the_server_stops_is_refused(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        host.network.delay["unlisten"] = 1
        await host.type(b"AT+CIPSERVER=0\r\n")
        assert await host.read(0.5) == b""
        client = listener.knock()
        assert await host.read(5) == OK
        assert client.closed


async def test_idle_clients_are_closed(autojump_clock):
    async with bridge() as host:
        listener = await serving(host, setup=["AT+CIPSTO=10"])
        talker, silent = listener.knock(), listener.knock()
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80', 0)
        await host.read(6)
        talker.feed(b"x")
        assert await host.read(3.9) == b"\r\n+IPD,0,1:x"
        assert await host.read(0.2) == b"1,CLOSED\r\n"
        assert silent.closed
        assert await host.ask("AT+CIPSEND=0,1") == PROMPT  # a byte to it counts, too
        assert await host.ask(b"y") == b"\r\nRecv 1 bytes\r\n\r\nSEND OK\r\n"
        assert await host.read(9.8) == b""
        assert await host.read(0.2) == b"0,CLOSED\r\n"
        assert await host.read(1000) == b""  # the host's own link is not the server's


async def test_idle_time_can_be_changed_and_ended(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        assert await host.ask("AT+CIPSTO?") == b"+CIPSTO:0\r\n" + OK
        listener.knock()
        assert await host.read(9000) == b"0,CONNECT\r\n"
        assert await host.ask("AT+CIPSTO=7201") == ERROR
        assert await host.ask("AT+CIPSTO=20000") == ERROR
        assert await host.ask("AT+CIPSTO=7200") == OK + b"0,CLOSED\r\n"
        listener.knock()
        assert await host.read() == b"0,CONNECT\r\n"
        assert await host.ask("AT+CIPSTO=0") == OK
        assert await host.read(9000) == b""


async def test_a_client_is_not_idle_while_the_host_sends(autojump_clock):
    async with bridge() as host:
        listener = await serving(host, setup=["AT+CIPSTO=10"])
        listener.knock()
        await host.read()
        assert await host.ask("AT+CIPSEND=0,2") == PROMPT
        assert await host.read(60) == b""
        assert await host.ask(b"ab", 5) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert await host.read(10) == b"0,CLOSED\r\n"


async def test_a_client_whose_bytes_wait_behind_a_gate_is_not_idle(autojump_clock):
    async with bridge() as host:
        listener = await serving(host, setup=["AT+CIPSTO=10"])
        client = listener.knock()
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        await host.ask("AT+CIPSEND=4,2")
        await host.read(5)
        client.feed(b"waits")
        await host.read(20)
        assert await host.ask(b"ab", 5) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n\r\n+IPD,0,5:waits"
        assert await host.read(4.8) == b""
        assert await host.read(0.3) == b"0,CLOSED\r\n"


async def test_a_module_reset_does_not_end_the_server(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        client = listener.knock()
        await host.read()
        host.network.box.change(new_generation=True)
        client.lose(Condition.MODULE_RESET)
        answer = await host.read(10)
        assert answer == b"0,CLOSED\r\n" + DOWN + UP
        listener.knock()
        assert await host.read() == b"0,CONNECT\r\n"


async def test_a_host_that_is_not_joined_has_no_clients(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        await host.ask("AT+CIPMUX=1")
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        client = host.network.listeners[0].knock()
        assert await host.read() == b""
        assert client.closed
        assert await host.ask('AT+CWJAP="net","p"') == UP + OK
        host.network.listeners[0].knock()
        assert await host.read() == b"0,CONNECT\r\n"


async def test_a_restart_ends_the_server_and_its_settings(autojump_clock):
    async with bridge() as host:
        listener = await serving(host, setup=["AT+CIPSERVERMAXCONN=2", "AT+CIPSTO=10"])
        client = listener.knock()
        await host.read()
        assert await host.ask("AT+RST", 5) == OK + b"\r\nready\r\n" + UP
        assert listener.closed
        assert client.closed
        await host.ask("ATE0")
        assert await host.ask("AT+CIPSERVER?") == b"+CIPSERVER:0\r\n" + OK
        assert await host.ask("AT+CIPSERVERMAXCONN?") == b"+CIPSERVERMAXCONN:5\r\n" + OK
        assert await host.ask("AT+CIPSTO?") == b"+CIPSTO:0\r\n" + OK
        await host.ask("AT+CIPMUX=1")
        assert await host.ask("AT+CIPSERVER=1,80") == OK


async def test_a_client_that_waits_behind_a_gate_when_the_host_resets_is_closed(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        await host.ask("AT+CIPSEND=4,2")
        client = listener.knock()
        assert await host.ask(b"ab", 0.001) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert await host.ask("AT+RST", 5) == OK + b"\r\nready\r\n" + UP
        assert client.closed


async def test_a_server_that_ends_by_itself(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        listener.knock()
        await host.read()
        listener.lose(Condition.MODULE_ERROR)
        assert await host.read(1) == b""
        assert await host.ask("AT+CIPSERVER?") == b"+CIPSERVER:0\r\n" + OK
        assert host.upstream.counters["servers-lost"] == 1
        assert await host.ask("AT+CIPSERVER=1,80") == OK


async def test_a_crash_in_the_listener_ends_the_server_and_is_told(autojump_clock):
    """Or the host would go on serving nobody."""
    async with bridge() as host:
        listener = await serving(host)
        client = listener.knock()
        assert await host.read() == b"0,CONNECT\r\n"

        def crash(*_):
            raise RuntimeError("a bug below")

        listener._queue = type("Broken", (list,), {"pop": crash})()
        listener.knock()
        await host.read(1)
        assert host.upstream.counters["crashes"] == host.upstream.counters["servers-lost"] == 1
        assert listener.closed
        assert await host.ask("AT+CIPSERVER?") == b"+CIPSERVER:0\r\n" + OK
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        client.feed(b"lives")
        assert await host.read() == b"\r\n+IPD,0,5:lives"


async def test_the_detailed_line(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        assert await host.ask("AT+SYSMSG=2") == OK
        client = listener.knock()
        assert await host.read() == b'+LINK_CONN:0,0,"TCP",1,"10.0.0.9",40000,%d\r\n' % client.local.port
        answer = await host.ask('AT+CIPSTART=3,"TCP","1.2.3.4",80')
        assert answer == b'+LINK_CONN:0,3,"TCP",0,"1.2.3.4",80,%d\r\n' % host.network.links[1].local.port + OK
        answer = await host.ask('AT+CIPSTART=1,"UDP","1.2.3.4",53,5000')
        assert answer == b'+LINK_CONN:0,1,"UDP",0,"1.2.3.4",53,5000\r\n' + OK


async def test_the_module_chooses_an_id(autojump_clock):
    async with bridge() as host:
        listener = await serving(host)
        listener.knock()
        assert await host.read() == b"0,CONNECT\r\n"
        for number in range(1, 5):
            assert await host.ask('AT+CIPSTARTEX="TCP","1.2.3.4",80,60') == b"%d,CONNECT\r\n" % number + OK
        assert await host.ask('AT+CIPSTARTEX="TCP","1.2.3.4",80') == ERROR
        await host.ask("AT+CIPCLOSE=2")
        assert await host.ask('AT+CIPSTARTEX="UDP","1.2.3.4",53,5000,2') == b"2,CONNECT\r\n" + OK
        assert await host.ask('AT+CIPSTARTEX=1,"TCP","1.2.3.4",80') == ERROR


async def test_the_module_chooses_the_only_id(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0)
        assert await host.ask('AT+CIPSTARTEX="TCP","1.2.3.4",80') == b"CONNECT\r\n" + OK
        assert await host.ask('AT+CIPSTARTEX="TCP","1.2.3.4",80') == ERROR


async def test_ping(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        assert await host.ask('AT+PING="example.com"') == ERROR
        await host.ask('AT+CWJAP="net","p"')
        assert await host.ask('AT+PING="example.com"') == b"+PING:42\r\n" + OK
        host.network.echo = 0.0001
        assert await host.ask('AT+PING="1.2.3.4"') == b"+PING:1\r\n" + OK
        host.network.delay["ping"] = float("inf")
        assert await host.ask('AT+PING="1.2.3.4"', 3.9) == b""
        assert await host.read(0.2) == b"+PING:TIMEOUT\r\n" + ERROR
        host.network.error["ping"] = NetworkError(Condition.NAME_NOT_FOUND)
        host.network.delay.clear()
        assert await host.ask('AT+PING="h"') == ERROR
        assert await host.ask('AT+PING="a b"') == ERROR


async def test_options_are_what_they_are(autojump_clock):
    async with bridge() as host:
        await host.join()
        assert await host.ask("AT+CIPTCPOPT?") == b"".join(b"+CIPTCPOPT:%d,-1,0,0\r\n" % n for n in range(5)) + OK
        assert await host.ask("AT+CIPTCPOPT=0,-1,0,0") == OK
        assert await host.ask("AT+CIPTCPOPT=0") == OK
        assert await host.ask("AT+CIPTCPOPT=0,,1") == ERROR
        assert await host.ask("AT+CIPTCPOPT=0,10") == ERROR


async def test_the_old_generation_s_words(autojump_clock):
    async with bridge(profile="nonos-1.7") as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","p"')
        assert await host.ask("AT+CIPSTO=10") == ERROR  # no server runs
        await host.ask("AT+CIPMUX=1")
        assert await host.ask("AT+CIPSERVER=0") == b"no change\r\n" + OK
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        assert await host.ask("AT+CIPSERVER=1,81") == b"no change\r\n" + OK
        assert [listener.local.port for listener in host.network.listeners] == [80]
        assert await host.ask("AT+CIPSTO?") == b"+CIPSTO:180\r\n" + OK
        assert await host.ask("AT+CIPMUX=0") == b"CIPSERVER must be 0\r\n" + ERROR
        host.network.listeners[0].knock()
        assert await host.read() == b"0,CONNECT\r\n"
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80') == b"ALREADY CONNECTED\r\n" + ERROR
        assert await host.read(179) == b""
        assert await host.read(2) == b"0,CLOSED\r\n"


async def test_a_failed_connect_names_its_link_where_the_generation_does(autojump_clock):
    async with bridge(profile="nonos-1.7") as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","p"')
        host.network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        assert await host.ask('AT+CIPSTART="TCP","1.2.3.4",80') == ERROR + b"CLOSED\r\n"
        await host.ask("AT+CIPMUX=1")
        assert await host.ask('AT+CIPSTART=3,"TCP","1.2.3.4",80') == ERROR + b"3,CLOSED\r\n"
        assert await host.ask('AT+CIPSTART=5,"TCP","1.2.3.4",80') == b"ID ERROR\r\n" + ERROR
