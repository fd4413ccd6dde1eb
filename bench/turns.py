"""(c) five busy links on one modem, and what a link waits for while another one is written.

The five run in this process, driver and simulated module on a line in memory that is paced as a UART: a pty has no DTR,
and so both ways out of data mode are measured on the same line.  The first byte's wait is measured through the whole
program, on ptys.  The bound is the policy's (`bridge/dialects/wip/driver/arbiter.py`), from the dialect's table.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import structlog
import trio

from bench.goodput import BAUD, BYTE, peer, up
from bench.wires import Wire
from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.model import Wire as Signal
from bridge.network import StreamLink
from bridge.ports import Port
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import Profile, load
from bridge.trace import Lane, Record, Trace

LINKS = 5
EACH = 12_000  # bytes of each link, each way
MAPPING = 0.05  # seconds
PLUSES = 3
ROUNDS = 6  # of the first byte's wait
SEND = 2048
BATCH = 16384  # bytes of a visit at most, in the bound
LEAST = 16  # bytes that show a peer that it is not only the wire that is tried


class Cable(Port):
    """One end of a line with the other end's modem wires: our DTR is its DSR."""

    wires = frozenset({Signal.DSR})

    def __init__(self, inner: Port, *, dtr: bool) -> None:
        self.name, self.baud = inner.name, inner.baud
        self.other: Cable | None = None
        self._inner = inner
        self._connected = dtr
        self._levels = {True}  # of DSR since it was last asked for
        self._level = True
        self._changed = trio.Event()

    async def receive(self, most: int = 4096) -> bytes:
        """See Port."""
        return await self._inner.receive(most)

    async def send(self, data: bytes) -> int:
        """See Port."""
        return await self._inner.send(data)

    @property
    def sent(self) -> int:
        """See Port."""
        return self._inner.sent

    async def drain(self) -> None:
        """See Port."""
        await self._inner.drain()

    async def aclose(self) -> None:
        """See Port."""
        await self._inner.aclose()

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """See Port."""
        await trio.lowlevel.checkpoint()
        if self.other is not None and dtr is not None and self._connected:
            self.other.see(dtr)

    def see(self, level: bool) -> None:
        """The other end's DTR."""
        self._level = level
        self._levels.add(level)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_wire(self, wire: Signal, asserted: bool) -> None:
        """See Port."""
        await trio.lowlevel.checkpoint()
        while asserted not in self._levels:
            await self._changed.wait()
        self._levels = {self._level} - {asserted}


def leaving(table: Profile, *, dtr: bool) -> float:
    """Seconds from the last byte of a visit to command state."""
    if dtr:
        return sum(table.seconds(name) for name in ("fifo", "dtr_pulse", "partial"))
    return 2.0 + PLUSES * BYTE


def turn(table: Profile, count: float, *, dtr: bool) -> float:
    """Seconds of one visit in which so many bytes move."""
    return MAPPING + count * BYTE + table.seconds("idle_out") + leaving(table, dtr=dtr)


def five() -> dict[str, Any]:
    """Both ways out of data mode, one after the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return {name: trio.run(_five, name == "DTR") for name in ("+++", "DTR")}


async def _five(dtr: bool) -> dict[str, Any]:
    table = load("wip", "c1")
    ours, theirs = line("module", baud=BAUD)
    near, far = Cable(ours, dtr=dtr), Cable(theirs, dtr=dtr)
    near.other = far
    visits: dict[int, list[float]] = {}
    polled = trio.Event()

    def record(said: Record) -> None:
        if said.lane is Lane.TO_MODULE and said.rule == "map" and said.data is not None:
            visits.setdefault(int(said.data.split(b",")[1]), []).append(trio.current_time())
        if said.rule == "pending":
            polled.set()

    net = WipNetwork(near, table, Trace(record))
    below = LocalNetwork(Policy.parse(allow=["127.0.0.0/8"], maps=[]), Trace())
    payload = os.urandom(EACH).replace(b"+", b"-")

    async def serve(stream: trio.SocketStream) -> None:
        while len(await stream.receive_some()) < LEAST:  # not for the proof's byte
            pass
        async with trio.open_nursery() as both:
            both.start_soon(stream.send_all, payload)
            both.start_soon(_take, stream.receive_some)

    async with trio.open_nursery() as nursery:
        servers = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = servers[0].socket.getsockname()[1]
        await nursery.start(run_session, WipUpstream(far, below, table, Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        links = [await net.open_stream("127.0.0.1", port) for _ in range(LINKS)]
        await links[0].send_all(b"x")  # the proof of the wire, or that there is none, is not what is measured
        await polled.wait()
        visits.clear()
        begun = trio.current_time()
        async with trio.open_nursery() as work:
            for link in links:
                work.start_soon(_talk, link, payload)
        took = trio.current_time() - begun
        nursery.cancel_scope.cancel()
    count = 2 * EACH
    bound = LINKS * sum(turn(table, min(BATCH, count - at), dtr=dtr) for at in range(0, count, BATCH))
    gaps = [later - sooner for times in visits.values() for sooner, later in pairwise(times)]
    return {
        "seconds": round(took, 2),
        "bound_seconds": round(bound, 2),
        "fraction_of_bound": round(bound / took, 3),
        "visits": sum(map(len, visits.values())),
        "longest_wait_for_a_visit": round(max(gaps, default=0.0), 2),
        "served_within": round(LINKS * turn(table, BATCH, dtr=dtr), 2),
    }


async def _talk(link: StreamLink, payload: bytes) -> None:
    async def send() -> None:
        for start in range(0, len(payload), SEND):
            await link.send_all(payload[start : start + SEND])

    async with trio.open_nursery() as both:
        both.start_soon(send)
        got = 0
        while got < len(payload):
            got += len(await link.receive_some())


async def _take(receive: Callable[[], Awaitable[bytes | bytearray]]) -> None:
    while await receive():
        pass


def first_byte(folder: Path) -> dict[str, Any]:
    """Seconds from a peer's first byte to its +IPD, while another link is written without a pause."""
    table = load("wip", "c1")
    payload = os.urandom(SEND).replace(b"+", b"-")
    waits: list[float] = []
    rng = random.Random(1)  # noqa: S311 - the same moments in every run
    with ExitStack() as stack:
        quiet, links, _ = stack.enter_context(peer())
        busy, _, _ = stack.enter_context(peer())
        wire = up(stack, folder, "wip:c1")
        wire.write(b"AT+CIPMUX=1\r\n")
        wire.until(b"OK\r\n")
        for number, port in enumerate((busy, quiet)):
            wire.write(b'AT+CIPSTART=%d,"TCP","127.0.0.1",%d\r\n' % (number, port))
            wire.until(b"OK\r\n")
        for _ in range(ROUNDS):
            knock = time.monotonic() + rng.uniform(0.0, 2.0)
            waits.append(_wait_one(wire, payload, knock, lambda: links[0].sendall(b"!")))
    visit = max(table.seconds("visit"), BATCH * BYTE)
    bound = MAPPING + visit + leaving(table, dtr=False) + MAPPING
    # A host's send is under way all the time, and no +IPD passes before its SEND OK: the busy link's next visit.
    bound += turn(table, 1, dtr=False) + SEND * BYTE
    return {
        "median": round(sorted(waits)[len(waits) // 2], 2),
        "longest": round(max(waits), 2),
        "bound_seconds": round(bound, 2),
        "rounds": ROUNDS,
    }


def _wait_one(wire: Wire, payload: bytes, knock: float, push: Callable[[], None]) -> float:
    pushed, seen = math.inf, b""
    steps = (b"AT+CIPSEND=0,%d\r\n" % len(payload), payload)
    at = 0
    wire.write(steps[0])
    while b"+IPD,1,1:!" not in seen:
        if math.isinf(pushed) and time.monotonic() >= knock:
            push()
            pushed = time.monotonic()
        if time.monotonic() > knock + 60:
            raise TimeoutError(f"no +IPD; the last of it {seen[-200:]!r}")
        seen += wire.read(0.005)
        end = b">" if at == 0 else b"SEND OK\r\n"
        if end in seen:
            seen = seen.replace(end, b"", 1)
            at = 1 - at
            wire.write(steps[at])
    waited = time.monotonic() - pushed
    while at == 1 and b"SEND OK\r\n" not in seen:  # the send that is under way
        seen += wire.read(0.05)
    if at == 0:
        while b">" not in seen:
            seen += wire.read(0.05)
        wire.write(payload)
        wire.until(b"SEND OK\r\n")
    return waited
