"""Hosts that speak WIP, on a bridge as a user starts it: the sequences of an Arduino driver, byte for byte, in real time.

The driver (rocketscream/WISMO228, WISMO228.cpp) compares each answer with the bytes it knows and gives up at the first
that differs, so this does the same.
"""

from __future__ import annotations

import random

import pytest
import trio
from real_host.running import open_tty, process

OK = b"\r\nOK\r\n"
REQUEST = b"GET /orchard HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# Every byte there is, twice: in mode 1 two of them are not themselves.
PAGE = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(range(256)) + random.Random(7).randbytes(3000)


class Driver:
    """``answered`` takes exactly the bytes that it expects."""

    def __init__(self, stream):
        self._stream = stream
        self._got = bytearray()

    async def take(self, count, seconds=10.0):
        with trio.move_on_after(seconds):
            while len(self._got) < count:
                self._got += await self._stream.receive_some(4096)
        data = bytes(self._got[:count])
        del self._got[:count]
        return data

    async def answered(self, expected, seconds=10.0):
        got = await self.take(len(expected), seconds)
        assert got == expected

    async def say(self, command, expected=OK):
        await self._stream.send_all(command + b"\r\n")
        await self.answered(expected)

    async def send(self, data):
        await self._stream.send_all(data)

    async def nothing_more(self):
        assert await self.take(1, 0.3) == b""


def escaped(data):
    return data.replace(b"\x10", b"\x10\x10").replace(b"\x03", b"\x10\x03")


@pytest.fixture
async def server(nursery):
    """A page for each request; ``closes`` says whether the server ends the connection after it."""

    class Server:
        closes = True
        gone = 0

        async def serve(self, stream):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                piece = await stream.receive_some()
                if not piece:
                    break
                request += piece
            assert request == REQUEST
            await stream.send_all(PAGE)
            if self.closes:
                await stream.aclose()
            else:
                assert await stream.receive_some() == b""
                self.gone += 1
                await stream.aclose()

    one = Server()
    listeners = await nursery.start(trio.serve_tcp, one.serve, 0)
    one.port = listeners[0].socket.getsockname()[1]
    return one


async def gsm_up(host, *more):
    await host.say(b"ATE0", b"ATE0\r" + OK)
    await host.say(b"AT+CPIN?", b"\r\n+CPIN: READY\r\n" + OK)
    await host.say(b"AT+CREG?", b"\r\n+CREG: 0,1\r\n" + OK)
    await host.say(b"AT+CMGF=1")
    for command in more:
        await host.say(command)
    await host.say(b"AT+WIPCFG=1")
    await host.say(b"AT+WIPBR=1,6")
    await host.say(b'AT+WIPBR=2,6,11,"internet"')
    await host.say(b'AT+WIPBR=2,6,0," "')
    await host.say(b'AT+WIPBR=2,6,11," "')  # as published: the password goes to the option of the APN
    await host.say(b"AT+WIPBR=4,6,0")


async def fetch(host, port, mode, end):
    """What the server said, after CONNECT; ``end`` is how the module shows that the peer closed."""
    await host.say(b'AT+WIPCREATE=2,1,"127.0.0.1",%d' % port, OK + b"\r\n+WIPREADY: 2,1\r\n")
    await host.say(b"AT+WIPDATA=2,1,%d" % mode, b"\r\nCONNECT\r\n")
    await host.send(REQUEST)
    await host.answered((escaped(PAGE) if mode == 1 else PAGE) + end)


async def leave(host, urc=b""):
    await trio.sleep(1.2)
    await host.send(b"+++")
    await host.answered(urc + OK)


@pytest.mark.deadline(90)
async def test_an_arduino_with_a_wismo228(tmp_path, server):
    path = tmp_path / "host"
    await gsm(path, server, ("run", f"wip:wismo@pty:{path}", "local"), 1, b"AT+PSRIC=2,0")


@pytest.mark.deadline(90)
async def test_a_simulated_q2687_in_mode_2(tmp_path, server):
    path = tmp_path / "host"
    await gsm(path, server, ("simulate", f"wip:w5@pty:{path},baud=115200"), 2)


async def gsm(path, server, how, mode, *more):
    async with process(path, *how, "--allow", "127.0.0.0/8"), open_tty(path) as stream:
        host = Driver(stream)
        await gsm_up(host, *more)
        await fetch(host, server.port, mode, b"\r\nSHUTDOWN\r\n")
        await leave(host, b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await host.say(b"AT+WIPCLOSE=2,1")
        server.closes = False
        await fetch(host, server.port, mode, b"")
        await leave(host)
        await host.say(b"AT+WIPCLOSE=2,1")
        await trio.sleep(0.2)
        assert server.gone == 1
        await host.say(b"AT+WIPCFG=0")
        await host.nothing_more()


@pytest.mark.deadline(90)
async def test_a_host_of_a_c1(tmp_path, server):
    path = tmp_path / "host"
    async with process(path, "run", f"wip:c1@pty:{path}", "local", "--allow", "127.0.0.0/8"), open_tty(path) as stream:
        host = Driver(stream)
        await host.say(b"ATE0", b"ATE0\r" + OK)
        await host.say(b"AT+CMEE=1;&D1", OK)
        await host.say(b"AT+WIPCFG=1")
        await host.say(b"AT+WIPBR=4,6", OK + b"\r\n+WIPBR: 6,1\r\n")
        await fetch(host, server.port, 2, b"\r\nNO CARRIER\r\n\r\n+WIPPEERCLOSE: 2,1\r\n")
        await host.say(b"AT+WIPCLOSE=2,1")  # at once: no escape
        server.closes = False
        await fetch(host, server.port, 2, b"")
        await leave(host)
        await host.say(b"AT+WIPCLOSE=2,1")
        await trio.sleep(0.2)
        assert server.gone == 1
        await host.say(b"AT+WIPBR=5,6", OK + b"\r\n+WIPBR: 6,0\r\n")
        await host.nothing_more()
