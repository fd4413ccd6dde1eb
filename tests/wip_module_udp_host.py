"""A host of the simulated WIP module that uses UDP: its sockets, and what it hears of them."""

from __future__ import annotations

from bridge.model import Endpoint

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
NO_CARRIER = b"\r\nNO CARRIER\r\n"
PEER = Endpoint("10.1.1.1", 7)
ODD = bytes(range(256)) + b"\x10\x10\x03\x03\x10\x03+++\r\nNO CARRIER\r\n"


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


def announced(size, host=b"10.1.1.1", port=7, index=1):
    return b'\r\n+WIPDATA: 1,%d,%d,"%s",%d\r\n' % (index, size, host, port)


async def bound(host, index=1, local=b"5000"):
    assert await host.ask(b'AT+WIPCREATE=1,%d,%s,"10.1.1.1",7' % (index, local)) == OK + b"\r\n+WIPREADY: 1,%d\r\n" % index
    return host.network.datagrams[-1]


async def listening(host, index=1, local=b"5000"):
    assert await host.ask(b"AT+WIPCREATE=1,%d,%s" % (index, local)) == OK + b"\r\n+WIPREADY: 1,%d\r\n" % index
    return host.network.datagrams[-1]


async def mapped(host, index=1):
    assert await host.ask(b"AT+WIPDATA=1,%d,1" % index) == CONNECT


def sent(link):
    assert all(target is None for _, target in link.sent)
    return [data for data, _ in link.sent]
