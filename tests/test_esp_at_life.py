"""Resets by command, wire and lost port, at every step of what a host may be doing."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from test_esp_at import OK, PROMPT, UP
from wired_port import OrderedNetwork, plugged

from bridge.model import Condition, Phase, Wire
from bridge.ports import PortLost

pytestmark = pytest.mark.deadline(2000)

READY = b"\r\nready\r\n"
MUTE = float("inf")


# AT+RST


async def test_the_closes_begin_before_the_network_hears_of_a_reset(autojump_clock):
    for _ in range(30):  # trio's order of tasks is random
        network = OrderedNetwork()
        async with plugged(network=network) as host:
            await host.join(links=(0, 1, 2))
            del network.order[:]
            assert await host.ask("AT+RST", 1) == OK + READY + UP
            assert network.order[:4] == ["aclose"] * 3 + ["reset"]


async def test_the_rest_of_a_chunk_after_reset_is_not_a_command(autojump_clock):
    async with plugged() as host:
        assert await host.ask(b"AT+RST\r\nAT+GMR\r\n", 1) == b"AT+RST\r\n" + OK + READY
        assert await host.ask("ATE0") == b"ATE0\r\n" + OK


# The host does something, and is interrupted


async def nothing(host):
    pass


async def joining(host):
    host.network.delay["attach"] = MUTE
    await host.ask('AT+CWJAP="other","secret-word"')


async def connecting(host):
    host.network.delay["open_stream"] = MUTE
    assert await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80') == b""


async def looking_up(host):
    host.network.delay["resolve"] = MUTE
    assert await host.ask('AT+CIPDOMAIN="example.com"') == b""


async def half_a_line(host):
    assert await host.ask(b"AT+CIPM") == b""


async def prompted(host):
    assert await host.ask("AT+CIPSEND=0,6") == PROMPT


async def in_mid_payload(host):
    await prompted(host)
    assert await host.ask(b"abc") == b""


async def lost_in_mid_payload(host):
    await in_mid_payload(host)
    host.network.links[0].lose(Condition.LINK_RESET)
    assert await host.read(5) == b""


async def writing(host):
    host.network.delay["write"] = MUTE
    await in_mid_payload(host)


async def committing(host):
    host.network.delay["commit"] = MUTE
    await prompted(host)
    assert await host.ask(b"abcdef") == b"\r\nRecv 6 bytes\r\n"


async def after_send_ok(host):
    await prompted(host)
    assert await host.ask(b"abcdef", 0.001) == b"\r\nRecv 6 bytes\r\n\r\nSEND OK\r\n"
    host.network.links[1].feed(b"behind the gap")


async def data_behind_the_gate(host):
    await in_mid_payload(host)
    host.network.links[1].feed(b"data")
    host.network.links[2].peer_close()
    assert await host.read() == b""


async def changing_speed(host):
    host.wired.slow = 0.1  # the OK is under way
    assert await host.ask(b"AT+UART_CUR=9600,8,1,0,0\r\n") == b""
    assert ("speed", 9600) in host.wired.log


async def booting(host):
    assert await host.ask("AT+RST", 0.1) == OK


async def booting_with_a_mute_network(host):
    host.network.delay["reset"] = MUTE
    assert await host.ask("AT+RST", 0.1) == OK


async def answering_slowly(host):
    host.wired.slow = 1.0
    await host.type(b"AT+GMR\r\nAT\r\nAT\r\n")
    assert await host.read(0.5) == b""


STEPS = [
    nothing,
    joining,
    connecting,
    looking_up,
    half_a_line,
    prompted,
    in_mid_payload,
    lost_in_mid_payload,
    writing,
    committing,
    after_send_ok,
    data_behind_the_gate,
    changing_speed,
    booting,
    booting_with_a_mute_network,
    answering_slowly,
]


async def is_new(host, opened, bauds=frozenset({115200})):
    """The module forgot everything, nothing of before is said, and all of it works again."""
    network = host.network
    network.delay.clear()
    host.wired.slow = 0
    assert await host.read(3) == READY + UP
    assert all(link.closed for link in opened)
    assert network.calls["reset"] >= 1
    assert host.wired.baud == host.upstream.uart.default
    assert host.wired.baud in bauds
    assert await host.ask("AT+CIPMUX?") == b"AT+CIPMUX?\r\n+CIPMUX:0\r\n" + OK
    assert await host.ask("ATE0") == b"ATE0\r\n" + OK
    assert await host.ask("AT+CIPMUX=1") == OK
    for number in range(5):
        assert await host.ask(f'AT+CIPSTART={number},"TCP","1.2.3.4",80') == b"%d,CONNECT\r\n" % number + OK
    for number in range(5):
        prompt = await host.ask(f"AT+CIPSEND={number},3")
        assert prompt == PROMPT
        assert await host.ask(b"new") == b"\r\nRecv 3 bytes\r\n\r\nSEND OK\r\n"
        assert bytes(network.links[-5 + number].sent) == b"new"
    network.links[-1].feed(b"last")
    assert await host.read() == b"\r\n+IPD,4,4:last"
    assert host.upstream.counters["crashes"] == 0


@pytest.mark.parametrize("step", STEPS)
async def test_the_reset_wire_at_each_step(autojump_clock, step):
    async with plugged(baud=115200, wires=(Wire.DSR,), reset_on=Wire.DSR) as host:
        opened = list(await host.join(links=(0, 1, 2)))
        await step(host)
        await host.read(0)
        host.wired.set_wire(Wire.DSR, True)
        assert await host.ask(b"AT\r\nrest", 10) == b""
        assert all(link.closed for link in opened)
        host.wired.set_wire(Wire.DSR, False)
        assert await host.read(0.4) == b""
        await is_new(host, opened)


@pytest.mark.parametrize("step", STEPS)
async def test_a_port_that_is_lost_and_comes_back_at_each_step(autojump_clock, step):
    async with plugged(baud=115200, reopens=True) as host:
        opened = list(await host.join(links=(0, 1, 2)))
        before = trio.lowlevel.current_statistics().tasks_living - 3  # their pumps
        await step(host)
        await host.read(0)
        host.wired.lose()
        assert await host.read(10) == b""
        assert all(link.closed for link in opened)
        assert trio.lowlevel.current_statistics().tasks_living <= before
        host.wired.come_back()
        await is_new(host, opened)


@pytest.mark.parametrize("step", STEPS)
async def test_a_port_that_is_back_at_once(autojump_clock, step):
    async with plugged(baud=115200, reopens=True) as host:
        opened = list(await host.join(links=(0, 1, 2)))
        await step(host)
        await host.read(0)
        host.wired.lose()
        host.wired.come_back()
        await is_new(host, opened)


@pytest.mark.parametrize("step", STEPS)
async def test_a_port_that_never_comes_back_ends_the_session(autojump_clock, step):
    async def session():
        async with plugged(baud=115200) as host:
            await host.join(links=(0, 1, 2))
            await step(host)
            host.wired.lose()
            await trio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        await session()
    assert caught.group_contains(PortLost)


async def test_a_lost_port_drops_what_was_to_be_said_and_counts_it(autojump_clock):
    async with plugged(reopens=True) as host:
        await host.join(links=(0,))
        host.wired.slow = 1
        host.network.links[0].feed(b"x" * 100)
        await trio.sleep(0.5)
        host.wired.lose()
        await trio.sleep(1)
        assert host.upstream.counters["port-lost-dropped"] == 1 or "cut" in str(host.records)
        host.wired.slow = 0
        host.wired.come_back()
        assert await host.read(1) == READY + UP


async def test_a_port_lost_again_while_it_boots(autojump_clock):
    async with plugged(reopens=True) as host:
        await host.join(links=(0,))
        for _ in range(3):
            host.wired.lose()
            await trio.sleep(0.2)
            host.wired.come_back()
            await trio.sleep(0.2)
        assert await host.read(1) == READY + UP
        assert await host.ask("AT") == b"AT\r\n" + OK


# Anything at any time


LINES = [
    b"AT\r\n",
    b"?\r\n",
    b'AT+CWJAP="net","secret-word"\r\n',
    b"AT+CWQAP\r\n",
    b"AT+CIPMUX=1\r\n",
    b'AT+CIPSTART=0,"TCP","1.2.3.4",80\r\n',
    b'AT+CIPSTART=1,"TCP","1.2.3.4",80\r\n',
    b"AT+CIPSEND=0,5\r\n",
    b"hello",
    b"hel",
    b"AT+CIPCLOSE=5\r\n",
    b"AT+RST\r\n",
    b"AT+UART_CUR=9600,8,1,0,0\r\n",
    b"AT+UART_DEF=57600,8,1,0,0\r\n",
    b"\x00\xff\x80",
]
WORLD = ["press", "release", "break", "lose", "back", "down", "up", "feed", "peer", "mute", "slow", "quick"]


async def happen(host, event):
    network, wired = host.network, host.wired
    links = [link for link in network.links if not link.closed]
    match event:
        case "press" | "release":
            wired.set_wire(Wire.DSR, event == "press")
        case "break":
            wired.send_break()
        case "lose":
            wired.lose()
        case "back":
            wired.come_back()
        case "down":
            network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
            for link in links:
                link.lose(Condition.BEARER_LOST)
        case "up":
            network.box.change(Phase.UP, address="10.0.0.2")
        case "feed" if links:
            links[-1].feed(b"data")
        case "peer" if links:
            links[-1].peer_close()
        case "mute":
            network.delay = dict.fromkeys(("commit", "open_stream", "attach", "aclose", "reset"), 30)
        case "quick":
            network.delay.clear()
            wired.slow = 0
        case "slow":
            wired.slow = 0.02


@given(
    events=st.lists(
        st.tuples(st.sampled_from(WORLD) | st.sampled_from(LINES).map(bytes.hex), st.sampled_from([0.0, 0.001, 0.3, 3.0])),
        max_size=40,
    ),
    patience=st.sampled_from([None, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_a_reset_makes_it_new(events, patience):
    async def run():
        with trio.fail_after(5000):
            async with plugged(
                baud=115200,
                reopens=True,
                wires=(Wire.DSR, Wire.BREAK),
                reset_on=Wire.DSR,
                payload=patience,
                joined_at_start=True,
            ) as host:
                await host.read(1)
                tasks = trio.lowlevel.current_statistics().tasks_living
                for event, pause in events:
                    if event in WORLD:
                        await happen(host, event)
                    else:
                        await host.type(bytes.fromhex(event))
                    await trio.sleep(pause)
                for event in ("quick", "up", "back", "press"):
                    await happen(host, event)
                await host.read(100)
                opened = list(host.network.links)
                assert trio.lowlevel.current_statistics().tasks_living <= tasks
                assert await host.ask(b"AT\r\n", 10) == b""
                await happen(host, "release")
                host.network.calls["reset"] = 1
                await is_new(host, opened, {115200, 57600})

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
