"""``+WIND`` and ``+CREG``: what a module says of itself unasked: that it booted, that the network came or went.

``AT+WIND=<mask>`` enables each kind by a bit; which event has which bit, and which of them a boot prints after how
many seconds, says the table (GSM: Multi-Tech S000437C p.41; CDMA numbers them by the bit itself, S000294C p.22).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bridge.model import Phase

if TYPE_CHECKING:
    from bridge.dialects.wip.module.state import Module


@dataclass(frozen=True, slots=True)
class _Event:
    number: int
    bit: int
    after: float  # seconds from the moment when a booted module hears again


def _events(text: str) -> list[_Event]:
    """``number:bit:seconds``, parted by spaces."""
    fields = (entry.split(":") for entry in text.split())
    return [_Event(int(number), int(bit), float(after)) for number, bit, after in fields]


class Indications:
    """The lines of one module."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._boot = _events(module.profile.words("module_wind_boot"))
        self._came, self._went = _events(module.profile.words("module_wind_service"))
        self._quiet = False  # a boot is not over: its own lines tell the service
        self._booted = -math.inf

    def since_boot(self) -> float:
        """Seconds since a restart was over; for ever where there was none."""
        return trio.current_time() - self._booted

    async def booted(self) -> None:
        """A restart is over; cancelled by the next one."""
        self._booted = began = trio.current_time()
        for event in self._boot:
            await trio.sleep_until(began + event.after)
            self._say(event)
        await trio.sleep_until(began + self._came.after)
        self._quiet = False
        if self._module.network.state.phase is Phase.UP:
            self._say(self._came)

    def hush(self) -> None:
        """A restart begins."""
        self._quiet = True

    def service(self, *, available: bool) -> None:
        """The network came or went."""
        for name in ("CREG", "CGREG"):
            if self._module.settings.get(name, (0,))[0] != 0:
                self._module.urc(f"+{name}: {int(available)}")
        if not self._quiet:
            self._say(self._came if available else self._went)

    def _say(self, event: _Event) -> None:
        level = self._module.settings["WIND"][0]
        if isinstance(level, int) and level & event.bit:
            self._module.urc(f"+WIND: {event.number}")
