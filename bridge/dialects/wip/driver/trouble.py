"""How a dialogue with a WIP modem ends other than well, beside what every module's driver knows."""

from __future__ import annotations

from bridge.driving.trouble import ModuleLost
from bridge.model import Condition


class Restarted(Exception):
    """The modem restarts because it was told to: wait for it, and begin again."""


class ModemBlocked(ModuleLost):
    """The line takes nothing: a mapped peer has closed its window, and the modem holds our sender back."""

    def __init__(self, detail: str) -> None:
        super().__init__(Condition.MODULE_BLOCKED, detail)
