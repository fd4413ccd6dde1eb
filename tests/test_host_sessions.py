"""Whole sessions of two kinds of host, byte for byte, over processes and ptys, on `local` and on a simulated modem.

What they send and wait for is what their drivers do: jandrassy/WiFiEspAT ``src/utility/EspAtDrv.cpp`` (passive receive,
the ``?`` probe, links from id 4 downwards, server, UDP listener) and itead/ITEADLIB_Arduino_WeeESP8266 ``ESP8266.cpp``
(echo on, answers cut between CR CR LF and CR LF CR LF OK).
"""

import socket

import pytest
import trio
from real_host.running import MODULES, bridge, open_tty

OK = b"\r\nOK\r\n"
PROMPT = b"\r\nOK\r\n\r\n>"
HERE = ("--allow", "127.0.0.0/8", "--bind", "127.0.0.1")


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Wire:
    """The host's end of the line: every byte that comes has to be expected."""

    def __init__(self, stream):
        self._stream = stream
        self._held = b""

    async def send(self, data):
        await self._stream.send_all(data)

    async def expect(self, *expected, seconds=15.0):
        """Exactly these bytes come next; where several are given, one of them does.  Returns which."""
        with trio.move_on_after(seconds):
            while True:
                for candidate in expected:
                    if self._held.startswith(candidate):
                        self._held = self._held[len(candidate) :]
                        return candidate
                assert any(candidate.startswith(self._held) for candidate in expected), f"{self._held!r}, not {expected!r}"
                self._held += await self._stream.receive_some(4096)
        raise AssertionError(f"only {self._held!r} of {expected!r} within {seconds} s")

    async def ask(self, line, *expected, seconds=15.0):
        await self.send(line.encode() + b"\r\n")
        return await self.expect(*expected, seconds=seconds)

    async def silent(self, seconds):
        with trio.move_on_after(seconds):
            self._held += await self._stream.receive_some(4096)
        assert not self._held, self._held


async def one_echo_then_close(stream):
    """A server that answers once and closes, as far away as a network's far end is."""
    async with stream:
        await stream.send_all(await stream.receive_some())
        await trio.sleep(0.1)


@pytest.mark.deadline(150)
@pytest.mark.parametrize("module", MODULES)
async def test_a_host_that_polls_passively_probes_serves_and_listens(module, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, one_echo_then_close, 0)
    port = listeners[0].socket.getsockname()[1]
    served, bound = free_port(), free_port(socket.SOCK_DGRAM)
    async with bridge(tmp_path, module, network=HERE) as path, open_tty(path) as stream:
        host = Wire(stream)
        await host.expect(b"\r\nready\r\n")
        await host.ask("AT+RST", b"AT+RST\r\n" + OK)
        await host.expect(b"\r\nready\r\n")
        await host.ask("ATE0", b"ATE0\r\n" + OK)
        for line in ("AT+CIPMUX=1", "AT+CIPRECVMODE=1", "AT+SYSSTORE=0"):
            await host.ask(line, OK)
        await host.ask("AT+CWMODE?", b"+CWMODE:1\r\n" + OK)
        await host.ask('AT+CWJAP="orchard","pippin-seed"', b"WIFI CONNECTED\r\nWIFI GOT IP\r\n" + OK)
        await host.ask("?", b"\r\nERROR\r\n")
        await as_a_client(host, port)
        await as_a_server(host, served)
        await with_datagrams(host, module, bound)
        nursery.cancel_scope.cancel()


async def as_a_client(host, port):
    await host.ask(f'AT+CIPSTART=4,"TCP","127.0.0.1",{port}', b"4,CONNECT\r\n" + OK)
    await host.ask("AT+CIPSEND=4,11", PROMPT)
    await host.send(b"hello, you\n")
    await host.expect(b"\r\nRecv 11 bytes\r\n\r\nSEND OK\r\n")
    await host.expect(b"\r\n+IPD,4,11\r\n")
    # The peer has closed by now: nothing is said of it until everything was read.
    await host.silent(0.6)
    await host.ask("AT+CIPRECVLEN?", b"+CIPRECVLEN:-1,-1,-1,-1,11\r\n" + OK)
    await host.ask("AT+CIPRECVDATA=4,7", b"+CIPRECVDATA:7,hello, \r\nOK\r\n")
    await host.ask("AT+CIPRECVDATA=4,64", b"+CIPRECVDATA:4,you\n\r\nOK\r\n")
    await host.expect(b"4,CLOSED\r\n")
    await host.ask("AT+CIPRECVDATA=4,64", b"\r\nERROR\r\n")


async def as_a_server(host, port):
    await host.ask("AT+CIPSERVERMAXCONN=1", OK)
    await host.ask(f"AT+CIPSERVER=1,{port}", OK)
    visitor = await trio.open_tcp_stream("127.0.0.1", port)
    async with visitor:
        await host.expect(b"0,CONNECT\r\n")
        await visitor.send_all(b"GET / HTTP/1.0\r\n\r\n")
        await host.expect(b"\r\n+IPD,0,18\r\n")
        second = await trio.open_tcp_stream("127.0.0.1", port)
        async with second:
            assert await second.receive_some() == b""  # one client is all it may have
        await host.ask("AT+CIPRECVDATA=0,64", b"+CIPRECVDATA:18,GET / HTTP/1.0\r\n\r\n\r\nOK\r\n")
        await host.ask("AT+CIPSEND=0,19", PROMPT)
        await host.send(b"HTTP/1.0 200 OK\r\n\r\n")
        await host.expect(b"\r\nRecv 19 bytes\r\n\r\nSEND OK\r\n")
        await host.ask("AT+CIPCLOSE=0", b"0,CLOSED\r\n" + OK)
        answer = b""
        while piece := await visitor.receive_some():
            answer += piece
        assert answer == b"HTTP/1.0 200 OK\r\n\r\n"
    await host.ask("AT+CIPSERVER=0", OK)


async def with_datagrams(host, module, port):
    other = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        await other.bind(("127.0.0.1", 0))
        there = other.getsockname()[1]
        if module == "local":  # a modem binds a socket to one peer: its row refuses what it cannot do
            await host.ask(f'AT+CIPSTART=3,"UDP","0.0.0.0",{there},{port},2', b"3,CONNECT\r\n" + OK)
        else:
            await host.ask(f'AT+CIPSTART=3,"UDP","0.0.0.0",{there},{port},2', b"\r\nERROR\r\n")
            await host.ask(f'AT+CIPSTART=3,"UDP","127.0.0.1",{there},{port},0', b"3,CONNECT\r\n" + OK)
        await other.sendto(b"marco", ("127.0.0.1", port))
        await host.expect(b"\r\n+IPD,3,5\r\n")
        await host.ask("AT+CIPDINFO=1", OK)
        await host.ask("AT+CIPRECVDATA=3,5", b'+CIPRECVDATA:5,"127.0.0.1",%d,marco\r\nOK\r\n' % there)
        await host.ask("AT+CIPDINFO=0", OK)
        await host.ask(f'AT+CIPSEND=3,4,"127.0.0.1",{there}' if module == "local" else "AT+CIPSEND=3,4", PROMPT)
        await host.send(b"polo")
        await host.expect(b"\r\nRecv 4 bytes\r\n\r\nSEND OK\r\n")
        with trio.fail_after(10):
            assert (await other.recvfrom(100))[0] == b"polo"
        await host.ask("AT+CIPCLOSE=3", b"3,CLOSED\r\n" + OK)


@pytest.mark.deadline(150)
@pytest.mark.parametrize("module", MODULES)
async def test_a_host_that_keeps_the_echo_on_and_cuts_by_it(module, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, one_echo_then_close, 0)
    port = listeners[0].socket.getsockname()[1]
    served = free_port()
    ok = b"\r\r\n\r\nOK\r\n"  # behind the echo of a line
    async with bridge(tmp_path, module, host="esp-at:nonos-1.7", network=HERE) as path, open_tty(path) as stream:
        host = Wire(stream)

        async def command(line, *answers):
            await host.ask(line, *(line.encode() + answer for answer in answers))

        await host.expect(b"\r\nready\r\n")
        await command("AT", ok)
        await command("AT+RST", ok)
        await host.expect(b"\r\nready\r\n")
        await command("AT", ok)
        await command("AT+CWMODE?", b"\r\r\n+CWMODE:1\r\n\r\nOK\r\n")
        await command("AT+CWMODE=1", ok)
        await command('AT+CWJAP="orchard","pippin-seed"', b"\r\r\nWIFI CONNECTED\r\nWIFI GOT IP\r\n\r\nOK\r\n")
        await command("AT+CIPMUX=0", ok)
        await command(f'AT+CIPSTART="TCP","127.0.0.1",{port}', b"\r\r\nCONNECT\r\n\r\nOK\r\n")
        await command(f'AT+CIPSTART="TCP","127.0.0.1",{port}', b"\r\r\nALREADY CONNECTED\r\n\r\nERROR\r\n")
        await command("AT+CIPSEND=5", b"\r\r\n\r\nOK\r\n> ")
        await host.send(b"hello")
        await host.expect(b"\r\nRecv 5 bytes\r\n\r\nSEND OK\r\n")
        await host.expect(b"\r\n+IPD,5:hello")
        await host.expect(b"CLOSED\r\n")
        await command("AT+CIPSEND=5", b"\r\r\nlink is not valid\r\n\r\nERROR\r\n")
        await command("AT+CIPMUX=1", ok)
        await command(f"AT+CIPSERVER=1,{served}", ok)
        await command(f"AT+CIPSERVER=1,{served}", b"\r\r\nno change\r\n\r\nOK\r\n")
        visitor = await trio.open_tcp_stream("127.0.0.1", served)
        async with visitor:
            await host.expect(b"0,CONNECT\r\n")
            await visitor.send_all(b"knock")
            await host.expect(b"\r\n+IPD,0,5:knock")
            await command("AT+CIPSEND=0,4", b"\r\r\n\r\nOK\r\n> ")
            await host.send(b"come")
            await host.expect(b"\r\nRecv 4 bytes\r\n\r\nSEND OK\r\n")
            with trio.fail_after(10):
                assert await visitor.receive_some() == b"come"
        await host.expect(b"0,CLOSED\r\n")
        await command("AT+CIPCLOSE=0", b"\r\r\nUNLINK\r\n\r\nERROR\r\n")
        await command("AT+CIPSERVER=0", ok)
        nursery.cancel_scope.cancel()
