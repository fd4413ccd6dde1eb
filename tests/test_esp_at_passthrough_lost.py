"""Transparent mode: what cannot be carried, and links that are lost and opened again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from fake_network import FakeNetwork
from structlog.testing import capture_logs
from test_esp_at import ERROR, OK, bridge
from test_esp_at_passthrough import MUTE, PROFILES, PROMPT, begin, leave

from bridge.model import Condition, Phase
from bridge.network import LinkLost, NetworkError

pytestmark = pytest.mark.deadline(2000)


async def test_a_byte_that_the_network_cannot_carry_ends_the_link(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        await host.ask(b"good", 0.1)
        network.error["sending"] = NetworkError(Condition.BAD_ARGUMENT, "byte 0")
        with capture_logs() as logs:
            assert await host.ask(b"bad\x00", 0.06) == b""
        assert link.sent == b"good"
        assert link.closed
        assert [(entry["reason"], entry["bytes"]) for entry in logs if entry["log_level"] == "warning"] == [
            ("bad-argument (byte 0)", 4)
        ]
        assert host.upstream.counters["through-lost"] == 4
        network.error.clear()
        assert await host.ask(b"more", 2) == b""
        assert host.upstream.counters["through-lost"] == 8
        await host.ask(b"and on")
        assert network.links[1].sent == b"and on"
        await leave(host)
        assert b"bad\x00" not in b"".join(record.data or b"" for record in host.records)


async def test_a_datagram_that_cannot_be_carried_is_lost_alone(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host, kind="UDP")
        network.error["send_datagram"] = NetworkError(Condition.BAD_ARGUMENT, "byte 0")
        await host.ask(b"one")
        network.error.clear()
        await host.ask(b"two")
        await host.ask(b"y" * 2000)
        assert link.sent == [(b"two", None), (b"y" * 1472, None), (b"y" * 528, None)]
        assert host.upstream.counters["datagrams-refused"] == 1
        await leave(host)


async def test_a_network_that_takes_little_at_a_time(autojump_clock):
    network = FakeNetwork()
    network.limits = replace(network.limits, send_size=100)
    async with bridge(network) as host:
        link = await begin(host)
        await host.ask(b"z" * 250)
        assert (link.sent, link.commits) == (b"z" * 250, 3)


@pytest.mark.parametrize("profile", PROFILES)
async def test_it_connects_again_at_a_bounded_rate(autojump_clock, profile):
    network = FakeNetwork()
    async with bridge(network, profile=profile) as host:
        link = await begin(host)
        network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        before = network.calls["open_stream"]
        link.feed(b"the last")
        link.lose(Condition.LINK_RESET)
        assert await host.read(60) == b"the last"
        assert 25 < network.calls["open_stream"] - before <= 61
        network.error.clear()
        await trio.sleep(3)
        await host.ask(b"hello")
        assert network.links[-1].sent == b"hello"
        network.links[-1].feed(b"world")
        assert await host.read() == b"world"
        await leave(host)


async def test_the_interval_counts_from_the_end_of_each_link(autojump_clock):
    """A link whose send failed is still listened to for 2 s; then it is closed, and the next one is due."""
    network = FakeNetwork()
    async with bridge(network) as host:
        await host.ask("AT+CIPRECONNINTV=15")
        await begin(host)
        for number in range(3):
            network.error["sending"] = LinkLost(Condition.LINK_RESET)
            await host.ask(b"lost", 0.05)
            network.error.clear()
            network.links[-1].feed(b"last")
            assert await host.read(3.4) == b"last"
            assert network.calls["open_stream"] == number + 1
            await trio.sleep(0.2)
            assert network.calls["open_stream"] == number + 2


async def test_no_attempt_while_the_network_is_away(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        link.lose(Condition.BEARER_LOST)
        assert await host.read(60) == b""
        assert network.calls["open_stream"] == 1
        network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(2) == b""
        assert network.calls["open_stream"] == 2
        await leave(host)


async def test_a_restarted_module_below(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        network.box.change(Phase.STARTING, cause=Condition.MODULE_RESET, new_generation=True)
        link.lose(Condition.MODULE_RESET)
        await trio.sleep(5)
        network.box.change(Phase.UP, address="10.0.0.2")
        assert await host.read(5) == b""
        await host.ask(b"again")
        assert network.links[-1].sent == b"again"


@pytest.mark.parametrize("what", ["open_stream", "refused"])
async def test_the_way_out_while_there_is_no_link(autojump_clock, what):
    network = FakeNetwork()
    async with bridge(network) as host:
        link = await begin(host)
        if what == "refused":
            network.error["open_stream"] = NetworkError(Condition.CONNECT_REFUSED)
        else:
            network.delay["open_stream"] = MUTE
        link.lose(Condition.LINK_RESET)
        await host.ask(b"into the void", 5)
        await leave(host)
        network.delay.clear()
        network.error.clear()
        calls = network.calls["open_stream"]
        assert await host.ask("AT+CIPSTATUS", 10) == b"STATUS:4\r\n" + OK
        assert await host.ask("AT+CIPSEND") == ERROR
        assert network.calls["open_stream"] == calls
        assert any(b"13 bytes were lost with the link and since" in (record.data or b"") for record in host.records)
        assert await host.ask('AT+CIPSTART="TCP","1.2.3.4",80') == b"CONNECT\r\n" + OK
        assert await host.ask("AT+CIPSEND") == PROMPT
        await host.ask(b"here")
        assert network.links[-1].sent == b"here"


async def test_a_link_that_is_lost_after_the_way_out_is_told_and_stays_lost(autojump_clock):
    async with bridge() as host:
        link = await begin(host)
        await leave(host)
        link.peer_close()
        assert await host.read(10) == b"CLOSED\r\n"
        assert len(host.network.links) == 1


async def test_nothing_of_what_is_carried_is_in_the_trace(autojump_clock):
    async with bridge() as host:
        link = await begin(host)
        await host.type(b"private-out")
        link.feed(b"private-in")
        await host.read()
        assert not [record for record in host.records if b"private" in (record.data or b"")]
        lengths = [record.length for record in host.records if record.data is None]
        assert sorted(lengths) == [10, 11]


async def test_an_error_of_ours_ends_the_link_and_not_the_mode(autojump_clock):
    network = FakeNetwork()
    async with bridge(network) as host:
        await begin(host)
        network.error["sending"] = RuntimeError("ours")
        await host.ask(b"oops", 1.5)
        network.error["open_stream"] = RuntimeError("ours, too")
        await trio.sleep(4)
        network.error.clear()
        await trio.sleep(3)
        await host.ask(b"fine")
        assert network.links[-1].sent == b"fine"
        assert host.upstream.counters["crashes"] >= 1
        await leave(host)


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
async def test_a_peer_that_goes_on_talking_does_not_keep_a_link_that_takes_nothing(autojump_clock, kind):
    """The Network gave the send up before a byte went out, so the link itself lives on."""
    network = FakeNetwork()
    async with bridge(network) as host:
        first = await begin(host, kind=kind)
        network.delay.update(write=MUTE, send_datagram=MUTE)
        await host.type(b"stuck")
        heard = b""
        for _ in range(50):
            first.feed(b".")
            heard += await host.read(0.5)
        network.delay.clear()
        assert heard.startswith(b"." * 39)
        assert heard.strip(b".") == b""
        assert first.closed
        await host.ask(b"heard again")
        last = (network.links if kind == "TCP" else network.datagrams)[-1]
        assert last.sent == (b"heard again" if kind == "TCP" else [(b"heard again", None)])
        assert host.upstream.counters["through-lost"] == 5
        await leave(host)
