"""The generations of ESP-AT, side by side: what each says, byte for byte, and what it does not know."""

from __future__ import annotations

import math
import random

import pytest
import trio
from test_esp_at import BUSY, DOWN, ERROR, GMR, OK, PROMPT, UP, bridge

from bridge import tables
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError

pytestmark = pytest.mark.deadline(2000)

NEW, MIDDLE, OLD = "espat-2.3", "espat-2.1", "nonos-1.7"
PROFILES = [NEW, MIDDLE, OLD]
FAIL = b"\r\nFAIL\r\n"

OLD_GMR = (
    b"AT version:1.7.0.0(Jan  1 2018 00:00:00)\r\nSDK version:3.0.0(0000000)\r\n"
    b"compile time:Jan  1 2018 00:00:00\r\nBin version(at-bridge):v1.7.0"
)
MIDDLE_GMR = (
    b"AT version:2.1.0.0(0000000 - Jan  1 2020 00:00:00)\r\nSDK version:v3.2\r\n"
    b"compile time(0000000):Jan  1 2020 00:00:00\r\nBin version:2.1.0(at-bridge)\r\n"
)
NOWHERE = b'ip:"0.0.0.0"\r\n', b'gateway:"0.0.0.0"\r\n', b'netmask:"0.0.0.0"\r\n'


def text(words):
    """A line of explanation, then ERROR, as AT 1.7 has it."""
    return words.encode() + b"\r\n" + ERROR


# A line, and what a fresh module of each generation answers: espat-2.3, espat-2.1, nonos-1.7.
FRESH = [
    ("AT", OK, OK, OK),
    ("at+gmr", GMR + OK, MIDDLE_GMR + OK, OLD_GMR + OK),
    ("AT+RST=1", ERROR, ERROR, ERROR),
    ("AT+CWMODE?", b"+CWMODE:1\r\n" + OK, b"+CWMODE:1\r\n" + OK, b"+CWMODE:1\r\n" + OK),
    ("AT+CWMODE=?", ERROR, ERROR, b"+CWMODE:(1-3)\r\n" + OK),
    ("AT+CWMODE_CUR=?", ERROR, ERROR, b"+CWMODE_CUR:(1-3)\r\n" + OK),
    ("AT+CWMODE=0", OK, OK, ERROR),
    ("AT+CWMODE=1,0", OK, OK, ERROR),
    ("AT+CWMODE_CUR=1", ERROR, ERROR, OK),
    ("AT+CWMODE_DEF?", ERROR, ERROR, b"+CWMODE_DEF:1\r\n" + OK),
    ("AT+CWMODE_DEF=2", ERROR, ERROR, ERROR),
    ("AT+CWJAP?", OK, OK, b"No AP\r\n" + OK),
    ("AT+CWJAP_CUR?", ERROR, ERROR, b"No AP\r\n" + OK),
    ("AT+CWDHCP?", b"+CWDHCP:1\r\n" + OK, b"+CWDHCP:1\r\n" + OK, b"+CWDHCP:2\r\n" + OK),
    ("AT+CWDHCP_CUR?", ERROR, ERROR, b"+CWDHCP_CUR:2\r\n" + OK),
    ("AT+CWDHCP=1,1", OK, OK, OK),
    ("AT+CWDHCP=0,1", ERROR, ERROR, OK),  # the station off; the access point on
    ("AT+CWDHCP=1,0", OK, OK, ERROR),  # nothing on; the station off
    ("AT+CWDHCP_CUR=1,1", ERROR, ERROR, OK),
    ("AT+CIPSTA?", *[b"".join(b"+CIPSTA:" + line for line in NOWHERE) + OK] * 3),
    ("AT+CIPSTA_CUR?", ERROR, ERROR, b"".join(b"+CIPSTA_CUR:" + line for line in NOWHERE) + OK),
    ('AT+CIPSTA="1.2.3.4"', ERROR, ERROR, ERROR),
    ('AT+CIPSTA_CUR="1.2.3.4"', ERROR, ERROR, ERROR),
    ("AT+CIPSTAMAC_DEF?", ERROR, ERROR, b'+CIPSTAMAC_DEF:"02:a7:b4:1d:9e:01"\r\n' + OK),
    ("AT+CIPDINFO?", b"+CIPDINFO:false\r\n" + OK, b"+CIPDINFO:false\r\n" + OK, b"+CIPDINFO:FALSE\r\n" + OK),
    ("AT+CWSTATE?", b'+CWSTATE:0,""\r\n' + OK, ERROR, ERROR),
    ("AT+CIPSTATE?", OK, ERROR, ERROR),
    ("AT+CIPSTATUS", *[b"STATUS:5\r\n" + OK] * 3),
    ("AT+CWRECONNCFG?", b"+CWRECONNCFG:1,0\r\n" + OK, ERROR, ERROR),
    ("AT+CWRECONNCFG=0,0", ERROR, ERROR, ERROR),
    ("AT+CWHOSTNAME?", *[b"+CWHOSTNAME:ESP_1D9E01\r\n" + OK] * 3),
    ("AT+CWCOUNTRY?", *[b'+CWCOUNTRY:0,"CN",1,13\r\n' + OK] * 3),
    ("AT+CWCOUNTRY_DEF?", ERROR, ERROR, b'+CWCOUNTRY_DEF:0,"CN",1,13\r\n' + OK),
    ("AT+SYSSTORE?", b"+SYSSTORE:1\r\n" + OK, b"+SYSSTORE:1\r\n" + OK, ERROR),
    ("AT+SYSSTORE=0", OK, OK, ERROR),
    ("AT+SYSMSG?", *[b"+SYSMSG:0\r\n" + OK] * 3),
    ("AT+SYSMSG_CUR?", ERROR, ERROR, b"+SYSMSG_CUR:0\r\n" + OK),
    ("AT+SYSMSG=8", ERROR, ERROR, ERROR),
    ("AT+SYSLOG?", b"+SYSLOG:0\r\n" + OK, b"+SYSLOG:0\r\n" + OK, ERROR),
    ("AT+SYSLOG=1", OK, OK, ERROR),
    ("AT+SYSRAM?", b"+SYSRAM:40000,40000\r\n" + OK, b"+SYSRAM:40000,40000\r\n" + OK, b"+SYSRAM:40000\r\n" + OK),
    ("AT+SYSTIMESTAMP?", b"+SYSTIMESTAMP:0\r\n" + OK, ERROR, ERROR),
    ("AT+SLEEP?", b"+SLEEP:0\r\n" + OK, b"+SLEEP:0\r\n" + OK, b"+SLEEP:2\r\n" + OK),
    ("AT+SLEEP=3", OK, OK, ERROR),
    ("AT+CIPSSLSIZE=4096", ERROR, ERROR, OK),
    ("AT+CIPSSLSIZE=5000", ERROR, ERROR, ERROR),
    ("AT+CIPRECVLEN?", *[b"+CIPRECVLEN:-1,-1,-1,-1,-1\r\n" + OK] * 2, b"+CIPRECVLEN:0,0,0,0,0\r\n" + OK),
    ("AT+CIPSERVER=0", ERROR, ERROR, b"no change\r\n" + OK),
    ("AT+CIPSTO?", b"+CIPSTO:0\r\n" + OK, b"+CIPSTO:0\r\n" + OK, b"+CIPSTO:180\r\n" + OK),
    ("AT+CIPSTO=60", OK, OK, ERROR),
    ("AT+CIPCLOSE", ERROR, ERROR, ERROR),
    ("AT+CIPCLOSE=0", ERROR, ERROR, text("MUX=0")),
    ("AT+CIPSEND=4", ERROR, ERROR, text("link is not valid")),
    ("AT+CIPSEND=2049", ERROR, ERROR, text("too long")),
    ("AT+CIPSEND=0", ERROR, ERROR, ERROR),
    ('AT+CIPSTART="TCP","1.2.3.4",80', ERROR, ERROR, text("no ip")),
    ('AT+CIPSTART=0,"TCP","1.2.3.4",80', ERROR, ERROR, text("Link type ERROR")),
    ('AT+CIPSTART="SSL","1.2.3.4",443', ERROR, ERROR, text("Link type ERROR")),
    ('AT+CIPSTART="TCP","",80', ERROR, ERROR, text("IP ERROR")),
    ('AT+CIPSTART="TCP","1.2.3.4"', ERROR, ERROR, text("Miss param")),
    ('AT+CIPSTART="TCP","1.2.3.4",0', ERROR, ERROR, text("ENTRY ERROR")),
    ('AT+CIPSTART="TCP","1.2.3.4",70000', ERROR, ERROR, text("ENTRY ERROR")),
    ("AT+CIPSNTPTIME?", ERROR, ERROR, ERROR),
    ("AT+UART_CUR=1152008,1,0,0", ERROR, ERROR, ERROR),  # TinyGSM forgets the first comma
    ("AT+UART?", ERROR, ERROR, b"+UART:115200,8,1,0,0\r\n" + OK),
    ("", ERROR, ERROR, ERROR),
    ("?", ERROR, ERROR, ERROR),
]


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_fresh_module(autojump_clock, profile):
    for line, *answers in FRESH:
        async with bridge(profile=profile) as host:
            answer = await host.ask(line)
            echo = line.encode() + (b"\r\r\n" if profile == OLD else b"\r\n")
            assert answer == echo + answers[PROFILES.index(profile)], line
            await host.ask("ATE0")
            assert await host.ask("AT") == OK


async def test_the_old_echo(autojump_clock):
    async with bridge(profile=OLD) as host:
        assert await host.ask("AT") == b"AT\r\r\n\r\nOK\r\n"
        assert await host.ask(b"AT\n") == b"AT\r\n" + ERROR  # the LF alone is left out
        assert await host.ask("ATE0") == b"ATE0\r\r\n" + OK
        assert await host.ask("AT") == OK


# What the drivers in the field send before anything is open, and for whom it must work: n(ew), m(iddle), o(ld).
DRIVERS = {
    "AT": "nmo", "ATE0": "nmo", "ATE1": "nmo", "AT+GMR": "nmo", "AT+UART_CUR=115200,8,1,0,0": "nmo", "AT+CIPMUX?": "nmo",
    "AT+CIPMUX=0": "nmo", "AT+CIPMUX=1": "nmo", "AT+CIPSSLSIZE=4096": "o", "AT+CIPSSLCCONF?": "nm", "AT+CWSTATE?": "n",
    "AT+CWMODE?": "nmo", "AT+CWMODE=1": "nmo", "AT+CWMODE=0": "nm", "AT+CWMODE=1,0": "nm", "AT+CWMODE_CUR=1": "o",
    "AT+CWMODE_DEF?": "o", "AT+CWDHCP=1,1": "nmo", "AT+CWDHCP_CUR=1,1": "o", "AT+CWDHCP?": "nmo", "AT+CWLAPOPT=0,23": "nmo",
    "AT+CWLAPOPT=1,31": "nmo", "AT+CWLAPOPT=1,0x7FF": "nmo", "AT+CWAUTOCONN=0": "nmo", "AT+CIPRECVMODE=0": "nmo",
    "AT+CIPRECVMODE=1": "nmo", "AT+CIPDINFO=1": "nmo", "AT+CIPSTAMAC?": "nmo", "AT+CIPSTA?": "nmo", "AT+CIPSTA_CUR?": "o",
    "AT+CIPDNS?": "nmo", "AT+CIPDNS_CUR?": "o", "AT+CMD?": "n", "AT+SYSMSG=7": "nmo", "AT+SYSFLASH?": "", "AT+SYSMFG?": "",
    "AT+SYSLOG=1": "nm", "AT+RFPOWER=40": "", "AT+CIPSTATUS": "nmo", "AT+CIPSTATE?": "n", "AT+CIPAP?": "", "AT+CIPAPMAC?": "",
    "AT+CIFSR": "nmo", "AT+CWCOUNTRY_DEF?": "o", 'AT+CWCOUNTRY_CUR=1,"DE",1,13': "o", "AT+SYSSTORE=0": "nm",
    "AT+CIPSERVERMAXCONN=3": "nmo", "AT+CIPV6=1": "", "AT+CIPV6?": "n", "AT+SLEEP=0": "nmo", "AT+CWLAP": "nmo",
    'AT+CWHOSTNAME="x"': "nmo", "AT+CWQAP": "nmo", "AT+SYSRAM?": "nmo", "AT+SYSTIMESTAMP?": "n", "AT+IPR=9600": "",
    "AT+CIOBAUD=9600": "", 'AT+CWSAP="a","password",1,3': "", 'AT+CWSAP_CUR="a","password",1,3': "", "AT+CWLIF": "",
    'AT+CIPSTA="1.1.1.1"': "", "AT+MDNS=0": "", "AT+CIUPDATE": "", "AT+CIPMODE=1": "nmo", "AT+SAVETRANSLINK=0": "nmo",
    "AT+CIPSNTPCFG=1,0": "", "AT+CIPRECVTYPE?": "", "AT+CIPSENDL=1": "", "AT+CIPSENDBUF=1": "", "AT+WPS=1": "",
    "AT+CWSTARTSMART": "", "AT+CSYSWDTENABLE": "", "AT+CIPTCPOPT?": "nm", "AT+CIPSSLCSNI?": "", "AT+CIPFWVER?": "",
    "AT+CWCONFIG?": "", "AT+CWINIT?": "", "AT+UART=115200,8,1,0,0": "o",
}  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES)
async def test_what_drivers_send(autojump_clock, profile):
    initial = {NEW: "n", MIDDLE: "m", OLD: "o"}[profile]
    for line, works in DRIVERS.items():
        async with bridge(profile=profile) as host:
            await host.ask("ATE0")
            answer = await host.ask(line, 5)
            assert answer.endswith(OK if initial in works else ERROR), line
            assert answer.count(OK) + answer.count(ERROR) == 1, line


def test_every_command_that_drivers_send_has_a_row_with_a_reason():
    """What is refused is refused on purpose, and the operator can read why."""
    names = {line.removeprefix("AT+").partition("=")[0].rstrip("?") for line in DRIVERS}
    for profile in PROFILES:
        table = tables.load("esp-at", profile)
        assert names - table.command.keys() == set(), profile
        for name, row in table.command.items():
            assert row.why or row.final, name
            assert row.why != "later", name
        if profile == OLD:
            assert not [name for name, row in table.command.items() if "NONOS" in row.why]


def test_a_generation_says_its_own_words_wherever_the_newer_one_has_a_row():
    """A more specific row of the newer generation would win over a general one of the older: AT 1.7 has its own for each."""
    table = tables.load("esp-at", OLD)
    for about in ("", "ssid", "password", "link"):
        for condition in Condition:
            said = table.refusal_of(condition, "CWJAP", "", about)
            assert said.startswith("+CWJAP:"), condition
            assert said.endswith("\r\n\r\nFAIL\r\n"), condition
            assert table.refusal_of(condition, "CIPSEND", "", about) == "SEND FAIL\r\n"
    for condition in Condition:
        assert table.refusal_of(condition, "CIPSTART") in {
            "\r\nERROR\r\n{id}CLOSED\r\n",
            "DNS Fail\r\n\r\nERROR\r\n",
        }


async def test_joining_the_old_way(autojump_clock):
    async with bridge(profile=OLD) as host:
        await host.ask("ATE0")
        host.network.error["attach"] = NetworkError(Condition.BEARER_REFUSED)
        assert await host.ask('AT+CWJAP_CUR="net","password"') == b"+CWJAP:4\r\n" + FAIL
        host.network.error.clear()
        host.network.delay["attach"] = math.inf
        assert await host.ask('AT+CWJAP="net","password"', 20) == b"+CWJAP:1\r\n" + FAIL
        host.network.delay.clear()
        assert await host.ask('AT+CWJAP_CUR="net","password"') == UP + OK
        assert await host.ask("AT+CWJAP_CUR?") == b'+CWJAP_CUR:"net","02:a7:b4:1d:9e:fe",1,-50,0\r\n' + OK
        assert await host.ask("AT+CWJAP?") == b'+CWJAP:"net","02:a7:b4:1d:9e:fe",1,-50,0\r\n' + OK
        assert await host.ask("AT+CWQAP") == OK + DOWN


async def test_links_the_old_way(autojump_clock):
    async with bridge(profile=OLD) as host:
        assert (await host.ask("ATE0")).endswith(OK)
        assert await host.ask('AT+CWJAP="net","password"') == UP + OK
        assert await host.ask("AT+CIPMUX=1") == OK
        for wrong in ('"TCP",', '5,"TCP",', '-1,"TCP",', '"0","TCP",'):
            assert await host.ask(f'AT+CIPSTART={wrong}"1.2.3.4",80') == text("ID ERROR"), wrong
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == b"1,CONNECT\r\n" + OK
        assert await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80') == text("ALREADY CONNECTED")
        assert await host.ask("AT+CIPMUX=0") == text("link is builded")
        assert await host.ask("AT+CIPSERVER=1,80") == OK
        assert await host.ask("AT+CIPSERVER=1,81") == b"no change\r\n" + OK
        assert await host.ask("AT+CIPMUX=0") == text("CIPSERVER must be 0")
        assert await host.ask("AT+CIPCLOSE") == text("MUX=1")
        assert await host.ask("AT+CIPCLOSE=3") == text("UNLINK")
        host.network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        assert await host.ask('AT+CIPSTART=2,"TCP","1.2.3.4",80') == ERROR + b"2,CLOSED\r\n"
        host.network.error["open_stream"] = NetworkError(Condition.NAME_NOT_FOUND)
        assert await host.ask('AT+CIPSTART=2,"TCP","no.where",80') == text("DNS Fail")
        assert await host.ask('AT+CIPDOMAIN="no.where"') == text("DNS Fail")
        assert await host.ask('AT+CIPDOMAIN="example.com"') == b"+CIPDOMAIN:93.184.216.34\r\n" + OK
        assert await host.ask("AT+CIPDINFO=1") == OK
        host.network.links[0].feed(b"hello")
        assert await host.read() == b"\r\n+IPD,1,5,1.2.3.4,80:hello"
        host.network.links[0].feed(b"x" * 2000)
        assert await host.read() == b"".join(b"\r\n+IPD,1,%d,1.2.3.4,80:" % n + b"x" * n for n in (1460, 540))


async def test_sends_the_old_way(autojump_clock):
    prompt = b"\r\nOK\r\n> "
    async with bridge(profile=OLD) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","password"')
        assert await host.ask('AT+CIPSTART="TCP","1.2.3.4",80') == b"CONNECT\r\n" + OK
        assert await host.ask("AT+CIPSEND=4") == prompt
        assert await host.ask(b"abcd") == b"\r\nRecv 4 bytes\r\n\r\nSEND OK\r\n"
        host.network.delay["commit"] = 3.0
        assert await host.ask("AT+CIPSEND=4") == prompt
        assert await host.ask(b"abcd") == b"\r\nRecv 4 bytes\r\n"
        assert await host.ask("AT") == b"\r\nbusy s...\r\n"
        assert await host.read(4) == b"\r\nSEND OK\r\n"
        host.network.error["commit"] = LinkLost(Condition.LINK_RESET)
        assert await host.ask("AT+CIPSEND=4") == prompt
        assert await host.ask(b"abcd", 6) == b"\r\nRecv 4 bytes\r\nSEND FAIL\r\nCLOSED\r\n"
        host.network.delay["open_stream"] = 3.0
        await host.ask('AT+CIPSTART="TCP","1.2.3.4",80')
        assert await host.ask("AT") == BUSY  # nothing is being sent


async def test_a_silence_follows_a_body_where_old_hosts_drop_what_comes_at_once(autojump_clock):
    """WeeESP8266 empties its input after a body; WiFiEsp looks for CLOSED within 5 ms of one."""
    async with bridge(profile=OLD) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","password"')
        await host.ask("AT+CIPMUX=1")
        for number in (0, 1):
            await host.ask(f'AT+CIPSTART={number},"TCP","1.2.3.4",80')
        for link in host.network.links:
            link.feed(b"x" * 2000)
            link.peer_close()
        await trio.sleep(0.1)
        times = [time for time, _ in host.heard]
        assert sorted(data.split(b":")[0] for _, data in host.heard) == sorted(
            [b"0,CLOSED\r\n", b"1,CLOSED\r\n", *(b"\r\n+IPD,%d,%d" % (n, size) for n in (0, 1) for size in (540, 1460))]
        )
        for (at, data), after in zip(host.heard, times[1:], strict=False):
            if b"+IPD" in data:
                assert 0.0015 < after - at < 0.005


async def test_passive_receive_the_old_way(autojump_clock):
    async with bridge(profile=OLD) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","password"')
        await host.ask("AT+CIPMUX=1")
        await host.ask("AT+CIPRECVMODE=1")
        await host.ask("AT+CIPDINFO=1")
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        host.network.links[0].feed(b"hello")
        assert await host.read() == b"\r\n+IPD,4,5\r\n"
        host.network.links[0].feed(b" world")
        assert await host.read() == b"\r\n+IPD,4,11\r\n"
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:0,0,0,0,11\r\n" + OK
        assert await host.ask("AT+CIPRECVDATA=4,2048") == b"\r\n+CIPRECVDATA,11:hello world" + OK


@pytest.mark.parametrize("profile", PROFILES)
async def test_ping(autojump_clock, profile):
    prefix = b"+" if profile == OLD else b"+PING:"
    late = b"timeout" if profile == OLD else b"TIMEOUT"
    async with bridge(profile=profile) as host:
        await host.ask("ATE0")
        await host.ask('AT+CWJAP="net","password"')
        assert await host.ask('AT+PING="1.2.3.4"') == prefix + b"42\r\n" + OK
        host.network.delay["ping"] = math.inf
        assert await host.ask('AT+PING="1.2.3.4"', 10) == prefix + late + b"\r\n" + ERROR
        host.network.delay.clear()
        host.network.error["ping"] = NetworkError(Condition.HOST_UNREACHABLE)
        assert await host.ask('AT+PING="1.2.3.4"') == prefix + late + b"\r\n" + ERROR


@pytest.mark.parametrize("profile", [NEW, MIDDLE])
async def test_joined_fields_by_generation(autojump_clock, profile):
    async with bridge(profile=profile) as host:
        await host.join()
        fields = b",1,-50,0,1,3,0,0" if profile == NEW else b",1,-50,0,1,3,0"
        assert await host.ask("AT+CWJAP?") == b'+CWJAP:"net","02:a7:b4:1d:9e:fe"' + fields + b"\r\n" + OK
        found = b'"93.184.216.34"' if profile == NEW else b"93.184.216.34"
        assert await host.ask('AT+CIPDOMAIN="example.com"') == b"+CIPDOMAIN:" + found + b"\r\n" + OK


CODES = [
    ("AT+NOSUCH", 0x01090000),
    ("AT+CIPSSLSIZE=1", 0x01090000),
    ("AT+CWMODE_CUR=1", 0x01090000),
    ("ATX", 0x01090000),
    ("hello", 0x01030000),
    ("", 0x01030000),
    (b"AT\n", 0x01020000),
    ("AT+CWMODE", 0x010C0000),
    ("AT+CIPSTA=1", 0x010C0000),
    ("AT+CWMODE=?", 0x010C0000),
    ("AT+CWMODE=9", 0x01070000),
    ("AT+CWMODE=1,9", 0x01070001),
    ('AT+CWMODE="1"', 0x01050000),
    ("AT+CWMODE=1,x", 0x01050001),
    ("AT+CWMODE=1,1,1", 0x01060203),
    ("AT+CWLAPOPT=1", 0x01060201),
    ('AT+CWJAP="abc', 0x01080000),
    ('AT+CWJAP="a","b"c', 0x01080001),
    ('AT+CWJAP="' + "a" * 33 + '"', 0x01040000),
    ("AT+CWLAPOPT=1,2048", 0x01070001),
    ("AT+CIPCLOSE", 0x010A0000),
    ("AT+CIPSERVER=0", 0x010A0000),
    ("x" * 300, 0x01040000),
]


@pytest.mark.parametrize("profile", [NEW, MIDDLE])
async def test_err_code_stands_before_every_error_where_it_was_asked_for(autojump_clock, profile):
    async with bridge(profile=profile) as host:
        await host.ask("ATE0")
        assert await host.ask("AT+NOSUCH") == ERROR
        assert await host.ask("AT+SYSLOG=1") == OK
        for line, code in CODES:
            assert await host.ask(line) == b"ERR CODE:0x%08x\r\n" % code + ERROR, line
        assert await host.ask("AT+SYSLOG?") == b"+SYSLOG:1\r\n" + OK
        host.network.error["attach"] = NetworkError(Condition.BEARER_REFUSED)
        assert await host.ask('AT+CWJAP="a","b"') == b"+CWJAP:4\r\nERR CODE:0x010a0000\r\n" + ERROR
        host.network.error.clear()
        host.network.delay["attach"] = 1.0
        await host.ask('AT+CWJAP="a","b"')
        assert await host.ask("AT") == b"ERR CODE:0x010b0000\r\n" + BUSY
        assert await host.read(2) == UP + OK
        await host.ask('AT+CIPSTART="TCP","1.2.3.4",80')
        host.network.error["commit"] = LinkLost(Condition.LINK_RESET)
        assert await host.ask("AT+CIPSEND=1") == PROMPT
        assert await host.ask(b"x", 6) == b"\r\nRecv 1 bytes\r\n\r\nSEND FAIL\r\nCLOSED\r\n"  # no ERROR, so no code
        assert await host.ask("AT+SYSLOG=0") == OK
        assert await host.ask("AT+NOSUCH") == ERROR


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(3))
async def test_answers_do_not_depend_on_how_the_bytes_were_cut(autojump_clock, profile, seed):
    """A whole session, byte by byte and in random pieces: the same bytes come back."""
    chosen = [(line, answers[PROFILES.index(profile)]) for line, *answers in FRESH if line.startswith("AT+C")]
    typed = b"".join(line.encode() + b"\r\n" for line, _ in chosen)
    async with bridge(profile=profile) as host:
        await host.ask("ATE0")
        cut = random.Random(seed)
        heard = b""
        for line, _ in chosen:
            data = line.encode() + b"\r\n"
            while data:
                size = 1 if seed == 0 else cut.randint(1, len(data))
                await host.type(data[:size])
                data = data[size:]
                await trio.sleep(0.0001)
            heard += await host.read()
        whole = heard
    async with bridge(profile=profile) as host:
        await host.ask("ATE0")
        heard = b""
        for line in typed.splitlines(keepends=True):
            heard += await host.ask(line)
        assert heard == whole


SECRET = b"hunter2-hunter2"


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_secret_typed_at_any_name_of_a_command_is_not_traced(autojump_clock, profile):
    """Also where the generation does not know the command: the host types its password all the same."""
    async with bridge(profile=profile) as host:
        for name in ("CWJAP", "CWJAP_CUR", "cwjap_def", "CWSAP", "CWSAP_CUR", "CWSAP_DEF", "CWJEAP_CUR", "CIPSSLCPSK"):
            await host.ask(b'AT+%s="net","%s",1,3\r\n' % (name.encode(), SECRET))
        assert not [record for record in host.records if SECRET in repr(record).encode()]
