"""How a dialogue with a module ends other than well, and how the driver's task is woken."""

from __future__ import annotations

import trio

from bridge.model import Condition


class ModuleError(Exception):
    """The module refused a command.  ``code`` is its number, or negative where it gave none."""

    def __init__(self, code: int, during: str) -> None:
        super().__init__(code, during)
        self.code = code
        self.during = during


class ModuleLost(Exception):
    """The state of the module is not known any more; only a bring-up helps.

    ``lasting``: not even that will, before a person has done what ``detail`` says (a SIM card, a PIN, a password).
    """

    def __init__(self, condition: Condition, detail: str, *, lasting: bool = False) -> None:
        super().__init__(condition, detail)
        self.condition = condition
        self.detail = detail
        self.lasting = lasting


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
