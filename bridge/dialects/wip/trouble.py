"""How a dialogue with a WIP modem ends other than well, and how the driver's task is woken."""

from __future__ import annotations

import trio

from bridge.model import Condition


class ModemError(Exception):
    """The modem refused a command.  ``code`` is its number, or -1 for a bare ERROR."""

    def __init__(self, code: int, during: str) -> None:
        super().__init__(code, during)
        self.code = code
        self.during = during


class ModemLost(Exception):
    """The state of the modem is not known any more; only the unknown-state procedure helps.

    ``lasting``: not even that will, before a person has done what ``detail`` says (a SIM card, a PIN, a password).
    """

    def __init__(self, condition: Condition, detail: str, *, lasting: bool = False) -> None:
        super().__init__(condition, detail)
        self.condition = condition
        self.detail = detail
        self.lasting = lasting


class Restarted(Exception):
    """The modem restarts because it was told to: wait for it, and begin again."""


class ModemBlocked(ModemLost):
    """The line takes nothing: a mapped peer has closed its window, and the modem holds our sender back."""

    def __init__(self, detail: str) -> None:
        super().__init__(Condition.MODULE_BLOCKED, detail)


class Wake:
    """Something changed: the driver's task looks again."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the driver's task, now or at its next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Until `set`, or for so many seconds."""
        with trio.move_on_after(max(seconds, 0)):
            await self._event.wait()
        self._event = trio.Event()
