"""Transparent mode as a user meets it: processes on ptys, on the gateway's own sockets and on simulated modules."""

import random

import pytest
import trio
from real_host.running import bridge, open_tty
from test_acceptance_links import OPEN, PRINTABLE, echo
from test_host_sessions import OK, PROMPT, Wire

BYTES = 2048


@pytest.mark.deadline(90)
@pytest.mark.parametrize("module", ["local", "skt:s1-uart", "wip:c1"])
async def test_two_kilobytes_each_way_and_out_again(module, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]
    rng = random.Random(11)
    data = bytes(rng.choices(PRINTABLE, k=BYTES - 40)) if module.startswith("skt") else rng.randbytes(BYTES - 40)
    data = data[:1000] + b"AT\r\n+++\r\n----\r\n\r\n+IPD,0,5:\r\nCLOSED\r\nOK>" + data[1000:]
    async with bridge(tmp_path, module, network=OPEN) as path, open_tty(path) as stream:
        host = Wire(stream)
        await host.expect(b"\r\nready\r\n")
        await host.ask("ATE0", b"ATE0\r\n" + OK)
        await host.ask('AT+CWJAP="orchard","pippin-seed"', b"WIFI CONNECTED\r\nWIFI GOT IP\r\n" + OK)
        await host.ask(f'AT+CIPSTART="TCP","127.0.0.1",{port}', b"CONNECT\r\n" + OK)
        await host.ask("AT+CIPMODE=1", OK)
        await host.ask("AT+CIPSEND", PROMPT)
        await host.send(data)
        await host.expect(data, seconds=30)
        await trio.sleep(0.1)
        await host.send(b"+++")
        await trio.sleep(1)
        await host.ask("AT", OK)
        await host.ask("AT+CIPMODE=0", OK)
        await host.ask("AT+CIPSEND=3", PROMPT)
        await host.send(b"end")
        await host.expect(b"\r\nRecv 3 bytes\r\n\r\nSEND OK\r\n")
        await host.expect(b"\r\n+IPD,3:end")
        await host.ask("AT+CIPCLOSE", b"CLOSED\r\n" + OK)
        nursery.cancel_scope.cancel()
