r"""The SKT module side over time: transparent mode, resets, deafness, prints that others come between, the log port."""

from __future__ import annotations

import random

import pytest
import trio
from skt_module_host import FakeNetwork, running
from wired_port import WiredPort

from bridge.dialects.skt.module.runner import HOOKS
from bridge.dialects.skt.upstream import SktUpstream
from bridge.model import Condition, HostSettings, Phase, Wire
from bridge.ports.memory import line
from bridge.ports.pty import PortError
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

TT_OK, LEFT = b"\r\n+SKTTT:OK\r\n", b"\r\n#\r\n"


def refused(number):
    return b"\r\n+SKTTT:ERROR:%d\r\n" % number


# -- transparent mode


async def test_transparent(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTTT=1") == TT_OK
        assert await host.ask(b"Hello world!") == b""
        assert await host.ask(b"AT+TEST") == b""
        assert bytes(link.sent) == b"Hello world!AT+TEST"
        link.feed(b"back\r\n")
        await trio.sleep(0.1)
        assert host.got() == b"back\r\n\r\n"
        assert await host.ask(b"---") == b""
        assert await host.ask(b"-----and more") == LEFT
        assert bytes(link.sent) == b"Hello world!AT+TEST---"
        link.feed(b"later")
        assert await host.ask(b"AT+SKTREAD=1,10") == b"+SKTREAD:OK,5,1:later\r\n"  # automatic receiving is off
        assert await host.ask(b"AT+SKTTT=1") == TT_OK
        assert await host.ask(b"again") == b""
        assert bytes(link.sent).endswith(b"again")
        assert await host.ask(b"----") == LEFT


@pytest.mark.parametrize(("fields", "number"), [(b"", 1), (b"=", 1), (b"=0", 1), (b"=2", 1), (b"=1,1", 1), (b"=1", 2)])
async def test_transparent_refused(autojump_clock, fields, number):
    async with running() as host:
        assert await host.ask(b"AT+SKTTT" + fields) == refused(number)


async def test_transparent_needs_one_client_and_no_server(autojump_clock):
    async with running() as host:
        await host.serve()
        assert await host.ask(b"AT+SKTTT=1") == refused(3)
        await host.ask(b"AT+SKTDEL=1")
        await host.client()
        await host.client()
        assert await host.ask(b"AT+SKTTT=1") == refused(4)
        await host.ask(b"AT+SKTDEL=1")
        assert await host.ask(b"AT+SKTTT=1") == TT_OK


async def test_opens_that_were_under_way_are_no_connection(autojump_clock):
    async with running() as host:
        host.network.delay["open_stream"] = 5
        await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80")
        assert await host.ask(b"AT+SKTTT=1") == refused(2)


async def test_the_peer_ends_the_transparent_mode(autojump_clock):
    for quirks in (False, True):
        async with running(quirks=quirks) as host:
            _, link = await host.client()
            assert await host.ask(b"AT+SKTTT=1") == TT_OK
            link.feed(b"bye")
            link.peer_close()
            await trio.sleep(0.1)
            assert host.got() == b"bye\r\n+SKTREAD:ERROR:7,1\r\n"
            assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_the_real_transparent_mode_works_once(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTTT=1")
        assert await host.ask(b"----") == LEFT
        assert await host.ask(b"AT+SKTTT=1") == TT_OK
        assert await host.ask(b"lost") == b""
        assert await host.ask(b"----") == b""
        assert bytes(link.sent) == b""
        link.peer_close()
        await trio.sleep(0.1)
        assert host.got() == b"+SKTREAD:ERROR:7,1\r\n"
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


@pytest.mark.parametrize("quirks", [False, True])
async def test_the_real_transparent_mode_rests_after_each_chunk(quirks, autojump_clock):
    async with running(quirks=quirks) as host:
        _, link = await host.client()
        await host.ask(b"AT+SKTTT=1")
        link.feed(b"one")
        await trio.sleep(0.001)
        assert host.got() == b"one\r\n"
        link.feed(b"two")
        await trio.sleep(0.018)
        assert host.got() == (b"" if quirks else b"two\r\n")
        await trio.sleep(0.002)
        assert host.got() == (b"two\r\n" if quirks else b"")


async def test_a_line_that_nobody_takes_is_counted(autojump_clock):
    async with running() as host:
        await host.client()
        await host.ask(b"AT+SKTTT=1")
        host.network.delay["commit"] = 1000
        said = await host.ask(b"stuck", 11)
        assert said == b"+SKTREAD:ERROR:8,1\r\n"  # a stream with a hole does not go on
        assert host.upstream.counters["through-lost"] == 1
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


@pytest.mark.parametrize("name", ["s1-uart", "guide"])
async def test_a_transparent_line_is_sent_as_it_was_typed(autojump_clock, name):
    typed = b"  two blanks,\ta tab, \\, \x00 \x08 \x7f \xff and AT+SKTSEND=99,1:x "
    async with running(name) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTTT=1") == TT_OK
        assert await host.ask(typed) == b""
        assert bytes(link.sent) == typed


async def test_a_transparent_line_of_the_real_console_is_edited(autojump_clock):
    async with running(quirks=True) as host:
        _, link = await host.client()
        assert await host.ask(b"AT+SKTTT=1") == TT_OK
        assert await host.ask(b"  ax\x08\tb\xff") == b""
        assert bytes(link.sent) == b"a b"


# -- resets


async def test_rst(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        await host.serve()
        await host.ask(b"AT+SKTRECVCFG=1")
        await host.port.send(b"AT+RST\r\nAT+TEST\r\n")
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+RST:OK\r\n"
        assert await host.ask(b"AT+TEST", 1) == b""
        assert host.network.calls["reset"] == 1
        assert link.closed
        assert host.network.listeners[0].closed
        await trio.sleep(1)
        assert host.got() == b""
        assert await host.ask(b"AT+SKTSTATE") == b"\r\n+SKTSTATE:OK\r\n"
        said, link = await host.client()
        assert said.endswith(b"con_id=1\r\n")
        link.feed(b"x")
        assert await host.ask(b"AT+SKTREAD=1,9") == b"+SKTREAD:OK,1,1:x\r\n"  # not in auto mode any more


async def test_rst_while_a_connection_is_on_its_way(autojump_clock):
    async with running() as host:
        host.network.delay["open_stream"] = 3
        await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80")
        assert await host.ask(b"AT+RST", 20) == b"\r\n+RST:OK\r\n"
        assert host.network.links == []


def wired(settings):
    ours, theirs = line("host")
    network = FakeNetwork()
    port = WiredPort(ours, wires=(Wire.DSR,))
    return port, theirs, network, SktUpstream(port, network, load("skt", "s1-uart"), Trace(), settings)


async def test_the_reset_wire_ends_a_send_without_a_word(autojump_clock):
    port, theirs, network, upstream = wired(HostSettings(announce=False, reset_on=Wire.DSR))
    heard = bytearray()

    async def listen():
        while True:
            heard.extend(await theirs.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await nursery.start(run_session, upstream, network)
        await theirs.send(b"AT+SKTCLIENT=0,192.0.2.1,80\r\n")
        await trio.sleep(1)
        heard.clear()
        network.delay["commit"] = 1000
        await theirs.send(b"AT+SKTSEND=5,1:hello\r\n")
        await trio.sleep(1)
        port.set_wire(Wire.DSR, asserted=True)
        await trio.sleep(0.1)
        port.set_wire(Wire.DSR, asserted=False)
        await trio.sleep(3)
        assert bytes(heard) == b""
        assert network.calls["reset"] == 1
        network.delay.clear()
        await theirs.send(b"AT+SKTSTATE\r\n")
        await trio.sleep(0.1)
        assert bytes(heard) == b"\r\n+SKTSTATE:OK\r\n"
        nursery.cancel_scope.cancel()


def test_a_port_without_the_reset_wire():
    ours, _ = line("host")
    with pytest.raises(PortError, match="no wire cts"):
        SktUpstream(ours, FakeNetwork(), load("skt", "s1-uart"), Trace(), HostSettings(reset_on=Wire.CTS))


# -- deafness


async def test_a_faithful_module_is_deaf_while_a_command_runs(autojump_clock):
    async with running(quirks=True) as host:
        host.network.delay["resolve"] = 2
        await host.port.send(b"AT+SKTCLIENT=0,example.com,80\r\nAT+TEST\r\n")
        await trio.sleep(1)
        await host.port.send(b"AT+TEST\r\nAT+TE")
        await trio.sleep(1.5)
        assert host.got() == b"\r\n+SKTCLIENT:OK\r\n"
        await trio.sleep(2)
        assert host.got() == b"+SKTCLIENT:con_id=1\r\n"
        assert await host.say(b"ST\r\n") == b""
        assert host.upstream.counters["unheard"] == len(b"AT+TEST\r\nAT+TEST\r\nAT+TE")
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_a_faithful_module_needs_its_guard(autojump_clock):
    async with running(quirks=True) as host:
        await host.port.send(b"AT+TEST\r\n")
        await trio.sleep(0.002)
        assert host.got() == b"\r\n+TEST:OK\r\n"
        assert await host.ask(b"AT+TEST") == b""
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


async def test_otherwise_what_is_typed_ahead_waits(autojump_clock):
    async with running() as host:
        host.network.delay["resolve"] = 2
        await host.port.send(b"AT+SKTCLIENT=0,example.com,80\r\nAT+TEST\r\n")
        await trio.sleep(1)
        await host.port.send(b"AT+TEST\r\n")
        await trio.sleep(3)
        assert host.got() == b"\r\n+SKTCLIENT:OK\r\n" + b"\r\n+TEST:OK\r\n" * 2 + b"+SKTCLIENT:con_id=1\r\n"


@pytest.mark.parametrize(
    "line_", [b"", b"AT", b"at+test", b"AT+", b"AT+NOPE", b"AT+ TEST", b"AT+TEST ", b"AT+SKTSTATE?", b"\xff\xfe"]
)
async def test_silence_for_what_is_unknown(autojump_clock, line_):
    for quirks in (False, True):
        async with running(quirks=quirks) as host:
            assert await host.ask(line_, 5) == b""
            assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"


# -- what may come between


@pytest.mark.parametrize("seed", range(8))
async def test_lines_of_others_never_split_an_answer(autojump_clock, seed):
    rng = random.Random(seed)
    async with running() as host:
        await host.ask(b"AT+SKTRECVCFG=1")
        links = [(await host.client())[1] for _ in range(3)]
        state = await host.ask(b"AT+SKTSTATE")
        urcs = 0

        async def chatter():
            nonlocal urcs
            for _ in range(40):
                rng.choice(links).feed(b"#")
                urcs += 1
                await trio.sleep(rng.choice([0, 0.0001, 0.001]))

        heard = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chatter)
            for _ in range(10):
                heard += await host.ask(b"AT+SKTSTATE", 0.002)
        heard += await host.say(b"", 1)
        assert heard.count(state) == 10
        left = heard.replace(state, b"")
        total = 0
        while left:
            head, _, rest = left.partition(b":OK,")
            assert head == b"+SKTREAD"
            size = int(rest.split(b",")[0])
            _, _, data = rest.partition(b":")
            assert data[: size + 2] == b"#" * size + b"\r\n"
            left, total = data[size + 2 :], total + size
        assert total == urcs


async def test_on_the_real_module_they_do(autojump_clock):
    """Every print of AT+SKTSTATE may have data behind it."""
    async with running(quirks=True, quirk_turns=False) as host:  # data come at once, to meet the prints
        await host.ask(b"AT+SKTRECVCFG=1")
        links = [(await host.client())[1] for _ in range(3)]
        split = 0
        for gap in range(30):
            await host.port.send(b"AT+SKTSTATE\r\n")
            for _ in range(gap):
                await trio.lowlevel.checkpoint()
            links[0].feed(b"#")
            await trio.sleep(0.05)
            heard = host.got()
            assert heard.count(b"con_id:") == 3
            assert heard.count(b"+SKTREAD:OK,1,1:#\r\n") == 1
            assert heard.count(b"\r\n+SKTSTATE:OK\r\n") == 1
            split += heard.find(b"con_id:3") > heard.find(b"+SKTREAD") > heard.find(b"con_id:1")
        assert split


# -- the log port


async def test_the_log_port(autojump_clock):
    trailer = b"\n\r[MEM] After do cmd, available heap 131072\n\r\r\n\n#\r\n"
    for quirks in (False, True):
        async with running("s1-log", quirks=quirks) as host:
            echo = b"AT+TEST\r\r\n" if quirks else b"AT+TEST\r\n"
            assert await host.ask(b"AT+TEST") == echo + b"\r\n+TEST:OK\r\n" + trailer
            assert (await host.ask(b"AT+NOPE=1")).endswith(b"\r\nunknown command 'AT+NOPE=1'\r\n\n#\r\n")
            assert (await host.ask(b"")).endswith(b"\r\n\r#")
            said, link = await host.client(wait=2)
            noise = b"\r\nConnect to Server successful!\r\n" if quirks else b""
            assert said.endswith(b"\r\n+SKTCLIENT:OK\r\n" + trailer + noise + b"+SKTCLIENT:con_id=1\r\n")
            for mode, name in ((0, b"TCP"), (1, b"UDP")):
                said, _ = await host.serve(mode)
                noise = b"\r\nThe %s SERVER START OK!\r\n" % name if quirks else b""
                assert said.endswith(trailer + noise + b"\r\n+SKTSERVER:con_id=%d\r\n" % (2 + mode))
            link.feed(b"x" * 1100)
            await host.ask(b"AT+SKTRECVCFG=1", 0.2)
            assert host.upstream.counters["bytes-not-printed"] == 0  # no such buffer there


async def test_a_line_over_the_limit_on_the_real_log_port(autojump_clock):
    trailer = b"\n\r[MEM] After do cmd, available heap 131072\n\r\r\n\n#\r\n"
    typed = b"AT+TEST=" + b"x" * 118
    async with running("s1-log", quirks=True) as host:
        said = await host.ask(typed)
        assert said == typed + b"\n\r <<<Too long cmd string.>>> \n" + typed + b"\r\n+TEST:OK\r\n" + trailer
        await host.ask(b"AT+WLCONN=ssid,home,pw,hush" + b"x" * 120)
        assert b"hush" not in b"".join(record.data or b"" for record in host.records)


async def test_the_log_port_never_shows_a_password_in_a_trace(autojump_clock):
    async with running("s1-log") as host:
        assert b"hush" in await host.ask(b"AT+WLCONN=ssid,home,pw,hush")  # the echo
        await host.ask(b"AT+WLSTARTAP=ssid,home,pw,hush")
        await host.ask(b"at+wlconn ssid,home,pw,hush")
        shown = b"".join(record.data or b"" for record in host.records)
        assert b"WLCONN=***" in shown
        assert b"hush" not in shown


# -- the rest


@pytest.mark.parametrize(
    ("line_", "number"),
    [(b"SKTTT=1", 5), (b"SKTRECVCFG=1", 2), (b"SKTREAD=1,5", 10), (b"SKTCLIENT=0,192.0.2.1,80", 5), (b"SKTSERVER=0,80", 4)],
)
async def test_a_crash_in_a_command_is_its_own_number(autojump_clock, monkeypatch, line_, number):
    async def crash(_module, _request):
        raise RuntimeError("a bug")

    for hook in ("skt_tt", "skt_recvcfg", "skt_read", "skt_client", "skt_server"):
        monkeypatch.setitem(HOOKS, hook, crash)
    async with running() as host:
        name = line_.partition(b"=")[0]
        assert await host.ask(b"AT+" + line_) == b"\r\n+%s:ERROR:%d\r\n" % (name, number)
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"
        assert host.upstream.counters.pop("crashes") == 1


async def test_the_real_help_text(autojump_clock):
    async with running(quirks=True) as host:
        said = await host.ask(b"AT+WLCONN=ssid")
        assert said.startswith(b"\r\n+WLCONN:ERROR:1\r\n\r\n[+WLCONN] usage:\r\n")


async def test_a_lost_bearer_is_a_read_error_and_no_line(autojump_clock):
    async with running() as host:
        _, link = await host.client()
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        link.lose(Condition.BEARER_LOST)
        await trio.sleep(5)
        assert host.got() == b""
        assert b"\tIP  => 0.0.0.0\r\n" in await host.ask(b"AT+WLSTATE")
        assert await host.ask(b"AT+SKTREAD=1,5") == b"\r\n+SKTREAD:ERROR:8\r\n"


@pytest.mark.parametrize("text", [b"AT+SKTSTATE\r\n", b"AT+SKTREAD=1,5\r\n", b"AT+SKTSEND=3,1:abc\r\n", b"AT+SKTDEL=1\r\n"])
async def test_byte_by_byte(autojump_clock, text):
    answers = []
    for size in (1, 3, len(text)):
        async with running() as host:
            _, link = await host.client()
            link.feed(b"hello")
            for at in range(0, len(text), size):
                await host.port.send(text[at : at + size])
                await trio.sleep(0.0001)
            answers.append(await host.say(b"", 0.1))
    assert answers[0] == answers[1] == answers[2] != b""
