"""A WIP modem of literal bytes at the other end of a line, for the driver's tests: no simulator, nobody's misreading shared."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Endpoint
from bridge.ports import Port
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

BRING_UP = [
    (b"+++", b""),
    (b"\r", b""),
    (b"AT\r", b"\r\nOK\r\n"),
    (b"ATE0\r", b"ATE0\r\r\nOK\r\n"),
    (b"ATV1\r", b"\r\nOK\r\n"),
    (b"ATQ0\r", b"\r\nOK\r\n"),
    (b"AT+CMEE=1\r", b"\r\nOK\r\n"),
    (b"AT&D1\r", b"\r\nOK\r\n"),
    (b"AT+IFC=0,0\r", b"\r\nOK\r\n"),
    (b"AT+CREG?\r", b"\r\n+CREG: 0,1\r\n\r\nOK\r\n"),
    (b"AT+WIPCFG=1\r", b"\r\nOK\r\n"),
    (b"AT+WIPCREATE?\r", b"\r\nOK\r\n"),
    (b"AT+WIPBR=4,6\r", b"\r\nOK\r\n\r\n+WIPBR: 6,1\r\n"),
    (b"AT+WIPBR=3,6,15\r", b'\r\n+WIPBR: 6,15,"66.193.79.243"\r\n\r\nOK\r\n'),
]
OPEN = [(b'AT+WIPCREATE=2,1,"192.0.2.1",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,1\r\n")]
MAP = (b"AT+WIPDATA=2,1,2\r", b"\r\nCONNECT\r\n")
EMPTY = (b"AT+WIPDATA?\r", b"\r\nOK\r\n")
CLOSE = (b"AT+WIPCLOSE=2,1\r", b"\r\nOK\r\n")


class Module:
    """The other end of the line: expects bytes, says bytes."""

    def __init__(self, port):
        self.port = port
        self.spare = b""

    async def expect(self, wanted):
        while len(self.spare) < len(wanted):
            self.spare += await self.port.receive()
        assert self.spare[: len(wanted)] == wanted, (self.spare, wanted)
        self.spare = self.spare[len(wanted) :]

    async def say(self, data):
        await self.port.send(data)

    async def play(self, *pairs):
        for heard, said in pairs:
            await self.expect(heard)
            if said:
                await self.say(said)

    async def answer_escape(self):
        """The real module's guard, then OK."""
        await self.expect(b"+++")
        await trio.sleep(1.0)
        await self.say(b"\r\nOK\r\n")

    async def silent_for(self, seconds):
        with trio.move_on_after(seconds):
            self.spare += await self.port.receive()
        assert self.spare == b""


@asynccontextmanager
async def network(profile=None, records=None):
    ours, theirs = line("module")
    trace = Trace() if records is None else Trace(records.append)
    net = WipNetwork(ours, profile or load("wip", "c1"), trace)
    module = Module(theirs)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        yield net, module, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def up(net, module):
    await module.play(*BRING_UP)
    await net.attach()
    assert net.state.address == "66.193.79.243"


async def opened(net, module, nursery):
    nursery.start_soon(lambda: module.play(*OPEN))
    return await net.open_stream("192.0.2.1", 80)


PEER = Endpoint("192.0.2.1", 7)
OPEN_UDP = (b'AT+WIPCREATE=1,1,4000,"192.0.2.1",7\r', b"\r\nOK\r\n\r\n+WIPREADY: 1,1\r\n")
MAP_UDP = (b"AT+WIPDATA=1,1,1\r", b"\r\nCONNECT\r\n")
CLOSE_UDP = (b"AT+WIPCLOSE=1,1\r", b"\r\nOK\r\n")
LISTEN = (b"AT+WIPCREATE=3,1,8080,4,8\r", b"\r\nOK\r\n")


async def opened_udp(net, module, nursery):
    nursery.start_soon(module.play, OPEN_UDP)
    return await net.open_datagram(PEER, local_port=4000)


async def listening(net, module, nursery):
    nursery.start_soon(module.play, LISTEN)
    return await net.listen(8080, room=5)


class ReopeningPort(Port):
    """A port whose line can be lost, and comes back when the test says so, with a new other end."""

    reopens = True
    name = "module"

    def __init__(self):
        self.lines = []
        self.back = trio.Event()
        self._plug()

    def _plug(self):
        self._line, theirs = line("module")
        self.lines.append(theirs)

    async def pull(self):
        """The adapter goes away."""
        await self.lines[-1].aclose()

    def plug(self):
        """It is there again; the new end of the line."""
        self._plug()
        self.back.set()
        return self.lines[-1]

    async def reopen(self):
        await self.back.wait()
        self.back = trio.Event()

    async def receive(self, most=4096):
        return await self._line.receive(most)

    async def send(self, data):
        return await self._line.send(data)

    @property
    def sent(self):
        return self._line.sent

    async def drain(self):
        await self._line.drain()

    async def aclose(self):
        await self._line.aclose()
