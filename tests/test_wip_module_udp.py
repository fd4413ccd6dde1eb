r"""UDP sockets of the module: mode 1, creates, options, and how they end (wip.md 4.3, 5.3, 5.4, 13)."""

from __future__ import annotations

import pytest
import trio
from wip_fakes import running
from wip_module_udp_host import NO_CARRIER, OK, PEER, announced, bound, cme, listening, mapped, sent

from bridge.model import Condition, Datagram, Endpoint, Peers
from bridge.network import NetworkError

# -- create


async def test_bound_socket_is_opened_at_the_looked_up_address(autojump_clock):
    async with running() as host:
        await host.up()
        assert await host.ask(b'AT+WIPCREATE=1,2,05000,"example.com","09"') == OK + b"\r\n+WIPREADY: 1,2\r\n"
        link = host.network.datagrams[0]
        assert (link.peer, link.local.port, link.peers) == (Endpoint("93.184.216.34", 9), 5000, Peers.FIXED)
        assert await host.ask(b"AT+WIPOPT=1,2,1,2") == b'\r\n+WIPOPT: 1,2,"93.184.216.34"\r\n' + OK
        assert await host.ask(b"AT+WIPCREATE?") == b'\r\n+WIPCREATE: 1,2,5000,"93.184.216.34",9\r\n' + OK


@pytest.mark.parametrize(
    ("text", "host_given"), [(b"010.001.001.001", "010.1.1.1"), (b"192.168.001.007", "192.168.1.7"), (b"10.1", "10.1")]
)
async def test_an_address_loses_padding_that_says_nothing(autojump_clock, text, host_given):
    """No document says whether 010 is ten or eight here, and a Network refuses what could be both."""
    async with running() as host:
        await host.up()
        host.network.error["resolve"] = NetworkError(Condition.NOT_SUPPORTED)
        assert await host.ask(b'AT+WIPCREATE=1,1,,"%s",9' % text) == OK + b"\r\n+WIPREADY: 1,1\r\n"
        assert host.network.datagrams[0].peer == Endpoint(host_given, 9)
        assert await host.ask(b'AT+WIPCREATE=2,1,"%s",9' % text) == OK + b"\r\n+WIPREADY: 2,1\r\n"
        assert host.network.links[0].peer == Endpoint(host_given, 9)


async def test_a_network_that_resolves_nothing_gets_the_name(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.error["resolve"] = NetworkError(Condition.NOT_SUPPORTED)
        assert await host.ask(b'AT+WIPCREATE=1,1,,"example.com",9') == OK + b"\r\n+WIPREADY: 1,1\r\n"
        assert host.network.datagrams[0].peer == Endpoint("example.com", 9)


@pytest.mark.parametrize("arguments", [b"", b",", b",0", b",,"])
async def test_without_a_local_port_the_network_gives_one(autojump_clock, arguments):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=1,1" + arguments) == OK + b"\r\n+WIPREADY: 1,1\r\n"
        assert await host.ask(b"AT+WIPOPT=1,1,1,0") == b"\r\n+WIPOPT: 1,0,50500\r\n" + OK


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (b"1,0,5000", 830),
        (b"1,9,5000", 830),
        (b"1,1,65536", 832),
        (b"1,1,x", 832),
        (b'1,1,5000,"h"', 832),
        (b'1,1,5000,"h",0', 832),
        (b"1,1,5000,,7", 800),
    ],
)
async def test_create_refused(autojump_clock, arguments, number):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=" + arguments) == cme(number)
        assert not host.network.datagrams


@pytest.mark.parametrize(
    ("operation", "condition", "number"),
    [
        ("open_datagram", Condition.PORT_IN_USE, 833),
        ("open_datagram", Condition.NOT_SUPPORTED, 834),
        ("open_datagram", Condition.NO_FREE_LINK, 838),
        ("open_datagram", Condition.ADDRESS_REFUSED, 842),
        ("resolve", Condition.NAME_NOT_FOUND, 839),
    ],
)
async def test_create_fails_late_and_keeps_the_index(autojump_clock, operation, condition, number):
    async with running() as host:
        await host.up()
        host.network.error[operation] = NetworkError(condition)
        command = b'AT+WIPCREATE=1,1,5000,"example.com",9'
        assert await host.ask(command) == OK + b"\r\n+WIPERROR: 1,1,%d\r\n" % number
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(command) == cme(840)
        assert await host.ask(b"AT+WIPCLOSE=1,1") == OK
        host.network.error.clear()
        assert await host.ask(command) == OK + b"\r\n+WIPREADY: 1,1\r\n"


async def test_closing_frees_the_local_port_before_ok(autojump_clock):
    """Drivers close blindly and create again, with the same port, at once."""
    async with running() as host:
        await host.up()
        for number in range(3):
            await bound(host)
            host.network.delay["aclose"] = 0.5
            assert await host.ask(b"AT+WIPCLOSE=1,1", 0.4) == b""
            await trio.sleep(0.2)
            assert host.got() == OK, number
        host.network.delay["aclose"] = 1e9
        await bound(host)
        assert await host.ask(b"AT+WIPCLOSE=1,1", 2.1) == OK  # a network that does not close costs 2 s, not the host


async def test_closed_while_it_is_looked_up(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.delay["resolve"] = 5.0
        assert await host.ask(b'AT+WIPCREATE=1,1,5000,"example.com",9') == OK
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=1,1", 10) == OK
        assert not host.network.datagrams


async def test_indexes_of_udp_and_tcp_are_two_spaces_with_one_total(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIPCFG=2,6,3")
        await host.create(1)
        await bound(host, 1, b"5001")
        await bound(host, 2, b"5002")
        assert await host.ask(b"AT+WIPCREATE=1,3,5003") == cme(838)
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK
        await bound(host, 3, b"5003")


# -- options, lists


async def test_options(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        link.feed(b"abc", PEER)
        link.feed(b"de", PEER)
        await trio.sleep(0.1)
        assert host.got() == announced(3)
        shown = {0: b"5000", 1: b"7", 2: b'"10.1.1.1"', 3: b"1", 6: b"5", 8: b"64", 9: b"0"}
        for number in range(10):
            got = await host.ask(b"AT+WIPOPT=1,1,1,%d" % number)
            assert got == (b"\r\n+WIPOPT: 1,%d,%s\r\n" % (number, shown[number]) + OK if number in shown else cme(835))
        assert await host.ask(b"AT+WIPOPT=1,1,1,40") == cme(800)
        assert await host.ask(b"AT+WIPOPT=1,1,2,8,12") == OK
        assert await host.ask(b"AT+WIPOPT=1,1,1,8") == b"\r\n+WIPOPT: 1,8,12\r\n" + OK
        assert await host.ask(b"AT+WIPOPT=1,1,2,0,12") == cme(835)
        assert await host.ask(b"AT+WIPOPT=1,1,2,8,256") == cme(801)


async def test_a_listening_socket_has_no_peer_whoever_sends(autojump_clock):
    async with running() as host:
        await host.up()
        link = await listening(host)
        link.feed(b"x", Endpoint("10.9.9.9", 99))
        await trio.sleep(0.1)
        assert host.got() == announced(1, b"10.9.9.9", 99)
        for number, value in ((1, b"0"), (2, b'"0.0.0.0"'), (3, b"0")):
            assert await host.ask(b"AT+WIPOPT=1,1,1,%d" % number) == b"\r\n+WIPOPT: 1,%d,%s\r\n" % (number, value) + OK
        assert await host.ask(b"AT+WIPCREATE?") == b'\r\n+WIPCREATE: 1,1,5000,"0.0.0.0",0\r\n' + OK
        assert await host.ask(b"AT+WIPDATA?") == announced(1, b"10.9.9.9", 99) + OK


# -- modes, ends


@pytest.mark.parametrize(("command", "number"), [(b"1,1,2", 801), (b"1,1,0", 801), (b"2,1,1", 801), (b"1,2,1", 831)])
async def test_c1_has_mode_1_for_udp_only_and_mode_2_for_tcp_only(autojump_clock, command, number):
    async with running() as host:
        await host.up()
        await bound(host)
        await host.create(1)
        assert await host.ask(b"AT+WIPDATA=" + command) == cme(number)
        assert await host.ask(b"AT") == OK


async def test_bearer_lost_while_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        link.feed(b"last", PEER)
        await host.say(b"half a data")
        link.lose(Condition.BEARER_LOST)
        await trio.sleep(0.05)
        assert host.got() == NO_CARRIER
        await trio.sleep(0.2)
        assert host.got() == b"\r\n+WIPERROR: 1,1,816\r\n"
        assert link.sent == []
        assert await host.ask(b"AT") == OK
        assert await host.ask(b"AT+WIPDATA=1,1,1") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=1,1") == OK


async def test_bearer_stopped_by_the_host(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        assert await host.ask(b"AT+WIPBR=5,6") == OK + b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 1,1,816\r\n"
        assert link.closed


async def test_reboot_in_the_middle_of_a_datagram(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        link = await bound(host)
        await mapped(host)
        await host.say(b"half\x10")
        await host.upstream.reboot()
        await trio.sleep(4)
        assert (link.closed, link.sent) == (True, [])
        host.got()
        await host.up()
        again = await bound(host)
        await mapped(host)
        await host.say(b"\x03whole\x03")
        assert sent(again) == [b"", b"whole"]


async def test_a_cut_datagram_is_delivered_and_counted(autojump_clock):
    async with running() as host:
        await host.up()
        link = await bound(host)
        await mapped(host)
        link._inbox.append(Datagram(b"part", PEER, True))
        link._wake()
        await trio.sleep(0.1)
        assert host.got() == b"part\x03"
        assert host.upstream.counters["datagram-cut"] == 1
