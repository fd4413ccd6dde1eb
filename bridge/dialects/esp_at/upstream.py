"""Plays an ESP-AT module to a host: the state of one module, and the two tasks of it.

One reads the host's port and hands what comes to the `Runner`; it is also the one that knows when the port is lost.
The other owns the writer, the jobs of commands, the pumps of the links, the watch on the network and the resets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import structlog
import trio

from bridge.dialects.esp_at import (
    basic,
    kept,
    name_servers,
    opening,
    receiving,
    scan,
    sending,
    server,
    sockets,
    station,
    transparent,
    uart,
    wifi,
)
from bridge.dialects.esp_at.command import Command, Hook, Payload
from bridge.dialects.esp_at.life import Life
from bridge.dialects.esp_at.links import LinkTable
from bridge.dialects.esp_at.passthrough import Passthrough
from bridge.dialects.esp_at.runner import Runner
from bridge.model import HostSettings, Login
from bridge.network import Network
from bridge.ports import Port, PortLost
from bridge.session import HostWriter, Upstream
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.esp-at")

DEFAULTS = HostSettings()


class EspAtUpstream(Upstream):
    """An ESP-AT module made of a Network.  Raises TableError, and PortError where the port has no such reset wire."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace, settings: HostSettings = DEFAULTS) -> None:
        self.port = port
        self.network = network
        self.profile = profile
        self.trace = trace
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.writer = HostWriter(port, trace, self.counters)
        self.links = LinkTable(self)
        self.server = server.Server(self)
        self.station = wifi.Station(profile.number("rssi"))
        if settings.joined_at_start:
            name = settings.ssid or str(profile.value["ssid"].value)
            self.station.stored = self.station.login = Login(name, settings.password or "")
        self.kept = kept.Kept(profile)
        self.through = Passthrough(self)
        self.echo = True
        self.mux = False
        self.dinfo = False
        hooks: dict[str, Hook] = {
            **wifi.HOOKS,
            **station.HOOKS,
            **kept.HOOKS,
            **basic.HOOKS,
            **scan.HOOKS,
            **name_servers.HOOKS,
            **sockets.HOOKS,
            **opening.HOOKS,
            **sending.HOOKS,
            **receiving.HOOKS,
            **server.HOOKS,
            **transparent.HOOKS,
            **uart.HOOKS,
            "echo": echo,
            "restart": restart,
        }
        self.runner = Runner(self, hooks)
        self.uart = uart.Uart(self)
        self.life = Life(self)
        self._nursery: trio.Nursery | None = None
        self._running = trio.Event()

    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Upstream."""
        await self._running.wait()
        await self.life.start()
        task_status.started()
        while True:
            if self.through.full:
                await self.through.wait_room()
            data = b""
            try:
                deadline = self.runner.deadline  # seldom one: a scope costs a tenth of what a command does
                with trio.move_on_at(deadline) if deadline < math.inf else nullcontext():
                    data = await self.port.receive()
            except PortLost:
                if not self.port.reopens:
                    raise
                await self.life.port_lost()
                continue
            if not data:
                self.runner.silence()
            elif self.life.booting:
                self.counters["boot-dropped"] += len(data)
            elif self.runner.hear(data) and self.uart.garbage(data):
                await self.uart.fall_back("garbage")

    async def module_to_host(self) -> None:
        """See Upstream."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(wifi.watch, self)
            self._nursery.start_soon(self.life.run)
            self._nursery.start_soon(self.life.watch_wires)
            self._running.set()
            await self.writer.run()

    def say(self, row: str, **fields: object) -> bytes:
        """A text row of the table, filled in."""
        return self.profile.words(row).format(**fields).encode("latin-1", "replace")

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Work that no command waits for, behind a crash barrier of its own."""
        assert self._nursery is not None
        self._nursery.start_soon(self._guard, work, *arguments)

    def start(self, job: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """A task that has its own barrier."""
        assert self._nursery is not None
        self._nursery.start_soon(job, *arguments)

    def crashed(self, where: str) -> None:
        """For a crash barrier, in its except clause: the bridge lives, and somebody gets to know."""
        self.counters["crashes"] += 1
        self.trace.note("crash", where)
        log.exception("unexpected exception", where=where)  # noqa: LOG004 - called from except clauses

    def free(self, command: Command) -> None:
        """The final result is being written: the next line is a command again."""
        self.runner.free(command)

    def collect(self, payload: Payload) -> None:
        """The next bytes are this payload."""
        self.runner.collect(payload)

    def reset(self) -> None:
        """The host's own reset: what was answered is still said."""
        self.life.reset(hard=False)

    def forget(self) -> None:
        """What a reset module forgets."""
        self.through.forget()
        self.server.forget()
        self.links.forget()
        self.echo, self.mux, self.dinfo = True, False, False
        self.station.leave()
        self.station.left = False
        self.station.mode = self.station.stored_mode
        self.kept.forget()

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        try:
            await work(*arguments)
        except PortLost:
            pass  # the one who reads the port knows it as well, and what to do
        except Exception:
            self.crashed(getattr(work, "__name__", "work"))


def echo(unit: EspAtUpstream, command: Command) -> None:
    """ATE0 and ATE1."""
    unit.echo = command.name == "ATE1"
    command.ok()


def restart(unit: EspAtUpstream, command: Command) -> None:
    """AT+RST: OK at once; the links are gone without a word."""
    command.ok()
    unit.reset()
