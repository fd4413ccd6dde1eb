"""Data mode of a WIP modem, both modes, in literal module bytes."""

from __future__ import annotations

import random

import msgspec
import trio
from wip_modem import MAP, opened, up

from bridge.tables import load

OK = b"\r\nOK\r\n"
CLOSED = b"\r\n+WIPPEERCLOSE: 2,1\r\n"
SHUTDOWN = b"\r\nSHUTDOWN\r\n"
RESET = b"\x03\r\n+CME ERROR: 843\r\n"
SYNC = ((b"\r", b""), (b"AT\r", OK))
MAP_1 = (b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\n")


def table(mode):
    """The C1's way up, with TCP in this data mode: what differs here is the data mode alone."""
    profile = load("wip", "c1")
    row = msgspec.structs.replace(profile.value["stream_mode"], value=mode)
    return msgspec.structs.replace(profile, value=profile.value | {"stream_mode": row})


def mapping(mode):
    return MAP_1 if mode == 1 else MAP


def wire(data, mode):
    return data.replace(b"\x10", b"\x10\x10").replace(b"\x03", b"\x10\x03") if mode == 1 else data


def cuts(payload, how):
    if how == "random":
        rng = random.Random(len(payload))
        at = 0
        while at < len(payload):
            size = rng.randrange(1, 5)
            yield payload[at : at + size]
            at += size
    else:
        yield from (payload[at : at + how] for at in range(0, len(payload), how))


async def read(link, count):
    got = b""
    while len(got) < count:
        got += await link.receive_some()
    return got


async def mapped(net, module, nursery, mode):
    """A link with bytes announced, mapped."""
    await up(net, module)
    link = await opened(net, module, nursery)
    await module.say(b"\r\n+WIPDATA: 2,1,9\r\n")
    await module.play(mapping(mode))
    return link


async def escaped(module, said=OK):
    await module.expect(b"+++")
    await trio.sleep(1.0)
    await module.say(said)
