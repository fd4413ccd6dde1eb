"""Raw sends of the later generations: a command, a prompt, and then so many bytes as they are.

The module says when it is nearly full and when it has room again (its watermarks), and waits for ever for bytes that do
not come.  Three lone ``<`` and a silence get it out of that (ameba-rtos, ``at_intf_uart.c``).
"""

from __future__ import annotations

import trio

from bridge.dialects.skt.driver.finals import GARBLED, REFUSED, SILENT
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError
from bridge.tables import Profile
from bridge.trace import Lane, Trace

_BLOCK = 1024  # bytes between two looks at what the module says about its watermark
_MARKS = 3  # lone "<" that end it


class RawSends:
    """Sends raw bytes, in the driver's task."""

    def __init__(self, wire: Wire, profile: Profile, trace: Trace) -> None:
        self._wire = wire
        self._profile = profile
        self._trace = trace

    async def send(self, template: str, payload: bytes, /, **arguments: object) -> None:
        """A command that prompts for ``payload``.  Raises ModuleError, ModuleLost."""
        wire, limit = self._wire, self._profile.template[template].limit
        wire.prompted = wire.high_water = False
        wire.reader.prompting = True
        await wire.begin(template, b"", arguments)
        try:
            if not await wire.until(lambda: wire.prompted or wire.over(), limit) or wire.over():
                self._refused(template, limit)
            for start in range(0, len(payload), _BLOCK):
                # A module that stays full drops what comes, and the rest would close the gap at the peer.
                room = await wire.until(lambda: not wire.high_water or wire.over(), self._profile.seconds("watermark"))
                if not room or wire.over():
                    self._refused(template, limit)
                block = payload[start : start + _BLOCK]
                self._trace.payload(Lane.TO_MODULE, block, template)
                await wire.write(block)
            await wire.until(wire.over, limit)
            wire.end(limit)
        except ModuleError as error:
            if error.code in {SILENT, GARBLED, REFUSED}:
                await self.leave()
                await wire.clean_line()
            raise
        finally:
            wire.reader.prompting = False
            wire.leave()

    def _refused(self, template: str, limit: float) -> None:
        """It ended before its bytes.  Raises ModuleError: an OK without them is none."""
        self._wire.end(limit)
        raise ModuleError(REFUSED, template)

    async def leave(self) -> None:
        """End a raw mode that waits for bytes; in command state the marks are a line of no meaning."""
        gap = self._profile.seconds("abort_gap")
        for _ in range(_MARKS):
            await trio.sleep(gap)
            self._trace.line(Lane.TO_MODULE, b"<", "leave-raw")
            await self._wire.write(b"<")
        await trio.sleep(gap)
