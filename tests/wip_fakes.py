"""A Network without a network, and a host with a stop watch, for the WIP module's tests."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import msgspec
import trio

from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Capability, Condition, Delivered, Endpoint, Limits, Phase
from bridge.network import LinkLost, Network, NetworkError, Sending, StateBox, StreamLink
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


class FakeSending(Sending):
    def __init__(self, link):
        self._link = link
        self._held = b""

    async def write(self, piece):
        self._held += piece
        await trio.lowlevel.checkpoint()

    async def commit(self):
        await self._link.taking.wait()
        if self._link.condition not in {None, Condition.PEER_CLOSED}:
            raise LinkLost(self._link.condition, Delivered.NONE)
        await trio.lowlevel.checkpoint()
        self._link.sent += self._held
        self._link.sends.append(self._held)
        self._done = True

    def abort(self):
        pass


class FakeLink(StreamLink):
    """The test is the peer: `push`, `end`, `sent`."""

    local = Endpoint("10.0.0.2", 4001)

    def __init__(self, host, port):
        self.peer = Endpoint(host, port)
        self.sent = bytearray()
        self.sends = []
        self.closed = False
        self.taking = trio.Event()
        self.taking.set()
        self._peer_bytes = bytearray()
        self._change = trio.Event()

    def push(self, data):
        self._peer_bytes += data
        self._ring()

    def end(self, condition=Condition.PEER_CLOSED):
        self.condition = condition
        self._ring()

    def _ring(self):
        self._change.set()
        self._change = trio.Event()

    def sending(self, total):
        return FakeSending(self)

    def waiting(self):
        return len(self._peer_bytes)

    async def wait_readable(self):
        await trio.lowlevel.checkpoint()
        while not self._peer_bytes and self.condition is None:
            await self._change.wait()
        return len(self._peer_bytes)

    async def fetch(self):
        await trio.lowlevel.checkpoint()
        return len(self._peer_bytes)

    def take(self, most):
        data = bytes(self._peer_bytes[:most])
        del self._peer_bytes[:most]
        return data

    async def aclose(self):
        self.closed = True
        await trio.lowlevel.checkpoint()


class FakeNetwork(Network):
    """Connects to everything that is not in `refused` (host -> condition), after `delay` seconds."""

    def __init__(self):
        self.limits = Limits(8, 0, 65536, frozenset({Capability.TCP}))
        self.box = StateBox()
        self.box.change(Phase.UP, address="10.0.0.2")
        self.refused = {}
        self.delay = 0.0
        self.links = []
        self.logins = []
        self.detached = 0
        self.resets = 0
        self.attach_error = None

    @property
    def state(self):
        return self.box.now

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await trio.sleep_forever()

    async def wait_state(self, after):
        return await self.box.wait(after)

    async def attach(self, login=None):
        self.logins.append(login)
        await trio.lowlevel.checkpoint()
        if self.attach_error is not None:
            raise NetworkError(self.attach_error)

    async def detach(self):
        self.detached += 1
        await trio.lowlevel.checkpoint()

    async def open_stream(self, host, port, *, keepalive=0):
        await trio.sleep(self.delay)
        if host in self.refused:
            raise NetworkError(self.refused[host])
        link = FakeLink(host, port)
        self.links.append(link)
        return link

    async def resolve(self, name):
        raise NetworkError(Condition.NOT_SUPPORTED)

    async def reset(self):
        self.resets += 1
        await trio.lowlevel.checkpoint()


def profile(**changes):
    """The c1 table with some rows changed: ``module_guard=0.5`` a time, others a value."""
    table = load("wip", "c1")
    time, value = dict(table.time), dict(table.value)
    for name, new in changes.items():
        if name in time:
            time[name] = msgspec.structs.replace(time[name], seconds=new)
        else:
            value[name] = msgspec.structs.replace(value[name], value=new)
    return msgspec.structs.replace(table, time=time, value=value)


class Host:
    """The host's end of the line: what came in is collected by itself."""

    def __init__(self, port, network, upstream, records):
        self.port = port
        self.network = network
        self.upstream = upstream
        self.records = records
        self.reading = trio.Event()
        self.reading.set()
        self._got = bytearray()

    async def collect(self):
        while True:
            await self.reading.wait()
            self._got += await self.port.receive()

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

    async def create(self, index, host=b'"10.1.1.1"', port=b"7"):
        """A connected socket; the fake's end of it."""
        got = await self.ask(b"AT+WIPCREATE=2,%d,%s,%s" % (index, host, port))
        assert got == b"\r\nOK\r\n\r\n+WIPREADY: 2,%d\r\n" % index
        return self.network.links[-1]

    async def map(self, index):
        assert await self.ask(b"AT+WIPDATA=2,%d,2" % index) == b"\r\nCONNECT\r\n"

    async def escape(self):
        """By the book; what came from the pluses on."""
        await trio.sleep(1.05)
        before = self.got()
        return before + await self.say(b"+++", 1.05)


@asynccontextmanager
async def running(table=None, *, baud=0):
    """A module on a fake network, and its host."""
    ours, theirs = line(baud=baud)
    network = FakeNetwork()
    records = []
    upstream = WipUpstream(ours, network, table or profile(), Trace(records.append, payload=True))
    assert isinstance(upstream.counters, Counter)
    host = Host(theirs, network, upstream, records)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, upstream, network)
        nursery.start_soon(host.collect)
        yield host
        nursery.cancel_scope.cancel()
