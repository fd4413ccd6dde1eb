"""What is kept for a host: its settings, to be read back.  Some change what it is told, the others do nothing here.

They are gone after a reset, except those that were stored: by a name that ends in ``_DEF`` or in nothing, and as long
as AT+SYSSTORE allows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.tables import Profile

Values = dict[str, int | str]

# Command -> its text row, and its arguments as a module begins with them; those of `FIRST` are value rows.
ROWS: dict[str, tuple[str, Values]] = {
    "SYSLOG": ("syslog", {"on": 0}),
    "SYSSTORE": ("sysstore", {"on": 1}),
    "SYSMSG": ("sysmsg", {"bits": 0}),
    "SLEEP": ("sleep", {"mode": 0}),
    "CIPRECONNINTV": ("cipreconnintv", {"interval": 1}),
    "CWRECONNCFG": ("cwreconncfg", {"interval": 1, "count": 0}),
    "CWHOSTNAME": ("cwhostname", {"hostname": ""}),
    "CWCOUNTRY": ("cwcountry", {"policy": 0, "country": "CN", "start": 1, "channels": 13}),
    "CWLAPOPT": ("", {"sort": 0, "mask": 0, "rssi": -100, "security": 0xFFFF}),
}
FIRST = {
    "SLEEP": ("mode", "sleep"),
    "CWHOSTNAME": ("hostname", "hostname"),
    "CWLAPOPT": ("mask", "lap_mask"),
    "CIPRECONNINTV": ("interval", "reconnect"),
}
STORED = {"SYSMSG", "CWCOUNTRY", "CIPRECONNINTV"}  # what a module keeps in its flash


class Kept:
    """What one host has set."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._now: dict[str, Values] = {}
        self._stored: dict[str, Values] = {}
        self._clock = 0.0
        self.set_clock(0)

    def of(self, name: str) -> Values:
        """The arguments of a command as they are in force."""
        values = dict(ROWS[name][1])
        if name in FIRST:
            argument, row = FIRST[name]
            first = self._profile.value[row].value
            values[argument] = first if isinstance(first, str) else int(first)
        return values | self._now.get(name, {})

    def number(self, name: str, argument: str) -> int:
        """One of them, where it is a number."""
        value = self.of(name)[argument]
        assert isinstance(value, int)
        return value

    def on(self, name: str) -> bool:
        """A switch."""
        return self.of(name)["on"] == 1

    def stores(self, command: Command) -> bool:
        """Whether what this command sets outlives a reset."""
        return not command.name.endswith("_CUR") and self.on("SYSSTORE")

    def keep(self, command: Command) -> None:
        """What the host has just set."""
        self._now[command.base] = command.values
        if command.base in STORED and self.stores(command):
            self._stored[command.base] = command.values

    def forget(self, *, stored: bool = False) -> None:
        """A reset; with ``stored`` the return to what it was when it left the factory."""
        if stored:
            self._stored.clear()
        self._now = dict(self._stored)
        self.set_clock(0)

    def set_clock(self, seconds: int) -> None:
        """The module's clock, in seconds."""
        self._clock = seconds - trio.current_time()

    @property
    def clock(self) -> int:
        """The module's clock now: it began at 0, as one that nobody set."""
        return int(self._clock + trio.current_time())


def keep(unit: EspAtUpstream, command: Command) -> None:
    """A setting: told back as it was set."""
    if command.form is Form.QUERY:
        row = ROWS[command.base][0]
        command.finish(lambda: unit.say(row, name=command.name, **unit.kept.of(command.base)) + unit.say("ok"))
        return
    unit.kept.keep(command)
    command.ok()


def hostname(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWHOSTNAME: only a station has one."""
    if unit.station.mode == 0:
        command.refuse(Condition.WRONG_STATE, "station mode is off")
        return
    keep(unit, command)


def timestamp(unit: EspAtUpstream, command: Command) -> None:
    """AT+SYSTIMESTAMP: seconds, from 0 at power-up or from what the host set."""
    if command.form is Form.QUERY:
        command.finish(lambda: unit.say("systimestamp", seconds=unit.kept.clock) + unit.say("ok"))
        return
    unit.kept.set_clock(command.number("seconds"))
    command.ok()


HOOKS: dict[str, Hook] = {"keep": keep, "hostname": hostname, "timestamp": timestamp}
