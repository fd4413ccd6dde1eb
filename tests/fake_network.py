"""A scripted Network in memory: every operation can be slow, mute, fail or crash, and links are fed by the test."""

from __future__ import annotations

from collections import Counter

import trio

from bridge.model import Capability, Condition, Delivered, Endpoint, Limits, Phase
from bridge.network import LinkLost, Network, NetworkError, Sending, StateBox, StreamLink


class FakeSending(Sending):
    def __init__(self, link, total):
        self.link, self.left, self.out = link, total, 0

    async def write(self, piece):
        await self.link.network.operation("write")
        self.link.check()
        assert len(piece) <= self.left, "more than was announced"
        self.left -= len(piece)
        self.out += len(piece)
        self.link.sent += piece

    async def commit(self):
        assert self.left == 0, "less than was announced"
        await self.link.network.operation("commit")
        self.link.check()
        self._done = True
        self.link.commits += 1

    def abort(self):
        self.link.busy = False
        if not self._done:
            self._done = True
            self.link.aborts += 1
            if self.out:
                self.link.lose(Condition.ABORTED)


class FakeLink(StreamLink):
    """``feed``, ``peer_close`` and ``lose`` are the peer; ``sent`` is what it got."""

    def __init__(self, network, host, port):
        self.network = network
        self.peer = Endpoint(host if host[0].isdigit() else "93.184.216.34", port)
        self.local = Endpoint("10.0.0.2", 50000 + len(network.links))
        self.sent = bytearray()
        self.commits = self.aborts = 0
        self.busy = self.closed = False
        self.condition = None
        self._inbox = bytearray()
        self._changed = trio.Event()

    def _wake(self):
        self._changed.set()
        self._changed = trio.Event()

    def feed(self, data):
        self._inbox += data
        self._wake()

    def peer_close(self):
        self.lose(Condition.PEER_CLOSED)

    def lose(self, condition):
        self.condition = self.condition or condition
        self._wake()

    def check(self):
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.UNKNOWN)

    def sending(self, total):
        self.network.raise_if_told("sending")
        if self.busy:
            raise trio.BusyResourceError("a send is running")
        self.check()
        self.busy = True
        return FakeSending(self, total)

    def waiting(self):
        return len(self._inbox)

    async def wait_readable(self):
        while not self._inbox and self.condition is None:
            await self._changed.wait()
        return len(self._inbox)

    async def fetch(self):
        await self.network.operation("fetch")
        return len(self._inbox)

    def take(self, most):
        data = bytes(self._inbox[:most])
        del self._inbox[:most]
        return data

    async def aclose(self):
        await self.network.operation("aclose")
        self.closed = True
        self.lose(Condition.LINK_CLOSED)


class FakeNetwork(Network):
    """``delay[op]`` seconds (inf = mute), ``error[op]`` an exception to raise; ``calls`` counts."""

    def __init__(self, *, address="10.0.0.2"):
        self.limits = Limits(5, 0, 2048, frozenset({Capability.TCP, Capability.RESOLVE}))
        self.box = StateBox()
        self.box.change(Phase.UP, address=address)
        self.delay = {}
        self.error = {}
        self.calls = Counter()
        self.opened = []
        self.links = []
        self.names = {"example.com": "93.184.216.34"}

    def raise_if_told(self, name):
        if name in self.error:
            raise self.error[name]

    async def operation(self, name):
        self.calls[name] += 1
        await trio.sleep(self.delay.get(name, 0))
        self.raise_if_told(name)

    @property
    def state(self):
        return self.box.now

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await trio.sleep_forever()

    async def wait_state(self, after):
        return await self.box.wait(after)

    async def attach(self, login=None):
        await self.operation("attach")

    async def detach(self):
        await self.operation("detach")

    async def reset(self):
        await self.operation("reset")

    async def open_stream(self, host, port, *, keepalive=0):
        self.opened.append((host, port, keepalive))
        await self.operation("open_stream")
        link = FakeLink(self, host, port)
        self.links.append(link)
        return link

    async def resolve(self, name):
        await self.operation("resolve")
        if name not in self.names:
            raise NetworkError(Condition.NAME_NOT_FOUND, name)
        return self.names[name]
