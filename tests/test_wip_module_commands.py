r"""The module in command state: line discipline, settings, bring-up, create, close, lists (wip.md 1, 4, 9.1)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import profile, running

from bridge.model import Condition, Phase
from bridge.network import NetworkError
from bridge.trace import Lane

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


async def test_echo_precedes_the_reply_and_covers_its_own_command(autojump_clock):
    async with running() as host:
        assert await host.say(b"AT\r") == b"AT\r" + OK
        assert await host.say(b"at\r\n") == b"at\r" + OK  # the LF is swallowed and not echoed
        assert await host.say(b"ATE0\r") == b"ATE0\r" + OK
        assert await host.say(b"AT\r\n") == OK
        assert await host.say(b"ATE1\r") == OK
        assert await host.say(b"A") == b"A"


async def test_verbosity_and_quiet(autojump_clock):
    async with running() as host:
        assert await host.say(b"ATE0V0\r") == b"ATE0V0\r0\r"
        assert await host.ask(b"AT+NONSENSE") == b"4\r"
        assert await host.ask(b"AT+CMEE?") == b"+CMEE: 0\r\n0\r"
        assert await host.ask(b"AT+CMEE=1") == b"0\r"
        assert await host.ask(b"AT+WIPCFG?") == cme(803)  # stays verbose
        assert await host.ask(b"ATV1Q1") == b""
        assert await host.ask(b"AT+CGMM") == b"\r\nQ26EL\r\n"
        assert await host.ask(b"ATQ0") == OK


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"AT+CGMI", b"\r\nMulti-Tech Systems\r\n" + OK),
        (b"AT+CPIN?", b"\r\n+CPIN: READY\r\n" + OK),
        (b"AT+CSQ", b"\r\n+CSQ: 31,0\r\n" + OK),
        (b"AT+CREG?", b"\r\n+CREG: 0,1\r\n" + OK),
        (b"AT+CSS?", b"\r\n+CSS: 1,A,1\r\n" + OK),
        (b"AT$QCMIP=0", OK),
        (b"AT&C1&D1&S0", OK),
        (b"AT+IFC=2,2;+CMEE=1", OK),
        (b"AT+IPR?", b"\r\n+IPR: 115200\r\n" + OK),
        (b"AT+WIPCFG=?", OK),
        (b"AT+WIPCLOSE=?", OK),
        (b"AT+WIPCLOSE?", ERROR),
        (b"AT+WIPOPT?", ERROR),
        (b"AT+WOPEN?", ERROR),
        (b'AT+WIPPING="a"', ERROR),
        (b"AT+", ERROR),
        (b"ATE7", ERROR),
        (b"AT+IFC=", ERROR),
        (b"AT+IFC=1,2,3", ERROR),
        (b'AT+WIPCREATE=2,1,"unclosed', ERROR),
        (b"+++", b""),
        (b"noise", b""),
        (b"+++AT", OK),
        (b"A" * 300 + b"T", OK),
        (b"AT+WIPCFG=1," + b"9" * 300, ERROR),
        (b"A\x00T", b""),
        (b"AT\x00+CS\x01Q", b"\r\n+CSQ: 31,0\r\n" + OK),
    ],
)
async def test_answers(autojump_clock, command, answer):
    async with running() as host:
        await host.ask(b"ATE0")
        assert await host.ask(command) == answer


async def test_repeat(autojump_clock):
    async with running() as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CSQ")
        assert await host.say(b"A/") == b"\r\n+CSQ: 31,0\r\n" + OK
        assert await host.say(b"A/A/") == (b"\r\n+CSQ: 31,0\r\n" + OK) * 2


@pytest.mark.parametrize(
    ("strength", "answer"),
    [(-113, 0), (-120, 0), (-112, 0), (-111, 1), (-71, 21), (-51, 31), (-30, 31)],
)
async def test_signal_is_the_networks(autojump_clock, strength, answer):
    async with running() as host:
        await host.ask(b"ATE0")
        host.network.strength = strength
        assert await host.ask(b"AT+CSQ") == b"\r\n+CSQ: %d,99\r\n" % answer + OK


@pytest.mark.parametrize("trouble", ["mute", "error"])
async def test_what_the_network_does_not_tell_in_time(autojump_clock, trouble):
    async with running() as host:
        await host.up()
        for name in ("signal", "name_servers"):
            if trouble == "mute":
                host.network.delay[name] = 1e6
            else:
                host.network.error[name] = NetworkError(Condition.MODULE_MUTE)
        assert await host.ask(b"AT+CSQ", 1) == b"\r\n+CSQ: 31,0\r\n" + OK
        assert await host.ask(b"AT+WIPBR=3,6,17", 1) == b'\r\n+WIPBR: 6,17,"0.0.0.0"\r\n' + OK


async def test_name_servers(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.servers = ["10.0.0.53"]
        assert await host.ask(b"AT+WIPBR=3,6,17") == b'\r\n+WIPBR: 6,17,"10.0.0.53"\r\n' + OK
        assert await host.ask(b"AT+WIPBR=3,6,18") == b'\r\n+WIPBR: 6,18,"0.0.0.0"\r\n' + OK
        host.network.servers = ["10.0.0.53", "10.0.0.54", "10.0.0.55"]
        assert await host.ask(b"AT+WIPBR=3,6,18") == b'\r\n+WIPBR: 6,18,"10.0.0.54"\r\n' + OK
        assert await host.ask(b"AT+WIPBR=3,6,19") == cme(800)


async def test_settings_come_back(autojump_clock):
    async with running() as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CMEE=1")
        await host.ask(b"AT&W")
        await host.ask(b"AT+CMEE=0")
        await host.ask(b"ATZ")
        assert await host.ask(b"AT+CMEE?") == b"\r\n+CMEE: 1\r\n" + OK
        await host.ask(b"AT&F")
        assert await host.ask(b"AT") == b"AT\r" + OK


async def test_bring_up(autojump_clock):
    async with running(profile(module_bearer_start=7.0)) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CMEE=1")
        assert await host.ask(b"AT+WIPBR=4,6") == cme(803)
        assert await host.ask(b"AT+WIPCFG=1") == OK
        assert await host.ask(b"AT+WIPCFG=1") == cme(844)
        assert await host.ask(b"AT+WIPCFG=2,12,3") == OK
        assert await host.ask(b"AT+WIPCFG=2,6,9") == cme(801)
        assert await host.ask(b"AT+WIPCFG=2,1,0") == cme(800)
        listed = b"".join(b"\r\n+WIPCFG: %s\r\n" % o for o in (b"0,64", b"3,16384", b"4,536", b"6,8", b"12,3"))
        assert await host.ask(b"AT+WIPCFG?") == listed + OK
        assert await host.ask(b"AT+WIPBR=1,6") == cme(834)
        assert await host.ask(b"AT+WIPBR=4,5") == cme(801)
        assert await host.ask(b"AT+WIPBR=3,6,15") == cme(803)
        assert await host.ask(b"AT+WIPBR?") == b"\r\n+WIPBR: 6,0\r\n" + OK
        assert await host.ask(b'AT+WIPBR=2,6,0,"me"') == OK
        assert await host.ask(b"AT+WIPBR=2,6,1,s3cret") == OK  # unquoted, as on WISMO228
        assert await host.ask(b'AT+WIPCREATE=2,1,"a",7') == cme(803)
        assert await host.ask(b"AT+WIPBR=4,6,0", 6.9) == OK
        assert await host.ask(b"AT+WIPBR=4,6") == cme(803)
        await trio.sleep(0.2)
        assert host.got() == b"\r\n+WIPBR: 6,1\r\n"
        assert host.network.logins[0].name == "me"
        assert host.network.logins[0].password == "s3cret"
        assert await host.ask(b"AT+WIPBR=3,6,15") == b'\r\n+WIPBR: 6,15,"10.0.0.2"\r\n' + OK
        assert await host.ask(b"AT+WIPBR=3,6,17") == b'\r\n+WIPBR: 6,17,"0.0.0.0"\r\n' + OK
        assert await host.ask(b"AT+WIPBR?") == b"\r\n+WIPBR: 6,1\r\n" + OK


async def test_secrets_never_reach_the_trace(autojump_clock):
    async with running() as host:
        await host.ask(b"AT+WIPCFG=1")
        assert b"s3cret" in await host.ask(b'AT+WIPBR=2,6,1,"s3cret"')  # the echo is the host's own
        await host.ask(b'AT+WIPBR=4,6,0,"s3cret","s3cret"')
        await host.ask(b"AT+WIPBR=2,6,1,s3;s3cret")
        await host.ask(b'AT$+WIPBR=2,6,1,"s3cret"')
        await host.ask(b'AT+CMEE=1;+WIPBR=2,6,1,"s3cret')
        await host.ask(b'AT+WIPBR=2,6,1,"s3cret' + b"x" * 300)
        await host.ask(b'AT+WIPCREATE=4,1,"ftp",21,"user","s3cret"')
        await host.ask(b'AT+WIPCREATE=5,1,"http",80,"user","s3cret","Authorization","s3cret","X","s3cret"')
        shown = b"".join(r.data or b"" for r in host.records)
        assert b"s3" not in shown
        assert b"AT+WIPBR=2,6,1,***\r" in [r.data for r in host.records if r.lane is Lane.FROM_HOST]


async def test_bearer_fails_and_is_lost(autojump_clock):
    async with running() as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+WIPCFG=1")
        host.network.error["attach"] = NetworkError(Condition.BEARER_UNAVAILABLE)
        assert await host.ask(b"AT+WIPBR=4,6", 3) == OK + b"\r\n+WIPBR: 6,0\r\n"
        host.network.error.clear()
        assert await host.ask(b"AT+WIPBR=4,6", 3) == OK + b"\r\n+WIPBR: 6,1\r\n"
        link = await host.create(1)
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        await trio.sleep(0.1)
        link.end(Condition.BEARER_LOST)
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 2,1,816\r\n"
        assert await host.ask(b"AT+CREG?") == b"\r\n+CREG: 0,0\r\n" + OK
        assert await host.ask(b"AT+CSQ") == b"\r\n+CSQ: 99,99\r\n" + OK


async def test_bearer_stopped(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        assert await host.ask(b"AT+WIPBR=5,6") == OK + b"\r\n+WIPBR: 6,0\r\n\r\n+WIPERROR: 2,1,816\r\n"
        assert link.closed
        assert host.network.calls["detach"] == 1
        assert await host.ask(b"AT+WIPCLOSE=2,1") == OK


async def test_stack_stopped_is_silent(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        assert await host.ask(b"AT+WIPCFG=0") == OK
        assert link.closed
        assert await host.ask(b"AT+WIPCREATE?") == OK


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (b'2,0,"h",7', 830),
        (b'2,9,"h",7', 830),
        (b'3,5,"h",7', 830),
        (b'4,1,"h",7', 837),
        (b'2,1,"h"', 832),
        (b'2,1,"h",65536', 832),
        (b'2,1,"h",0', 832),
        (b'2,1,"h",x', 832),
        (b'2,1,"",7', 800),
        (b'2,1,"h",7,8', 800),
    ],
)
async def test_create_refused(autojump_clock, arguments, number):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=" + arguments) == cme(number)
        assert not host.network.links


@pytest.mark.parametrize("arguments", [b'"h",5000', b'"h",05000', b'"h","05000"', b"h,5000"])
async def test_create_spellings(autojump_clock, arguments):
    async with running() as host:
        await host.up()
        assert await host.ask(b"AT+WIPCREATE=2,8," + arguments) == OK + b"\r\n+WIPREADY: 2,8\r\n"
        assert str(host.network.links[0].peer) == "h:5000"


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (Condition.NAME_NOT_FOUND, 839),
        (Condition.CONNECT_REFUSED, 843),
        (Condition.CONNECT_TIMEOUT, 842),
        (Condition.HOST_UNREACHABLE, 842),
        (Condition.ADDRESS_REFUSED, 842),
        (Condition.NO_FREE_LINK, 838),
    ],
)
async def test_create_fails_late(autojump_clock, condition, number):
    async with running() as host:
        await host.up()
        host.network.refused["nobody"] = condition
        host.network.delay["open_stream"] = 4.0
        assert await host.ask(b'AT+WIPCREATE=2,3,"nobody",7', 3.9) == OK
        await trio.sleep(0.2)
        assert host.got() == b"\r\n+WIPERROR: 2,3,%d\r\n" % number
        assert await host.ask(b'AT+WIPCREATE=2,3,"nobody",7') == cme(840)  # the index waits for WIPCLOSE
        assert await host.ask(b"AT+WIPDATA=2,3,2") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=2,3") == OK
        assert await host.ask(b"AT+WIPCLOSE=2,3") == cme(831)


async def test_create_times_out(autojump_clock):
    async with running(profile(module_connect_limit=20.0)) as host:
        await host.up()
        host.network.delay["open_stream"] = 1000.0
        assert await host.ask(b'AT+WIPCREATE=2,1,"slow",7', 21) == OK + b"\r\n+WIPERROR: 2,1,842\r\n"


async def test_close_while_connecting_says_nothing_more(autojump_clock):
    async with running() as host:
        await host.up()
        host.network.delay["open_stream"] = 5.0
        await host.ask(b'AT+WIPCREATE=2,1,"slow",7')
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)
        assert await host.ask(b"AT+WIPCLOSE=2,1", 10) == OK
        assert not host.network.links


async def test_eight_sockets_and_the_option_that_makes_them_fewer(autojump_clock):
    async with running() as host:
        await host.up()
        for index in range(1, 9):
            await host.create(index)
        assert await host.ask(b'AT+WIPCREATE=2,4,"h",7') == cme(840)
        await host.ask(b"AT+WIPCLOSE=2,8")
        await host.ask(b"AT+WIPCFG=2,6,7")
        assert await host.ask(b'AT+WIPCREATE=2,8,"h",7') == cme(838)


async def test_lists_and_options(autojump_clock):
    async with running() as host:
        await host.up()
        first = await host.create(1)
        await host.create(5, b'"name.example"', b"80")
        assert await host.ask(b"AT+WIPCREATE?") == (
            b'\r\n+WIPCREATE: 2,1,4001,"10.1.1.1",7\r\n\r\n+WIPCREATE: 2,5,4001,"name.example",80\r\n' + OK
        )
        assert await host.ask(b"AT+WIPDATA?") == OK
        first.push(b"x" * 30)
        await trio.sleep(0.1)
        assert host.got() == b"\r\n+WIPDATA: 2,1,30\r\n"
        assert await host.ask(b"AT+WIPDATA?") == b"\r\n+WIPDATA: 2,1,30\r\n" + OK
        shown = [b"4001", b"7", b'"10.1.1.1"', b"1", b"10240", b"16384", b"30", b"0", b"64", b"0"]
        for number, value in enumerate(shown):
            assert await host.ask(b"AT+WIPOPT=2,1,1,%d" % number) == b"\r\n+WIPOPT: 2,%d,%s\r\n" % (number, value) + OK
        assert await host.ask(b"AT+WIPOPT=2,1,2,7,1") == OK
        assert await host.ask(b"AT+WIPOPT=2,1,1,7") == b"\r\n+WIPOPT: 2,7,1\r\n" + OK
        assert await host.ask(b"AT+WIPOPT=2,1,2,6,1") == cme(835)
        assert await host.ask(b"AT+WIPOPT=2,1,2,7,2") == cme(801)
        assert await host.ask(b"AT+WIPOPT=2,1,1,40") == cme(800)
        assert await host.ask(b"AT+WIPOPT=2,2,1,6") == cme(831)
        await host.ask(b"AT+CMEE=0")
        assert await host.ask(b"AT+WIPOPT=2,2,1,6") == ERROR


async def test_written_buffers_take_effect(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        assert await host.ask(b"AT+WIPOPT=2,1,2,5,535") == cme(801)
        assert await host.ask(b"AT+WIPOPT=2,1,2,5,600") == OK
        assert await host.ask(b"AT+WIPOPT=2,1,2,4,700") == OK
        assert await host.ask(b"AT+WIPOPT=2,1,1,5") == b"\r\n+WIPOPT: 2,5,600\r\n" + OK
        link.push(b"x" * 5000)
        await trio.sleep(0.1)
        assert link.waiting() == 4400
        assert await host.ask(b"AT+WIPOPT=2,1,2,5,1000") == b"\r\n+WIPDATA: 2,1,600\r\n" + OK
        assert link.waiting() == 4000  # at once, not with the next byte
        link.taking = trio.Event()
        assert await host.ask(b"AT+WIPDATA=2,1,2", 0.5) == b"\r\nCONNECT\r\n" + b"x" * 5000
        await host.port.send(b"y" * 2000)
        await trio.sleep(1)
        assert host.upstream._module.sockets[2, 1].outgoing() == 700
        link.taking.set()
        await trio.sleep(1)
        assert bytes(link.sent) == b"y" * 2000


async def test_a_network_that_takes_little_at_a_time_gets_everything(autojump_clock):
    async with running() as host:
        host.network.limits = replace(host.network.limits, send_size=100)
        await host.up()
        link = await host.create(1)
        await host.ask(b"AT+WIPDATA=2,1,2")
        await host.say(b"z" * 1050)
        assert bytes(link.sent) == b"z" * 1050
        assert link.commits == 11


async def test_a_send_that_the_network_refuses_ends_the_socket(autojump_clock):
    """The link lives, but a stream with a hole must not go on."""
    async with running() as host:
        await host.up()
        await host.create(1)
        await host.ask(b"AT+WIPDATA=2,1,2")
        host.network.error["write"] = NetworkError(Condition.RECEIVE_BUFFER_FULL)
        assert await host.say(b"lost", 1) == b"\r\nNO CARRIER\r\n\r\n+WIPERROR: 2,1,843\r\n"


async def test_reboot_forgets_everything(autojump_clock):
    async with running() as host:
        await host.up()
        link = await host.create(1)
        assert await host.ask(b"AT+CFUN=1", 1) == OK
        assert await host.ask(b"AT") == b""  # deaf while it boots
        await trio.sleep(3)
        assert host.got() == b"\r\n+WIND: 8\r\n"
        assert link.closed
        assert host.network.calls["reset"] == 1
        assert await host.ask(b"AT+CMEE?") == b"AT+CMEE?\r\r\n+CMEE: 0\r\n" + OK
        assert await host.ask(b"AT+WIPCFG?") == b"AT+WIPCFG?\r" + ERROR


async def test_reboot_without_a_word_where_the_indication_is_off(autojump_clock):
    async with running() as host:
        await host.up(b"AT+WIND=0")
        await host.upstream.reboot()
        await trio.sleep(5)
        assert host.got() == b""
        assert await host.ask(b"AT") == b"AT\r" + OK


SCRIPT = b'ATE0\rAT+CMEE=1\r\nAT+WIPCFG=1\rAT+WIPCREATE=2,1,"h",7\rnoise\rAT+CSQ;+CREG?\rA/AT+BAD\rAT+WIPCLOSE=2,1\r'
REPLIES = (b"ATE0\r" + OK + OK + OK + cme(803)) + (b"\r\n+CSQ: 31,0\r\n\r\n+CREG: 0,1\r\n" + OK) * 2 + ERROR + cme(831)


async def _fed(pieces):
    async with running() as host:
        for piece in pieces:
            await host.port.send(piece)
        await trio.sleep(1)
        return host.got()


@pytest.mark.parametrize("pieces", [[SCRIPT], [SCRIPT[i : i + 1] for i in range(len(SCRIPT))]], ids=["whole", "bytewise"])
async def test_any_split_gives_the_same_replies(autojump_clock, pieces):
    assert await _fed(pieces) == REPLIES


@given(st.lists(st.integers(0, len(SCRIPT)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_random_splits_give_the_same_replies(cuts):
    edges = [0, *sorted(set(cuts)), len(SCRIPT)]
    pieces = [SCRIPT[a:b] for a, b in pairwise(edges) if a < b]
    assert trio.run(_fed, pieces, clock=trio.testing.MockClock(autojump_threshold=0)) == REPLIES


async def _garbage(noise):
    async with running() as host:
        await host.port.send(noise + b"\r")
        await trio.sleep(5)
        host.got()
        await host.ask(b"ATV1Q0E0")
        assert await host.ask(b"AT") == OK
        assert host.upstream.counters["crashes"] == 0


@given(st.binary(max_size=400) | st.text('AT+WIPCREATEDOBL=?2,"1;0&/\r\n', max_size=80).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_garbage_never_stops_it(noise):
    trio.run(_garbage, noise, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_64_kib_without_an_end(autojump_clock):
    await _garbage(b"AT" + b"\x00z" * 32768)


async def test_a_host_that_does_not_read_is_held_back(autojump_clock):
    """A memory port takes everything, so a full line is made by a port whose send never returns."""
    async with running() as host:
        await host.ask(b"ATE0")
        stuck = trio.Event()
        sends = []

        async def send(data):
            sends.append(data)
            await stuck.wait()
            return len(data)

        host.upstream._writer._port.send = send
        await host.port.send(b"AT\r" * 1000)
        await trio.sleep(1)
        assert sends == [OK]
        stuck.set()
        await trio.sleep(1)
        assert sends == [OK] * 1000
