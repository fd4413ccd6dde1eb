"""A GSM modem of the WIP family in literal bytes: its way up, and the pieces that the driver's tests change."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from wip_modem import Module

from bridge.dialects.wip.downstream import WipNetwork
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


FOUND = [(b"+++", b""), (b"\r", b""), (b"AT\r", OK)]
SETTINGS = [
    (b"ATE0\r", b"ATE0\r" + OK),
    (b"ATV1\r", OK),
    (b"ATQ0\r", OK),
    (b"AT+CMEE=1\r", OK),
    (b"AT&D1\r", OK),
    (b"AT+IFC=0,0\r", OK),
    (b"AT+WIND=0\r", OK),
]
SIM = [(b"AT+CPIN?\r", b"\r\n+CPIN: READY\r\n" + OK)]
REGISTERED = [(b"AT+CREG?\r", b"\r\n+CREG: 0,1\r\n" + OK), (b"AT+CGREG?\r", b"\r\n+CGREG: 0,1\r\n" + OK)]
APPLICATION = [(b"AT+WOPEN?\r", b"\r\n+WOPEN: 1\r\n" + OK)]
STACK = [(b"AT+WIPCFG=1\r", OK)]
OPENED = [(b"AT+WIPBR=1,6\r", OK)]
START = [(b"AT+WIPBR=4,6,0\r", OK)]
ADDRESS = [(b"AT+WIPBR=3,6,15\r", b'\r\n+WIPBR: 6,15,"10.0.0.5"\r\n' + OK)]
CLEAN = [
    (b"AT+WIPCLOSE=%d,%d\r" % (protocol, index), cme(831))
    for protocol, most in ((3, 4), (2, 8), (1, 8))
    for index in range(1, most + 1)
]
BEARER = [*OPENED, *START, *ADDRESS, *CLEAN]
UP = [*FOUND, *SETTINGS, *SIM, *REGISTERED, *APPLICATION, *STACK, *BEARER]


def without(script, command):
    """The script without one command."""
    return [pair for pair in script if pair[0] != command]


def instead(script, command, *pairs):
    """The script with something else where one command is."""
    place = next(number for number, pair in enumerate(script) if pair[0] == command)
    return [*script[:place], *pairs, *script[place + 1 :]]


UP_AGAIN = instead(UP, b"ATE0\r", (b"ATE0\r", OK))  # of a modem that was not reset: its echo stayed off


@asynccontextmanager
async def gsm(profile="f4", *, settings=None, records=None, others=(), flow=False):
    """(the driver's Network, the modem's end of the line, a nursery)"""
    ours, theirs = line("module")
    ours.flow = flow
    trace = Trace() if records is None else Trace(records.append)
    net = WipNetwork(ours, load("wip", profile), trace, settings, others)
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        yield net, Module(theirs), nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def up(net, module, script=None):
    await module.play(*(script or UP))
    await net.attach()
    assert net.state.address == "10.0.0.5"


def opening(index, host=b"192.0.2.1", port=80):
    return b'AT+WIPCREATE=2,%d,"%s",%d\r' % (index, host, port)


async def opened(net, module, nursery, index=1):
    nursery.start_soon(module.play, (opening(index), OK + b"\r\n+WIPREADY: 2,%d\r\n" % index))
    return await net.open_stream("192.0.2.1", 80)
