r"""Every unsolicited line in every gap of a session: commands, CONNECT, both guards, after the escape (wip.md 5.7, 6)."""

from __future__ import annotations

import re

import pytest
import trio
from wip_fakes import running

from bridge.model import Condition, Endpoint, Phase

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
NO_CARRIER = b"\r\nNO CARRIER\r\n"

# What happens beside a session on socket 2,1; and what the host must be told, once.
EVENTS = {
    "tcp-data": (lambda h: h.others[0].push(b"abc"), b"\r\n+WIPDATA: 2,2,3\r\n"),
    "tcp-close": (lambda h: h.others[0].end(), b"\r\n+WIPPEERCLOSE: 2,2\r\n"),
    "tcp-reset": (lambda h: h.others[0].end(Condition.LINK_RESET), b"\r\n+WIPERROR: 2,2,843\r\n"),
    "udp-data": (lambda h: h.others[1].feed(b"abcd", Endpoint("10.9.9.9", 9)), b'\r\n+WIPDATA: 1,1,4,"10.9.9.9",9\r\n'),
    "udp-end": (lambda h: h.others[1].lose(Condition.BEARER_LOST), b"\r\n+WIPERROR: 1,1,816\r\n"),
    "accept": (lambda h: h.others[2].knock(), b"\r\n+WIPACCEPT: 1,4\r\n"),
    "server-end": (lambda h: h.others[2].lose(Condition.BEARER_LOST), b"\r\n+WIPERROR: 3,1,816\r\n"),
    "bearer": (lambda h: h.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST), b"\r\n+WIPBR: 6,0\r\n"),
}

# (bytes of the host, seconds until the next ones)
SESSION = [
    (b"AT+CSQ;+CPIN?\r", 0.005),
    (b"AT+WIP", 0.005),
    (b"DATA=2,1,2\r", 0.005),  # CONNECT waits 10 ms for an LF
    (b"\n", 0.005),
    (b"", 0.01),
    (b"pay", 0.01),
    (b"load", 1.0),
    (b"", 0.2),
    (b"+", 0.01),
    (b"++", 0.9),
    (b"", 0.2),
    (b"AT+WIPOPT=2,1,1,6\r", 0.01),
    (b"AT+WIPCLOSE=2,1\r", 0.01),
    (b"", 0.3),
]
ANSWERS = (
    b"\r\n+CSQ: 31,0\r\n\r\n+CPIN: READY\r\n" + OK,
    CONNECT + b"the peer's" + OK,
    b"\r\n+WIPOPT: 2,6,0\r\n" + OK + OK,
)


async def prepared(host):
    await host.up()
    first = await host.create(1)
    second = await host.create(2)
    await host.ask(b"AT+WIPCREATE=1,1,5000")
    await host.ask(b"AT+WIPCREATE=3,1,80,4,5")
    host.others = (second, host.network.datagrams[0], host.network.listeners[0])
    host.got()
    return first


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("gap", range(len(SESSION)))
async def test_any_urc_in_any_gap(autojump_clock, gap, name):
    happen, told = EVENTS[name]
    async with running() as host:
        first = await prepared(host)
        for at, (data, pause) in enumerate(SESSION):
            if data:
                await host.port.send(data)
            if data == b"load":
                first.push(b"the peer's")
            if at == gap:
                happen(host)
            await trio.sleep(pause)
        got = host.got()
        assert got.count(told) == 1
        assert got.replace(told, b"").replace(b"+CSQ: 99,99", b"+CSQ: 31,0") == b"".join(ANSWERS)
        mapped = re.search(rb"\r\nCONNECT\r\n(.*?)\r\n(?:OK|\+WIP)", got, re.DOTALL)
        assert mapped is not None
        assert mapped[1] == b"the peer's"  # nothing else is said while mapped
        assert bytes(first.sent) == b"payload"
        assert await host.ask(b"AT") == OK


@pytest.mark.parametrize("gap", range(len(SESSION)))
async def test_all_of_them_at_once(autojump_clock, gap):
    names = ["tcp-data", "udp-data", "accept", "tcp-close", "udp-end", "bearer"]
    async with running() as host:
        await prepared(host)
        for at, (data, pause) in enumerate(SESSION):
            if data:
                await host.port.send(data)
            if at == gap:
                for name in names:
                    EVENTS[name][0](host)
            await trio.sleep(pause)
        got = host.got()
        assert [name for name in names if got.count(EVENTS[name][1]) != 1] == []
        for sooner, later in (("tcp-data", "tcp-close"), ("udp-data", "udp-end")):
            assert got.index(EVENTS[sooner][1]) < got.index(EVENTS[later][1])


@pytest.mark.parametrize("command", [b"AT+WIPCLOSE=1,1", b"AT+WIPCLOSE=2,2", b"AT+WIPCLOSE=2,4"])
async def test_a_closed_socket_says_nothing_more_and_its_successor_nothing_old(autojump_clock, command):
    """Lines that wait for a host that does not read are about the socket, not about the index."""
    async with running() as host:
        await prepared(host)
        stuck = trio.Event()
        real = host.upstream._writer._port.send

        async def slow(data):
            await stuck.wait()
            return await real(data)

        host.upstream._writer._port.send = slow
        await host.port.send(b"AT\r")
        await trio.sleep(0.01)  # its OK is on the way
        for name in ("tcp-data", "udp-data", "accept"):
            EVENTS[name][0](host)
        await trio.sleep(0.1)
        module = host.upstream._module
        protocol, index = int(command[-3:-2]), int(command[-1:])
        module.release(module.sockets[protocol, index])
        stuck.set()
        await trio.sleep(0.1)
        got = host.got()
        assert (b": %d,%d" % (protocol, index) in got) is False
        assert (b"+WIPACCEPT" in got) is (index != 4)
        assert got.count(b"\r\n+WIP") == 2
