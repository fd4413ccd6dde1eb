"""A host with a stop watch in front of the SKT module side, on the fake Network."""

from __future__ import annotations

from contextlib import asynccontextmanager

import fake_network
import msgspec
import trio

from bridge.dialects.skt.upstream import SktUpstream
from bridge.model import Capability, Condition, HostSettings, Limits
from bridge.network import NetworkError
from bridge.ports import PortLost
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


class FakeNetwork(fake_network.FakeNetwork):
    """Connects to everything that is not in `refused` (host -> condition)."""

    def __init__(self):
        super().__init__()
        self.limits = Limits(10, 10, 2048, frozenset(Capability), datagram_size=1472)
        self.refused = {}
        self.logins = []

    async def attach(self, login=None):
        self.logins.append(login)
        await super().attach(login)

    async def open_stream(self, host, port, *, keepalive=0):
        if host in self.refused:
            await self.operation("open_stream")
            raise NetworkError(self.refused[host])
        return await super().open_stream(host, port, keepalive=keepalive)


def profile(name="s1-uart", **changes):
    """A table with some rows changed: a time by its seconds, a text, or a value."""
    table = load("skt", name)
    sections = {"time": (dict(table.time), "seconds"), "value": (dict(table.value), "value"), "text": (dict(table.text), "text")}
    for key, new in changes.items():
        rows, field = next(pair for pair in sections.values() if key in pair[0])
        rows[key] = msgspec.structs.replace(rows[key], **{field: new})
    return msgspec.structs.replace(table, **{section: rows for section, (rows, _) in sections.items()})


class Host:
    def __init__(self, port, network, upstream, records):
        self.port, self.network, self.upstream, self.records = port, network, upstream, records
        self.heard = bytearray()
        self.times = []  # (when, bytes)

    async def listen(self):
        try:
            while True:
                data = await self.port.receive()
                self.times.append((trio.current_time(), data))
                self.heard += data
        except PortLost:
            pass

    def got(self):
        data = bytes(self.heard)
        self.heard.clear()
        return data

    async def ask(self, text, wait=0.05):
        """A line, and what came within ``wait`` seconds."""
        await self.port.send(text + b"\r\n")
        await trio.sleep(wait)
        return self.got()

    async def say(self, data, wait=0.05):
        await self.port.send(data)
        await trio.sleep(wait)
        return self.got()

    async def client(self, mode=0, host=b"192.0.2.1", port=80, wait=1.2):
        """Open one; returns (what was heard, the newest link or socket)."""
        said = await self.ask(b"AT+SKTCLIENT=%d,%s,%d" % (mode, host, port), wait)
        return said, (self.network.links if mode == 0 else self.network.datagrams)[-1]

    async def serve(self, mode=0, port=5001):
        said = await self.ask(b"AT+SKTSERVER=%d,%d" % (mode, port), 1.2)
        return said, (self.network.listeners if mode == 0 else self.network.datagrams)[-1]


@asynccontextmanager
async def running(name="s1-uart", *, quirks=False, network=None, settings=None, **changes):
    """The module side on a memory line, with a host."""
    ours, theirs = line("host")
    network = network or FakeNetwork()
    records = []
    settings = settings or HostSettings(announce=False, quirks=quirks)
    upstream = SktUpstream(ours, network, profile(name, **changes), Trace(records.append, payload=True), settings)
    host = Host(theirs, network, upstream, records)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.listen)
        await nursery.start(run_session, upstream, network)
        yield host
        assert upstream.counters["crashes"] == 0
        nursery.cancel_scope.cancel()


__all__ = ["Condition", "FakeNetwork", "Host", "profile", "running"]
