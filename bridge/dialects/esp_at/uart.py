"""The speed of the host's line: changed by the host, and found again when the two do not agree any more.

A host that is reset (and cannot reset its module) speaks at the default speed again, to a module that does not.  A
real one stays deaf.  This one falls back to the default on a break, where the port can see one - that is what slow
bytes look like from a fast line - or when for some time nothing came but bytes that nobody types.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from bridge.command_log import Part
from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition
from bridge.ports import PortLost
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.session import Gate

_TYPED = frozenset(range(0x20, 0x7F)) | frozenset(b"\r\n")


class Uart:
    """The line's speed in bits per second, as the host knows it; a port without speed has the one it was told."""

    def __init__(self, unit: EspAtUpstream) -> None:
        self._unit = unit
        self._factory = unit.port.baud or unit.profile.number("baud")
        self.default = self.speed = self._factory
        self._garbage_since = math.inf
        self._garbage_last = -math.inf

    async def change(self, baud: int) -> None:
        """Raises ValueError where the port refuses it, PortLost."""
        await self._unit.port.set_speed(baud)
        if baud != self.speed:
            self._unit.trace.note("speed", f"{baud} bits per second")
        self.speed = baud
        self.understood()

    async def attempt(self, baud: int) -> None:
        """Whether the port can do it: raises ValueError where not, PortLost.  The speed is as before."""
        if baud == self.speed:
            return
        try:
            await self._unit.port.set_speed(baud)
        finally:
            with trio.move_on_after(self._unit.profile.seconds("garbage"), shield=True):
                await self._unit.port.set_speed(self.speed)

    def forget(self) -> None:
        """Back to the factory: the default is again what it was, in force from the next reset on."""
        self.default = self._factory

    async def restore(self) -> None:
        """The default speed, as after a reset."""
        try:
            await self.change(self.default)
        except PortLost:  # whoever reads the port knows it as well
            self.speed = self.default
        except ValueError as error:
            self._unit.counters["speed-refused"] += 1
            self._unit.trace.note("speed", f"not back to the default: {error}")

    async def fall_back(self, why: str) -> None:
        """The default speed, because the host does not speak at this one."""
        if self.speed != self.default:
            self._unit.counters["speed-fallbacks"] += 1
            self._unit.trace.note("speed", f"back to the default: {why}")
            self._unit.runner.forget_line()
            await self.restore()

    def understood(self) -> None:
        """A line had the shape of a command."""
        self._garbage_since = math.inf

    def garbage(self, data: bytes) -> bool:
        """Whether the host has spoken at another speed for too long.  For bytes that are no payload."""
        if self.speed == self.default or _TYPED.issuperset(data):
            return False
        now, profile = trio.current_time(), self._unit.profile
        if now - self._garbage_last > profile.seconds("garbage_pause"):
            self._garbage_since = math.inf
        self._garbage_last = now
        self._garbage_since = min(self._garbage_since, now)
        return now - self._garbage_since >= profile.seconds("garbage")


async def uart(unit: EspAtUpstream, command: Command) -> None:
    """AT+UART_CUR, AT+UART_DEF and their kin: OK at the old speed, then the new one.

    Whether the port can do it is found out by doing it, before OK: a host that was told OK and changes its own speed
    would be lost on a port that stays.
    """
    if command.form is Form.QUERY:
        told = unit.uart.speed if command.base == "UART_CUR" else unit.uart.default
        command.ok(unit.say("uart", name=command.name, baud=told, flow=3 if unit.port.flow else 0))
        return
    baud = command.number("baud")
    frame = (command.number("data"), command.number("stop"), command.number("parity"))
    if frame != (8, 1, 0):
        command.refuse(Condition.NOT_SUPPORTED, f"a frame of {frame}")
        return
    if command.number("flow") and not unit.port.flow:
        command.refuse(Condition.NOT_SUPPORTED, "flow control that the port does not have")
        return
    life = unit.life.number
    gate = unit.writer.shut()
    try:
        with command.event.waiting(Part.WIRE):
            await unit.writer.answer(b"")  # the echo and what was under way are handed to the port
            await unit.uart.attempt(baud)
    except (ValueError, PortLost) as error:  # a lost port resets the module as well: whoever reads it knows
        gate.open()
        command.refuse(Condition.NOT_SUPPORTED, str(error))
        return
    except BaseException:
        gate.open()
        raise
    if command.abandoned:
        return
    if command.base != "UART_CUR":
        unit.uart.default = baud
    command.ok()
    unit.spawn(_switch, unit, command, baud, gate, life)


async def _switch(unit: EspAtUpstream, command: Command, baud: int, gate: Gate, life: int) -> None:
    assert command.written is not None
    await command.written.wait()
    try:
        if unit.life.number == life:
            await unit.uart.change(baud)
        if unit.life.number != life:  # reset before or meanwhile
            await unit.uart.restore()
    finally:
        gate.open()


HOOKS: dict[str, Hook] = {"uart": uart}
