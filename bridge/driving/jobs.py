"""Short dialogues that somebody wants of the driver's task (seam rule 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import structlog
import trio

from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.ports import PortLost

log = structlog.get_logger("bridge.driving")

T = TypeVar("T")


class Job(Generic[T]):
    """One dialogue and its outcome.

    The asker may give up: a job not begun is then skipped, one begun runs to its end.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._done = trio.Event()
        self._result: list[T] = []
        self._error: Exception | None = None
        self.wanted = True

    async def run(self) -> None:
        """In the driver's task.  ModuleLost goes on up, because it concerns everybody."""
        if not self.wanted:
            return
        try:
            self._result.append(await self._work())
        except ModuleError as error:
            self._error = error
        except ModuleLost as lost:
            self._error = NetworkError(lost.condition, lost.detail)
            raise
        except PortLost:
            self._error = NetworkError(Condition.PORT_LOST)
            raise
        except NetworkError as error:
            self._error = error
        except Exception as error:
            # The crash barrier: a fault in one dialogue is that dialogue's error, the module goes on.
            log.exception("module: dialogue failed")
            self._error = NetworkError(Condition.MODULE_ERROR, repr(error))
        finally:
            self._done.set()

    def fail(self, condition: Condition) -> None:
        """It will not be done, or not to its end."""
        self._error = NetworkError(condition)
        self._done.set()

    async def result(self) -> T:
        """In the asker's task.  Raises ModuleError, NetworkError."""
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


class Jobs:
    """Those that wait for the wire, bounded."""

    def __init__(self, bound: int, want: Callable[[], None]) -> None:
        self._bound = bound
        self._want = want
        self._waiting: deque[Job[Any]] = deque()
        self._running: Job[Any] | None = None
        self.peak = 0

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have a dialogue done by the driver's task.  Raises ModuleError, NetworkError."""
        if len(self._waiting) >= self._bound:
            raise NetworkError(Condition.NO_FREE_LINK, "too many operations wait")
        job = Job(work)
        self._waiting.append(job)
        self.peak = max(self.peak, len(self._waiting))
        self._want()
        return await job.result()

    def post(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have a dialogue done that nobody waits for; dropped where too many wait."""
        if len(self._waiting) < self._bound:
            self._waiting.append(Job(work))
            self.peak = max(self.peak, len(self._waiting))
            self._want()

    async def run_next(self) -> None:
        """In the driver's task: the oldest one."""
        self._running = self._waiting.popleft()
        try:
            await self._running.run()
        finally:
            self._running = None

    def fail(self, condition: Condition) -> None:
        """None of them will be done."""
        if self._running is not None:
            self._running.fail(condition)
        while self._waiting:
            self._waiting.popleft().fail(condition)
