"""From one reset of the module to the next: what it forgets, who may keep it in reset, and how it speaks again.

Four things reset it: AT+RST, its reset wire, the loss and return of the host's port, and the start of the bridge.
They differ in two ways.  After AT+RST everything that was answered is still said; the others are *hard*: what waits
to be said is not said, the message under way is cut, and the command that runs ends without a word.  And a wire or a
lost port *holds* the module: it says nothing until both have let go.

One task boots, so that a reset in the middle of a boot only begins it again.  The closes of the links begin before
the Network hears of the reset: a Network may end what is left at that, and the ids must be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.dialects.esp_at import wifi
from bridge.model import Wire
from bridge.network import NetworkError
from bridge.ports import PortLost
from bridge.ports.pty import PortError

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.session import Gate


log = structlog.get_logger("bridge.esp-at")


class Hold(Enum):
    """What keeps a module in reset."""

    WIRE = auto()
    PORT = auto()


class Life:
    """Resets the module and boots it."""

    def __init__(self, unit: EspAtUpstream) -> None:
        self._unit = unit
        self._wire = unit.settings.reset_on
        if self._wire is not None and self._wire not in unit.port.wires:
            raise PortError(unit.port.name, f"it has no wire {self._wire} to be reset by", _remedy(unit.port.wires))
        if self._wire is Wire.BREAK and not unit.settings.reset_level:
            raise PortError(unit.port.name, "a break is not a level", "leave out the level, or name a wire that has one")
        self.booting = False  # nothing is heard
        self.number = 0  # of resets so far
        self._said: trio.Event | None = None  # the last answer before a soft reset is written
        self._gate: Gate | None = None
        self._due = trio.Event()
        self._boot_scope = trio.CancelScope()
        self._holds: set[Hold] = set()
        self._released = trio.Event()
        self._ready_at = -math.inf  # not before this
        self._openings = 0  # how often the port came back
        self._reopened = trio.Event()

    async def start(self) -> None:
        """Power-up: `ready` where the bridge announces itself, and the join of a host that never joins."""
        if self._wire is not None:  # it may be held in reset right now, and then says nothing
            await trio.sleep(self._unit.profile.seconds("restart"))
            if self.number:
                return
        if self._unit.settings.announce:
            self._unit.writer.post(self._unit.say("ready"), rule="ready")
        self._join()

    def reset(self, *, hard: bool, pause: float | None = None) -> None:
        """Forget, without a word, and begin to boot: for ``pause`` seconds where that is not the table's time."""
        unit = self._unit
        command = unit.runner.command
        self._said = None if hard or command is None else command.written
        self.booting = True
        self.number += 1
        unit.writer.void(answers=hard)
        self._gate = unit.writer.shut()
        unit.runner.forget(hard=hard)
        unit.forget()
        self._ready_at = trio.current_time() + (unit.profile.seconds("restart") if pause is None else pause)
        self._due.set()
        self._boot_scope.cancel()

    async def run(self) -> None:
        """Boot whenever there was a reset."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            with trio.CancelScope() as self._boot_scope:
                await self._boot()

    async def _boot(self) -> None:
        unit = self._unit
        await unit.runner.ended()
        unit.forget()  # what the command that ended brought about in its last moment
        await trio.lowlevel.checkpoint()  # the closes that were begun have their first turn
        with trio.move_on_at(self._ready_at):
            try:
                await unit.network.reset()
            except NetworkError as error:
                unit.trace.note("reset", str(error))
            except Exception:
                unit.crashed("reset")
        while self._holds:
            await self._released.wait()
        if self._said is not None:
            await self._said.wait()
        await unit.uart.restore()
        await trio.sleep_until(self._ready_at)
        self.booting = False
        await unit.writer.answer(unit.say("ready"), rule="ready")
        if self._gate is not None:
            self._gate.open()
        self._join()

    def _join(self) -> None:
        """A module joins by itself what it remembers, if it is told to."""
        station = self._unit.station
        if station.autoconnect and station.stored is not None and station.mode != 0:
            wifi.join_later(self._unit, station.stored, store=True)

    def _hold(self, what: Hold) -> None:
        self._holds.add(what)
        self.reset(hard=True)

    def _release(self, what: Hold, after: float) -> None:
        self._ready_at = max(self._ready_at, trio.current_time() + after)
        self._holds.discard(what)
        self._released.set()
        self._released = trio.Event()

    async def port_lost(self) -> None:
        """The host's port is lost: the module is in reset until it is back.  Raises PortLost where it never will be."""
        self._unit.counters["port-lost"] += 1
        self._hold(Hold.PORT)
        await self._unit.port.reopen()
        self._openings += 1
        self._reopened.set()
        self._reopened = trio.Event()
        self._release(Hold.PORT, 0)

    async def watch_wires(self) -> None:
        """The host's reset wire, and breaks of a host that speaks at another speed."""
        async with trio.open_nursery() as nursery:
            if self._wire is not None:
                nursery.start_soon(self._while_open, self._watch_reset, self._wire)
            if Wire.BREAK in self._unit.port.wires and self._wire is not Wire.BREAK:
                nursery.start_soon(self._while_open, self._watch_break)

    async def _while_open(self, watch: Callable[..., Awaitable[None]], *arguments: Wire) -> None:
        while True:
            openings = self._openings
            try:
                await watch(*arguments)
            except PortLost:
                if not self._unit.port.reopens:  # whoever reads the port ends the session
                    return
            except ValueError as error:  # what came back in its place has no such wire
                log.warning("no such wire any more", port=self._unit.port.name, reason=str(error))
            else:
                continue
            while self._openings == openings:
                await self._reopened.wait()

    async def _watch_reset(self, wire: Wire) -> None:
        asserted = self._unit.settings.reset_level
        await self._unit.port.wait_wire(wire, asserted)
        self._unit.counters["wire-resets"] += 1
        self._note_wire(wire, asserted)
        self._unit.trace.note("reset", f"by {wire}")
        self._hold(Hold.WIRE)
        try:
            await self._unit.port.wait_wire(wire, not asserted)
            self._note_wire(wire, not asserted)
        finally:  # a port that is lost has no wire that could hold
            self._release(Hold.WIRE, self._unit.profile.seconds("restart"))

    async def _watch_break(self) -> None:
        await self._unit.port.wait_wire(Wire.BREAK, True)
        self._note_wire(Wire.BREAK, True)
        await self._unit.uart.fall_back("break")

    def _note_wire(self, wire: Wire, asserted: bool) -> None:
        self._unit.trace.note("wire", f"{wire} {'asserted' if asserted else 'released'}")


def _remedy(wires: frozenset[Wire]) -> str:
    return f"name one of: {', '.join(sorted(wires))}" if wires else "use a port with modem lines, or no reset wire"
