"""An SKT module of literal bytes at the other end of a line, for the driver's tests: no simulator, nobody's misreading shared."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from wip_modem import Module, ReopeningPort

from bridge.dialects.skt.downstream import SktNetwork
from bridge.ports.memory import line
from bridge.tables import load, profiles
from bridge.trace import Trace

__all__ = ["Module", "ReopeningPort"]

STATION = (
    b"WLAN0 Status: Running\r\n\r\nWLAN0 Setting:\r\n      MODE => STATION\r\n      SSID => field\r\n   PASSWORD => 12345678\r\n"
    b"Interface (0)\r\n==============================\r\n\tMAC => 00:e0:4c:00:00:01\r\n\tIP  => 192.168.1.7\r\n"
    b"\tGW  => 192.168.1.1\r\n\tmsk  => 255.255.255.0\r\n\r\n"
)
NO_STATION = STATION.replace(b"192.168.1.7", b"0.0.0.0")
JOINED = (b"AT+WLSTATE\r\n", STATION + b"\r\n+WLSTATE:OK\r\n")
NOT_JOINED = (b"AT+WLSTATE\r\n", NO_STATION + b"\r\n+WLSTATE:OK\r\n")
TEST = (b"AT+TEST\r\n", b"\r\n+TEST:OK\r\n")
NO_ROWS = (b"AT+SKTSTATE\r\n", b"\r\n+SKTSTATE:OK\r\n")
RECEIVE_OFF = (b"AT+SKTRECVCFG=0\r\n", b"\r\n+SKTRECVCFG:OK\r\n")
FIND = [(b"\r\n", b""), TEST]
BRING_UP = [*FIND, RECEIVE_OFF, NO_ROWS, JOINED]

OPEN = (b"AT+SKTCLIENT=0,192.0.2.1,80\r\n", b"\r\n+SKTCLIENT:OK\r\n")
OPENED = b"+SKTCLIENT:con_id=1\r\n"
NOTHING = b"+SKTREAD:OK,0,1:\r\n"
READ = b"AT+SKTREAD=1,512\r\n"
EMPTY = (READ, NOTHING)
CLOSED = (READ, b"\r\n+SKTREAD:ERROR:7\r\n")
DELETE = (b"AT+SKTDEL=1\r\n", b"\r\n+SKTDEL:OK\r\n")
ROW = b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:0\r\n"
ONE_ROW = (b"AT+SKTSTATE\r\n", ROW + b"\r\n+SKTSTATE:OK\r\n")
SENT = b"\r\n+SKTSEND:OK\r\n"
LISTENING = b"\r\n+SKTSERVER:con_id=1\r\n"
SERVER_ROW = b"con_id:1,server,tcp,address:192.168.1.7,port:5001,socket:0\r\n"
RECEIVE_ON = (b"AT+SKTRECVCFG=1\r\n", b"\r\n+SKTRECVCFG:OK\r\n")
PUSHING = [*BRING_UP[:-1], RECEIVE_ON, JOINED]


class SktModule(Module):
    """Answers by rule beside what a test expects word for word."""

    def __init__(self, port):
        super().__init__(port)
        self.heard = []

    async def line(self):
        """The next line, without its CR LF."""
        while b"\r\n" not in self.spare:
            self.spare += await self.port.receive()
        text, _, self.spare = self.spare.partition(b"\r\n")
        return text

    async def serve(self, rules, default=b""):
        """Answer for ever: the longest start that fits; a callable is given the line."""
        while True:
            text = await self.line()
            self.heard.append(text)
            for start, answer in sorted(rules.items(), key=lambda rule: -len(rule[0])):
                if text.startswith(start):
                    said = answer(text) if callable(answer) else answer
                    if said:
                        await self.say(said)
                    break
            else:
                if default is None:
                    raise AssertionError(f"nobody expected {text!r}")
                if default:
                    await self.say(default)


IDLE = {
    b"AT+SKTREAD=1,": NOTHING,
    b"AT+TEST": TEST[1],
    b"AT+WLSTATE": JOINED[1],
    b"AT+SKTDEL=1": DELETE[1],
    b"AT+SKTSTATE": ONE_ROW[1],
}


@asynccontextmanager
async def network(profile=None, records=None, port=None):
    """``profile`` None: nobody named one, and the module may be of any generation."""
    ours, theirs = line("module") if port is None else (port, port.lines[0])
    trace = Trace() if records is None else Trace(records.append, payload=True)
    others = [load("skt", name) for name in profiles("skt") if name != "s1-uart"] if profile is None else []
    table = load("skt", profile) if isinstance(profile, str) else profile or load("skt", "s1-uart")
    net = SktNetwork(ours, table, trace, others=others)
    module = SktModule(theirs)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        if others:
            await module.expect(b"<<<")  # one of them may wait for raw bytes
        yield net, module, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def up(net, module, script=None):
    await module.play(*(script or BRING_UP))
    await net.attach()
    assert net.state.address == "192.168.1.7"


async def opened(net, module, nursery, host="192.0.2.1"):
    async def answer():
        await module.expect(b"AT+SKTCLIENT=0,%s,80\r\n" % host.encode())
        await module.say(OPEN[1])
        await trio.sleep(1)
        await module.say(OPENED)

    nursery.start_soon(answer)
    return await net.open_stream(host, 80)


def arrival(number, port=64089):
    return (
        b"\r\n+SKTSERVER: A client connected to server[1]\r\n"
        b"con_id:%d, seed, tcp, address:192.168.1.9, port:%d, socket:1\r\n" % (number, port)
    )


def seed_row(number):
    return b"+SKTSTATE:con_id:%d,seed,tcp,address:192.168.1.9,port:64089,socket:1\r\n" % number


async def listening(net, module, nursery, room=4):
    async def answer():
        await module.play((b"AT+SKTSERVER=0,5001\r\n", b"\r\n+SKTSERVER:OK\r\n"))
        await trio.sleep(1)
        await module.say(LISTENING)

    nursery.start_soon(answer)
    return await net.listen(5001, room=room)


def state(*rows):
    return b"".join(rows) + b"\r\n+SKTSTATE:OK\r\n"


def pushing():
    """S1 with data that come by themselves."""
    table = load("skt", "s1-uart")
    value = {**table.value, "receive": type(table.value["receive"])(value="push", source="a test")}
    fields = {name: getattr(table, name) for name in table.__struct_fields__}
    return type(table)(**{**fields, "value": value})
