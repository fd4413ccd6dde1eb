"""What a host asks and sets beyond its links: the list of networks, names, clocks, what outlives a reset."""

from __future__ import annotations

import math

import pytest
import trio
from fake_network import FakeNetwork
from test_esp_at import DOWN, ERROR, OK, UP, bridge

from bridge.model import Condition
from bridge.network import NetworkError

pytestmark = pytest.mark.deadline(2000)

READY = b"\r\nready\r\n"
MAC = "02:a7:b4:1d:9e:fe"


def listed(ssid, rssi=-71, rest=",-1,-1,4,4,7,0"):
    return f'+CWLAP:(3,"{ssid}",{rssi},"{MAC}",1{rest})\r\n'.encode() + OK


async def echo_off(host):
    assert (await host.ask("ATE0")).endswith(OK)


async def test_the_list_has_the_one_network_with_the_module_s_signal(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask("AT+CWLAP") == listed("at-bridge")
        assert await host.ask('AT+CWLAP="my net"') == listed("my net")  # any name can be joined
        assert await host.ask('AT+CWJAP="orchard","password"') == UP + OK
        assert await host.ask("AT+CWLAP") == listed("orchard")
        assert await host.ask('AT+CWLAP="my net"') == listed("my net")
        host.network.strength = -99
        assert await host.ask("AT+CWLAP") == listed("orchard", -99)
        assert await host.ask("AT+CWJAP?") == f'+CWJAP:"orchard","{MAC}",1,-99,0,1,3,0,0\r\n'.encode() + OK
        assert await host.ask("AT+CWMODE=0") == DOWN + OK
        assert await host.ask("AT+CWLAP") == ERROR


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ('AT+CWLAP="x"', True),
        (f'AT+CWLAP="x","{MAC}"', True),
        (f'AT+CWLAP="x","{MAC.upper()}",1', True),
        (f'AT+CWLAP=,"{MAC}",1', True),
        ("AT+CWLAP=,,0", True),
        ("AT+CWLAP=,,1,0,120,150", True),
        ('AT+CWLAP="x","02:a7:b4:1d:9e:ff"', False),
        ('AT+CWLAP="x",,6', False),
    ],
)
async def test_the_list_is_filtered(autojump_clock, line, there):
    async with bridge() as host:
        await echo_off(host)
        assert ((await host.ask(line)) != OK) is there


async def test_a_network_that_the_operator_named_is_the_only_one(autojump_clock):
    async with bridge(ssid="yard") as host:
        await echo_off(host)
        assert await host.ask("AT+CWLAP") == listed("yard")
        assert await host.ask('AT+CWLAP="yard"') == listed("yard")
        assert await host.ask('AT+CWLAP="other"') == OK


@pytest.mark.parametrize("ssid", ["a,b", "a|b", "{ssid}", "{0}", "(x)", "%s", "a b"])
async def test_names_are_told_as_they_are(autojump_clock, ssid):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask(f'AT+CWJAP="{ssid}"') == UP + OK
        assert await host.ask("AT+CWLAP") == listed(ssid)
        assert (await host.ask("AT+CWJAP?")).startswith(f'+CWJAP:"{ssid}",'.encode())
        assert await host.ask("AT+CWSTATE?") == f'+CWSTATE:2,"{ssid}"\r\n'.encode() + OK


async def test_a_quote_in_a_name_is_escaped_by_the_host_and_not_by_the_module(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask(r'AT+CWJAP="a\"b\\c","p"') == UP + OK
        assert await host.ask("AT+CWLAP") == listed('a"b\\c')


@pytest.mark.parametrize("number", ["31", "0x1F", "0x1f", "0X1F"])
async def test_the_fields_are_chosen(autojump_clock, number):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask(f"AT+CWLAPOPT=1,{number}") == OK
        assert await host.ask("AT+CWLAP") == listed("at-bridge", rest="")
        assert await host.ask("AT+CWLAPOPT=0,6") == OK
        assert await host.ask("AT+CWLAP") == b'+CWLAP:("at-bridge",-71)\r\n' + OK
        assert await host.ask("AT+CWLAPOPT=0,2047,-70") == OK  # nothing as weak as this
        assert await host.ask("AT+CWLAP") == OK
        assert await host.ask("AT+CWLAPOPT=0,2047,-71") == OK
        assert await host.ask("AT+CWLAP") == listed("at-bridge")
        assert await host.ask("AT+CWLAPOPT=0,2047,-100,1") == OK  # open networks alone
        assert await host.ask("AT+CWLAP") == OK
        for wrong in ("", "0x", "x1F", "2048", "0x800", "-1", '"31"x', "1F"):
            assert await host.ask(f"AT+CWLAPOPT=1,{wrong}") == ERROR, wrong
        for wrong in ("1", "2,31", "1,31,41", "1,31,-101", "1,31,0,65536", "1,31,0,1,1"):
            assert await host.ask(f"AT+CWLAPOPT={wrong}") == ERROR, wrong


@pytest.mark.parametrize(("profile", "rest"), [("espat-2.1", ""), ("nonos-1.7", ",-1,-1,4,4,7,0")])
async def test_fields_of_other_generations(autojump_clock, profile, rest):
    async with bridge(profile=profile) as host:
        await echo_off(host)
        assert await host.ask("AT+CWLAP") == listed("at-bridge", rest=rest)


async def test_a_mute_module_does_not_keep_the_list_waiting(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        host.network.strength = None
        assert await host.ask("AT+CWLAP") == listed("at-bridge", -50)
        host.network.delay["signal"] = math.inf
        start = trio.current_time()
        await host.type(b"AT+CWLAP\r\n")
        assert await host.read(1.9) == b""
        assert await host.ask("AT") == b"\r\nbusy p...\r\n"
        assert await host.read(0.2) == listed("at-bridge", -50)
        assert trio.current_time() - start < 5


async def test_name_servers(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask("AT+CIPDNS?") == b"+CIPDNS:0\r\n" + OK  # nobody to ask
        await host.ask('AT+CWJAP="net"')
        assert await host.ask("AT+CIPDNS?") == b'+CIPDNS:0,"10.0.0.53"\r\n' + OK
        host.network.servers = ["1.1.1.1", "8.8.8.8"]
        assert await host.ask("AT+CIPDNS?") == b'+CIPDNS:0,"1.1.1.1","8.8.8.8"\r\n' + OK
        assert await host.ask("AT+CIPDNS=0") == OK
        assert await host.ask('AT+CIPDNS=1,"9.9.9.9"') == ERROR
        host.network.error["name_servers"] = NetworkError(Condition.MODULE_ERROR)
        assert await host.ask("AT+CIPDNS?") == ERROR
        host.network.error.clear()
        host.network.delay["name_servers"] = math.inf
        assert await host.ask("AT+CIPDNS?", 5) == ERROR


async def test_name_servers_the_old_way(autojump_clock):
    async with bridge(profile="nonos-1.7") as host:
        await echo_off(host)
        await host.ask('AT+CWJAP="net"')
        host.network.servers = ["1.1.1.1", "8.8.8.8"]
        assert await host.ask("AT+CIPDNS_CUR?") == b"+CIPDNS_CUR:1.1.1.1\r\n+CIPDNS_CUR:8.8.8.8\r\n" + OK


async def test_settings_are_told_back_and_forgotten_by_a_reset(autojump_clock):
    pairs = [
        ("CWHOSTNAME", '"pump-4"', b"pump-4", b"ESP_1D9E01"),
        ("CWRECONNCFG", "5,10", b"5,10", b"1,0"),
        ("SLEEP", "1", b"1", b"0"),
        ("SYSLOG", "1", b"1", b"0"),
        ("SYSSTORE", "0", b"0", b"1"),
        ("SYSTIMESTAMP", "1700000000", b"1700000000", b"2"),
    ]
    async with bridge() as host:
        await echo_off(host)
        for name, value, told, _ in pairs:
            assert await host.ask(f"AT+{name}={value}", 0.01) == OK, name
            assert await host.ask(f"AT+{name}?", 0.01) == b"+%s:%s\r\n" % (name.encode(), told) + OK
        assert await host.ask("AT+RST", 2) == OK + READY
        await echo_off(host)
        for name, _, _, first in pairs:
            assert await host.ask(f"AT+{name}?", 0.01) == b"+%s:%s\r\n" % (name.encode(), first) + OK, name


async def test_the_host_name_is_a_station_s(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        assert await host.ask(f'AT+CWHOSTNAME="{"x" * 32}"') == OK
        assert await host.ask(f'AT+CWHOSTNAME="{"x" * 33}"') == ERROR
        await host.ask("AT+CWMODE=0")
        assert await host.ask('AT+CWHOSTNAME="y"') == ERROR
        assert await host.ask("AT+CWHOSTNAME?") == ERROR


async def test_the_clock_runs(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        await trio.sleep(99.5)
        assert await host.ask("AT+SYSTIMESTAMP?") == b"+SYSTIMESTAMP:99\r\n" + OK
        assert await host.ask("AT+SYSTIMESTAMP=1635860041") == OK
        await trio.sleep(600)
        assert await host.ask("AT+SYSTIMESTAMP?") == b"+SYSTIMESTAMP:1635860641\r\n" + OK


@pytest.mark.parametrize(
    ("profile", "before", "line", "outlives"),
    [
        ("espat-2.3", "AT", "AT+SYSMSG=3", True),
        ("espat-2.3", "AT+SYSSTORE=0", "AT+SYSMSG=3", False),
        ("nonos-1.7", "AT", "AT+SYSMSG_DEF=3", True),
        ("nonos-1.7", "AT", "AT+SYSMSG_CUR=3", False),
    ],
)
async def test_what_was_stored_outlives_a_reset(autojump_clock, profile, before, line, outlives):
    async with bridge(profile=profile) as host:
        await echo_off(host)
        assert await host.ask(before) == OK
        assert await host.ask(line) == OK
        assert await host.ask("AT+SYSMSG?") == b"+SYSMSG:3\r\n" + OK
        await host.ask("AT+RST", 2)
        await echo_off(host)
        assert await host.ask("AT+SYSMSG?") == (b"+SYSMSG:3\r\n" if outlives else b"+SYSMSG:0\r\n") + OK


@pytest.mark.parametrize(
    ("profile", "before", "line", "outlives"),
    [
        ("espat-2.3", "AT", "AT+CWJAP", True),
        ("espat-2.3", "AT+SYSSTORE=0", "AT+CWJAP", False),
        ("nonos-1.7", "AT", "AT+CWJAP", True),
        ("nonos-1.7", "AT", "AT+CWJAP_DEF", True),
        ("nonos-1.7", "AT", "AT+CWJAP_CUR", False),
    ],
)
async def test_a_stored_network_is_joined_after_a_reset(autojump_clock, profile, before, line, outlives):
    async with bridge(profile=profile) as host:
        await echo_off(host)
        assert await host.ask(before) == OK
        assert await host.ask(f'{line}="net","password"') == UP + OK
        assert await host.ask("AT+RST", 2) == OK + READY + (UP if outlives else b"")


@pytest.mark.parametrize(
    ("profile", "before", "line", "mode"),
    [
        ("espat-2.3", "AT", "AT+CWMODE=3", 3),
        ("espat-2.3", "AT", "AT+CWMODE=0", 0),
        ("espat-2.3", "AT+SYSSTORE=0", "AT+CWMODE=0", 1),
        ("nonos-1.7", "AT", "AT+CWMODE=3", 3),
        ("nonos-1.7", "AT", "AT+CWMODE_DEF=3", 3),
        ("nonos-1.7", "AT", "AT+CWMODE_CUR=3", 1),
    ],
)
async def test_a_mode_outlives_a_reset_where_it_was_stored(autojump_clock, profile, before, line, mode):
    async with bridge(profile=profile) as host:
        await echo_off(host)
        assert await host.ask(before) == OK
        assert await host.ask(line) == OK
        assert await host.ask("AT+RST", 2) == OK + READY
        await echo_off(host)
        assert await host.ask("AT+CWMODE?") == b"+CWMODE:%d\r\n" % mode + OK
        assert (await host.ask("AT+RESTORE", 2)).endswith(READY)
        await echo_off(host)
        assert await host.ask("AT+CWMODE?") == b"+CWMODE:1\r\n" + OK


async def test_leaving_is_told_by_one_task_however_often_the_host_leaves(autojump_clock):
    async with bridge() as host:
        await host.join()
        host.network.delay["detach"] = float("inf")
        before = len(host.upstream._nursery.child_tasks)
        for _ in range(20):
            await host.ask("AT+CWQAP")
        assert host.network.calls["detach"] == 20
        assert len(host.upstream._nursery.child_tasks) == before + 1


async def test_a_leave_that_is_not_over_does_not_end_the_join_after_it(autojump_clock):
    """Both in one burst: the Network hears of them in their order, whichever task runs first."""
    done = []

    class Telling(FakeNetwork):
        async def detach(self):
            await trio.sleep(0.01)
            done.append("detached")

        async def attach(self, login=None):
            await trio.sleep(0.005)
            done.append("attached")

    async with bridge(Telling()) as host:
        await host.join()
        assert await host.ask(b'AT+CWQAP\r\nAT+CWJAP="net","x"\r\n', 1) == OK + b"WIFI DISCONNECT\r\n" + UP + OK
        assert done == ["attached", "attached"]


async def test_a_network_that_came_late_is_stored_too(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        host.network.delay["attach"] = 20.0
        assert await host.ask('AT+CWJAP="net","password"', 15) == b"+CWJAP:1\r\n" + ERROR
        assert await host.read(30) == UP
        host.network.delay.clear()
        assert await host.ask("AT+RST", 2) == OK + READY + UP


async def test_restore_closes_tells_and_forgets_everything(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0, 3))
        assert await host.ask("AT+SYSMSG=1") == OK
        assert await host.ask("AT+CWAUTOCONN=0") == OK
        assert await host.ask("AT+RESTORE", 2) == b"0,CLOSED\r\n3,CLOSED\r\n" + OK + READY
        assert all(link.closed for link in links)
        assert await host.ask("AT") == b"AT\r\n" + OK  # echo is on again
        await echo_off(host)
        assert await host.ask("AT+SYSMSG?") == b"+SYSMSG:0\r\n" + OK
        assert await host.ask("AT+CWAUTOCONN?") == b"+CWAUTOCONN:1\r\n" + OK
        assert await host.ask("AT+CWSTATE?") == b'+CWSTATE:0,""\r\n' + OK
        assert await host.ask("AT+CIPMUX?") == b"+CIPMUX:0\r\n" + OK
        assert await host.ask("AT+RST", 2) == OK + READY  # nothing to join
        assert host.network.calls["detach"] == 1


async def test_deep_sleep_is_deaf_and_ends_as_a_reset_does(autojump_clock):
    async with bridge() as host:
        links = await host.join(links=(0,))
        start = trio.current_time()
        assert await host.ask("AT+GSLP=60000") == b"60000\r\n" + OK
        assert links[0].closed
        links[0].feed(b"lost")
        assert await host.ask("AT", 59) == b""
        assert await host.read(2) == READY + UP
        assert trio.current_time() - start < 62
        assert await host.ask("AT") == b"AT\r\n" + OK


async def test_deep_sleep_without_end(autojump_clock):
    async with bridge() as host:
        await host.join()
        assert await host.ask("AT+GSLP=0") == b"0\r\n" + OK
        assert await host.ask("AT", 1000) == b""


async def test_the_list_of_commands(autojump_clock):
    async with bridge() as host:
        await echo_off(host)
        lines = (await host.ask("AT+CMD?", 5)).removesuffix(OK).decode().splitlines()
        assert lines[:4] == ['+CMD:0,"AT",0,0,0,1', '+CMD:1,"ATE0",0,0,0,1', '+CMD:2,"ATE1",0,0,0,1', '+CMD:3,"AT+RST",0,0,0,1']
        assert [line.split(":")[1].split(",")[0] for line in lines] == [str(n) for n in range(len(lines))]
        rows = {line.split('"')[1]: line.split('",')[1] for line in lines}
        assert rows["AT+CWMODE"] == "1,1,1,0" or rows["AT+CWMODE"] == "0,1,1,0"
        assert rows["AT+CIPSTART"] == "0,0,1,0"
        assert "AT+CWSAP" not in rows  # it would answer ERROR
        assert "AT+CIPSSLSIZE" not in rows


@pytest.mark.parametrize("profile", ["espat-2.3", "nonos-1.7"])
async def test_detailed_messages_of_links(autojump_clock, profile):
    async with bridge(profile=profile) as host:
        await echo_off(host)
        await host.ask('AT+CWJAP="net"')
        assert await host.ask("AT+CIPMUX=1") == OK
        assert await host.ask("AT+SYSMSG=2") == OK
        told = b'+LINK_CONN:0,2,"TCP",0,"1.2.3.4",80,50000\r\n'
        assert await host.ask('AT+CIPSTART=2,"TCP","1.2.3.4",80') == told + OK
        assert await host.ask("AT+SYSMSG=5") == OK
        assert await host.ask('AT+CIPSTART=3,"TCP","1.2.3.4",80') == b"3,CONNECT\r\n" + OK
