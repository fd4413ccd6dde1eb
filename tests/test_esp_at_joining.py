"""A host that joins, one that never does, and a bearer that is late: what each is told, and how often."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from test_esp_at import BUSY, DOWN, ERROR, OK, UP
from wired_port import OrderedNetwork, plugged

from bridge.model import Condition, Phase
from bridge.network import NetworkError

pytestmark = pytest.mark.deadline(2000)

READY = b"\r\nready\r\n"
MUTE = float("inf")


# Power-up


async def test_a_start_is_announced(autojump_clock):
    async with plugged(announce=True) as host:
        assert await host.read() == READY
        assert await host.read(100) == b""


async def test_a_host_that_never_joins_is_joined(autojump_clock):
    async with plugged(announce=True, joined_at_start=True) as host:
        assert await host.read() == READY + UP
        assert await host.ask("ATE0") == b"ATE0\r\n" + OK
        assert await host.ask('AT+CIPSTART="TCP","1.2.3.4",80') == b"CONNECT\r\n" + OK
        assert await host.ask("AT+RST", 1) == OK + READY + UP
        assert await host.ask("AT+CIPMUX=1") == b"AT+CIPMUX=1\r\n" + OK


async def test_it_is_joined_when_the_network_is_up_and_told_once(autojump_clock):
    network = OrderedNetwork()
    network.box.change(Phase.STARTING)
    network.error["attach"] = NetworkError(Condition.BEARER_UNAVAILABLE)
    async with plugged(announce=True, joined_at_start=True, network=network) as host:
        assert await host.read(500) == READY
        del network.error["attach"]
        network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(500) == UP


async def test_a_bearer_that_thinks_again_joins_it_all_the_same(autojump_clock):
    network = OrderedNetwork()
    network.error["attach"] = NetworkError(Condition.BEARER_REFUSED)
    async with plugged(announce=True, joined_at_start=True, network=network) as host:
        assert await host.read(10) == READY
        network.box.change(Phase.DOWN)
        await host.read(1)
        del network.error["attach"]
        network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(1) == UP


@pytest.mark.parametrize("instead", ["AT+CWQAP", "AT+CWMODE=0"])
async def test_a_host_that_leaves_before_it_is_joined_is_not_joined(autojump_clock, instead):
    network = OrderedNetwork()
    network.delay["attach"] = 50
    async with plugged(joined_at_start=True, network=network) as host:
        assert await host.ask(instead) == instead.encode() + b"\r\n" + OK
        assert await host.read(1000) == b""


async def test_autoconnect_off_is_remembered_over_a_reset(autojump_clock):
    async with plugged(joined_at_start=True) as host:
        assert await host.read() == UP
        await host.ask("AT+CWAUTOCONN=0")
        assert await host.ask("AT+RST", 10) == b"AT+RST\r\n" + OK + READY


async def test_a_network_in_the_background_is_asked_by_one_task_only(autojump_clock):
    network = OrderedNetwork()
    network.delay["attach"] = MUTE
    async with plugged(joined_at_start=True, network=network) as host:
        await host.read(1)
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            assert (await host.ask("AT+RST", 2)).endswith(OK + READY)
        assert trio.lowlevel.current_statistics().tasks_living == before


# Joining


async def test_only_the_network_that_the_operator_named(autojump_clock):
    async with plugged(ssid="plant", password="right-word") as host:
        await host.ask("ATE0")
        assert await host.ask('AT+CWJAP="planet","right-word"') == b"+CWJAP:3\r\n" + ERROR
        assert await host.ask('AT+CWJAP="plant","wrong-word"') == b"+CWJAP:2\r\n" + ERROR
        assert await host.ask('AT+CWJAP="plant"') == b"+CWJAP:2\r\n" + ERROR
        assert host.network.calls["attach"] == 0
        assert await host.ask('AT+CWJAP="plant","right-word"') == UP + OK
        assert await host.ask('AT+CWJAP="planet","right-word"') == DOWN + b"+CWJAP:3\r\n" + ERROR
        assert await host.ask("AT+CWJAP?") == OK
        assert "-word" not in str(host.records)


async def test_any_password_for_the_one_name_and_the_empty_one_alone(autojump_clock):
    async with plugged(ssid="plant") as host:
        assert (await host.ask('AT+CWJAP="plant","anything"')).endswith(UP + OK)
    async with plugged(password="") as host:
        assert (await host.ask('AT+CWJAP="any",""')).endswith(UP + OK)
        assert (await host.ask('AT+CWJAP="any","x"')).endswith(b"+CWJAP:2\r\n" + ERROR)


async def test_a_late_bearer_fails_the_join_and_then_joins(autojump_clock):
    network = OrderedNetwork()
    network.delay["attach"] = 20
    async with plugged(network=network) as host:
        await host.ask("ATE0")
        assert await host.ask('AT+CWJAP="net","secret-word"', 13.9) == b""
        assert await host.ask("AT", 0.05) == BUSY
        assert await host.read(0.1) == b"+CWJAP:1\r\n" + ERROR
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:5\r\n" + OK
        assert await host.read(100) == UP
        assert await host.ask("AT+CIPSTATUS") == b"STATUS:2\r\n" + OK


async def test_the_host_says_how_long_a_join_may_take(autojump_clock):
    network = OrderedNetwork()
    network.delay["attach"] = MUTE
    async with plugged(network=network) as host:
        await host.ask("ATE0")
        assert await host.ask('AT+CWJAP="net","secret-word",,,,,,3', 2.9) == b""
        assert await host.read(0.2) == b"+CWJAP:1\r\n" + ERROR
        assert await host.ask('AT+CWJAP="net","secret-word",,,,,,60', 59.9) == b""
        assert await host.read(0.2) == b"+CWJAP:1\r\n" + ERROR


@pytest.mark.parametrize("instead", ["AT+CWQAP", "AT+RST", 'AT+CWJAP="b","c"', "AT+CWMODE=0"])
async def test_a_late_bearer_says_nothing_where_the_host_did_something_else(autojump_clock, instead):
    network = OrderedNetwork()
    network.delay["attach"] = MUTE
    async with plugged(network=network) as host:
        await host.ask("ATE0")
        assert await host.ask('AT+CWJAP="a","b"', 15) == b"+CWJAP:1\r\n" + ERROR
        network.delay["attach"] = 0
        told = await host.ask(instead, 5)
        assert told == {"AT+RST": OK + READY, 'AT+CWJAP="b","c"': UP + OK}.get(instead, OK)
        network.box.change(Phase.STARTING)
        await trio.sleep(1)
        network.box.change(Phase.UP, address="10.0.0.3")
        assert await host.read(1000) == (DOWN + UP if "CWJAP" in instead else b"")


@pytest.mark.parametrize("moment", [0.0, 0.5, 13.9])
async def test_the_bearer_goes_and_comes_while_a_host_joins(autojump_clock, moment):
    network = OrderedNetwork()
    network.box.change(Phase.DOWN)
    network.error["attach"] = NetworkError(Condition.BEARER_LOST)
    async with plugged(network=network) as host:
        await host.ask("ATE0")
        await host.type(b'AT+CWJAP="net","secret-word"\r\n')
        await trio.sleep(moment)
        network.box.change(Phase.STARTING)
        network.box.change(Phase.DOWN)
        del network.error["attach"]
        network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(100) == UP + OK


async def test_a_host_that_lost_its_network_and_joins_again_is_told_once(autojump_clock):
    async with plugged() as host:
        await host.join()
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        assert await host.read(10) == DOWN
        host.network.error["attach"] = NetworkError(Condition.BEARER_LOST)
        await host.type(b'AT+CWJAP="net","secret-word"\r\n')
        await trio.sleep(1)
        del host.network.error["attach"]
        host.network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(100) == UP + OK


async def test_a_name_and_a_password_beyond_ascii_are_bytes_of_utf_8(autojump_clock):
    async with plugged(ssid="Caf\u00e9", password="p\u00e4ss") as host:
        await host.ask("ATE0")
        assert await host.ask(b'AT+CWJAP="Caf\xe9","p\xe4ss"\r\n') == b"+CWJAP:3\r\n" + ERROR  # other bytes
        assert await host.ask('AT+CWJAP="Caf\u00e9","p\u00e4ss"') == UP + OK
        assert b'+CWJAP:"Caf\xc3\xa9",' in await host.ask("AT+CWJAP?")
