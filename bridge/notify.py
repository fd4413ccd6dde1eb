"""Tells systemd how the service is: ready, what it does, and that it is alive (sd_notify over its socket).

The watchdog is fed by progress, not by a timer: every bridge says at each turn of its life that it got there, and one that
has said nothing for too long keeps the whole process from being called alive.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import structlog
import trio

log = structlog.get_logger("bridge")

IDLE = 10.0  # seconds between two looks, where no watchdog asks for more
AGAIN = 0.1  # seconds before systemd is told once more what it has to know


class Notifier:
    """Speaks to $NOTIFY_SOCKET; does nothing where there is none."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        period = os.environ.get("WATCHDOG_USEC", "")
        meant = os.environ.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
        self.period = int(period) / 1e6 if meant and period.isascii() and period.isdecimal() and int(period) else None
        self._due: dict[str, float] = {}  # by when each bridge has to have said something
        self._late: set[str] = set()

    @property
    def turn(self) -> float:
        """Seconds within which each bridge has to say that it got on."""
        return IDLE if self.period is None else self.period / 4

    def tell(self, state: str) -> bool:
        """Send one message (``STATUS=...``).  Never waits; systemd not listening is no reason to stop.

        False: it listens, and its queue is full of other services' messages.
        """
        if not self._address:
            return True
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            try:
                out.sendto(state.encode("utf-8", "backslashreplace"), address)
            except BlockingIOError:
                return False
        return True

    async def ready(self) -> None:
        """READY=1, until there is room for it: systemd waits for it, and ends a service that never says so."""
        while not self.tell("READY=1"):  # noqa: ASYNC110 - what is waited for is in another process
            await trio.sleep(AGAIN)

    def progress(self, name: str, within: float = 0.0) -> None:
        """One bridge got on.  ``within`` seconds it will do so again, where that may take longer than usual."""
        usual = IDLE if self.period is None else self.period / 2
        self._due[name] = trio.current_time() + max(within, usual)

    def gone(self, name: str) -> None:
        """One bridge ended; nothing is expected of it any more."""
        self._due.pop(name, None)

    async def feed(self) -> None:
        """Tell the watchdog that we are alive, for as long as it is true of each bridge."""
        if self.period is None:
            await trio.sleep_forever()
        assert self.period is not None
        while True:
            now = trio.current_time()
            late = {name for name, due in self._due.items() if now > due}
            for name in late - self._late:
                log.error("a bridge makes no progress; the watchdog is not fed", stuck=name)
            self._late = late
            if not late:
                self.tell("WATCHDOG=1")
            await trio.sleep(self.turn)
