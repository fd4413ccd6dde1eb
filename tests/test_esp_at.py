"""The ESP-AT module side, byte for byte, in virtual time."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
import trio
from fake_network import FakeNetwork
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import tables
from bridge.dialects.esp_at.lines import LineReader, Mask, Piece, parse
from bridge.dialects.esp_at.upstream import EspAtUpstream
from bridge.model import Condition, HostSettings, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.trace import Trace

pytestmark = pytest.mark.deadline(2000)

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
BUSY = b"\r\nbusy p...\r\n"
PROMPT = b"\r\nOK\r\n\r\n>"
UP = b"WIFI CONNECTED\r\nWIFI GOT IP\r\n"
DOWN = b"WIFI DISCONNECT\r\n"


class Host:
    """The other end of the line: keeps what it heard, with the time of each piece."""

    def __init__(self, port, network, upstream, records):
        self.port, self.network, self.upstream, self.records = port, network, upstream, records
        self.heard = []

    async def listen(self):
        while True:
            data = await self.port.receive()
            self.heard.append((trio.current_time(), data))

    async def type(self, data):
        await self.port.send(data)

    async def read(self, seconds=0.05):
        """All that comes within some (virtual) time."""
        await trio.sleep(seconds)
        data = b"".join(piece for _, piece in self.heard)
        self.heard.clear()
        return data

    async def ask(self, text, seconds=0.05):
        await self.type(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return await self.read(seconds)

    async def join(self, *, mux=1, links=()):
        assert await self.ask("ATE0") == b"ATE0\r\n" + OK
        assert await self.ask('AT+CWJAP="net","secret-word"') == UP + OK
        if mux:
            assert await self.ask("AT+CIPMUX=1") == OK
        for number in links:
            prefix = f"{number}," if mux else ""
            assert await self.ask(f'AT+CIPSTART={prefix}"TCP","1.2.3.4",80') == f"{prefix}CONNECT\r\n".encode() + OK
        return self.network.links


@contextlib.asynccontextmanager
async def bridge(network=None, *, profile="", **options):
    network = network or FakeNetwork()
    near, far = line("host")
    records = []
    settings = HostSettings(**({"announce": False} | options))
    upstream = EspAtUpstream(near, network, tables.load("esp-at", profile), Trace(records.append), settings)
    async with trio.open_nursery() as nursery:
        host = Host(far, network, upstream, records)
        nursery.start_soon(host.listen)
        await nursery.start(run_session, upstream, network)
        yield host
        nursery.cancel_scope.cancel()


def test_every_row_is_used():
    profile = tables.load("esp-at")
    assert tables.unread(profile, Path(__file__).parents[1] / "bridge" / "dialects" / "esp_at") == []
    rows = [*profile.value.values(), *profile.time.values(), *profile.text.values(), *profile.command.values()]
    assert all("/work" not in row.source and row.source[0] != "/" for row in rows)


GMR = (
    b"AT version:2.3.0.0(0000000 - ESP8266 - Jan  1 2022 00:00:00)\r\nSDK version:v3.4\r\n"
    b"compile time(0000000):Jan  1 2022 00:00:00\r\nBin version:2.3.0(at-bridge)\r\n"
)

FRESH = [
    ("AT", OK),
    ("at", OK),
    ("At", OK),
    ("ATE1", OK),
    ("AT+GMR", GMR + OK),
    ("AT+CWMODE?", b"+CWMODE:1\r\n" + OK),
    ("AT+CWMODE=1", OK),
    ("AT+CWMODE=1,0", OK),
    ("AT+CWMODE=3", OK),
    ("AT+CWMODE=2", ERROR),
    ("AT+CWMODE=4", ERROR),
    ("AT+CWMODE=", ERROR),
    ("AT+CWMODE=?", ERROR),
    ("AT+CWMODE", ERROR),
    ("AT+CWJAP?", OK),
    ("AT+CWQAP", OK),
    ("AT+CWAUTOCONN?", b"+CWAUTOCONN:1\r\n" + OK),
    ("AT+CWAUTOCONN=0", OK),
    ("AT+CWDHCP?", b"+CWDHCP:1\r\n" + OK),
    ("AT+CWDHCP=1,1", OK),
    ("AT+CWDHCP=0,2", OK),
    ("AT+CWDHCP=0,1", ERROR),
    ("AT+CWSTATE?", b'+CWSTATE:0,""\r\n' + OK),
    ("AT+CIFSR", b'+CIFSR:STAIP,"0.0.0.0"\r\n+CIFSR:STAMAC,"02:a7:b4:1d:9e:01"\r\n' + OK),
    ("AT+CIPSTA?", b'+CIPSTA:ip:"0.0.0.0"\r\n+CIPSTA:gateway:"0.0.0.0"\r\n+CIPSTA:netmask:"0.0.0.0"\r\n' + OK),
    ("AT+CIPSTAMAC?", b'+CIPSTAMAC:"02:a7:b4:1d:9e:01"\r\n' + OK),
    ("AT+CIPMUX?", b"+CIPMUX:0\r\n" + OK),
    ("AT+CIPMUX=0", OK),
    ("AT+CIPMUX=1", OK),
    ("AT+CIPMUX=2", ERROR),
    ("AT+CIPSTATUS", b"STATUS:5\r\n" + OK),
    ("AT+CIPSTATE?", OK),
    ("AT+CIPMODE?", b"+CIPMODE:0\r\n" + OK),
    ("AT+CIPMODE=0", OK),
    ("AT+CIPMODE=1", OK),
    ("AT+CIPDINFO?", b"+CIPDINFO:false\r\n" + OK),
    ("AT+CIPDINFO=1", OK),
    ('AT+CIPDOMAIN="example.com"', ERROR),
    ('AT+CIPSTART="TCP","1.2.3.4",80', ERROR),
    ("AT+CIPSEND=4", ERROR),
    ("AT+CIPCLOSE", ERROR),
    ("AT+CIPCLOSE=0", ERROR),
    ("AT+UART_CUR=115200,8,1,0,0", OK),
    ("AT+CIPSSLSIZE=4096", ERROR),
    ("AT+SYSSTORE?", b"+SYSSTORE:1\r\n" + OK),
    ("AT+SYSSTORE=0", OK),
    ("AT+CWJAP_CUR?", ERROR),
    ("AT+NOSUCH", ERROR),
    ("AT+ATE0", ERROR),
    ("AT ", ERROR),
    ("", ERROR),
    ("?", ERROR),
    ("+++", ERROR),
    ("\0AT", ERROR),
]


@pytest.mark.parametrize(("text", "answer"), FRESH)
async def test_answers_of_a_fresh_module_with_echo(autojump_clock, text, answer):
    async with bridge() as host:
        assert await host.ask(text) == text.encode() + b"\r\n" + answer


async def test_every_refused_row_says_error_in_every_form(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        for name, row in host.upstream.profile.command.items():
            if row.disposition == "refused":
                for form in ("", "?", "=?", "=1", '="a","b"'):
                    assert await host.ask(f"AT+{name}{form}") == ERROR


async def test_echo_off_is_itself_echoed(autojump_clock):
    async with bridge() as host:
        assert await host.ask("ATE0") == b"ATE0\r\n" + OK
        assert await host.ask("AT") == OK
        assert await host.ask("ATE1") == OK
        assert await host.ask("AT") == b"AT\r\n" + OK


async def test_answers_when_joined(autojump_clock):
    async with bridge() as host:
        await host.join()
        assert await host.ask("AT+CWJAP?") == b'+CWJAP:"net","02:a7:b4:1d:9e:fe",1,-50,0,1,3,0,0\r\n' + OK
        assert await host.ask("AT+CWSTATE?") == b'+CWSTATE:2,"net"\r\n' + OK
        assert (await host.ask("AT+CIFSR")).startswith(b'+CIFSR:STAIP,"10.0.0.2"\r\n')
        assert (await host.ask("AT+CIPSTA?")).startswith(b'+CIPSTA:ip:"10.0.0.2"\r\n+CIPSTA:gateway:"192.168.4.1"\r\n')
        assert await host.ask('AT+CIPDOMAIN="example.com"') == b'+CIPDOMAIN:"93.184.216.34"\r\n' + OK
        assert await host.ask('AT+CIPDOMAIN="8.8.8.8"') == b'+CIPDOMAIN:"8.8.8.8"\r\n' + OK
        assert await host.ask('AT+CIPDOMAIN="nowhere.invalid"') == ERROR
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:2\r\n" + OK
        assert await host.ask("AT+CWQAP") == OK + DOWN
        assert await host.ask("AT+CWSTATE?") == b'+CWSTATE:4,""\r\n' + OK
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:5\r\n" + OK


async def test_single_connection_mode(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0)
        assert await host.ask('AT+CIPSTART="TCP","example.com",80,10') == b"CONNECT\r\n" + OK
        assert host.network.opened == [("example.com", 80, 10)]
        assert await host.ask("AT+CIPSTATUS") == b'STATUS:3\r\n+CIPSTATUS:0,"TCP","93.184.216.34",80,50000,0\r\n' + OK
        assert await host.ask("AT+CIPSTATE?") == b'+CIPSTATE:0,"TCP","93.184.216.34",80,50000,0\r\n' + OK
        assert await host.ask('AT+CIPSTART="TCP","example.com",80') == ERROR
        assert await host.ask('AT+CIPSTART=0,"TCP","example.com",80') == ERROR
        assert await host.ask("AT+CIPMUX=1") == ERROR
        assert await host.ask("AT+CIPMUX=0") == OK
        assert await host.ask("AT+CIPSEND=4") == PROMPT
        assert await host.ask(b"abcd") == b"\r\nRecv 4 bytes\r\n\r\nSEND OK\r\n"
        host.network.links[0].feed(b"hello")
        assert await host.read() == b"\r\n+IPD,5:hello"
        await host.ask("AT+CIPDINFO=1")
        host.network.links[0].feed(b"hello")
        assert await host.read() == b'\r\n+IPD,5,"93.184.216.34",80:hello'
        assert await host.ask("AT+CIPCLOSE=0") == ERROR
        assert await host.ask("AT+CIPCLOSE") == b"CLOSED\r\n" + OK
        assert host.network.links[0].closed
        assert await host.ask("AT+CIPCLOSE") == ERROR
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:4\r\n" + OK


async def test_multiple_connection_mode(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(4, 0))
        for wrong in ("0,", "5,", "-1,", "99999999999,", "", '"0",'):
            assert await host.ask(f'AT+CIPSTART={wrong}"TCP","1.2.3.4",80') == ERROR
        await host.ask("AT+CIPDINFO=1")
        links[0].feed(b"x" * 5000)
        assert await host.read() == b"".join(b'\r\n+IPD,4,%d,"1.2.3.4",80:' % n + b"x" * n for n in (2048, 2048, 904))
        assert await host.ask("AT+CIPCLOSE") == ERROR
        assert await host.ask("AT+CIPCLOSE=3") == ERROR
        assert await host.ask("AT+CIPCLOSE=4") == b"4,CLOSED\r\n" + OK
        assert await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80') == b"4,CONNECT\r\n" + OK
        assert await host.ask("AT+CIPCLOSE=5") == b"0,CLOSED\r\n4,CLOSED\r\n" + OK
        assert await host.ask("AT+CIPCLOSE=5") == OK
        assert await host.read(100) == b""


@pytest.mark.parametrize(
    "arguments",
    [
        '"TCP","a\r\nb",80',
        '"TCP","a\\"b",80',
        '"TCP","a\\,b",80',
        '"TCP","a b",80',
        '"TCP","a;b",80',
        '"TCP","",80',
        '"TCP","a\x00b",80',
        '"TCP","\xff",80',
        '"TCP","' + "a" * 129 + '",80',
        '"TCP","' + "a" * 300 + '",80',
        '"TCP","host,80',
        '"TCP","host"x,80',
        '"TCP","host",0',
        '"TCP","host",65536',
        '"TCP","host"',
        '"TCP","host",80,7201',
        '"TCP","host",80,1,"9.9.9.9"',
        '"TCP","host",80,1,"",5,6',
        '"TCP",host,80',
        '"UDP","host",80,5000,3',
        '"SSL","host",443',
        "",
    ],
)
async def test_bad_connects_never_reach_the_network(autojump_clock, arguments):
    async with bridge() as host:
        await host.join(mux=0)
        answer = await host.ask(b"AT+CIPSTART=" + arguments.encode("latin-1") + b"\r\n")
        assert answer
        assert answer.replace(ERROR, b"") == b""
        assert host.network.opened == []


async def test_connect_is_refused_late_and_cancelled(autojump_clock):
    async with bridge() as host:
        await host.join()
        host.network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        assert await host.ask('AT+CIPSTART=0,"TCP","h",80') == ERROR
        host.network.error.clear()
        host.network.delay["open_stream"] = float("inf")
        assert await host.ask('AT+CIPSTART=0,"TCP","h",80', 9.4) == b""
        assert await host.ask("AT") == BUSY
        assert await host.read(60) == ERROR
        host.network.delay.clear()
        assert await host.ask('AT+CIPSTART=0,"TCP","h",80') == b"0,CONNECT\r\n" + OK


async def test_data_that_are_there_at_once_follow_connect(autojump_clock):
    network = FakeNetwork()
    original = network.open_stream

    async def eager(*arguments, **options):
        link = await original(*arguments, **options)
        link.feed(b"220 hi\r\n")
        link.peer_close()
        return link

    network.open_stream = eager
    async with bridge(network) as host:
        await host.join()
        answer = await host.ask('AT+CIPSTART=2,"TCP","h",80')
        assert answer == b"2,CONNECT\r\n" + OK + b"\r\n+IPD,2,8:220 hi\r\n2,CLOSED\r\n"
        assert network.links[0].closed


async def test_busy_is_dropped_and_not_echoed(autojump_clock):
    async with bridge() as host:
        await host.join()
        await host.ask("ATE1")
        host.network.delay["open_stream"] = 2
        text = b'AT+CIPSTART=0,"TCP","h",80\r\n'
        assert await host.ask(text) == text
        for _ in range(3):
            assert await host.ask("AT+GMR") == BUSY
        assert await host.ask(b"?\r\n") == BUSY
        assert await host.read(5) == b"0,CONNECT\r\n" + OK
        assert await host.read(60) == b""


async def test_long_lines(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        assert await host.ask(b"x" * 65536) == b""
        assert await host.ask(b"\r\n") == ERROR
        assert await host.ask("AT") == OK
        assert await host.ask(b"AT+GMR" + b" " * 249 + b"\r\n") == ERROR
        assert await host.ask(b"AT\n") == ERROR
        assert await host.ask(b"AT\r") == b""
        assert await host.ask(b"\n") == OK


async def test_random_bytes_draw_nothing_but_errors(autojump_clock):
    noise = random.Random(7).randbytes(20000)
    async with bridge() as host:
        await host.ask("ATE0")
        await host.type(noise + b"\r\n")
        assert (await host.read()).replace(ERROR, b"").replace(BUSY, b"") == b""
        assert await host.ask("AT") == OK


async def test_restart(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 1))
        host.network.delay["aclose"] = float("inf")
        assert await host.ask(b"AT+RST\r\nAT\r\ngarbage", 0.4) == OK
        links[0].feed(b"never seen")
        links[1].peer_close()
        assert await host.ask("AT", 0.05) == b""
        assert await host.read(0.2) == b"\r\nready\r\n" + UP
        assert await host.ask("AT+CIPMUX?") == b"AT+CIPMUX?\r\n+CIPMUX:0\r\n" + OK
        assert await host.read(200) == b""
        assert host.network.calls["reset"] == 1


async def test_restart_without_autoconnect(autojump_clock):
    async with bridge() as host:
        await host.join()
        await host.ask("AT+CWAUTOCONN=0")
        assert await host.ask("AT+RST", 60) == OK + b"\r\nready\r\n"


async def test_a_start_can_be_announced(autojump_clock):
    async with bridge(announce=True) as host:
        assert await host.read() == b"\r\nready\r\n"


async def test_join_fails_and_waits(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        await host.ask("ATE0")
        network.error["attach"] = NetworkError(Condition.BEARER_REFUSED)
        assert await host.ask('AT+CWJAP="n","p"') == b"+CWJAP:4\r\n" + ERROR
        network.error["attach"] = NetworkError(Condition.BEARER_UNAVAILABLE)
        network.box.change(Phase.STARTING)
        assert await host.ask('AT+CWJAP="n","p"', 13.9) == b""
        assert await host.read(1) == b"+CWJAP:1\r\n" + ERROR
        assert await host.ask('AT+CWJAP="n","p"', 3) == b""
        network.error.clear()
        network.box.change(Phase.UP, address="10.9.9.9")
        assert await host.read() == UP + OK
        assert await host.ask('AT+CWJAP="n') == ERROR
        assert await host.ask('AT+CWJAP="again","p"') == DOWN + UP + OK


async def test_network_goes_and_comes_back(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 3))
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        for link in links:
            link.lose(Condition.BEARER_LOST)
        first, second = b"0,CLOSED\r\n", b"3,CLOSED\r\n"  # lost in one moment: in either order
        assert await host.read(5) in {first + second + DOWN, second + first + DOWN}
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:5\r\n" + OK
        assert await host.ask("AT+CWSTATE?") == b'+CWSTATE:3,"net"\r\n' + OK
        host.network.box.change(Phase.UP, address="10.0.0.3")
        assert await host.read() == UP
        await host.ask('AT+CIPSTART=1,"TCP","h",80')
        host.network.box.change(Phase.UP, address="10.0.0.3", new_generation=True)
        assert await host.read(10) == b"1,CLOSED\r\n" + DOWN + UP


async def test_secrets_never_reach_the_trace(autojump_clock):
    async with bridge() as host:
        for text in (
            'AT+CWJAP="net","hunter2"',
            'AT+CWJAP="net","hunter2',
            'AT+CWJAP="ne\nt","hunter2"',
            'AT+CWJAP_DEF="net","hunter2"',
            'xxAT+CWJAP="net","hunter2"',
            'AT+CWSAP="net","hunter2",1,3',
            'AT+CWJAP="net","a","hunter2',
            'AT+CWJAP="net","x",,,,,,,,"hunter2"',
        ):
            assert "hunter2" not in repr(host.records)
            await host.ask(text)
        assert "hunter2" not in repr(host.records)
        shown = [record.data for record in host.records]
        assert shown.count(b'AT+CWJAP="net","***"\r\n') == 2  # the line and its echo


async def test_a_link_s_bytes_never_reach_the_trace(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0,))
        links[0].feed(b"private")
        await host.ask("AT+CIPSEND=0,6")
        await host.ask(b"secret")
        assert "private" not in repr(host.records)
        assert b"secret" not in [record.data for record in host.records]


def test_mask_shows_what_is_no_secret():
    mask = Mask(tables.load("esp-at").command)
    for raw in (b"AT+CWJAP?\r\n", b'AT+CIPSTART="TCP","h",1\r\n', b"AT+FUTURE=1,2\r\n"):
        assert mask.line(raw, parse(raw)) == raw


@pytest.mark.parametrize(
    "line", [b'AT+MQTTUSERCFG=0,1,"id","user","hunter2",0,0,""', b'AT+HTTPCHEAD="hunter2"?', b'AT+X="hunter2']
)
async def test_what_no_row_tells_may_be_a_secret(autojump_clock, line):
    async with bridge() as host:
        assert await host.ask(line + b"\r\n") == line + b"\r\n" + ERROR
        assert not [record for record in host.records if b"hunter2" in repr(record).encode()]


@given(cuts=st.lists(st.integers(1, 40), max_size=60))
@settings(max_examples=60)
def test_the_reader_does_not_see_how_bytes_were_cut(cuts):
    stream = b"AT\r\n\x00\xff\r\n" + b"y" * 300 + b"\r\n\nSEND" + b"\r\n" + bytes(range(256)) + b"AT+X=1\r\nrest"

    def events(pieces):
        reader = LineReader(256)
        found = []
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not None:
                if isinstance(event, Piece):
                    found.extend(event.data)
                else:
                    found.append(event)
                    if event.raw == b"SEND\r\n":
                        reader.collect(256)
        return found

    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    assert events([*pieces, stream[at:]]) == events([stream]) == events([bytes([b]) for b in stream])


def test_lost_is_a_link_s_whole_vocabulary():
    assert issubclass(LinkLost, trio.BrokenResourceError)
