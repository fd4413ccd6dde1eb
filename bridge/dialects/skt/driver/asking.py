"""When the module is asked what waits: it says nothing by itself, neither of data nor of a peer that closed.

At once after data, soon after a send, and of an idle one less and less often: an answer costs line time, and an idle
link's question is paid for by the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from bridge.dialects.skt.driver.held import Held


@dataclass(frozen=True)
class Pace:
    """How a connection is read: sizes in bytes, times in seconds."""

    low_water: int  # with more than this unread, the module is not asked for more
    most: int  # with more than this the link is lost: only where the module pushes
    shortest: float  # between two questions where data or a send were seen lately
    longest: float  # between two questions of an idle link
    busy: float  # questions in vain wait so long at most while payload goes out: it needs the wire
    pushed: bool  # the module sends data by itself

    def put_off(self, due: float, quiet_at: float, asked_at: float) -> float:
        """When a question is asked that was due at ``due``: not while payload goes out, unless that is for long."""
        return max(due, min(quiet_at, asked_at + self.busy))


class Asked(Held):
    """An id with data."""

    def __init__(self, pace: Pace, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.pace = pace
        self._interval = pace.shortest
        self._ask_at = 0.0
        self._asked_at = float("-inf")  # the last question that was in vain
        self.sent_at = float("-inf")  # the last payload that the module took

    @property
    def full(self) -> bool:
        """There is no room for more of its data."""
        return False

    @property
    def ask_at(self) -> float:
        """When the module is to be asked for data and for a close; never where it pushes, or there is no room."""
        if self.pace.pushed or self.full or not self.live:
            return float("inf")
        return self.pace.put_off(self._ask_at, self.sent_at + self.pace.shortest, self._asked_at)

    def asked(self, now: float, count: int) -> None:
        """The module was asked and gave so many bytes: more may wait where it gave some."""
        if count:
            self._interval, self._ask_at, self._asked_at = self.pace.shortest, now, float("-inf")
            return
        self._asked_at = now
        self._ask_at = now + self._interval
        self._interval = min(self._interval * 2, self.pace.longest)

    def due(self, now: float, *, sending: bool) -> bool:
        """Whether it is to be asked now."""
        return self.ask_at <= now and not (sending and now < self._asked_at + self.pace.busy)

    def ask_now(self) -> None:
        """Whatever waits is of use at once."""
        self._ask_at = 0.0

    def sent(self, now: float) -> None:
        """A peer answers what it was sent: look soon."""
        self.sent_at = now
        self._interval = self.pace.shortest
        self._ask_at = min(self._ask_at, now + self.pace.shortest)

    def learnt(self, number: int) -> None:
        """See Held."""
        super().learnt(number)
        self._asked_at = trio.current_time()  # it is new: there is nothing yet
        self._ask_at = self._asked_at + self.pace.shortest
