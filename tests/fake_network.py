"""A scripted Network in memory: every operation can be slow, mute, fail or crash, and links are fed by the test."""

from __future__ import annotations

from collections import Counter

import trio

from bridge.model import Capability, Condition, Datagram, Delivered, Endpoint, Limits, Peers, Phase
from bridge.network import DatagramLink, LinkLost, Listener, Network, NetworkError, Sending, StateBox, StreamLink


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
        try:
            await self.link.network.operation("commit")
        except NetworkError:  # the seam: then nothing of it went out
            del self.link.sent[len(self.link.sent) - self.out :]
            self.out = 0
            raise
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


class FakeDatagramLink(DatagramLink):
    """``feed`` and ``lose`` are the world; ``sent`` is the list of (data, target) that left."""

    def __init__(self, network, peer, local_port, peers):
        self.network = network
        self.peer = peer
        self.peers = peers
        self.targets = network.targets
        self.local = Endpoint("10.0.0.2", local_port or 50500 + len(network.datagrams))
        self.sent = []
        self.closed = False
        self.condition = None
        self._inbox = []
        self._changed = trio.Event()

    def _wake(self):
        self._changed.set()
        self._changed = trio.Event()

    def feed(self, data, source=None, *, cut=False):
        """A datagram arrives; ``source`` None: the module does not say.  The peer moves as `Peers` says."""
        if source is not None and self.peers is Peers.LAST:
            self.peer = source
        elif source is not None and self.peers is Peers.FIRST:
            self.peer, self.peers = source, Peers.FIXED
        self._inbox.append(Datagram(data, source, cut))
        self._wake()

    def lose(self, condition):
        self.condition = self.condition or condition
        self._wake()

    async def send(self, data, target=None):
        await self.network.operation("send_datagram")
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        if target is None and self.peer is None:
            raise NetworkError(Condition.WRONG_STATE, "no peer")
        if target not in {None, self.peer} and not self.targets:
            raise NetworkError(Condition.NOT_SUPPORTED, "no targets")
        self.sent.append((data, target))

    def waiting(self):
        return sum(len(datagram.data) for datagram in self._inbox)

    async def wait_readable(self):
        while not self._inbox and self.condition is None:
            await self._changed.wait()
        return bool(self._inbox)

    async def fetch(self):
        await self.network.operation("fetch")
        return len(self._inbox)

    def take(self):
        return self._inbox.pop(0) if self._inbox else None

    async def aclose(self):
        await self.network.operation("aclose")
        self.closed = True
        self.lose(Condition.LINK_CLOSED)


class FakeListener(Listener):
    """``knock`` is a peer; the test keeps its link."""

    def __init__(self, network, port, room):
        self.network, self.room = network, room
        self.local = Endpoint("10.0.0.2", port)
        self.condition = None
        self.closed = False
        self._queue = []
        self._changed = trio.Event()

    def _wake(self):
        self._changed.set()
        self._changed = trio.Event()

    def knock(self, host="10.0.0.9", port=40000):
        link = FakeLink(self.network, host, port)
        self.network.links.append(link)
        self._queue.append(link)
        self._wake()
        return link

    def lose(self, condition):
        self.condition = self.condition or condition
        self._wake()

    async def accept(self):
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self.closed:
                raise trio.ClosedResourceError
            if self.condition is not None:
                raise LinkLost(self.condition)
            await self._changed.wait()
        return self._queue.pop(0)

    async def aclose(self):
        await self.network.operation("unlisten")
        self.closed = True
        self._wake()


class FakeNetwork(Network):
    """``delay[op]`` seconds (inf = mute), ``error[op]`` an exception to raise; ``calls`` counts."""

    def __init__(self, *, address="10.0.0.2"):
        self.limits = Limits(5, 5, 2048, frozenset(Capability), datagram_size=1472)
        self.box = StateBox()
        self.box.change(Phase.UP, address=address)
        self.delay = {}
        self.error = {}
        self.calls = Counter()
        self.opened = []
        self.links = []
        self.datagrams = []
        self.listeners = []
        self.strength = -71
        self.servers = ["10.0.0.53"]
        self.targets = True  # of datagram links
        self.echo = 0.042
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

    async def open_datagram(self, peer, *, local_port=0, peers=Peers.FIXED):
        await self.operation("open_datagram")
        if local_port and local_port in [link.local.port for link in self.datagrams if not link.closed]:
            raise NetworkError(Condition.PORT_IN_USE, str(local_port))
        link = FakeDatagramLink(self, peer, local_port, peers)
        self.datagrams.append(link)
        return link

    async def listen(self, port, *, room):
        await self.operation("listen")
        if port in [listener.local.port for listener in self.listeners if not listener.closed]:
            raise NetworkError(Condition.PORT_IN_USE, str(port))
        listener = FakeListener(self, port, room)
        self.listeners.append(listener)
        return listener

    async def ping(self, host, limit):
        with trio.move_on_after(limit):
            await self.operation("ping")
            return self.echo
        raise NetworkError(Condition.CONNECT_TIMEOUT, host)

    async def signal(self):
        await self.operation("signal")
        return self.strength

    async def name_servers(self):
        await self.operation("name_servers")
        return list(self.servers)
