"""Waiting for a port that went away: by its name, with back-off, and without filling the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from bridge.ports.descriptor import PortError

__all__ = ["FIRST", "MOST", "until_back"]

log = structlog.get_logger("bridge.ports")

FIRST = 0.1  # seconds after the loss to the first try
MOST = 1.0  # seconds between tries, in the end: the bridge's own share of a recovery stays below 2 s


async def until_back(name: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Try until ``attempt`` no longer raises PortError.  Whatever the reason was, it may go away.

    Logs that the port is lost and that it is back, and once each reason why it cannot be opened *though it is there*
    (a device without permission waits for ever, and nobody would know why).
    """
    began = trio.current_time()
    log.warning("port lost", port=name)
    told: set[str] = set()
    pause = FIRST
    while True:
        await trio.sleep(pause)
        try:
            await attempt()
        except PortError as refused:
            if not refused.absent and str(refused) not in told:
                told.add(str(refused))
                log.warning("port cannot be opened yet", reason=str(refused))
        else:
            log.info("port back", port=name, after=round(trio.current_time() - began, 3))
            return
        pause = min(2 * pause, MOST)
