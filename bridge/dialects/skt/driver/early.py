"""What comes for ids that the module has not told of: its task that reads may print before the one that opens does.

A peer of a build that announces none is told of by SKTSTATE alone, seconds later: what waits has no age.  But the task may
also print once more for a connection that was just deleted, and the next one gets that id.  No client gets an id so soon
after its command (the table says how soon), so what comes right after a deletion is of the deleted one.
"""

from __future__ import annotations

import trio

from bridge.dialects.skt.driver.reader import Data
from bridge.tables import Profile
from bridge.trace import Trace

_COST = 32  # bytes that each counts beside its own: empty ones are bounded, too


class Early:
    """Data that wait for the line of their id, bounded."""

    def __init__(self, profile: Profile, trace: Trace) -> None:
        self._most = profile.number("stash")  # bytes
        self._after = profile.seconds("last_words")
        self._trace = trace
        self._waiting: dict[int, list[Data]] = {}
        self._spoiled: set[int] = set()  # ids for which there was more than is kept, or something did not come whole
        self._freed: dict[int, float] = {}  # when an id was deleted

    def clear(self) -> None:
        """The module was lost: nothing that came before counts."""
        self._waiting.clear()
        self._spoiled.clear()
        self._freed.clear()

    def freed(self, number: int) -> None:
        """Nobody has this id any more."""
        self.claim(number)
        self._freed[number] = trio.current_time()

    def keep(self, data: Data) -> None:
        """It may be the next one's who gets this id."""
        if data.id in self._spoiled or self._is_of_the_last(data.id):
            return
        self._waiting.setdefault(data.id, []).append(data)
        if sum(_COST + len(one.data) for waiting in self._waiting.values() for one in waiting) > self._most:
            self._trace.note("stash-full", f"id {data.id}, which the module has not told of")
            self.spoil(data.id)

    def spoil(self, number: int) -> None:
        """Not all that came for this id is here."""
        if not self._is_of_the_last(number):
            self._waiting.pop(number, None)
            self._spoiled.add(number)

    def claim(self, number: int) -> tuple[list[Data], bool]:
        """The module told of this id: what came for it before, and whether that is all."""
        whole = number not in self._spoiled
        self._spoiled.discard(number)
        return self._waiting.pop(number, []), whole

    def _is_of_the_last(self, number: int) -> bool:
        late = trio.current_time() < self._freed.get(number, float("-inf")) + self._after
        if late:
            self._trace.note("late-data", f"id {number}, which was deleted")
        return late
