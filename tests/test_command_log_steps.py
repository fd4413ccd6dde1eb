"""What the event of a host command says about the module, with a real driver on a simulated modem."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from fake_network import FakeNetwork
from test_command_log import logged, told
from test_esp_at import PROMPT, Host

from bridge import tables
from bridge.dialects.esp_at.upstream import EspAtUpstream
from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import HostSettings
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.trace import Trace

__all__ = ["logged"]  # a fixture

pytestmark = pytest.mark.deadline(2000)


@asynccontextmanager
async def whole():
    """A host on our upstream, our WIP driver, and our simulated modem: one trace of both wires of the bridge."""
    records = []
    trace = Trace(records.append)
    module, modem = line("module", baud=115200)
    near, far = line("host")
    below, table = FakeNetwork(), tables.load("wip", "c1")
    network = WipNetwork(module, table, trace)
    upstream = EspAtUpstream(near, network, tables.load("esp-at"), trace, HostSettings(announce=False))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(modem, below, table, Trace()), below)
        host = Host(far, below, upstream, records)
        nursery.start_soon(host.listen)
        await nursery.start(run_session, upstream, network)
        await trio.sleep(20)
        yield host
        network.shutdown_grace = 0
        nursery.cancel_scope.cancel()


def hosts(logged, *keys):
    """Of the host's commands: the simulated modem has a host, too, which is our driver."""
    return [rest for verb, *rest in told(logged, "verb", *keys) if verb.startswith("CIP")]


async def test_the_steps_of_a_real_driver(autojump_clock, logged):
    async with whole() as host:
        await host.ask('AT+CWJAP="net","pw"', 20)
        await host.ask("AT+CIPMUX=1")
        told(logged)
        await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80', 10)
        ((steps, final),) = hosts(logged, "steps", "final")
        assert ("create" in steps, final) == (True, "OK")
        assert (await host.ask("AT+CIPSEND=0,5")).endswith(PROMPT)
        assert (await host.ask(b"hello", 20)).endswith(b"SEND OK\r\n")
        ((steps, module),) = hosts(logged, "steps", "module")
        assert steps == ["map"]  # it is left when the host has its answer
        assert module > 0.01
