"""The whole bridge without any hardware: a simulated modem, the bridge, and a scripted ESP-AT host.

They are joined by real pseudo terminals.  The modem's line is paced at 115200 baud and its guard times are the real
ones, so what is seen here is what a bench with a Multi-Tech C1 shows, but for the radio.
"""

from __future__ import annotations

import re
import signal
import tempfile
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from bridge import logs, service
from bridge.demo.host import Host, HostError
from bridge.demo.servers import FAREWELL, PAGE, echo, hang_up, serve, web
from bridge.demo.wires import Wires, say
from bridge.endpoint import parse
from bridge.local.policy import Policy
from bridge.ports.opening import publish
from bridge.session import run_session
from bridge.trace import Trace

LIMIT = 58.0  # seconds for everything; a user was promised a minute
NAME = "server.demo"
LOOPBACK = "127.0.0.1"
# What would end a data mode, if anybody looked for it in payload.
TRAPS = (b"first +++ and\r\nNO CARRIER\r\nare only bytes" + bytes(range(256)), b"+++" + b"\r\nNO CARRIER\r\n")


def main(*, keep: bool = False) -> int:
    """Run the demo; 0 only if everything was right."""
    logs.configure("console")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="at-bridge-demo-") as folder:
        trio.run(_demo, Path(folder), checks, keep)
    return 0 if checks.good else 1


class Checks:
    """What was expected and whether it was so."""

    def __init__(self) -> None:
        self.rows: list[tuple[bool, str]] = []
        self.over = False  # everything was tried

    def that(self, good: bool, what: str) -> None:
        """Keep one."""
        self.rows.append((good, what))

    @property
    def good(self) -> bool:
        """Whether all was tried and all was right."""
        return self.over and bool(self.rows) and all(good for good, _ in self.rows)

    def show(self, seconds: float) -> None:
        """The summary."""
        say()
        for good, what in self.rows:
            say(f"  {'right' if good else 'WRONG'}  {what}")
        verdict = "all of it was right" if self.good else "NOT all of it was right"
        say(f"\n{verdict}; {sum(good for good, _ in self.rows)} of {len(self.rows)} checks, {seconds:.1f} s")


async def _demo(folder: Path, checks: Checks, keep: bool) -> None:
    started = trio.current_time()
    try:
        with trio.move_on_after(LIMIT) as limit:
            async with _bridge(folder) as path:
                await _script(str(path), checks)
                checks.over = True
                limit.deadline = float("inf")
                checks.show(trio.current_time() - started)
                if keep and checks.good:
                    await _kept(folder)
        if limit.cancelled_caught:
            checks.that(False, f"done within {LIMIT:.0f} s")
    except* (HostError, service.ServiceError, OSError) as group:
        checks.over = False
        for error in _leaves(group):
            checks.that(False, str(error))
    except* Exception:
        checks.over = False
        checks.that(False, "no crash: " + traceback.format_exc())
    if not checks.over:
        checks.show(trio.current_time() - started)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


@asynccontextmanager
async def _bridge(folder: Path) -> AsyncIterator[Path]:
    """The simulated modem and the bridge, running; gives the host's terminal.  The bridge ends before the modem does."""
    async with AsyncExitStack() as stack:
        modem_spec = parse(f"wip:c1@pty:{folder}/modem,baud=115200", side="upstream")
        world, _ = await service.open_network(None, Policy.parse([], [f"{NAME}={LOOPBACK}"]), Trace(), stack)
        modem, port = await service.open_upstream(modem_spec, world, Trace(), stack)
        outer = await stack.enter_async_context(trio.open_nursery())
        stack.callback(outer.cancel_scope.cancel)
        await outer.start(run_session, modem, world)
        await publish(port)

        wires = Wires()
        trace = Trace(wires, payload=True)
        wires.title()
        network, _ = await service.open_network(parse(f"wip:c1@{folder}/modem", side="downstream"), Policy(), trace, stack)
        host_spec = parse(f"esp-at:espat-2.3@pty:{folder}/host", side="upstream")
        upstream, port = await service.open_upstream(host_spec, network, trace, stack)
        inner = await stack.enter_async_context(trio.open_nursery())
        stack.callback(inner.cancel_scope.cancel)
        await inner.start(run_session, upstream, network)
        await publish(port)
        yield folder / "host"


async def _script(path: str, checks: Checks) -> None:
    async with trio.open_nursery() as nursery:
        ports = {handler: await serve(handler, nursery) for handler in (web, echo, hang_up)}
        host = Host(path)
        nursery.start_soon(host.run)
        await _join(host, checks)
        await _page(host, ports[web], checks)
        await _echo(host, ports[echo], checks)
        await _farewell(host, ports[hang_up], ports[echo], checks)
        nursery.cancel_scope.cancel()


async def _join(host: Host, checks: Checks) -> None:
    await host.command("AT")
    await host.command("ATE0")
    said = await host.command("AT+GMR")
    checks.that(any(line.startswith("AT version:") for line in said), "the host meets the ESP firmware it was written for")
    await host.command("AT+CWMODE=1")
    said = await host.command('AT+CWJAP="demo","not a secret"', limit=30)
    checks.that(said == ["WIFI CONNECTED", "WIFI GOT IP", "OK"], "it joins")
    await host.command("AT+CIPMUX=1")
    try:
        said = await host.command(f'AT+CIPDOMAIN="{NAME}"', limit=30)
    except HostError as error:
        checks.that(False, f"it resolves {NAME}: {error}")  # and go on: the rest does not hang on it
        return
    found = re.fullmatch(r'\+CIPDOMAIN:"?([0-9.]+)"?', said[0])
    checks.that(found is not None and found[1] == LOOPBACK, f"it resolves {NAME}")


async def _open(host: Host, link: int, port: int) -> bool:
    said = await host.command(f'AT+CIPSTART={link},"TCP","{NAME}",{port}', limit=30)
    return said == [f"{link},CONNECT", "OK"]


async def _page(host: Host, port: int, checks: Checks) -> None:
    checks.that(await _open(host, 0, port), "it connects to a web server by its name")
    await host.send(0, f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
    answer = await host.take_closed(0)
    head, _, body = answer.partition(b"\r\n\r\n")
    checks.that(head.startswith(b"HTTP/1.1 200 OK\r\n") and body == PAGE, f"it fetches a page, {len(PAGE)} bytes, unchanged")
    checks.that(True, "the server's close arrives as CLOSED, after all of its data")


async def _echo(host: Host, port: int, checks: Checks) -> None:
    opened = [await _open(host, link, port) for link in (0, 1)]
    checks.that(all(opened), "two links are open at once")
    for link, data in enumerate(TRAPS):
        await host.send(link, data)
    for link, data in enumerate(TRAPS):
        back = await host.take(link, len(data))
        checks.that(back == data, f"link {link} echoes {len(data)} bytes unchanged, +++ and NO CARRIER among them")
    for link in (0, 1):
        said = await host.command(f"AT+CIPCLOSE={link}")
        checks.that(said == [f"{link},CLOSED", "OK"], f"the host closes link {link}")
        host.closed.clear()


async def _farewell(host: Host, farewell: int, again: int, checks: Checks) -> None:
    await _open(host, 0, farewell)
    await host.send(0, b"bye")
    checks.that(await host.take_closed(0) == FAREWELL, "a peer hangs up: its last words, then CLOSED")
    await _open(host, 0, again)
    await host.send(0, b"still here")
    checks.that(await host.take(0, 10) == b"still here", "the next link works as if nothing had happened")
    leftover = {link: bytes(data) for link, data in host.received.items() if data}
    checks.that(not leftover, "not a byte more than that arrived")


async def _kept(folder: Path) -> None:
    say(f"\nKept open until Ctrl-C.  The host's side (type AT commands, end them with CR LF):\n  {folder}/host")
    say("as with:\n  python3 -m serial.tools.miniterm --eol CRLF " + str(folder / "host"))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
