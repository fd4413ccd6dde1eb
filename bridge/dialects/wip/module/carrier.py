"""``&C``: what the host sees on its carrier line (Multi-Tech S000478 p.29).

0 always on, 1 on while the call is up, 2 on but for a pulse when the call ends.  The host's carrier line is one of *our*
lines, where a cable brings it there; the table says which, and none is the rule: a null-modem cable ties it to DSR, so
that a host would see its module go away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from bridge.dialects.wip.module.state import Module

_FOLLOWS, _PULSES = (1,), (2,)


class Carrier:
    """The line, and the one task that sets it, so that changes keep their order."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._wire = str(module.profile.value["module_dcd"].value)
        self._ended = False
        self._changed = trio.Event()

    def refresh(self, *, ended: bool = False) -> None:
        """The call or the setting changed; ``ended``: a call that was up is over."""
        self._ended = self._ended or ended
        self._changed.set()

    async def run(self) -> None:
        """Show it for ever; at once over where there is no such line."""
        if self._wire not in {"dtr", "rts"}:
            return
        shown: bool | None = None
        while True:
            setting = self._module.settings["&C"]
            ended, self._ended = self._ended, False
            self._changed = trio.Event()
            if ended and setting == _PULSES:
                await self._show(on=False)
                await trio.sleep(self._module.profile.seconds("module_dcd_pulse"))
                shown = False
            wanted = self._module.call.up if setting == _FOLLOWS else True
            if wanted is not shown:
                await self._show(on=wanted)
                shown = wanted
            await self._changed.wait()

    async def _show(self, *, on: bool) -> None:
        dtr, rts = (on if self._wire == name else None for name in ("dtr", "rts"))
        await self._module.line.set_lines(dtr=dtr, rts=rts)
