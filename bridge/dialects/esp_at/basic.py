"""The basic commands: memory, what there is, sleep, and the way back to the factory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.wifi import detach

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream


def memory(unit: EspAtUpstream, command: Command) -> None:
    """AT+SYSRAM?."""
    value = unit.profile.value
    command.ok(unit.say("sysram", free=value["ram"].value, least=value["ram"].value))


def commands(unit: EspAtUpstream, command: Command) -> None:
    """AT+CMD?: every command that does something, and its forms: test, query, set, execute."""
    rows = {name: row for name, row in unit.profile.command.items() if row.disposition != "refused"}
    lines = [
        unit.say(
            "command",
            number=number,
            name=name if name.startswith("AT") else f"AT+{name}",
            test=int(row.test),
            query=int(row.query),
            set=int(row.set is not None),
            execute=int(row.execute),
        )
        for number, (name, row) in enumerate(rows.items())
    ]
    command.ok(b"".join(lines))


def restore(unit: EspAtUpstream, command: Command) -> None:
    """AT+RESTORE: the links' CLOSED, OK, and a reset that remembers nothing."""
    command.ok(unit.links.close_all())
    unit.kept.forget(stored=True)
    unit.through.saved = None
    unit.station.forget()
    unit.uart.forget()
    detach(unit)
    unit.life.reset(hard=False)


def deep_sleep(unit: EspAtUpstream, command: Command) -> None:
    """AT+GSLP: deaf and without links for so many milliseconds (0: until the reset wire), then as after a reset."""
    milliseconds = command.number("milliseconds")
    command.ok(unit.say("gslp", milliseconds=milliseconds))
    unit.life.reset(hard=False, pause=milliseconds / 1000 or math.inf)


HOOKS: dict[str, Hook] = {"memory": memory, "commands": commands, "restore": restore, "deep_sleep": deep_sleep}
