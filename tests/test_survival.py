# ruff: noqa: PT012, PTH115 - the process ends inside the block; Path would tidy the link away
"""What a gateway's life brings: a bridge killed with the modem mapped, a host that does not read, a peer that floods."""

import os
import random
from contextlib import AsyncExitStack

import pytest
import trio
from real_host.running import MODULES, Host, bridge, open_tty, process

JOIN = ("ATE0", 'AT+CWJAP="orchard","pippin-seed"', "AT+CIPMUX=1")
FLOOD = 60_000  # more than the modem, the bridge and a pty hold together


async def serve(nursery, handler):
    listeners = await nursery.start(trio.serve_tcp, handler, 0)
    return listeners[0].socket.getsockname()[1]


async def echo(stream):
    try:
        async with stream:
            async for piece in stream:
                await stream.send_all(piece)
    except trio.BrokenResourceError:
        pass  # the killed bridge's connection


@pytest.mark.deadline(120)
async def test_a_bridge_killed_with_the_modem_mapped_starts_again(tmp_path, nursery):
    port = await serve(nursery, echo)
    modem, path = tmp_path / "modem", tmp_path / "host"
    arguments = ("run", f"esp-at@pty:{path}", f"wip:c1@{modem}")
    async with process(modem, "simulate", f"wip:c1@pty:{modem},baud=115200", "--allow", "127.0.0.0/8"):
        with pytest.raises(AssertionError, match="ended by itself"):
            async with process(path, *arguments) as child, open_tty(path) as stream:
                host = Host(stream)
                await nursery.start(host.listen)
                for line in (*JOIN, f'AT+CIPSTART=0,"TCP","127.0.0.1",{port}'):
                    await host.command(line)
                await host.send(0, b"mapped from here on")
                child.kill()
                await child.wait()
        # The modem still is glued to the socket: nothing we say may reach the peer, and everything must work again.
        old = os.readlink(path)  # the killed one could not take its link away
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(process(path, *arguments))
            while os.readlink(path) == old and not path.exists():  # noqa: ASYNC110 (it is another process's file)
                await trio.sleep(0.02)
            stream = await stack.enter_async_context(open_tty(path))
            host = Host(stream)
            await nursery.start(host.listen)
            for line in (*JOIN, f'AT+CIPSTART=0,"TCP","127.0.0.1",{port}'):
                await host.command(line)
            await host.send(0, b"again")
            await host.until(lambda: host.received.get(0) == b"again", 20, "the echo")
    nursery.cancel_scope.cancel()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("module", MODULES)
async def test_a_flood_waits_for_a_host_that_does_not_read(module, tmp_path, nursery):
    data = random.Random(module).randbytes(FLOOD)
    done = trio.Event()

    async def flood(stream):
        async with stream:
            await stream.receive_some()
            await stream.send_all(data)
            done.set()
            await trio.sleep_forever()

    port = await serve(nursery, flood)
    async with AsyncExitStack() as stack:
        path = await stack.enter_async_context(bridge(tmp_path, module))
        stream = await stack.enter_async_context(open_tty(path))
        host = Host(stream)
        async with trio.open_nursery() as reading:
            await reading.start(host.listen)
            for line in (*JOIN, f'AT+CIPSTART=0,"TCP","127.0.0.1",{port}'):
                await host.command(line)
            await host.send(0, b"go")
            reading.cancel_scope.cancel()  # deaf from here on
        await trio.sleep(12)
        await nursery.start(host.listen)
        await host.until(lambda: len(host.received.get(0, b"")) >= FLOOD, 60, "all of the flood")
        assert host.received[0] == data
        assert "0,CLOSED" not in host.said
        await host.command("AT+CIPCLOSE=0")
    nursery.cancel_scope.cancel()
