"""The module's Wi-Fi: whether it has an address, and joining with the host's login where it has none.

S1 says nothing of its bearer by itself: it is asked from time to time.  Its OK to a join does not mean an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import structlog
import trio

from bridge.dialects.skt.driver.finals import SILENT
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError
from bridge.model import Condition, Login
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.wire.addresses import dotted

log = structlog.get_logger("bridge.skt")

_NONE = "0.0.0.0"
_LOGIN = re.compile(r"[\x20-+\--~\x80-\xfe]*")  # a comma ends a value, and nothing escapes it
_RSSI = re.compile(rb"rssi ?= ?(-?\d+)")
_LOOK_AGAIN = 1.0  # seconds between two questions while an address is awaited


class Bearer:
    """Asks and joins, in the driver's task."""

    def __init__(self, wire: Wire, profile: Profile, changed: Callable[[str | None], None]) -> None:
        self._wire = wire
        self._profile = profile
        self._changed = changed  # told of the address, None: there is none
        self._login: Login | None = None  # with which it was joined: it is joined again by itself
        self._rejoin_at = float("inf")
        self.address: str | None = None
        self.look_at = 0.0

    def forget(self) -> None:
        """The module was lost."""
        self.address, self.look_at = None, 0.0
        self._rejoin_at = trio.current_time() + self._profile.seconds("rejoin")

    async def look(self) -> None:
        """Ask for the address, and join again where it was lost.  Raises ModuleLost."""
        now = trio.current_time()
        try:
            lines = await self._wire.ask("joined")
            if self.address is not None and _value(lines, b"IP") != self.address:
                lines = await self._wire.ask("joined")  # a line may have been broken: no link is given up for one
        except ModuleError as error:
            log.debug("module: its bearer is not known", code=error.code)
        else:
            self._found(_value(lines, b"IP"))
        self.look_at = now + self._profile.seconds("look_bearer" if self.address else "look_bearer_down")
        if self.address is None and self._login is not None and now >= self._rejoin_at:
            self._rejoin_at = float("inf")  # what joins looks, too
            try:
                await self._join(self._login)
            except NetworkError as error:
                log.warning("module: does not join again", why=str(error))
            self._rejoin_at = trio.current_time() + self._profile.seconds("rejoin")

    def _found(self, address: str) -> None:
        found = address if dotted(address) and address != _NONE else None
        if found is None and self.address is not None:
            self._rejoin_at = trio.current_time() + self._profile.seconds("rejoin")
        self.address = found
        self._changed(found)

    async def join(self, login: Login) -> None:
        """Return when there is an address.  A module that has one is taken as it is.  Raises NetworkError, ModuleLost."""
        if self.address is not None:
            return
        size = len(login.name) + len(login.password)
        fits = all(map(_LOGIN.fullmatch, (login.name, login.password))) and size <= self._profile.number("login_most")
        if not login.name or not fits:
            raise NetworkError(Condition.BAD_ARGUMENT, "a name or password that this module cannot carry")
        await self._join(login)
        self._login = login
        end = trio.current_time() + self._profile.seconds("address")
        while self.address is None:
            if trio.current_time() >= end:
                raise NetworkError(Condition.BEARER_UNAVAILABLE, "joined, and no address")
            await self._wire.quiet(_LOOK_AGAIN, _LOOK_AGAIN)
            self._rejoin_at = float("inf")
            await self.look()
            self._wire.check()

    async def _join(self, login: Login) -> None:
        password = f",pw,{login.password}" if login.password else ""
        try:
            await self._wire.command("join", ssid=login.name, password=password)
        except ModuleError as error:
            if error.code == SILENT:
                raise NetworkError(Condition.MODULE_MUTE, "no answer to the join") from None
            # Its help text may follow, and while it prints it hears nothing.
            await self._wire.quiet(self._profile.seconds("settle"), self._profile.seconds("settle_most"))
            raise NetworkError(self._profile.condition_of(error.code, error.during), f"WLCONN: {error.code}") from None
        await self.look()

    async def signal(self) -> int | None:
        """In dBm; None where the module does not tell."""
        try:
            lines = await self._wire.ask("signal")
        except ModuleError:
            return None
        found = next((found for line in lines if (found := _RSSI.match(line)) is not None), None)
        return None if found is None else int(found[1])


def _value(lines: list[bytes], key: bytes) -> str:
    """The first ``key => value``: that of the station, whose block comes first."""
    for line in lines:
        name, arrow, value = line.partition(b"=>")
        if arrow and name.strip() == key:
            return value.strip().decode("latin-1")
    return ""
