r"""Sends and reads of the SKT module side, byte-exact, and what a faithful module loses."""

from __future__ import annotations

import random

import fake_network
import pytest
import trio
from skt_module_host import FakeNetwork, running

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError

OK = b"\r\n+SKTSEND:OK\r\n"


def error(number, command=b"SKTSEND"):
    return b"\r\n+%s:ERROR:%d\r\n" % (command, number)


def escaped(data):
    return data.replace(b"\\", b"\\\\").replace(b",", b"\\,")


# -- sends


@pytest.mark.parametrize(
    ("line", "answer", "sent"),
    [
        (b"5,1:hello", OK, b"hello"),
        (b"5,1:a:b:c", OK, b"a:b:c"),
        (b"3,1:a\\,b", OK, b"a,b"),
        (b"3,1:a\\\\b", OK, b"a\\b"),
        (b"0,1:", OK, b""),
        (b"5,1:hell", error(1), b""),
        (b"5,1:helloo", error(1), b""),
        (b"5,1hello", error(1), b""),
        (b"3,1:a,b", error(1), b""),
        (b"3,1:a\\nb", error(1), b""),
        (b"2,1:a\\", error(1), b""),
        (b"5", error(1), b""),
        (b"", error(1), b""),
        (b"5,7:hello", error(3), b""),
        (b"5,x:hello", error(3), b""),
        (b"-1,1:", error(1), b""),
        (b"5x,1:hello", OK, b"hello"),
        (b"9999999,1:hello", error(2), b""),
    ],
)
@pytest.mark.parametrize("quirks", [False, True])
async def test_send(autojump_clock, quirks, line, answer, sent):
    async with running(quirks=quirks) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTSEND=" + line) == answer
        assert bytes(link.sent) == sent
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_no_fields(autojump_clock):
    async with running() as host:
        assert await host.ask(b"AT+SKTSEND") == error(1)


async def test_sizes_of_the_real_line_buffer(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        head = b"AT+SKTSEND=108,1:"
        assert len(head) == 17
        assert await host.ask(head + b"x" * 108) == OK  # 125 bytes
        assert await host.ask(b"AT+SKTSEND=109,1:" + b"x" * 109) == OK  # it overflows, and is run as it is
        assert await host.ask(b"AT+SKTSEND=110,1:" + b"x" * 110) == error(1)  # run without its last byte
        assert bytes(link.sent) == b"x" * 217
        assert await host.ask(b"AT+SKTSEND=128,1:abc") == error(2)
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_longer_sends_than_the_real_buffer_for_a_host_of_a_longer_build(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        data = b"y" * 493
        assert await host.ask(b"AT+SKTSEND=493,1:" + data) == OK
        assert bytes(link.sent) == data
        assert await host.ask(b"AT+SKTSEND=4000,1:" + b"AT+RST " * 700) == error(2)
        assert bytes(link.sent) == data
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


@pytest.mark.parametrize("value", range(256))
async def test_every_byte_value_that_a_host_sends_generously(autojump_clock, value):
    async with running() as host:
        _, link = await host.client()
        data = b"<" + bytes([value]) + b">"
        assert await host.ask(b"AT+SKTSEND=3,1:" + escaped(data)) == OK
        assert bytes(link.sent) == data


@pytest.mark.parametrize("value", [0x00, 0x08, 0x7F, 0xFF])
async def test_what_the_real_console_cannot_carry_is_never_sent(autojump_clock, value):
    async with running(quirks=True) as host:
        _, link = await host.client()
        said = await host.ask(b"AT+SKTSEND=3,1:a" + bytes([value]) + b"b")
        assert said == error(1)
        assert bytes(link.sent) == b""
        await host.say(b"\r\n")
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_a_tab_becomes_a_space_as_on_the_real_console(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTSEND=3,1:a\tb") == OK
        assert bytes(link.sent) == b"a b"


async def test_the_split_between_cr_and_lf(autojump_clock):
    for quirks in (False, True):
        async with running(quirks=quirks) as host:
            _, link = await host.client()
            assert await host.ask(b"AT+SKTSEND=2,1:a\r") == OK
            assert await host.ask(b"AT+SKTSEND=2,1:\nb") == OK
            assert bytes(link.sent) == b"a\r\nb"


@pytest.mark.parametrize("seed", range(5))
async def test_splits_of_the_hosts_wire(autojump_clock, seed):
    rng = random.Random(seed)
    async with running() as host:
        _, link = await host.client()
        expected = b""
        for number in range(20):
            data = bytes(rng.choice(b'abc,\\:=\x80\x1b"') for _ in range(rng.randint(1, 60)))
            wire = b"AT+SKTSEND=%d,1:%s\r\n" % (len(data), escaped(data))
            while wire:
                size = rng.randint(1, 7) if seed else 1
                await host.port.send(wire[:size])
                wire = wire[size:]
                if rng.random() < 0.3:
                    await trio.sleep(0.001)
            await trio.sleep(0.01)
            expected += data
            assert host.got() == OK, number
            assert bytes(link.sent) == expected


async def test_a_send_that_fails(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        link.lose(Condition.LINK_RESET)
        assert await host.ask(b"AT+SKTSEND=2,1:ab") == error(8)
        assert await host.ask(b"AT+SKTREAD=1,10") == error(8, b"SKTREAD")


async def test_a_send_that_hangs_fails_within_its_time_and_loses_its_link(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        host.network.delay["commit"] = 1000
        await host.port.send(b"AT+SKTSEND=2,1:ab\r\n")
        await trio.sleep(8.9)
        assert host.got() == b""
        await trio.sleep(0.2)
        assert host.got() == error(8)
        assert link.condition is Condition.ABORTED
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_a_long_send_goes_in_pieces_that_the_network_takes(autojump_clock):
    network = FakeNetwork()
    network.limits = type(network.limits)(5, 5, 7, network.limits.capabilities, datagram_size=1472)
    async with running(network=network) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTSEND=20,1:abcdefghijklmnopqrst") == OK
        assert bytes(link.sent) == b"abcdefghijklmnopqrst"
        assert link.commits == 3


# -- reads


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"AT+SKTREAD", 1),
        (b"AT+SKTREAD=1", 1),
        (b"AT+SKTREAD=1,2,3", 1),
        (b"AT+SKTREAD=1,", 2),
        (b"AT+SKTREAD=1,0", 2),
        (b"AT+SKTREAD=1,-5", 2),
        (b"AT+SKTREAD=1,x", 2),
        (b"AT+SKTREAD=1,1501", 2),
        (b"AT+SKTREAD=0,10", 9),
        (b"AT+SKTREAD=10,10", 9),
        (b"AT+SKTREAD=,10", 9),
        (b"AT+SKTREAD=4,10", 3),
        (b"AT+SKTREAD=9,10", 3),
    ],
)
async def test_reads_refused(autojump_clock, line, number):
    async with running() as host:
        await host.client()
        assert await host.ask(line) == error(number, b"SKTREAD")


async def test_the_real_read_limit(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        link.feed(b"z" * 300)
        assert await host.ask(b"AT+SKTREAD=1,1500") == error(2, b"SKTREAD")
        assert await host.ask(b"AT+SKTREAD=1,128") == error(2, b"SKTREAD")
        assert await host.ask(b"AT+SKTREAD=1,127") == b"+SKTREAD:OK,127,1:" + b"z" * 127 + b"\r\n"


async def test_an_empty_read_waits_a_little(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        start = trio.current_time()
        await host.port.send(b"AT+SKTREAD=1,100\r\n")
        await trio.sleep(0.01)
        link.feed(b"just in time")
        await trio.sleep(0.005)
        assert host.got() == b"+SKTREAD:OK,12,1:just in time\r\n"
        assert trio.current_time() - start < 0.02
        await host.port.send(b"AT+SKTREAD=1,100\r\n")
        await trio.sleep(0.019)
        assert host.got() == b""
        await trio.sleep(0.002)
        assert host.got() == b"+SKTREAD:OK,0,1:\r\n"


async def test_every_byte_value_comes_through_but_for_the_real_ones_nul(autojump_clock):
    data = bytes(range(255, -1, -1))
    for quirks, shown in ((False, data), (True, data[:-1])):
        async with running(quirks=quirks, module_read_room=1500) as host:
            _, link = await host.client()
            link.feed(data)
            assert await host.ask(b"AT+SKTREAD=1,1500") == b"+SKTREAD:OK,256,1:" + shown + b"\r\n"
            assert host.upstream.counters["bytes-not-printed"] == len(data) - len(shown)


@pytest.mark.parametrize(
    ("condition", "number"), [(Condition.PEER_CLOSED, 7), (Condition.LINK_RESET, 8), (Condition.BEARER_LOST, 8)]
)
async def test_the_end_comes_after_the_data_and_once(autojump_clock, condition, number):
    for quirks in (False, True):
        async with running(quirks=quirks) as host:
            _, link = await host.client()
            link.feed(b"last words")
            link.lose(condition)
            assert await host.ask(b"AT+SKTREAD=1,4") == b"+SKTREAD:OK,4,1:last\r\n"
            assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,6,1: words\r\n"
            assert b"socket:0\r\n" in await host.ask(b"AT+SKTSTATE")
            assert await host.ask(b"AT+SKTREAD=1,100") == error(number, b"SKTREAD")
            assert b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:-1\r\n" in await host.ask(b"AT+SKTSTATE")
            again = b"+SKTREAD:OK,0,1:\r\n" if quirks else error(number, b"SKTREAD")
            assert await host.ask(b"AT+SKTREAD=1,100") == again
            assert await host.ask(b"AT+SKTSEND=1,1:x") == error(8)
            said, _ = await host.client()
            assert said.endswith(b"con_id=2\r\n")  # the id is kept until it is deleted
            assert await host.ask(b"AT+SKTDEL=1") == b"\r\n+SKTDEL:OK\r\n"
            said, _ = await host.client()
            assert said.endswith(b"con_id=1\r\n")


# -- automatic receiving


async def test_auto_mode(autojump_clock):
    async with running() as host:
        _, one = await host.client()
        one.feed(b"before")
        await trio.sleep(0.5)
        assert host.got() == b""
        assert await host.ask(b"AT+SKTRECVCFG=1") == b"\r\n+SKTRECVCFG:OK\r\n+SKTREAD:OK,6,1:before\r\n"
        said, two = await host.client()
        assert said == b"\r\n+SKTCLIENT:OK\r\n+SKTCLIENT:con_id=2\r\n"
        two.feed(b"for two")
        await trio.sleep(0.1)
        assert host.got() == b"+SKTREAD:OK,7,2:for two\r\n"
        assert await host.ask(b"AT+SKTREAD=1,10") == error(11, b"SKTREAD")
        assert await host.ask(b"AT+SKTRECVCFG=1") == b"\r\n+SKTRECVCFG:OK\r\n"
        one.feed(b"x" * 2000)
        await trio.sleep(0.1)
        assert host.got() == b"+SKTREAD:OK,1500,1:" + b"x" * 1500 + b"\r\n+SKTREAD:OK,500,1:" + b"x" * 500 + b"\r\n"
        two.feed(b"end")
        two.peer_close()
        one.lose(Condition.LINK_RESET)
        await trio.sleep(0.1)
        said = host.got()
        assert b"+SKTREAD:OK,3,2:end\r\n+SKTREAD:ERROR:7,2\r\n" in said
        assert said.replace(b"+SKTREAD:OK,3,2:end\r\n", b"").replace(b"+SKTREAD:ERROR:7,2\r\n", b"") == b"+SKTREAD:ERROR:8,1\r\n"
        await trio.sleep(5)
        assert host.got() == b""
        assert await host.ask(b"AT+SKTSEND=1,1:x") == error(8)


async def test_auto_mode_off_again_keeps_what_comes(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        assert await host.ask(b"AT+SKTRECVCFG=0") == b"\r\n+SKTRECVCFG:OK\r\n"
        link.feed(b"kept")
        await trio.sleep(1)
        assert host.got() == b""
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,4,1:kept\r\n"


async def test_the_real_prints_lose_1_kib_and_what_is_behind_a_nul(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        for data, shown in ((b"x" * 1023, b"x" * 1023), (b"x" * 1024, b""), (b"x" * 1500, b""), (b"ab\0cd", b"ab")):
            link.feed(data)
            await trio.sleep(0.1)
            assert host.got() == b"+SKTREAD:OK,%d,1:%s\r\n" % (len(data), shown)


@pytest.mark.parametrize("idle", [0, 1, 4])
async def test_idle_connections_keep_the_others_waiting(idle, autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        for _ in range(idle):
            await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        link.feed(b"late")
        await trio.sleep(0.020 * idle - 0.001 if idle else 0)
        assert host.got() == b""
        await trio.sleep(0.002)
        assert host.got() == b"+SKTREAD:OK,4,1:late\r\n"


async def test_closing_in_auto_mode_says_nothing_but_ok(autojump_clock):
    async with running() as host:
        await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        assert await host.ask(b"AT+SKTDEL=1", 2) == b"\r\n+SKTDEL:OK\r\n"


@pytest.mark.parametrize(
    ("field", "generous", "real"),
    [
        (b"=1", b"OK", b"OK"),
        (b"=0", b"OK", b"OK"),
        (b"=2", b"ERROR:1", b"ERROR:1"),
        (b"=x", b"ERROR:1", b"OK"),
        (b"", b"ERROR:1", b"ERROR:1"),
        (b"=1,1", b"ERROR:1", b"ERROR:1"),
    ],
)
async def test_recvcfg_values(autojump_clock, field, generous, real):
    for quirks, word in ((False, generous), (True, real)):
        async with running(quirks=quirks) as host:
            assert await host.ask(b"AT+SKTRECVCFG" + field) == b"\r\n+SKTRECVCFG:" + word + b"\r\n"


# -- datagrams


async def test_a_udp_client(autojump_clock):
    async with running() as host:
        said, socket = await host.client(1, b"192.0.2.7", 53)
        assert said == b"\r\n+SKTCLIENT:OK\r\n+SKTCLIENT:con_id=1\r\n"
        assert socket.peer == Endpoint("192.0.2.7", 53)
        assert await host.ask(b"AT+SKTSEND=2,1:hi") == OK
        assert socket.sent == [(b"hi", None)]
        socket.feed(b"one", Endpoint("192.0.2.7", 53))
        socket.feed(b"second", Endpoint("192.0.2.7", 53))
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,3,1:one\r\n"
        assert await host.ask(b"AT+SKTREAD=1,3") == b"+SKTREAD:OK,3,1:sec\r\n"  # the tail is lost
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,0,1:\r\n"
        assert host.upstream.counters["datagrams-cut"] == 1
        assert b"con_id:1,client,udp,address:192.0.2.7,port:53,socket:0\r\n" in await host.ask(b"AT+SKTSTATE")
        socket.lose(Condition.BEARER_LOST)
        assert await host.ask(b"AT+SKTSEND=2,1:hi") == error(6)
        assert await host.ask(b"AT+SKTREAD=1,100") == error(5, b"SKTREAD")


async def test_a_udp_server(autojump_clock):
    async with running() as host:
        said, socket = await host.serve(1, 5002)
        assert said == b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n"
        assert socket.local.port == 5002
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,0,1,,0:\r\n"
        socket.feed(b"12345678", Endpoint("192.168.99.185", 52795))
        assert await host.ask(b"AT+SKTREAD=1,1500") == b"+SKTREAD:OK,8,1,192.168.99.185,52795:12345678\r\n"
        assert await host.ask(b"AT+SKTSEND=5,1,192.168.99.186,52795:hello") == OK
        assert socket.sent == [(b"hello", Endpoint("192.168.99.186", 52795))]
        assert await host.ask(b"AT+SKTSEND=5,1:hello") == error(1)
        assert await host.ask(b"AT+SKTSEND=5,1,nobody,5:hello") == error(4)
        assert await host.ask(b"AT+SKTSEND=5,1,10.0.0.1,0:hello") == error(4)
        await host.ask(b"AT+SKTRECVCFG=1")
        socket.feed(b"auto", Endpoint("192.168.99.185", 7))
        await trio.sleep(0.1)
        assert host.got() == b"+SKTREAD:OK,4,1,192.168.99.185,7:auto\r\n"
        host.network.error["send_datagram"] = NetworkError(Condition.HOST_UNREACHABLE)
        assert await host.ask(b"AT+SKTSEND=5,1,10.0.0.1,5:hello") == error(5)


async def test_a_peer_that_spoke_last_needs_no_target(autojump_clock):
    """Not every Network has targets; the usual answer to the one who asked works on all."""
    async with running() as host:
        _, socket = await host.serve(1, 5002)
        socket.feed(b"?", Endpoint("192.168.99.185", 52795))
        await host.ask(b"AT+SKTREAD=1,100")
        assert await host.ask(b"AT+SKTSEND=1,1,192.168.99.185,52795:!") == OK
        assert socket.sent == [(b"!", None)]


async def test_a_read_error_of_a_udp_server(autojump_clock):
    async with running() as host:
        _, socket = await host.serve(1, 5002)
        socket.lose(Condition.MODULE_RESET)
        assert await host.ask(b"AT+SKTREAD=1,100") == error(4, b"SKTREAD")


# -- Networks that are slow, or not quite there


async def test_bytes_that_wait_below_and_do_not_come_are_asked_for_again(autojump_clock):
    class Late(fake_network.FakeLink):
        ready = False

        async def fetch(self):
            await super().fetch()
            return len(self._inbox) if self.ready else 0

        def take(self, most):
            return super().take(most) if self.ready else b""

    class Slow(FakeNetwork):
        async def open_stream(self, host, port, *, keepalive=0):
            self.links.append(Late(self, host, port))
            return self.links[-1]

    async with running(network=Slow()) as host:
        _, link = await host.client()
        link.feed(b"late")
        assert await host.ask(b"AT+SKTREAD=1,10") == b"+SKTREAD:OK,0,1:\r\n"
        assert await host.ask(b"AT+SKTRECVCFG=1", 1) == b"\r\n+SKTRECVCFG:OK\r\n"
        assert host.network.calls["fetch"] < 30
        link.ready = True
        assert await host.say(b"", 0.1) == b"+SKTREAD:OK,4,1:late\r\n"


async def test_a_fetch_that_fails_ends_the_connection_and_says_so(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        host.network.error["fetch"] = NetworkError(Condition.MODULE_MUTE)
        link.feed(b"nobody gets this")
        assert await host.say(b"", 1) == b"+SKTREAD:ERROR:8,1\r\n"
        assert link.closed
        assert b"socket:-1" in await host.ask(b"AT+SKTSTATE")


class Below(fake_network.FakeLink):
    """What is fed waits in the module below until it is fetched."""

    here = 0

    async def fetch(self):
        await super().fetch()
        self.here = len(self._inbox)
        return self.here

    def take(self, most):
        data = super().take(min(most, self.here))
        self.here -= len(data)
        return data


class ModemNetwork(FakeNetwork):
    async def open_stream(self, host, port, *, keepalive=0):
        await self.operation("open_stream")
        self.links.append(Below(self, host, port))
        return self.links[-1]


async def test_a_read_never_waits_for_a_modem_that_turns_to_another_connection(autojump_clock):
    """As many seconds as that takes, a host of the real module would have given up."""
    async with running(network=ModemNetwork()) as host:
        _, link = await host.client()
        host.network.delay["fetch"] = 1.2
        link.feed(b"slow")
        for _ in range(2):
            assert await host.ask(b"AT+SKTREAD=1,2", 0.49) == b""
            assert await host.say(b"", 0.02) == b"+SKTREAD:OK,0,1:\r\n"
        assert await host.ask(b"AT+SKTREAD=1,2", 0.3) == b"+SKTREAD:OK,2,1:sl\r\n"
        assert host.network.calls["fetch"] == 1  # one demand, whoever asks
        link.peer_close()
        host.network.delay.clear()
        assert await host.ask(b"AT+SKTREAD=1,9") == b"+SKTREAD:OK,2,1:ow\r\n"
        assert await host.ask(b"AT+SKTREAD=1,9") == error(7, b"SKTREAD")
        assert host.upstream.counters["commands-late"] == 0


async def test_automatic_receiving_is_switched_while_a_fetch_hangs(autojump_clock):
    async with running(network=ModemNetwork()) as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTRECVCFG=1")
        host.network.delay["fetch"] = 1
        link.feed(b"slow")
        await trio.sleep(0.1)
        assert await host.ask(b"AT+SKTRECVCFG=0") == b"\r\n+SKTRECVCFG:OK\r\n"
        assert await host.ask(b"AT+SKTREAD=1,10", 0.6) == b"+SKTREAD:OK,0,1:\r\n"
        await trio.sleep(1)
        assert host.got() == b""  # it is off
        assert await host.ask(b"AT+SKTRECVCFG=1") == b"\r\n+SKTRECVCFG:OK\r\n"
        assert await host.say(b"", 1.1) == b"+SKTREAD:OK,4,1:slow\r\n"


async def test_deleting_and_resetting_while_a_fetch_hangs(autojump_clock):
    for how in (b"SKTDEL=1", b"SKTDEL=0", b"RST"):
        async with running(network=ModemNetwork()) as host:
            _, link = await host.client()
            host.network.delay["fetch"] = 1000
            link.feed(b"x")
            assert await host.ask(b"AT+SKTREAD=1,2", 0.6) == b"+SKTREAD:OK,0,1:\r\n"
            assert await host.ask(b"AT+" + how, 3) == b"\r\n+%s:OK\r\n" % how.partition(b"=")[0]
            assert link.closed
            host.network.delay.clear()
            _, link = await host.client()
            link.feed(b"y")
            assert await host.ask(b"AT+SKTREAD=1,2") == b"+SKTREAD:OK,1,1:y\r\n"


async def test_a_crash_in_a_fetch_is_a_number(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        link.feed(b"x")
        host.network.error["fetch"] = RuntimeError("a bug below")
        assert await host.ask(b"AT+SKTREAD=1,2") == error(10, b"SKTREAD")
        assert host.upstream.counters.pop("crashes") == 1
