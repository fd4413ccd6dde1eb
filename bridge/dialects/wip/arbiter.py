"""Who has the wire: one socket is mapped at a time, all share it.

Policy, in order:

1. Commands first: creates, closes, questions.  They are short.
2. Then visits, in turn: a link is visited when it has bytes to send or the modem announced bytes for it and there is
   room (at most the low-water mark waits unread).  Reading and writing happen in one visit.
3. A visit ends when somebody else has work and this link is idle for ``idle_out``, or had its batch of bytes or its
   longest time; when other links are open, after ``linger`` (nothing is heard of them while one is mapped); at last
   after ``lone``.  The leading guard of the escape is free waiting time: a new send in it makes the visit go on.
4. After every visit the modem is asked what waits where: URCs that were due while mapped may never be printed.

Every wait is bounded, so every link with work is visited in time; `ModemLost` ends the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import structlog
import trio

from bridge.dialects.wip.links import WipLink, WipSending
from bridge.dialects.wip.modem import Modem, ModemError, ModemLost
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.ports import PortLost
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip")

T = TypeVar("T")

CLOSE_TRIES = 5  # refusals of one WIPCLOSE before the modem's state counts as unknown


class Job(Generic[T]):
    """A short dialogue that somebody wants of the driver's task (seam rule 1), and its outcome.

    The asker may give up: a job not begun is then skipped, one begun runs to its end.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._done = trio.Event()
        self._result: list[T] = []
        self._error: Exception | None = None
        self.wanted = True

    async def run(self) -> None:
        """In the driver's task.  ModemLost goes on up, because it concerns everybody."""
        if not self.wanted:
            return
        try:
            self._result.append(await self._work())
        except ModemError as error:
            self._error = error
        except ModemLost as lost:
            self._error = NetworkError(lost.condition, lost.detail)
            raise
        except PortLost:
            self._error = NetworkError(Condition.PORT_LOST)
            raise
        except Exception as error:
            # The crash barrier: a fault in one dialogue is that dialogue's error, the modem goes on.
            log.exception("module: dialogue failed")
            self._error = NetworkError(Condition.MODULE_ERROR, repr(error))
        finally:
            self._done.set()

    def fail(self, condition: Condition) -> None:
        """It will not be done."""
        self._error = NetworkError(condition)
        self._done.set()

    async def result(self) -> T:
        """In the asker's task.  Raises ModemError, NetworkError."""
        try:
            await self._done.wait()
        except trio.Cancelled:
            self.wanted = False
            raise
        if self._error is not None:
            raise self._error
        if not self._result:
            raise NetworkError(Condition.ABORTED)
        return self._result[0]


class Arbiter:
    """The driver's loop while the modem is up."""

    def __init__(self, modem: Modem, profile: Profile, trace: Trace, links: dict[int, WipLink]) -> None:
        self._modem = modem
        self._profile = profile
        self._trace = trace
        self._links = links
        self._turn: deque[WipLink] = deque()
        self._refused: dict[int, int] = {}
        self.jobs: deque[Job[Any]] = deque()
        self.trouble: ModemLost | None = None  # a URC said the modem or its bearer is gone
        self.doubt = False  # something arrived that no exchange explains
        self.creating = 0  # creates under way: their URC is only heard in command state
        self.mapped: WipLink | None = None
        self._create_dwell = 0.0

    async def run(self) -> None:
        """Serve for ever.  Raises ModemLost, PortLost."""
        self.mapped = None
        while True:
            self._check()
            if self.doubt:
                await self._resolve_doubt()
            elif self.jobs:
                await self.jobs.popleft().run()
            elif (link := self._to_close()) is not None:
                await self._close(link)
            elif any(link.unpolled for link in self._live()):
                await self._poll()
            elif (link := self._to_visit()) is not None:
                await self._visit(link)
            else:
                await self._modem.wake.wait(self._next_due())

    def _check(self) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    def _live(self) -> Iterable[WipLink]:
        return [link for link in self._links.values() if link.ready and link.condition is None]

    # --- short commands ---

    async def _resolve_doubt(self) -> None:
        self.doubt = False
        self._trace.note("unknown-state", "a result nobody asked for")
        if not await self._modem.unknown():
            raise ModemLost(Condition.MODULE_MUTE, "no command state after an unexplained result")
        if self._modem.discarded:
            # It was mapped, and what a peer of ours sent meanwhile is gone: never silently.
            raise ModemLost(Condition.MODULE_ERROR, f"{self._modem.discarded} bytes came while its state was unknown")
        await self._poll()

    def _to_close(self) -> WipLink | None:
        for link in self._links.values():
            if link.condition is not None and link.asked:
                return link
        return None

    async def _close(self, link: WipLink) -> None:
        try:
            await self._modem.command("close", index=link.index)
        except ModemError as error:
            meaning = self._profile.condition_of(error.code, "WIPCLOSE")
            if meaning is not Condition.WRONG_STATE:
                self._refused[link.index] = tries = self._refused.get(link.index, 0) + 1
                self._trace.note("close-refused", f"index {link.index}: {error.code}")
                if tries >= CLOSE_TRIES:
                    self._refused.pop(link.index, None)
                    raise ModemLost(Condition.MODULE_ERROR, f"index {link.index} cannot be closed") from None
                await self._modem.wake.wait(self._profile.seconds("retry"))
                return
        self._refused.pop(link.index, None)
        self._links.pop(link.index, None)
        link.freed.set()

    async def _poll(self) -> None:
        for link in self._live():
            link.announced, link.unpolled = 0, False
        try:
            await self._modem.command("pending")
        except ModemError as error:
            self._trace.note("poll-refused", str(error.code))
        for link in self._live():
            if link.fin and not link.announced:
                link.end(Condition.PEER_CLOSED)

    # --- visits ---

    def _work(self, link: WipLink) -> bool:
        if not link.ready or link.condition is not None:
            return False
        sending = link.current
        wants_out = sending is not None and bool(sending.pending)
        return (wants_out or link.announced > 0) and link.buffered <= self._profile.number("low_water")

    def _to_visit(self) -> WipLink | None:
        self._fail_stuck_sends()
        if self.creating and self._create_dwell > trio.current_time():
            return None
        for link in [link for link in self._turn if self._links.get(link.index) is not link]:
            self._turn.remove(link)
        self._turn.extend(link for link in self._links.values() if link not in self._turn)
        for _ in range(len(self._turn)):
            link = self._turn[0]
            self._turn.rotate(-1)
            if self._work(link):
                return link
        return None

    def created(self) -> None:
        """A create went out: stay in command state a moment, most peers answer at once."""
        self._create_dwell = trio.current_time() + self._profile.seconds("create_dwell")

    def _fail_stuck_sends(self) -> None:
        """A send that would pull in more than there is room for waits for the host to read, but not for ever."""
        for link in self._live():
            sending = link.current
            if sending is None or not sending.pending or link.buffered <= self._profile.number("low_water"):
                continue
            if trio.current_time() - sending.begun < self._profile.seconds("room"):
                continue
            if sending.touched:
                link.end(Condition.RECEIVE_BUFFER_FULL)
            else:
                sending.failed = Condition.RECEIVE_BUFFER_FULL
                sending.wake()

    def _next_due(self) -> float:
        """How long the loop may sleep when nothing is due: only stuck sends and create dwell need a timer."""
        busy = self.creating or any(link.current is not None for link in self._live())
        return self._profile.seconds("dwell_look") if busy else self._profile.seconds("lone")

    async def _visit(self, link: WipLink) -> None:
        modem = self._modem
        try:
            await modem.map(link.index, link.deliver)
        except ModemError as error:
            self._map_refused(link, error)
            return
        self.mapped = link
        began, out_before, in_before = trio.current_time(), modem.bytes_out, modem.bytes_in
        while True:
            now = trio.current_time()
            modem.release_partial(now)
            self._check()
            spent = modem.bytes_out - out_before + modem.bytes_in - in_before >= self._profile.number("batch")
            spent = spent or now - began >= self._profile.seconds("visit")
            others = self._others(link)
            sending = link.current
            if modem.tail.suspect():
                if now - modem.tail.last_byte >= self._profile.seconds("fallback"):
                    break
            elif sending is not None and sending.pending and not (others and spent) and link.condition is None:
                await self._put(sending)
                continue
            elif sending is not None and sending.whole and not sending.finished:
                await self._settle(sending)
                continue
            idle = now - max(began, modem.tail.last_byte, modem.pluses.last_out)
            if self._enough(link, idle, others=others, spent=spent):
                if now >= modem.pluses.last_out + self._profile.seconds("guard"):
                    break
                await modem.wake.wait(modem.pluses.last_out + self._profile.seconds("guard") - now)
            else:
                await modem.wake.wait(self._profile.seconds("look") if modem.tail.holding else self._idle_left(idle))
        await self._leave(link)
        if self._links:
            await self._poll()

    def _others(self, link: WipLink) -> bool:
        waiting = self.jobs or self.creating or self.doubt
        return bool(waiting) or any(
            self._work(other) or (other.condition is not None and other.asked)
            for other in self._links.values()
            if other is not link
        )

    def _enough(self, link: WipLink, idle: float, *, others: bool, spent: bool) -> bool:
        if link.condition is not None or link.buffered > self._profile.number("leave_mark"):
            return True
        if others and (spent or idle >= self._profile.seconds("idle_out")):
            return True
        alone = len(self._links) == 1
        return idle >= self._profile.seconds("lone" if alone else "linger")

    def _idle_left(self, idle: float) -> float:
        """Until the next limit of `_enough` could be reached; every other change wakes the loop."""
        limits = [self._profile.seconds(name) for name in ("idle_out", "linger", "lone")]
        left = next((limit - idle for limit in limits if limit > idle), self._profile.seconds("idle_out"))
        return max(left, self._profile.seconds("look"))  # a rounding remnant is no wait at all

    async def _put(self, sending: WipSending) -> None:
        data = sending.next_piece()
        more = sending.out + len(data) < sending.total
        held = await self._modem.write(data, more=more)
        sending.put_back(held)
        sending.went_out(len(data) - len(held))
        if held and more and not self._modem.tail.suspect():
            # Pluses that wait for what follows: nothing to do until it is here.
            await self._modem.wake.wait(self._profile.seconds("look"))

    async def _settle(self, sending: WipSending) -> None:
        """SEND OK may be said: written, drained, and no fallback text within the settle time.

        A peer that answers and closes at once is the exception: a text that begins later than a UART's FIFO can
        hold it back shows that the modem still was in data mode when the last byte of ours had left.
        """
        await self._modem.drain()
        drained = trio.current_time()
        await self._modem.quiet(self._profile.seconds("settle"))
        late = self._modem.tail.held_since >= drained + self._profile.seconds("fifo")
        if late or not self._modem.tail.suspect():
            sending.finish()

    def _map_refused(self, link: WipLink, error: ModemError) -> None:
        condition = self._profile.condition_of(error.code, "WIPDATA", "peer-close" if link.fin else "")
        lost = link.announced
        if condition is Condition.MODULE_RESET:
            raise ModemLost(condition, f"mapping refused: {error.code}")
        if lost and condition is Condition.PEER_CLOSED:
            # The modem had announced bytes and will not give them out any more: never silently wrong.
            self._trace.note("bytes-lost", f"index {link.index}: {lost} announced bytes cannot be read")
            condition = Condition.LINK_RESET
        link.end(condition)

    async def _leave(self, link: WipLink) -> None:
        modem = self._modem
        suspect = modem.tail.suspect()
        answered = await modem.escape(evidence=suspect)
        self.mapped = None
        if answered:
            # It was mapped all the time: what is on the wire was taken, whatever the tail looked like.
            if link.current is not None and link.current.whole:
                link.current.finish()
            return
        if not await modem.fallen():
            raise ModemLost(Condition.MODULE_MUTE, "neither data mode nor command state")
        self._check()  # a boot line at the tail says more than that one link ended
        link.end(Condition.PEER_CLOSED if suspect else Condition.LINK_RESET)
