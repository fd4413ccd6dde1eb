"""What comes for ids that the module has not told of: its task that reads may print before the one that opens does.

It may also print once more for a connection that was deleted, whose id the next one gets.  So what waits here goes stale:
S1 gives no id to a client within a second of the command (ameba-rtos, ``atcmd_lwip.c``), and a peer's is told at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import trio

from bridge.dialects.skt.driver.reader import Data
from bridge.tables import Profile
from bridge.trace import Trace

_FRESH = 0.5  # seconds that data may come before the line of their id


@dataclass(frozen=True, slots=True)
class _Came:
    at: float
    id: int
    data: Data | None  # None: there was more than is kept, or it did not come whole


class Early:
    """Data that wait for the line of their id, bounded."""

    def __init__(self, profile: Profile, trace: Trace) -> None:
        self._most = profile.number("stash")
        self._trace = trace
        self._waiting: deque[_Came] = deque()

    def clear(self) -> None:
        """The module was lost: nothing that came before counts."""
        self._waiting.clear()

    def keep(self, data: Data) -> None:
        """It may be the next one's who gets this id."""
        self._forget_stale()
        self._waiting.append(_Came(trio.current_time(), data.id, data))
        if sum(len(came.data.data) for came in self._waiting if came.data is not None) > self._most:
            self._trace.note("stash-full", f"id {data.id}, which the module has not told of")
            self.spoil(data.id)

    def spoil(self, number: int) -> None:
        """Not all that came for this id is here."""
        self._forget_stale()
        self._take(number)
        self._waiting.append(_Came(trio.current_time(), number, None))

    def claim(self, number: int) -> tuple[list[Data], bool]:
        """The module told of this id: what came for it just before, and whether that is all."""
        self._forget_stale()
        came = self._take(number)
        return [one.data for one in came if one.data is not None], all(one.data is not None for one in came)

    def _take(self, number: int) -> list[_Came]:
        came = [one for one in self._waiting if one.id == number]
        self._waiting = deque(one for one in self._waiting if one.id != number)
        return came

    def _forget_stale(self) -> None:
        since = trio.current_time() - _FRESH
        while self._waiting and self._waiting[0].at < since:
            came = self._waiting.popleft()
            self._trace.note("stale", f"id {came.id}, which the module has not told of")
