r"""TCP servers of the module: accepting, reserved ranges, who is refused (Multi-Tech S000478 p.103; wip.md 4.3, 4.4)."""

from __future__ import annotations

import pytest
import trio
from wip_fakes import running

from bridge.dialects.wip.module.sockets import _accepted
from bridge.model import Condition
from bridge.network import NetworkError

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


def accepted(server, *indexes):
    return b"".join(b"\r\n+WIPACCEPT: %d,%d\r\n" % (server, index) for index in indexes)


async def serving(host, arguments=b"1,80,4,6"):
    assert await host.ask(b"AT+WIPCREATE=3," + arguments) == OK
    return host.network.listeners[-1]


async def knock(listener, count=1):
    links = [listener.knock() for _ in range(count)]
    await trio.sleep(0.1)
    return links


async def test_ok_means_that_it_listens_and_no_urc_follows(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.delay["listen"] = 1.0
        assert await host.ask(b"AT+WIPCREATE=3,1,080,4,8", 0.9) == b""
        await trio.sleep(1)
        assert host.got() == OK
        listener = host.network.listeners[0]
        assert (listener.local.port, listener.room) == (80, 5)


async def test_peers_get_the_lowest_free_index(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        first, second = await knock(listener, 2)
        assert host.got() == accepted(1, 4, 5)
        assert await host.ask(b"AT+WIPCLOSE=2,4") == OK
        assert first.closed
        await knock(listener)
        assert host.got() == accepted(1, 4)
        await knock(listener)
        assert host.got() == accepted(1, 6)
        assert not second.closed


async def test_a_spawned_socket_carries_data_both_ways_and_tells_its_ends(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        link = listener.knock("10.7.7.7", 40007)
        link.feed(b"GET")
        await trio.sleep(0.1)
        assert host.got() == accepted(1, 4) + b"\r\n+WIPDATA: 2,4,3\r\n"
        for number, value in ((1, b"40007"), (2, b'"10.7.7.7"'), (3, b"1"), (6, b"3")):
            assert await host.ask(b"AT+WIPOPT=2,4,1,%d" % number) == b"\r\n+WIPOPT: 2,%d,%s\r\n" % (number, value) + OK
        assert await host.ask(b"AT+WIPDATA=2,4,2") == CONNECT + b"GET"
        await host.say(b"200")
        assert bytes(link.sent) == b"200"
        assert await host.escape() == OK
        link.peer_close()
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPPEERCLOSE: 2,4\r\n"
        await knock(listener)
        assert host.got() == accepted(1, 5)  # a closed peer's index stays in use until WIPCLOSE


async def test_ten_peers_on_a_range_of_four(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host, b"1,80,1,4")
        links = await knock(listener, 10)
        assert host.got() == accepted(1, 1, 2, 3, 4)
        assert [link.closed for link in links] == [False] * 4 + [True] * 6
        assert host.upstream.counters["peers-refused"] == 6
        for link in links[:4]:
            link.peer_close()
        await trio.sleep(0.1)
        host.got()
        (late,) = await knock(listener)
        assert late.closed  # still full: nobody has closed anything
        assert host.got() == b""
        await host.ask(b"AT+WIPCLOSE=2,3")
        await knock(listener)
        assert host.got() == accepted(1, 3)


async def test_the_total_of_sockets_refuses_peers_too(autojump_clock):
    """WIPCFG option 6: the server is one, a UDP socket one, so two peers are left."""
    async with running() as host:
        await host.up(b"AT+WIPCFG=2,6,4")
        assert (await host.ask(b"AT+WIPCREATE=1,1,5000")).startswith(OK)
        listener = await serving(host, b"1,80,1,8")
        links = await knock(listener, 3)
        assert host.got() == accepted(1, 1, 2)
        assert [link.closed for link in links] == [False, False, True]
        assert await host.ask(b"AT+WIPCREATE=3,2,81,7,8") == cme(845)
        assert await host.ask(b"AT+WIPCREATE=1,2,5001") == cme(838)


async def test_no_socket_is_left_for_a_server(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIPCFG=2,6,1")
        await host.create(1)
        assert await host.ask(b"AT+WIPCREATE=3,1,80,4,8") == cme(838)
        assert not host.network.listeners


# -- ranges


async def test_a_client_cannot_be_created_in_a_range(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        await knock(listener)
        host.got()
        for index in (5, 6):
            assert await host.ask(b'AT+WIPCREATE=2,%d,"h",7' % index) == cme(845)
        assert await host.ask(b'AT+WIPCREATE=2,4,"h",7') == cme(840)
        await host.create(3)
        await host.create(7)
        assert (await host.ask(b'AT+WIPCREATE=1,5,5000,"10.1.1.1",7')).startswith(OK)  # UDP has its own indexes


@pytest.mark.parametrize("indexes", [b"4,6", b"1,4", b"6,8", b"5,5", b"1,8"])
async def test_ranges_do_not_overlap(autojump_clock, indexes):
    async with running() as host:
        await host.up()
        await serving(host)
        assert await host.ask(b"AT+WIPCREATE=3,2,81," + indexes) == cme(845)
        await serving(host, b"2,81,1,3")
        await serving(host, b"3,82,7,8")


async def test_a_range_with_a_client_in_it_is_refused(autojump_clock):
    async with running() as host:
        await host.up()
        await host.create(5)
        assert await host.ask(b"AT+WIPCREATE=3,1,80,4,6") == cme(845)
        await host.ask(b"AT+WIPCLOSE=2,5")
        await serving(host)


async def test_a_range_is_free_when_server_and_spawned_are_closed(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        links = await knock(listener, 2)
        host.got()
        assert await host.ask(b"AT+WIPCLOSE=3,1") == OK
        assert listener.closed
        assert not any(link.closed for link in links)  # what it spawned lives on
        links[0].feed(b"still here")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,4,10\r\n"
        for _ in range(2):
            assert await host.ask(b'AT+WIPCREATE=2,6,"h",7') == cme(845)
            assert await host.ask(b"AT+WIPCREATE=3,1,80,6,8") == cme(845)
            assert await host.ask(b"AT+WIPCREATE=3,2,81,1,4") == cme(845)
            links.pop().peer_close()  # does not free anything
            await trio.sleep(0.1)
            host.got()
        assert await host.ask(b"AT+WIPCLOSE=2,5") == OK
        assert await host.ask(b'AT+WIPCREATE=2,5,"h",7') == cme(845)
        assert await host.ask(b"AT+WIPCLOSE=2,4") == OK
        await host.create(6)
        await host.create(5)
        await serving(host, b"1,80,3,4")


async def test_spawned_sockets_closed_first(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        await knock(listener)
        host.got()
        assert await host.ask(b"AT+WIPCLOSE=2,4") == OK
        assert await host.ask(b'AT+WIPCREATE=2,4,"h",7') == cme(845)  # the server still has it
        assert await host.ask(b"AT+WIPCLOSE=3,1") == OK
        await host.create(4)


async def test_a_server_can_be_created_again_at_once_on_the_same_port(autojump_clock):
    async with running() as host:
        await host.up()
        for number in range(3):
            listener = await serving(host)
            host.network.delay["unlisten"] = 0.5
            assert await host.ask(b"AT+WIPCLOSE=3,1", 0.4) == b"", number
            await trio.sleep(0.2)
            assert host.got() == OK
            assert listener.closed


# -- refusals


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (b"0,80,4,8", 830),
        (b"5,80,4,8", 830),
        (b"1,80,0,8", 830),
        (b"1,80,4,9", 830),
        (b"1,80,6,5", 830),
        (b"1,65536,4,8", 832),
        (b"1,,4,8", 832),
        (b"1,80", 800),
        (b"1,80,4", 800),
        (b"1,80,x,8", 800),
    ],
)
async def test_create_refused(autojump_clock, arguments, number):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=3," + arguments) == cme(number)
        assert not host.network.listeners


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (Condition.PORT_IN_USE, 833),
        (Condition.NOT_SUPPORTED, 834),
        (Condition.NO_FREE_LINK, 838),
        (Condition.BEARER_UNAVAILABLE, 803),
        (Condition.ADDRESS_REFUSED, 806),
    ],
)
async def test_what_the_network_refuses_has_a_number_and_takes_nothing(autojump_clock, condition, number):
    async with running() as host:
        await host.up()
        host.network.error["listen"] = NetworkError(condition)
        assert await host.ask(b"AT+WIPCREATE=3,1,80,4,8") == cme(number)
        host.network.error.clear()
        await host.create(4)
        await serving(host, b"1,80,5,8")


async def test_two_servers_on_one_port(autojump_clock):
    async with running() as host:
        await host.up()
        await serving(host)
        assert await host.ask(b"AT+WIPCREATE=3,2,80,7,8") == cme(833)
        assert await host.ask(b"AT+WIPCREATE=3,1,81,7,8") == cme(840)


async def test_a_mute_network_costs_an_error_and_no_server(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.delay["listen"] = 1e9
        assert await host.ask(b"AT+WIPCREATE=3,1,80,4,8", 6) == b"\r\nERROR\r\n"
        host.network.delay.clear()
        await serving(host, b"1,80,4,8")


async def test_a_server_carries_no_data(autojump_clock):
    async with running() as host:
        await host.up()
        await serving(host)
        assert await host.ask(b"AT+WIPDATA=3,1,2") == cme(837)
        assert await host.ask(b"AT+WIPCLOSE=3,2") == cme(831)


# -- options, lists


async def test_lists_and_options(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host, b"2,080,4,6")
        listener.knock("10.7.7.7", 40007)
        await trio.sleep(0.1)
        host.got()
        listed = await host.ask(b"AT+WIPCREATE?")
        local = host.network.links[0].local.port
        assert listed == (b'\r\n+WIPCREATE: 2,4,%d,"10.7.7.7",40007\r\n' % local + b'\r\n+WIPCREATE: 3,2,80,"0.0.0.0",0\r\n' + OK)
        shown = {0: b"80", 4: b"10240", 5: b"16384", 7: b"0", 8: b"64", 9: b"0"}
        for number in range(10):
            got = await host.ask(b"AT+WIPOPT=3,2,1,%d" % number)
            assert got == (b"\r\n+WIPOPT: 3,%d,%s\r\n" % (number, shown[number]) + OK if number in shown else cme(835))
        assert await host.ask(b"AT+WIPOPT=3,2,2,0,81") == cme(835)
        assert await host.ask(b"AT+WIPOPT=3,1,1,0") == cme(831)


async def test_local_port_0_is_the_networks_choice(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host, b"1,0,4,6")
        listener.local = type(listener.local)("10.0.0.2", 41234)
        assert await host.ask(b"AT+WIPOPT=3,1,1,0") == b"\r\n+WIPOPT: 3,0,41234\r\n" + OK


async def test_spawned_sockets_start_with_the_servers_options(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        (before,) = await knock(listener)
        assert await host.ask(b"AT+WIPOPT=3,1,2,5,600") == accepted(1, 4) + OK
        assert await host.ask(b"AT+WIPOPT=3,1,2,7,1") == OK
        (after,) = await knock(listener)
        host.got()
        for link in (before, after):
            link.feed(b"x" * 1000)
            await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,4,1000\r\n\r\n+WIPDATA: 2,5,600\r\n"
        assert await host.ask(b"AT+WIPOPT=2,5,1,7") == b"\r\n+WIPOPT: 2,7,1\r\n" + OK
        assert await host.ask(b"AT+WIPOPT=2,4,1,7") == b"\r\n+WIPOPT: 2,7,0\r\n" + OK


# -- URCs kept, ends


async def test_accepted_while_another_is_mapped(autojump_clock):
    async with running() as host:
        await host.up()
        await host.create(1)
        listener = await serving(host)
        await host.map(1)
        (link,) = await knock(listener)
        link.feed(b"hi")
        await trio.sleep(0.1)
        link.peer_close()
        await trio.sleep(0.1)
        assert host.got() == b""
        kept = accepted(1, 4) + b"\r\n+WIPDATA: 2,4,2\r\n\r\n+WIPPEERCLOSE: 2,4\r\n"
        assert await host.escape() == kept + OK


async def test_a_peer_that_left_before_it_was_told(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        listener.knock().peer_close()
        await trio.sleep(0.1)
        assert host.got() == accepted(1, 4) + b"\r\n+WIPPEERCLOSE: 2,4\r\n"


async def test_the_listener_ends(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        await knock(listener)
        host.got()
        listener.lose(Condition.BEARER_LOST)
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPERROR: 3,1,816\r\n"
        assert await host.ask(b"AT+WIPCREATE=3,1,80,7,8") == cme(840)
        assert await host.ask(b"AT+WIPCLOSE=3,1") == OK
        await serving(host, b"1,80,7,8")


async def test_bearer_stopped_by_the_host(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        (link,) = await knock(listener)
        host.got()
        lost = b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 2,4,816\r\n\r\n+WIPERROR: 3,1,816\r\n"
        assert await host.ask(b"AT+WIPBR=5,6") == OK + lost
        assert (listener.closed, link.closed) == (True, True)


@pytest.mark.parametrize("command", [b"AT+WIPCFG=0", b"AT+CFUN=1"])
async def test_everything_goes_with_the_stack(autojump_clock, command):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        listener = await serving(host)
        (link,) = await knock(listener)
        host.got()
        assert await host.ask(command) == OK
        await trio.sleep(4)
        assert (listener.closed, link.closed) == (True, True)
        assert host.got() == b""
        (late,) = await knock(listener)
        assert host.got() == b""
        assert not late.sent


async def test_a_peer_that_comes_with_the_close_is_refused(autojump_clock):
    async with running() as host:
        await host.up()
        listener = await serving(host)
        module = host.upstream._module
        server = module.servers[1]
        assert await host.ask(b"AT+WIPCLOSE=3,1") == OK
        assert not _accepted(module, server, listener.knock())
        assert await host.ask(b"AT+WIPCREATE?") == OK


async def test_reset_while_the_network_begins_to_listen(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        host.network.delay["listen"] = 2.0
        assert await host.ask(b"AT+WIPCREATE=3,1,80,4,8") == b""
        host.upstream._module.reboot()
        await trio.sleep(5)
        assert host.got() == b""
        assert host.network.listeners[0].closed
        host.network.delay.clear()
        await host.up()
        await serving(host)
