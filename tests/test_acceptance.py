"""As a new user would try it: two links at once carry random bytes both ways, identical, over processes and ptys.

``AT_BRIDGE_ACCEPT_BYTES`` says how much each link carries; `make acceptance` makes it 100 kB.
"""

import os
import random

import pytest
import trio
from real_host.running import MODULES, Host, bridge, open_tty

TOTAL = int(os.environ.get("AT_BRIDGE_ACCEPT_BYTES", "20000"))
SEND = 2048  # the longest CIPSEND of the profile
# What a scanner of payload would take for something else: escapes, ends, results, messages of either dialect.
TEXTS = (
    b"+++",
    b"\r\nNO CARRIER\r\n",
    b"\r\nOK\r\n",
    b"\r\nERROR\r\n",
    b"\r\nSHUTDOWN\r\n",
    b"\r\n+WIPPEERCLOSE: 2,1\r\n",
    b"\r\n+IPD,0,5:",
    b"\r\n0,CLOSED\r\n",
    b"\r\n>",
    b"\x03\x10\x10\x03",
)


def payload(seed, total):
    """Random bytes with every text in them, at random places and at the ends of sends."""
    rng = random.Random(seed)
    data = bytearray(rng.randbytes(total))
    for number, text in enumerate(TEXTS * 2):
        if number < len(TEXTS):
            at = rng.randrange(total - len(text))
        else:
            at = min((number - len(TEXTS) + 1) * SEND, total) - len(text)  # the last bytes before a pause
            if at + len(text) >= total:
                continue
        data[at : at + len(text)] = text
    return bytes(data)


async def echo(stream):
    async with stream:
        async for piece in stream:
            await stream.send_all(piece)


@pytest.mark.deadline(120 + TOTAL / 100)
@pytest.mark.parametrize("module", MODULES)
async def test_two_links_at_once_carry_random_bytes_both_ways(module, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]
    data = {0: payload(f"{module}-0", TOTAL), 1: payload(f"{module}-1", TOTAL)}
    async with bridge(tmp_path, module) as path, open_tty(path) as stream:
        host = Host(stream)
        await nursery.start(host.listen)
        await host.command("ATE0")
        host.forget()
        for line in ("AT", "AT+CWMODE=1", 'AT+CWJAP="orchard","pippin-seed"', "AT+CIPMUX=1"):
            await host.command(line)
        for link in data:
            await host.command(f'AT+CIPSTART={link},"TCP","127.0.0.1",{port}')
        expected = ["OK", "OK", "WIFI CONNECTED", "WIFI GOT IP", "OK", "OK", "0,CONNECT", "OK", "1,CONNECT", "OK"]
        for start in range(0, TOTAL, SEND):
            for link, whole in data.items():
                piece = whole[start : start + SEND]
                await host.send(link, piece)
                expected += ["OK", ">", f"Recv {len(piece)} bytes", "SEND OK"]
        await host.until(
            lambda: all(len(host.received.get(link, b"")) >= TOTAL for link in data),
            60 + TOTAL / 500,
            "waiting for all of the echo",
        )
        for link in data:
            await host.command(f"AT+CIPCLOSE={link}")
            expected += [f"{link},CLOSED", "OK"]
        for link, whole in data.items():
            assert host.received[link] == whole
        # The same list whichever module is below: the host cannot tell them apart.
        assert host.said == expected
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(90)
@pytest.mark.parametrize("module", MODULES)
async def test_a_send_that_is_exactly_one_of_the_texts(module, tmp_path, nursery):
    """Alone on the line, with silence before and after: the worst moment for each of them."""
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]
    async with bridge(tmp_path, module) as path, open_tty(path) as stream:
        host = Host(stream)
        await nursery.start(host.listen)
        for line in ("ATE0", 'AT+CWJAP="orchard","pippin-seed"', "AT+CIPMUX=1", f'AT+CIPSTART=0,"TCP","127.0.0.1",{port}'):
            await host.command(line)
        sent = b""
        for text in TEXTS[:5]:
            await trio.sleep(1.3)  # longer than a guard
            await host.send(0, text)
            sent += text
            await host.until(lambda: len(host.received.get(0, b"")) >= len(sent), 20, f"the echo of {text!r}")  # noqa: B023
            assert host.received[0] == sent
        assert "0,CLOSED" not in host.said
        nursery.cancel_scope.cancel()
