"""The bearer: its options, its start, its address.

Where the C1 says OK at once and ``+WIPBR: 6,1`` when it is up, GSM modems say OK when it is up.  What they refuse it
with is mostly a matter of time (a card or a network that is not ready), so it is tried again; a refused login is not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import structlog
import trio

from bridge.dialects.wip.driver.finals import NO_CODE
from bridge.dialects.wip.driver.modem import Modem
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition, ModuleSettings
from bridge.tables import Profile
from bridge.wire.addresses import dotted
from bridge.wire.patterns import Pattern

log = structlog.get_logger("bridge.wip")

ADDRESS = 15  # the number of WIPBR's option "local address"
_OPTIONS = (  # what it is, its template, how long it may be
    ("apn", "bearer_apn", "apn_length"),
    ("user", "bearer_user", "login_length"),
    ("password", "bearer_password", "login_length"),
)


class Bearer:
    """Brings it up, in the driver's task."""

    def __init__(self, modem: Modem, profile: Profile, settings: ModuleSettings, bearer_up: Callable[[], bool]) -> None:
        self._modem = modem
        self._profile = profile
        self._settings = settings
        self._bearer_up = bearer_up

    async def options(self) -> None:
        """What the operator has set; what is not set, the modem keeps.  Raises ModuleLost, ModuleError."""
        if self._settings.user and self._profile.number("simple_ip"):
            with suppress(ModuleError):  # a modem that has nothing else does not know the command
                await self._modem.command("simple_ip")
        for name, template, length in _OPTIONS:
            value = getattr(self._settings, name)
            if not value:
                continue
            if template not in self._profile.template:
                log.warning("module: this modem has no such setting", setting=name, profile=self._profile.profile)
                continue
            most = self._profile.number(length)
            if not value.isascii() or not value.isprintable() or '"' in value or len(value) > most:
                raise ModuleLost(Condition.BEARER_REFUSED, f"this modem cannot carry the {name}: {most} characters", lasting=True)
            try:
                await self._modem.command(template, value=value)
            except ModuleError as error:
                raise ModuleLost(Condition.BEARER_REFUSED, f"the {name} was refused: {error.code}", lasting=True) from None

    async def start(self) -> None:
        """Until it is up.  Raises ModuleLost."""
        if self._bearer_up():
            return
        code = NO_CODE
        for _ in range(self._profile.number("bearer_tries")):
            try:
                await self._modem.command("bearer_start")
                break
            except ModuleError as error:
                code = error.code
            condition = self._profile.condition_of(code, "WIPBR")
            if condition is Condition.WRONG_STATE or code == NO_CODE:
                return  # 803: it is up already; of a bare ERROR, the question for its address tells
            if condition is not Condition.BEARER_UNAVAILABLE:
                lasting = condition is Condition.BEARER_REFUSED
                raise ModuleLost(condition, f"the bearer does not start: {code}", lasting=lasting)
            log.debug("module: the bearer does not start yet", code=code)
            await trio.sleep(self._profile.seconds("retry"))
        else:
            await self._last_remedy(code)
            raise ModuleLost(Condition.BEARER_UNAVAILABLE, f"the bearer does not start: {code}")
        if self._profile.number("bearer_urc"):
            await self._called()

    async def _called(self) -> None:
        end = trio.current_time() + self._profile.seconds("bearer")
        while not self._bearer_up():
            left = end - trio.current_time()
            if left <= 0:
                raise ModuleLost(Condition.BEARER_UNAVAILABLE, "the bearer did not come up")
            await self._modem.wake.wait(left)

    async def _last_remedy(self, code: int) -> None:
        """Some cards are only found by a restart."""
        if "soft_reset" in self._profile.template and str(code) in self._profile.words("reset_cures").split():
            log.warning("module: restarted, because it does not find its SIM card", code=code)
            await self._modem.command("soft_reset")

    async def address(self) -> str:
        """The bearer's address.  Raises ModuleLost where there is none."""
        pattern = Pattern(self._profile.words("address"))
        try:
            for line in await self._modem.command("bearer_option", option=ADDRESS):
                fields = pattern.match(line)
                if fields is not None and fields["option"] == ADDRESS:
                    address = str(fields["value"])
                    if dotted(address) and address != "0.0.0.0":
                        return address
        except ModuleError as error:
            log.debug("module: no address", code=error.code)
        raise ModuleLost(Condition.BEARER_UNAVAILABLE, "the bearer has no address")
