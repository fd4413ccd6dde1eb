"""A host's port that tests can do everything to: it has wires, a speed, goes away and comes back."""

from __future__ import annotations

import contextlib

import trio
from fake_network import FakeNetwork
from test_esp_at import Host

from bridge import tables
from bridge.dialects.esp_at.upstream import EspAtUpstream
from bridge.model import HostSettings, Wire
from bridge.ports import Port, PortLost
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.trace import Trace


class WiredPort(Port):
    """``assert_wire``, ``lose`` and ``come_back`` are the world; ``log`` is what it was told, in order."""

    def __init__(self, inner, *, baud=0, reopens=False, wires=()):
        self.inner = inner
        self.name = "host-port"
        self.baud = baud
        self.reopens = reopens
        self.wires = frozenset(wires)
        self.refused = set()  # speeds
        self.log = []
        self.lost = False
        self.slow = 0.0  # seconds that a send takes
        self._calls = set()
        self._back = trio.Event()
        self._level = dict.fromkeys(wires, False)
        self._news = {wire: set() for wire in wires}  # levels that nobody asked for yet
        self._changed = trio.Event()

    async def _do(self, call):
        await trio.lowlevel.checkpoint()
        if self.lost:
            raise PortLost(self.name)
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await call()
            finally:
                self._calls.remove(scope)
        raise PortLost(self.name)

    def lose(self):
        if self.lost:
            return
        self.lost = True
        self._back = trio.Event()
        for call in list(self._calls):
            call.cancel()

    def come_back(self):
        self._back.set()  # what was lost stays so until it is opened again

    async def reopen(self):
        if not self.reopens:
            raise PortLost(self.name)
        self.log.append(("reopen", self.name))
        await self._back.wait()
        self.lost = False

    async def receive(self, most=4096):
        return await self._do(lambda: self.inner.receive(most))

    async def send(self, data):
        async def send():
            await trio.sleep(self.slow)
            self.log.append(("sent", bytes(data)))
            return await self.inner.send(data)

        return await self._do(send)

    @property
    def sent(self):
        return self.inner.sent

    async def drain(self):
        await self._do(self.inner.drain)

    async def set_speed(self, baud):
        async def change():
            if baud in self.refused:
                raise ValueError(f"not {baud}")
            self.log.append(("speed", baud))
            if self.baud:
                self.baud = baud

        await self._do(change)

    def set_wire(self, wire, asserted):
        self._level[wire] = asserted
        self._news[wire].add(asserted)
        self._changed.set()
        self._changed = trio.Event()

    def send_break(self):
        self._news[Wire.BREAK] = {True, False}
        self._changed.set()
        self._changed = trio.Event()

    async def wait_wire(self, wire, asserted):
        async def wait():
            while True:
                if asserted in self._news[wire]:
                    self._news[wire].discard(asserted)
                    return
                if wire is not Wire.BREAK and self._level[wire] == asserted:
                    return
                await self._changed.wait()

        await self._do(wait)

    async def aclose(self):
        await self.inner.aclose()


class OrderedNetwork(FakeNetwork):
    """Keeps the order of the operations that it was asked for."""

    def __init__(self):
        super().__init__()
        self.order = []

    async def operation(self, name):
        self.order.append(name)
        await super().operation(name)


@contextlib.asynccontextmanager
async def plugged(*, baud=0, reopens=False, wires=(), network=None, profile="", **settings):
    """A bridge on such a port; ``settings`` are the host's.  ``host.wired`` is the port, ``host.tasks`` the nursery."""
    near, far = line("host")
    wired = WiredPort(near, baud=baud, reopens=reopens, wires=wires)
    network = network or OrderedNetwork()
    records = []
    treated = HostSettings(**({"announce": False} | settings))
    upstream = EspAtUpstream(wired, network, tables.load("esp-at", profile), Trace(records.append), treated.typed())
    async with trio.open_nursery() as nursery:
        host = Host(far, network, upstream, records)
        host.wired = wired
        nursery.start_soon(host.listen)
        await nursery.start(run_session, upstream, network)
        yield host
        nursery.cancel_scope.cancel()
