"""Tasks over select(): generators that yield a `Pause` and go on when its time is over or its socket is ready."""

from __future__ import annotations

import collections
import os
import select
import threading
import time
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Pause:
    """Sleep for ``seconds`` (None: for ever), or until a descriptor is ready; the yield gives whether it was."""

    seconds: float | None = None
    reads: object = None  # anything with fileno()
    writes: object = None


class Task:
    def __init__(self, work):
        self.work = work
        self.pause = Pause(0)
        self.until = time.monotonic()
        self.done = False
        self.begun = False


class Loop:
    """One thread.  Everything about the module happens on it; `call` brings work from elsewhere."""

    def __init__(self):
        self._tasks = []
        self._calls = collections.deque()
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopped = False
        self.error = None  # a traceback: this tool itself is broken

    def start(self):
        self._thread.start()

    def stop(self):
        self.call(self._end)
        self._thread.join(10)
        os.close(self._wake)
        os.close(self._waker)

    def _end(self):
        self._stopped = True

    def call(self, function, *arguments):
        """Have ``function`` called on the loop's thread, soon."""
        self._calls.append((function, arguments))
        os.write(self._waker, b"!")

    def spawn(self, work):
        task = Task(work)
        self._tasks.append(task)
        return task

    def kill(self, task):
        if task is not None and not task.done:
            task.done = True
            if not task.work.gi_running:
                task.work.close()

    def _run(self):
        try:
            while not self._stopped:
                self._turn()
        except Exception:
            self.error = traceback.format_exc()

    def _turn(self):
        now = time.monotonic()
        self._tasks = [task for task in self._tasks if not task.done]
        waiting = list(self._tasks)
        reads, writes, soonest = [self._wake], [], None
        for task in waiting:
            if task.pause.reads is not None and task.pause.reads.fileno() >= 0:
                reads.append(task.pause.reads)
            if task.pause.writes is not None and task.pause.writes.fileno() >= 0:
                writes.append(task.pause.writes)
            if task.until is not None:
                soonest = task.until if soonest is None else min(soonest, task.until)
        left = None if soonest is None else max(0.0, soonest - now)
        can_read, can_write, _ = select.select(reads, writes, [], left)
        if self._wake in can_read:
            os.read(self._wake, 4096)
        while self._calls:
            function, arguments = self._calls.popleft()
            function(*arguments)
        self._catch_up()
        for task in waiting:
            if not task.done and task.begun and self._ready(task, can_read, can_write):
                self._step(task, time.monotonic(), ready=True)

    def _catch_up(self):
        """What was due comes before what came in, each at its own time: this process may get its turn late."""
        now = time.monotonic()
        while due := [task for task in self._tasks if not task.done and task.until is not None and task.until <= now]:
            task = min(due, key=lambda one: one.until)
            self._step(task, task.until, ready=self._poll(task))

    def _poll(self, task):
        wanted = [[one] if one is not None and one.fileno() >= 0 else [] for one in (task.pause.reads, task.pause.writes)]
        return self._ready(task, *select.select(*wanted, [], 0)[:2])

    @staticmethod
    def _ready(task, can_read, can_write):
        pairs = ((task.pause.reads, can_read), (task.pause.writes, can_write))
        return any(one is not None and (one in able or one.fileno() < 0) for one, able in pairs)

    def _step(self, task, now, *, ready):
        """Go on with it, at the time at which it was to."""
        try:
            task.pause = task.work.send(ready if task.begun else None)
        except StopIteration:
            task.done = True
            return
        finally:
            task.begun = True
        task.until = None if task.pause.seconds is None else now + task.pause.seconds
