"""A bridge that acknowledges by itself, on a module that takes as long as a test says."""

from __future__ import annotations

import contextlib

import trio
from fake_network import FakeLink, FakeNetwork, FakeSending

from bridge.emulation.ack import AckNetwork
from bridge.model import Capability, Limits
from bridge.trace import Trace


class SlowSending(FakeSending):
    """Notes the size and the task of each send."""

    def __init__(self, link, total):
        super().__init__(link, total)
        assert 1 <= total <= link.network.limits.send_size
        link.network.chunks.append(total)

    async def write(self, piece):
        self.link.network.tasks.add(trio.lowlevel.current_task())
        await super().write(piece)


class Below(FakeNetwork):
    """A module that takes a chunk in ``delay["commit"]`` seconds; its limits can be changed."""

    def __init__(self, *, send_size=2048, half_close=False):
        super().__init__()
        capabilities = frozenset(Capability) - (set() if half_close else {Capability.HALF_CLOSE})
        self.limits = Limits(5, 5, send_size, capabilities, datagram_size=1472)
        self.chunks = []
        self.tasks = set()
        self.eofs = 0

    async def open_stream(self, host, port, *, keepalive=0):
        link = await super().open_stream(host, port, keepalive=keepalive)
        link.__class__ = BelowLink
        return link


class BelowLink(FakeLink):
    def sending(self, total):
        super().sending(total)
        return SlowSending(self, total)

    async def send_eof(self):
        await self.network.operation("send_eof")
        self.network.eofs += 1


class Rig:
    def __init__(self, below, network, notes):
        self.below, self.network, self.notes = below, network, notes

    async def open(self):
        link = await self.network.open_stream("1.2.3.4", 80)
        return link, self.below.links[-1]

    @property
    def lost(self):
        return self.network.counters["undelivered-bytes"]


@contextlib.asynccontextmanager
async def running(below=None):
    below = below or Below()
    notes = []
    network = AckNetwork(below, Trace(lambda record: notes.append((record.rule, record.data))))
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield Rig(below, network, notes)
        nursery.cancel_scope.cancel()


async def send(link, data, pieces=1):
    with link.sending(len(data)) as sending:
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            await sending.write(data[start : start + step])
        await sending.commit()
