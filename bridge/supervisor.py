"""Several bridges in one process: what happens to one is none of the others' business.

A bridge that cannot start, or ends, is started again for ever, with back-off: an adapter may be plugged in tomorrow, and a
process that gave up would take the others with it.  For the same reason the process never ends with status 1 by itself: what
can be wrong for good (configuration, tables, secrets) is found before the first bridge starts, with status 78.  The unit file
restarts the process all the same, for crashes and for the watchdog.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from bridge.notify import Notifier
from bridge.service import Grace, Options, ServiceError, caught, run_bridge, signals, told

__all__ = ["run_all", "supervise"]

log = structlog.get_logger("bridge")

WAIT_LEAST, WAIT_MOST = 1.0, 60.0  # seconds before a bridge is started again; doubled each time
OPENING = 60.0  # seconds that opening the ports of one may take before it counts as stuck
CALM = 60.0  # seconds of running after which its earlier failures are forgotten


def run_all(bridges: Sequence[Options]) -> None:
    """Run them until a signal ends them."""
    trio.run(_run_all, bridges)


async def _run_all(bridges: Sequence[Options]) -> None:
    grace, notifier = Grace(), Notifier()
    board = _Board(notifier, [options.name for options in bridges])
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(signals, scope, grace)
            async with trio.open_nursery() as running:
                for options in bridges:
                    running.start_soon(supervise, options, grace, notifier, board)
                running.start_soon(notifier.feed)
                # Ready means: the configuration is good and every bridge is looked after.  A device that is not plugged in
                # must not keep the unit from starting; the status says what is missing.
                board.show()
                running.start_soon(notifier.ready)
        notifier.tell("STOPPING=1")
        nursery.cancel_scope.cancel()


class _Board:
    """How each bridge is, in one line for `systemctl status`."""

    def __init__(self, notifier: Notifier, names: list[str]) -> None:
        self._notifier = notifier
        self._troubles: dict[str, str] = dict.fromkeys(names, "starting")

    def put(self, name: str, trouble: str) -> None:
        """What keeps a bridge from running; "" for nothing."""
        if self._troubles[name] != trouble:
            self._troubles[name] = trouble
            self.show()

    def show(self) -> None:
        """Tell it."""
        troubles = {name: why for name, why in self._troubles.items() if why}
        text = f"{len(self._troubles) - len(troubles)} of {len(self._troubles)} bridges run"
        shown = "".join(f"; {name}: {why}" for name, why in troubles.items())
        self._notifier.tell("STATUS=" + (text + shown).replace("\n", " "))


async def supervise(options: Options, grace: Grace, notifier: Notifier, board: _Board) -> None:
    """Run one bridge for ever, whatever happens to it."""
    structlog.contextvars.bind_contextvars(bridge=options.name)
    wait = WAIT_LEAST
    try:
        while True:
            began = trio.current_time()
            failure = await _attempt(options, grace, notifier, board)
            if trio.current_time() - began >= CALM:
                wait = WAIT_LEAST
            board.put(options.name, str(failure))
            log.warning("bridge ended; it is started again", why=str(failure), after=wait)
            until = trio.current_time() + wait
            while (left := until - trio.current_time()) > 0:
                notifier.progress(options.name)
                await trio.sleep(min(left, notifier.turn))
            wait = min(2 * wait, WAIT_MOST)
    finally:
        notifier.gone(options.name)


async def _attempt(options: Options, grace: Grace, notifier: Notifier, board: _Board) -> Exception:
    """Run it once; returns why it ended."""

    async def beat() -> None:
        board.put(options.name, "")  # its ports are open
        while True:
            notifier.progress(options.name)
            await trio.sleep(notifier.turn)

    notifier.progress(options.name, within=OPENING)
    failure: Exception | None = None
    try:
        failure = await caught(lambda: run_bridge(options, grace, beat))
    except* Exception as group:  # a bug in one bridge must not end the others, nor their orderly end
        log.exception("bridge crashed")
        failure = told(group)
    return failure or ServiceError("it ended without a reason")
