"""A Network without a network, and a host with a stop watch, for the WIP module's tests."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import fake_network
import msgspec
import trio

from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Capability, Condition, Endpoint, HostSettings, Limits
from bridge.network import NetworkError
from bridge.ports import Port, PortLost, Wire
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


class FakeSending(fake_network.FakeSending):
    async def commit(self):
        await self.link.taking.wait()
        await super().commit()


class FakeLink(fake_network.FakeLink):
    """The test is the peer: `push`, `end`, `sent`; the network takes bytes while ``taking`` is set."""

    def __init__(self, network, host, port):
        super().__init__(network, host, port)
        self.peer = Endpoint(host, port)
        self.local = Endpoint("10.0.0.2", 4001)
        self.taking = trio.Event()
        self.taking.set()
        self.push = self.feed

    def end(self, condition=Condition.PEER_CLOSED):
        self.lose(condition)

    def sending(self, total):
        super().sending(total)
        return FakeSending(self, total)


class HalfLink(FakeLink):
    """Either direction ends by itself, as on the gateway's own sockets; ``eof`` is what had come before our FIN."""

    eof = None

    def check(self):
        if self.condition is not Condition.PEER_CLOSED:
            super().check()

    async def send_eof(self):
        await trio.lowlevel.checkpoint()
        self.eof = bytes(self.sent)

    def reset(self):
        """Also after the peer's FIN."""
        self.condition = Condition.LINK_RESET
        self._wake()


class FakeNetwork(fake_network.FakeNetwork):
    """Connects to everything that is not in `refused` (host -> condition)."""

    kind = FakeLink

    def __init__(self):
        super().__init__()
        self.limits = Limits(8, 8, 65536, frozenset(Capability), datagram_size=1472)
        self.strength = None
        self.servers = []
        self.refused = {}
        self.logins = []

    async def attach(self, login=None):
        self.logins.append(login)
        await super().attach(login)

    async def open_stream(self, host, port, *, keepalive=0):
        await self.operation("open_stream")
        if host in self.refused:
            raise NetworkError(self.refused[host])
        link = self.kind(self, host, port)
        self.links.append(link)
        return link


def profile(which="c1", /, **changes):
    """A table with some rows changed: ``module_guard=0.5`` a time, others a value."""
    table = load("wip", which)
    time, value = dict(table.time), dict(table.value)
    for name, new in changes.items():
        if name in time:
            time[name] = msgspec.structs.replace(time[name], seconds=new)
        else:
            value[name] = msgspec.structs.replace(value[name], value=new)
    return msgspec.structs.replace(table, time=time, value=value)


class WiredPort(Port):
    """A line whose host has a DTR, on our DSR; unplugged it is lost, and comes back if it ``reopens``."""

    wires = frozenset({Wire.DSR})

    def __init__(self, inner, *, reopens=False):
        self.inner = inner
        self.name = inner.name
        self.reopens = reopens
        self.reopened = 0
        self.lines = []  # ours, as they were set: time and what
        self._seen = {True}
        self._changed = trio.Event()
        self._plugged = True
        self._scopes = set()

    async def set_lines(self, *, dtr=None, rts=None):
        await trio.lowlevel.checkpoint()
        self.lines.append((trio.current_time(), {"dtr": dtr, "rts": rts}))

    def dtr(self, asserted):
        self._now = asserted
        self._seen.add(asserted)
        self._wake()

    def unplug(self):
        self._plugged = False
        for scope in self._scopes:
            scope.cancel()
        self._wake()

    def plug(self):
        self._plugged = True
        self._wake()

    def _wake(self):
        self._changed.set()
        self._changed = trio.Event()

    _now = True

    async def _living(self, work, *arguments):
        if not self._plugged:
            await trio.lowlevel.checkpoint()
            raise PortLost(self.name)
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await work(*arguments)
            finally:
                self._scopes.discard(scope)
        raise PortLost(self.name)

    async def receive(self, most=4096):
        return await self._living(self.inner.receive, most)

    async def send(self, data):
        return await self._living(self.inner.send, data)

    @property
    def sent(self):
        return self.inner.sent

    async def drain(self):
        await self.inner.drain()

    async def aclose(self):
        await self.inner.aclose()

    async def reopen(self):
        while not self._plugged:
            await self._changed.wait()
        await trio.sleep(0.2)
        self.reopened += 1

    async def wait_wire(self, wire, asserted):
        assert wire is Wire.DSR
        await trio.lowlevel.checkpoint()
        while asserted not in self._seen:
            await self._changed.wait()
            if not self._plugged:
                raise PortLost(self.name)
        self._seen.discard(asserted)
        self._seen.add(self._now)


class Host:
    """The host's end of the line: what came in is collected by itself."""

    def __init__(self, port, network, upstream, records):
        self.port = port
        self.network = network
        self.upstream = upstream
        self.records = records
        self.reading = trio.Event()
        self.reading.set()
        self.heard = trio.Event()
        self._got = bytearray()

    async def collect(self):
        while True:
            await self.reading.wait()
            self._got += await self.port.receive()
            self.heard.set()
            self.heard = trio.Event()

    def got(self):
        """What came since the last call."""
        data = bytes(self._got)
        self._got.clear()
        return data

    async def say(self, data, wait=0.05):
        """Send, wait, and give what came."""
        await self.port.send(data)
        await trio.sleep(wait)
        return self.got()

    async def ask(self, command, wait=0.05):
        return await self.say(command + b"\r", wait)

    async def up(self, *more):
        """Quiet, with numbers, stack and bearer up, and what is asked besides."""
        await self.ask(b"ATE0")
        assert await self.ask(b"AT+CMEE=1") == b"\r\nOK\r\n"
        assert await self.ask(b"AT+WIPCFG=1") == b"\r\nOK\r\n"
        assert await self.ask(b"AT+WIPBR=4,6", 3) == b"\r\nOK\r\n\r\n+WIPBR: 6,1\r\n"
        for command in more:
            await self.ask(command)

    async def up_gsm(self, *more):
        """The same for a GSM module: its bearer is opened first, and its OK waits until it is up."""
        await self.ask(b"ATE0")
        for command in (b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6", b'AT+WIPBR=2,6,11,"internet"'):
            assert await self.ask(command) == b"\r\nOK\r\n"
        assert await self.ask(b"AT+WIPBR=4,6,0", 3) == b"\r\nOK\r\n"
        for command in more:
            await self.ask(command)

    async def create(self, index, host=b'"10.1.1.1"', port=b"7"):
        """A connected socket; the fake's end of it."""
        got = await self.ask(b"AT+WIPCREATE=2,%d,%s,%s" % (index, host, port))
        assert got == b"\r\nOK\r\n\r\n+WIPREADY: 2,%d\r\n" % index
        return self.network.links[-1]

    async def map(self, index, mode=2):
        assert await self.ask(b"AT+WIPDATA=2,%d,%d" % (index, mode)) == b"\r\nCONNECT\r\n"

    async def escape(self):
        """By the book; what came from the pluses on."""
        await trio.sleep(1.05)
        before = self.got()
        return before + await self.say(b"+++", 1.05)


@asynccontextmanager
async def running(table=None, *, baud=0, wired=False, reopens=False, quirks=False):
    """A module on a fake network, and its host; ``host.wire`` is our side of a wired line."""
    ours, theirs = line(baud=baud)
    if wired or reopens:
        ours = WiredPort(ours, reopens=reopens)
    network = FakeNetwork()
    records = []
    upstream = WipUpstream(ours, network, table or profile(), Trace(records.append, payload=True), HostSettings(quirks=quirks))
    assert isinstance(upstream.counters, Counter)
    host = Host(theirs, network, upstream, records)
    host.wire = ours
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, upstream, network)
        nursery.start_soon(host.collect)
        yield host
        nursery.cancel_scope.cancel()
