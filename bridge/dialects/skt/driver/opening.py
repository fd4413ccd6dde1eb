"""Having an id made: one request at a time, because the line that tells its outcome does not say whose it is.

S1 answers twice: the command's OK, and a second or more later the id or an error.  Other commands go on in between.  A
request whose second line does not come in time is remembered as late: its line may still come, and is then nobody's.
S2 chooses the id here and answers once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from bridge.dialects.skt.driver.finals import GARBLED, SILENT
from bridge.dialects.skt.driver.held import Held, Nobodys, Registry
from bridge.dialects.skt.driver.rows import Row
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.addresses import dotted, numeric

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def check(profile: Profile, host: str, port: int) -> None:
    """No argument may ever become a second one, or another number than it says."""
    if not _NAME.fullmatch(host) or len(host) > profile.number("host_length"):
        raise NetworkError(Condition.BAD_ARGUMENT, "a name this module cannot carry")
    if not 0 < port < 65536:
        raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}")
    if numeric(host) and not dotted(host):
        raise NetworkError(Condition.BAD_ARGUMENT, f"not a dotted address: {host}")


@dataclass
class Opening:
    """One request."""

    held: Held
    template: str
    command: str  # SKTCLIENT or SKTSERVER
    host: str
    port: int
    arguments: dict[str, object]
    due: float = 0.0  # when its second line counts as late
    failure: NetworkError | None = None

    def __post_init__(self) -> None:
        self.answered = trio.Event()

    def matches(self, row: Row) -> bool:
        """Whether a row of SKTSTATE may be what was asked for."""
        if self.command == "SKTSERVER":
            return row.role == "server" and row.port == self.port
        return row.role == "client" and row.port == self.port and (not dotted(self.host) or row.host == self.host)

    def same(self, other: Opening) -> bool:
        """Whether both ask for the very same: what one of them gets will do for the other."""
        return (self.template, self.arguments) == (other.template, other.arguments)

    def fail(self, condition: Condition, detail: str) -> None:
        """It will not be had."""
        if not self.answered.is_set():
            self.failure = NetworkError(condition, detail)
            self.held.end(condition)
            self.answered.set()


class Opener:
    """Opens, one after the other."""

    def __init__(
        self,
        wire: Wire,
        profile: Profile,
        trace: Trace,
        registry: Registry,
        rows: Callable[[], Awaitable[list[Row]]],
    ) -> None:
        self._wire = wire
        self._profile = profile
        self._trace = trace
        self._registry = registry
        self._rows = rows
        self._queue: deque[Opening] = deque()
        self._late: deque[Opening] = deque()
        self._unsure: deque[int] = deque()  # ids that came while a late one was outstanding
        self.current: Opening | None = None  # accepted; its second line is awaited
        self.peak = 0

    # --- in the caller's task ---

    async def open(self, opening: Opening) -> None:
        """Return when the module gave the id.  Raises NetworkError; cancelled, nothing is left behind."""
        if len(self._queue) >= self._profile.number("jobs"):
            raise NetworkError(Condition.NO_FREE_LINK, "too many connections are asked for")
        self._queue.append(opening)
        self.peak = max(self.peak, len(self._queue))
        self._wire.wake.set()
        try:
            await opening.answered.wait()
        except BaseException:
            opening.held.end(Condition.ABORTED)
            if opening in self._queue:
                self._queue.remove(opening)
            self._wire.wake.set()
            raise
        if opening.failure is not None:
            raise opening.failure

    def again(self, opening: Opening) -> None:
        """In the driver's task: one that nobody waits for."""
        self._queue.append(opening)

    # --- in the driver's task ---

    @property
    def work(self) -> bool:
        """Something can be done now."""
        overdue = self.current is not None and trio.current_time() >= self.current.due
        return bool(self._unsure) or overdue or (self.current is None and bool(self._queue))

    @property
    def due(self) -> float:
        """When the awaited second line is late."""
        return float("inf") if self.current is None else self.current.due

    @property
    def alone(self) -> bool:
        """Nothing else may be sent: an error that comes now could not be told from the answer to it."""
        return self.current is not None and not self._wire.finals.named

    async def run_next(self) -> None:
        """One step.  Raises ModuleLost."""
        if self._unsure:
            await self._settle(self._unsure.popleft())
        elif self.current is not None:
            await self._expire()
        else:
            await self._begin(self._queue.popleft())

    async def _begin(self, opening: Opening) -> None:
        held = opening.held
        if held.condition is not None:
            opening.fail(held.condition, "it was given up")
            return
        arguments = dict(opening.arguments)
        by_host = self._registry.by_host
        try:
            self._registry.check_room(coming=1)
            if by_host:
                arguments["id"] = self._registry.choose(low=opening.command == "SKTSERVER")
        except NetworkError as error:
            opening.fail(error.condition, error.detail)
            return
        if by_host:
            self._registry.add(held, int(str(arguments["id"])))
        self.current = opening
        opening.due = float("inf")
        try:
            await self._wire.command_within(self._patience(opening), opening.template, **arguments)
        except ModuleError as error:
            self.current = None
            unknown = error.code in {SILENT, GARBLED}
            condition = self._profile.condition_of(error.code, opening.command)
            if by_host and condition is Condition.NAME_NOT_FOUND and dotted(opening.host):
                condition = Condition.MODULE_ERROR  # S2 has one number for this and for an id that is in use
            if condition is Condition.INDEX_IN_USE or (by_host and condition is Condition.MODULE_ERROR):
                self._wire.doubt = self._wire.doubt or f"{opening.command} was refused: {error.code}"
            if unknown:
                # The name is looked up before the first line comes, and the module hears nothing meanwhile.
                lookup = opening.host and not dotted(opening.host)
                condition = Condition.NAME_NOT_FOUND if lookup else Condition.MODULE_MUTE
                self._remember(opening)
            opening.fail(condition, f"{opening.command}: {error.code}")
            if by_host and not unknown:
                self._registry.free(held)
            return
        except ModuleLost as lost:
            opening.fail(lost.condition, lost.detail)
            raise
        if by_host:
            self._learn(opening, held.id)
        elif self.current is opening:
            limit = "listen" if opening.command == "SKTSERVER" else "connect"
            opening.due = trio.current_time() + self._profile.seconds(limit)

    def _patience(self, opening: Opening) -> float:
        """Seconds for the first line.  Where the module gives its ids, only the look-up of a name comes before that."""
        if opening.command == "SKTCLIENT" and dotted(opening.host) and not self._registry.by_host:
            return self._profile.seconds("accept")
        return self._profile.template[opening.template].limit

    def opened(self, command: str, number: int) -> None:
        """The module gave an id.  Called while the line is read."""
        held = self._registry.get(number)
        if held is not None:
            if held.condition is None and held.adopted:
                return  # it was found by SKTSTATE before its line was read
            # It would not give away what it holds: it has forgotten us.
            self._wire.trouble = ModuleLost(Condition.MODULE_RESET, f"id {number} was given twice")
        elif self.current is None or self.current.command != command:
            self._settle_late(command)
            self._nobodys(number)
        elif self._forget_late(command):
            self._unsure.append(number)
        else:
            self._learn(self.current, number)

    def failed(self, command: str, code: int) -> bool:
        """The module said that what it accepted cannot be had; False: no request of ours can be meant."""
        current = self.current
        if current is None or (command and current.command != command):
            if self._settle_late(command):
                self._trace.note("late-open", f"{command} ended with {code}")
                return True
            return False
        self.current = None
        if self._settle_late(current.command):
            # One of the two has ended, and the line does not say which: who waits is told, and an id that comes is nobody's.
            self._remember(current)
        current.fail(self._profile.condition_of(code, current.command), f"{current.command}: {code}")
        return True

    async def _expire(self) -> None:
        """The second line is late: it may be there all the same, and only its line was lost."""
        current = self.current
        if current is None:
            return
        rows = await self._rows()
        if self.current is not current:
            return
        if not self.adopt(rows):
            self.current = None
            self._remember(current)
            current.fail(Condition.CONNECT_TIMEOUT, f"{current.command}: no second line")

    def adopt(self, rows: list[Row]) -> bool:
        """Whether a row is what is asked for, and only its line was lost."""
        if self.current is None:
            return False
        for row in rows:
            if row.alive and self._registry.get(row.id) is None and self.current.matches(row) and not self._late_like(row):
                self._trace.note("adopted", f"id {row.id} by SKTSTATE")
                self.current.held.adopted = True
                self._learn(self.current, row.id)
                return True
        return False

    async def _settle(self, number: int) -> None:
        """An id came while a late request is outstanding: SKTSTATE tells whose peer it has."""
        rows = [row for row in await self._rows() if row.id == number]
        if self._registry.get(number) is not None:
            return
        current = self.current
        late = self._late_like(rows[0]) if rows else []
        if current is not None and rows and current.matches(rows[0]) and not late:
            self._learn(current, number)
            return
        for opening in late[:1]:
            self._late.remove(opening)
        self._nobodys(number)

    def _learn(self, opening: Opening, number: int) -> None:
        if self.current is opening:
            self.current = None
        self._registry.add(opening.held, number)
        opening.answered.set()

    def _nobodys(self, number: int) -> None:
        self._trace.note("nobodys", f"id {number} is nobody's; it is deleted")
        self._registry.add(Nobodys(self._wire.wake.set, number), number)

    def _remember(self, opening: Opening) -> None:
        if not self._registry.by_host:
            opening.due = trio.current_time() + self._profile.seconds("late")
            self._late.append(opening)
            while len(self._late) > self._profile.number("jobs"):
                self._late.popleft()

    def _late_like(self, row: Row) -> list[Opening]:
        """Late requests that a row may be of.

        Not those for the very same as the current one: they may never be answered, and must not cost it its id.
        """
        current, now = self.current, trio.current_time()
        return [one for one in self._late if one.due > now and one.matches(row) and not (current and one.same(current))]

    def _forget_late(self, command: str) -> bool:
        """Whether a late request of this kind may still be answered."""
        now = trio.current_time()
        self._late = deque(opening for opening in self._late if opening.due > now)
        return any(opening.command == command for opening in self._late)

    def _settle_late(self, command: str) -> bool:
        """The oldest late request of this kind has ended, if there is one: it is the first to do so."""
        if not self._forget_late(command):
            return False
        self._late.remove(next(opening for opening in self._late if opening.command == command))
        return True

    def fail(self, condition: Condition) -> None:
        """None of them will be had."""
        for opening in (*self._queue, *((self.current,) if self.current else ())):
            opening.fail(condition, "")
        self._queue.clear()
        self._late.clear()
        self._unsure.clear()
        self.current = None
