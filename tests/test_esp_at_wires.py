"""The wire by which a host resets its module."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio
import trio.testing
from test_esp_at import OK, UP
from wired_port import OrderedNetwork, WiredPort, plugged

from bridge import service, tables
from bridge.dialects.esp_at.upstream import EspAtUpstream
from bridge.endpoint import parse
from bridge.model import HostSettings, Wire
from bridge.ports.memory import line
from bridge.ports.opening import PortError
from bridge.trace import Trace

pytestmark = pytest.mark.deadline(2000)

READY = b"\r\nready\r\n"
MUTE = float("inf")


# The reset wire


async def test_a_short_pulse_is_a_reset(autojump_clock):
    async with plugged(wires=(Wire.CTS,), reset_on=Wire.CTS) as host:
        await host.join(links=(0,))
        host.wired.set_wire(Wire.CTS, True)
        host.wired.set_wire(Wire.CTS, False)
        assert await host.read(1) == READY + UP


async def test_a_pulse_while_it_boots_begins_the_boot_again(autojump_clock):
    async with plugged(wires=(Wire.CTS,), reset_on=Wire.CTS) as host:
        await host.join()
        for _ in range(5):
            host.wired.set_wire(Wire.CTS, True)
            await trio.sleep(0.1)
            host.wired.set_wire(Wire.CTS, False)
            await trio.sleep(0.3)
        assert await host.read(1) == READY + UP


async def test_the_other_level_can_mean_reset(autojump_clock):
    async with plugged(wires=(Wire.DCD,), reset_on=Wire.DCD, reset_level=False, announce=True) as host:
        assert await host.ask("AT", 10) == b""  # held from the start
        host.wired.set_wire(Wire.DCD, True)
        assert await host.read(1) == READY
        assert await host.ask("AT") == b"AT\r\n" + OK
        host.wired.set_wire(Wire.DCD, False)
        assert await host.ask("AT", 1) == b""
        host.wired.set_wire(Wire.DCD, True)
        assert await host.read(1) == READY


async def test_held_from_the_start_it_says_nothing_until_it_is_released(autojump_clock):
    near, _ = line("host")
    wired = WiredPort(near, wires=(Wire.DSR,))
    wired.set_wire(Wire.DSR, True)
    upstream = EspAtUpstream(wired, OrderedNetwork(), tables.load("esp-at"), Trace([].append), HostSettings(reset_on=Wire.DSR))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.module_to_host)
        await nursery.start(upstream.host_to_module)
        await trio.sleep(10)
        assert wired.log == []
        wired.set_wire(Wire.DSR, False)
        await trio.sleep(1)
        assert wired.log[-1] == ("sent", READY)
        nursery.cancel_scope.cancel()


async def test_a_break_can_be_the_reset(autojump_clock):
    async with plugged(wires=(Wire.BREAK,), reset_on=Wire.BREAK) as host:
        await host.join(links=(0,))
        host.wired.send_break()
        assert await host.read(1) == READY + UP
        assert await host.read(100) == b""


@pytest.mark.parametrize("wires", [(), (Wire.CTS, Wire.BREAK)])
async def test_a_wire_that_the_port_does_not_have_is_told_with_a_remedy(wires):
    near, _ = line("host")
    with pytest.raises(PortError) as told:
        EspAtUpstream(
            WiredPort(near, wires=wires),
            OrderedNetwork(),
            tables.load("esp-at"),
            Trace([].append),
            HostSettings(reset_on=Wire.DSR),
        )
    assert "host-port" in str(told.value)
    assert "dsr" in str(told.value)
    assert "cts" in str(told.value) if wires else "modem lines" in str(told.value)


async def test_an_operator_is_told_of_a_missing_wire(autojump_clock, tmp_path):
    spec = replace(parse(f"esp-at@pty:{tmp_path}/host", side="upstream"), host=HostSettings(reset_on=Wire.DSR))
    async with AsyncExitStack() as stack:
        failure = await service.caught(lambda: service.open_upstream(spec, OrderedNetwork(), Trace(), stack))
    assert isinstance(failure, PortError)
    assert "dsr" in str(failure)


async def test_a_break_has_no_level():
    near, _ = line("host")
    with pytest.raises(PortError, match="level"):
        EspAtUpstream(
            WiredPort(near, wires=(Wire.BREAK,)),
            OrderedNetwork(),
            tables.load("esp-at"),
            Trace([].append),
            HostSettings(reset_on=Wire.BREAK, reset_level=False),
        )


async def test_the_wire_still_works_after_the_port_came_back(autojump_clock):
    async with plugged(reopens=True, wires=(Wire.DSR,), reset_on=Wire.DSR) as host:
        await host.join()
        for moment in (0.0, 0.1, 5.0):
            host.wired.set_wire(Wire.DSR, True)
            await trio.sleep(moment)
            host.wired.lose()
            await trio.sleep(moment)
            host.wired.come_back()
            await trio.sleep(moment)
            assert await host.read(5) == b""  # the wire holds it
            host.wired.set_wire(Wire.DSR, False)
            assert await host.read(1) == READY + UP


async def test_what_an_operator_names_is_handed_over_as_a_host_types_it(tmp_path):
    spec = replace(parse(f"esp-at@pty:{tmp_path}/host", side="upstream"), host=HostSettings(ssid="Caf\u00e9", password="\u00e4"))
    async with AsyncExitStack() as stack:
        upstream, _ = await service.open_upstream(spec, OrderedNetwork(), Trace(), stack)
        assert upstream.settings == HostSettings(ssid="Caf\xc3\xa9", password="\xc3\xa4")
