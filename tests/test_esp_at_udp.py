"""UDP as a host sees it: modes and peers, targets, borders of datagrams, and what is refused before a byte is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from esp_at_sends import FAIL, sent
from fake_network import FakeNetwork
from test_esp_at import ERROR, OK, PROMPT, bridge

from bridge.model import Capability, Condition, Endpoint, Peers
from bridge.network import LinkLost, NetworkError

pytestmark = pytest.mark.deadline(2000)

A, B = Endpoint("10.0.0.9", 4000), Endpoint("10.0.0.8", 5000)


def without(*gone, **changes):
    network = FakeNetwork()
    network.limits = replace(network.limits, capabilities=network.limits.capabilities - set(gone), **changes)
    return network


async def opened(host, arguments='"UDP","1.2.3.4",53', number=0):
    await host.join()
    assert await host.ask(f"AT+CIPSTART={number},{arguments}") == b"%d,CONNECT\r\n" % number + OK
    return host.network.datagrams[-1]


@pytest.mark.parametrize(
    ("arguments", "peer", "local_port", "peers"),
    [
        ('"UDP","1.2.3.4",53', Endpoint("1.2.3.4", 53), 0, Peers.FIXED),
        ('"udp","name.example",53', Endpoint("name.example", 53), 0, Peers.FIXED),
        ('"UDP","1.2.3.4",53,5000', Endpoint("1.2.3.4", 53), 5000, Peers.FIXED),
        ('"UDP","1.2.3.4",53,5000,0', Endpoint("1.2.3.4", 53), 5000, Peers.FIXED),
        ('"UDP","1.2.3.4",53,5000,1', Endpoint("1.2.3.4", 53), 5000, Peers.FIRST),
        ('"UDP","1.2.3.4",53,5000,2', Endpoint("1.2.3.4", 53), 5000, Peers.LAST),
        ('"UDP","1.2.3.4",53,5000,2,"10.0.0.2"', Endpoint("1.2.3.4", 53), 5000, Peers.LAST),
        ('"UDP","1.2.3.4",53,,,"10.0.0.2"', Endpoint("1.2.3.4", 53), 0, Peers.FIXED),
        ('"UDP","0",0,5000,2', None, 5000, Peers.LAST),
        ('"UDP","0.0.0.0",0,5000,1', None, 5000, Peers.FIRST),
        ('"UDP","host.example",0,5000,2', None, 5000, Peers.LAST),
    ],
)
async def test_every_form_opens_what_it_says(autojump_clock, arguments, peer, local_port, peers):
    async with bridge() as host:
        link = await opened(host, arguments)
        assert (link.peer, link.peers) == (peer, peers)
        assert not local_port or link.local.port == local_port


@pytest.mark.parametrize("arguments", ['"UDP","1.2.3.4",53', '"UDP","1.2.3.4",53,5000,0'])
async def test_single_connection_mode_has_no_id(autojump_clock, arguments):
    async with bridge() as host:
        await host.join(mux=0)
        assert await host.ask(f"AT+CIPSTART={arguments}") == b"CONNECT\r\n" + OK
        host.network.datagrams[0].feed(b"hi", A)
        assert await host.read() == b"\r\n+IPD,2:hi"
        assert await host.ask('AT+CIPSEND=2,"10.0.0.8",5000') == PROMPT
        assert await host.ask(b"ok") == sent(2)
        assert host.network.datagrams[0].sent == [(b"ok", B)]


@pytest.mark.parametrize(
    "arguments",
    [
        '"UDP","1.2.3.4",0',  # a fixed peer without a port
        '"UDP","0.0.0.0",0,5000',
        '"UDP","0",53,5000,0',
        '"UDP","1.2.3.4",53,5000,3',
        '"UDP","1.2.3.4",53,65536,0',
        '"UDP","1.2.3.4",53,5000,2,"9.9.9.9"',
        '"UDP","1.2.3.4",53,5000,2,"",1',
        '"UDP","1.2.3.4",65536',
        '"UDP","",53',
        '"UDP","1.2.3.4"',
        '"UDP"',
        '"TCP","1.2.3.4",53,5000,2',
        '"TCP","1.2.3.4",0',
    ],
)
async def test_bad_forms_never_reach_the_network(autojump_clock, arguments):
    async with bridge() as host:
        await host.join()
        assert await host.ask(f"AT+CIPSTART=0,{arguments}") == ERROR
        assert host.network.datagrams == []
        assert host.network.opened == []


@pytest.mark.parametrize("gone", [Capability.UDP, Capability.UDP_PEERS])
async def test_what_the_network_cannot_do_is_refused(autojump_clock, gone):
    async with bridge(without(gone)) as host:
        await host.join()
        assert await host.ask('AT+CIPSTART=0,"UDP","1.2.3.4",53,5000,2') == ERROR
        assert host.network.calls["open_datagram"] == 0
        answer = await host.ask('AT+CIPSTART=0,"UDP","1.2.3.4",53,5000,0')
        assert answer == (ERROR if gone is Capability.UDP else b"0,CONNECT\r\n" + OK)


async def test_a_port_in_use_is_an_error_and_frees_the_id(autojump_clock):
    async with bridge() as host:
        await opened(host, '"UDP","1.2.3.4",53,5000')
        assert await host.ask('AT+CIPSTART=1,"UDP","1.2.3.4",53,5000') == ERROR
        assert await host.ask('AT+CIPSTART=1,"UDP","1.2.3.4",53,5001') == b"1,CONNECT\r\n" + OK


async def test_borders_of_datagrams(autojump_clock):
    async with bridge() as host:
        link = await opened(host)
        for data in (b"one", b"\r\n+IPD,0,3:two", b"x" * 2048, b"y" * 2050):
            link.feed(data, A)
        expected = b"".join(
            b"\r\n+IPD,0,%d:%s" % (len(data), data) for data in (b"one", b"\r\n+IPD,0,3:two", b"x" * 2048, b"y" * 2048, b"yy")
        )
        assert await host.read() == expected


async def test_sources_are_told_where_asked_for(autojump_clock):
    async with bridge() as host:
        link = await opened(host, '"UDP","1.2.3.4",53,5000,2')
        await host.ask("AT+CIPDINFO=1")
        link.feed(b"a", A)
        link.feed(b"b", B)
        link.feed(b"c", None)  # the module does not say: the peer as it is
        assert await host.read() == b'\r\n+IPD,0,1,"10.0.0.9",4000:a\r\n+IPD,0,1,"10.0.0.8",5000:b\r\n+IPD,0,1,"10.0.0.8",5000:c'


async def test_what_cannot_be_told_whole_is_dropped_and_counted(autojump_clock):
    async with bridge() as host:
        link = await opened(host)
        link.feed(b"half", A, cut=True)
        link.feed(b"", A)
        link.feed(b"whole", A)
        assert await host.read() == b"\r\n+IPD,0,5:whole"
        link.feed(b"half", A, cut=True)
        assert await host.read(1) == b""
        assert host.upstream.counters["datagrams-cut"] == 2
        assert host.upstream.counters["datagrams-empty"] == 1
        assert "half" not in repr(host.records)


@pytest.mark.parametrize("how", ["whole", "bytes", "with the command"])
async def test_a_send_is_one_datagram(autojump_clock, how):
    data = bytes(range(256)) + b"\r\n\\0+++"
    async with bridge() as host:
        link = await opened(host)
        command = b"AT+CIPSEND=0,%d\r\n" % len(data)
        answer = await host.ask(command + data if how == "with the command" else command)
        for piece in {"whole": [data], "bytes": [bytes([b]) for b in data]}.get(how, []):
            await host.type(piece)
        answer += await host.read()
        assert answer == PROMPT + sent(len(data))
        assert link.sent == [(data, None)]


@pytest.mark.parametrize(("length", "answer"), [(1472, PROMPT), (1473, ERROR), (2048, ERROR), (2049, ERROR), (0, ERROR)])
async def test_too_long_is_refused_before_the_prompt(autojump_clock, length, answer):
    async with bridge() as host:
        await opened(host)
        assert await host.ask(f"AT+CIPSEND=0,{length}") == answer


@pytest.mark.parametrize(
    "rest", ['"10.0.0.8"', '"10.0.0.8",0', '"10.0.0.8",65536', "10,5000", '"",5000', '"a;b",1', '"h",1,2', ",5000"]
)
async def test_targets_that_are_none(autojump_clock, rest):
    async with bridge() as host:
        link = await opened(host)
        assert await host.ask(f"AT+CIPSEND=0,2,{rest}") == ERROR
        assert await host.ask("AT") == OK
        assert link.sent == []


async def test_a_target_is_for_udp_only(autojump_clock):
    async with bridge() as host:
        await host.join(links=(0,))
        assert await host.ask('AT+CIPSEND=0,2,"10.0.0.8",5000') == ERROR


async def test_targets(autojump_clock):
    async with bridge() as host:
        link = await opened(host)
        for text in ('"10.0.0.8",5000', '"example.com",7', '"1.2.3.4",53'):
            assert await host.ask(f"AT+CIPSEND=0,2,{text}") == PROMPT
            assert await host.ask(b"ab") == sent(2)
        assert link.sent == [(b"ab", B), (b"ab", Endpoint("93.184.216.34", 7)), (b"ab", None)]


async def test_a_target_s_name_that_is_not_there_fails_the_whole_datagram(autojump_clock):
    async with bridge() as host:
        link = await opened(host)
        host.network.delay["resolve"] = 1
        assert await host.ask('AT+CIPSEND=0,2,"nowhere.example",5') == PROMPT
        assert await host.ask(b"ab", 3) == b"\r\nRecv 2 bytes\r\n" + FAIL
        assert await host.ask('AT+CIPSEND=0,3,"nowhere.example",5', 3) == PROMPT  # the lookup is over first
        assert await host.ask(b"AT\r\n"[:3], 3) == b"\r\nRecv 3 bytes\r\n" + FAIL
        assert link.sent == []
        assert await host.ask("AT+CIPSEND=0,2") == PROMPT
        assert await host.ask(b"ab") == sent(2)


@pytest.mark.parametrize("verb", ["CIPSEND", "CIPSENDEX"])
@pytest.mark.parametrize("target", ['"10.0.0.8",5000', '"1.2.3.4",54', '"0.0.0.0",53', '"other.example",53'])
async def test_a_link_with_one_peer_refuses_another_before_the_prompt(autojump_clock, verb, target):
    async with bridge() as host:
        host.network.targets = False
        fixed = await opened(host)
        host.network.targets = True  # it is the link that is asked
        assert await host.ask(f"AT+{verb}=0,2,{target}") == ERROR
        assert await host.ask("AT") == OK  # nothing is collected
        assert host.network.calls["resolve"] == 0
        assert await host.ask('AT+CIPSTART=1,"UDP","1.2.3.4",53') == b"1,CONNECT\r\n" + OK
        assert await host.ask(f"AT+{verb}=1,2,{target}") == PROMPT
        assert await host.ask(b"ab") == (sent(2) if "other" not in target else b"\r\nRecv 2 bytes\r\n" + FAIL)
        assert fixed.sent == []


@pytest.mark.parametrize(
    ("start", "target"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.04"),
        ("001.02.3.4", "1.2.3.4"),
        ("name.example", "name.example"),
        ("name.example", "93.184.216.34"),
    ],
)
async def test_the_peer_may_be_named_on_every_link(autojump_clock, start, target):
    """By what the host opened it with, and by its address where that is known."""
    async with bridge() as host:
        host.network.targets = False
        link = await opened(host, f'"UDP","{start}",53')
        if start == "name.example":
            link.peer = Endpoint("93.184.216.34", 53)
        assert await host.ask(f'AT+CIPSEND=0,2,"{target}",53') == PROMPT
        assert await host.ask(b"ab") == sent(2)
        assert link.sent == [(b"ab", None)]


async def test_a_peer_that_changes_is_the_one_that_was_named_or_nobody(autojump_clock):
    async with bridge() as host:
        host.network.targets = False
        link = await opened(host, '"UDP","1.2.3.4",53,5000,2')
        assert await host.ask('AT+CIPSEND=0,2,"1.2.3.4",53') == PROMPT
        assert await host.ask(b"ab") == sent(2)
        assert await host.ask('AT+CIPSEND=0,2,"1.2.3.4",53') == PROMPT
        link.feed(b"me", A)
        assert await host.ask(b"cd") == b"\r\nRecv 2 bytes\r\n" + FAIL + b"\r\n+IPD,0,2:me"
        assert await host.ask('AT+CIPSEND=0,2,"1.2.3.4",53') == ERROR
        assert link.sent == [(b"ab", Endpoint("1.2.3.4", 53))]


NUMBERS = [
    ("192.168.010.1", "192.168.8.1"),
    ("192.168.001.005", "192.168.1.5"),
    ("0xC0A80001", "192.168.0.1"),
    ("10.1", "10.0.0.1"),
]
NO_HOSTS = ["192.168.001.009", "192.168.1.256", "1.2.3.4.5", "1.2.3.4.", "host.1"]


@pytest.mark.parametrize(("host_says", "goes_to"), NUMBERS)
async def test_a_number_is_the_machine_that_it_is_on_a_real_module(autojump_clock, host_says, goes_to):
    async with bridge() as host:
        link = await opened(host, f'"UDP","{host_says}",53')
        assert link.peer == Endpoint(goes_to, 53)
        assert await host.ask(f'AT+CIPSTART=1,"TCP","{host_says}",80') == b"1,CONNECT\r\n" + OK
        assert host.network.opened == [(goes_to, 80, 0)]
        assert await host.ask(f'AT+CIPSEND=0,2,"{host_says}",7') == PROMPT
        assert await host.ask(b"ab") == sent(2)
        assert link.sent == [(b"ab", Endpoint(goes_to, 7))]
        assert await host.ask(f'AT+CIPDOMAIN="{host_says}"') == b'+CIPDOMAIN:"%s"\r\n' % goes_to.encode() + OK
        assert await host.ask("AT+CIPSTATE?") == (
            b'+CIPSTATE:0,"UDP","%s",53,50500,0\r\n+CIPSTATE:1,"TCP","%s",80,50000,0\r\n' % (2 * (goes_to.encode(),)) + OK
        )
        assert host.network.calls["resolve"] == 0


@pytest.mark.parametrize("text", NO_HOSTS)
async def test_a_number_that_modules_differ_about_reaches_nobody(autojump_clock, text):
    async with bridge() as host:
        link = await opened(host)
        for command in (
            f'AT+CIPSTART=1,"UDP","{text}",53',
            f'AT+CIPSTART=1,"TCP","{text}",80',
            f'AT+CIPSEND=0,2,"{text}",7',
            f'AT+CIPDOMAIN="{text}"',
            f'AT+PING="{text}"',
            f'AT+SAVETRANSLINK=1,"{text}",80,"TCP"',
        ):
            assert await host.ask(command) == ERROR
        assert (len(host.network.datagrams), host.network.opened, link.sent) == (1, [], [])
        assert not {"resolve", "ping"} & set(host.network.calls)


async def test_a_socket_that_only_listens(autojump_clock):
    async with bridge() as host:
        link = await opened(host, '"UDP","0",0,5000,2', 3)
        assert await host.ask("AT+CIPSTATUS") == b'STATUS:2\r\n+CIPSTATUS:3,"UDP","0.0.0.0",0,5000,0\r\n' + OK
        assert await host.ask("AT+CIPSEND=3,2") == ERROR  # nobody to send to
        link.feed(b"hi", A)
        await host.read()
        assert await host.ask("AT+CIPSEND=3,2") == PROMPT
        assert await host.ask(b"ok") == sent(2)
        assert await host.ask("AT+CIPSTATE?") == b'+CIPSTATE:3,"UDP","10.0.0.9",4000,5000,0\r\n' + OK


async def test_udp_alone_is_no_connection_in_the_status(autojump_clock):
    async with bridge() as host:
        await opened(host, '"UDP","example.com",53')
        assert (await host.ask("AT+CIPSTATUS")).startswith(b'STATUS:2\r\n+CIPSTATUS:0,"UDP","0.0.0.0",53,')
        await host.ask("AT+CIPCLOSE=0")
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:2\r\n" + OK
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == b"1,CONNECT\r\n" + OK
        assert (await host.ask("AT+CIPSTATUS")).startswith(b'STATUS:3\r\n+CIPSTATUS:1,"TCP",')


@pytest.mark.parametrize(
    ("error", "lives"),
    [
        (NetworkError(Condition.ADDRESS_REFUSED), True),
        (NetworkError(Condition.TOO_LONG), True),
        (RuntimeError("a bug"), True),
        (LinkLost(Condition.MODULE_RESET), False),
    ],
)
async def test_a_send_that_fails_fails_once(autojump_clock, error, lives):
    async with bridge() as host:
        link = await opened(host)
        host.network.error["send_datagram"] = error
        assert await host.ask("AT+CIPSEND=0,2") == PROMPT
        if not lives:
            link.lose(Condition.MODULE_RESET)
        answer = await host.ask(b"ab", 100)
        assert answer == b"\r\nRecv 2 bytes\r\n" + FAIL + (b"" if lives else b"0,CLOSED\r\n")
        host.network.error.clear()
        assert await host.ask("AT+CIPSEND=0,2") == (PROMPT if lives else ERROR)


async def test_a_lost_send_ends_the_link_even_if_nothing_else_tells(autojump_clock):
    async with bridge() as host:
        await opened(host)
        host.network.error["send_datagram"] = LinkLost(Condition.MODULE_RESET)
        assert await host.ask("AT+CIPSEND=0,2") == PROMPT
        assert await host.ask(b"ab", 10) == b"\r\nRecv 2 bytes\r\n" + FAIL + b"0,CLOSED\r\n"


async def test_a_mute_network_ends_a_send_in_time(autojump_clock):
    async with bridge() as host:
        await opened(host)
        host.network.delay["send_datagram"] = float("inf")
        await host.ask("AT+CIPSEND=0,2")
        assert await host.ask(b"ab", 19.9) == b"\r\nRecv 2 bytes\r\n"
        assert await host.read(0.2) == FAIL


async def test_a_flood_waits_for_a_send_and_every_other_link_lives(autojump_clock):
    async with bridge() as host:
        flooded = await opened(host)
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == b"1,CONNECT\r\n" + OK
        assert await host.ask("AT+CIPSEND=1,4") == PROMPT
        for number in range(300):
            flooded.feed(b"%03d" % number, A)
        assert await host.ask(b"ab", 5) == b""
        answer = await host.ask(b"cd", 5)
        assert answer == sent(4) + b"".join(b"\r\n+IPD,0,3:%03d" % number for number in range(300))
        assert bytes(host.network.links[0].sent) == b"abcd"


async def test_closing_and_using_the_id_again(autojump_clock):
    async with bridge() as host:
        first = await opened(host)
        assert await host.ask("AT+CIPCLOSE=0") == b"0,CLOSED\r\n" + OK
        first.feed(b"late", A)
        assert await host.ask('AT+CIPSTART=0,"UDP","1.2.3.4",53') == b"0,CONNECT\r\n" + OK
        assert await host.read(1) == b""
        assert first.closed
        host.network.datagrams[1].feed(b"new", A)
        assert await host.read() == b"\r\n+IPD,0,3:new"


async def test_a_socket_that_ends_is_told(autojump_clock):
    async with bridge() as host:
        link = await opened(host)
        link.feed(b"last", A)
        link.lose(Condition.BEARER_LOST)
        assert await host.read() == b"\r\n+IPD,0,4:last0,CLOSED\r\n"


async def test_the_old_generation_s_words(autojump_clock):
    async with bridge(profile="nonos-1.7") as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","p"')
        assert await host.ask('AT+CIPSTART="UDP","1.2.3.4",53,5000,0') == b"CONNECT\r\n" + OK
        link = host.network.datagrams[0]
        assert await host.ask("AT+CIPSTATUS") == b'STATUS:3\r\n+CIPSTATUS:0,"UDP","1.2.3.4",53,5000,0\r\n' + OK
        link.feed(b"x" * 1470, A)  # longer than a TCP slice, and whole
        assert await host.read() == b"\r\n+IPD,1470:" + b"x" * 1470
        assert await host.ask("AT+CIPSEND=1473") == b"too long\r\n" + ERROR
        assert await host.ask("AT+CIPSEND=2") == b"\r\nOK\r\n> "
        link.lose(Condition.LINK_RESET)
        assert await host.ask(b"ab", 10) == b"\r\nRecv 2 bytes\r\nSEND FAIL\r\nCLOSED\r\n"
