"""The SIM card: whether it is there, and its PIN, which is never tried twice.

A PIN that was refused, or whose outcome nobody heard, is spent: three wrong ones lock the card for good.  One that was
accepted is entered again after the modem's next reset.
"""

from __future__ import annotations

import structlog
import trio

from bridge.dialects.wip.driver.modem import Modem
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.wire.patterns import Pattern

log = structlog.get_logger("bridge.wip")

PIN_WANTED = 11  # +CME ERROR of a modem that tells so instead of saying "SIM PIN" (3GPP TS 27.007, 9.2)


class Sim:
    """One card in one modem; lives as long as the driver."""

    def __init__(self, pin: str) -> None:
        self._pin = pin
        self._spent = False

    async def ready(self, modem: Modem, profile: Profile) -> None:
        """Wait for the card, and unlock it.  Raises ModuleLost, lasting where a person is needed."""
        if not profile.number("sim_always") and not self._pin:
            return
        entered, absent, why = False, 0, "the SIM card does not become ready"
        for _ in range(profile.number("sim_tries")):
            try:
                state = await self._state(modem, profile)
            except ModuleError as error:
                condition = profile.condition_of(error.code, "CPIN")
                if condition is not Condition.BEARER_UNAVAILABLE:  # not just a card that is not initialised yet
                    absent += 1
                    why = f"no SIM card, or it does not work: {error.code}"
                if absent >= profile.number("sim_absent_tries"):
                    if condition is Condition.BEARER_REFUSED:
                        break
                    log.debug("module: no question about a SIM card", code=error.code)
                    return  # a modem without one, or without numbers: registration will tell
            else:
                if state == "READY":
                    return
                if state != "SIM PIN":
                    raise _lasting(f"the SIM card wants {state}: unlock it in a telephone")
                why = "the SIM card still asks for its PIN"
                if not entered:
                    await self._enter(modem)
                    entered = True
            await trio.sleep(profile.seconds("sim_retry"))
        raise _lasting(why)

    async def _state(self, modem: Modem, profile: Profile) -> str:
        pattern = Pattern(profile.words("sim"))
        try:
            for line in await modem.ask("sim", pattern):
                if (fields := pattern.match(line)) is not None:
                    return str(fields["state"]).strip().strip('"')
        except ModuleError as error:
            if error.code == PIN_WANTED:
                return "SIM PIN"
            raise
        raise ModuleError(-1, "sim")

    async def _enter(self, modem: Modem) -> None:
        if not self._pin:
            raise _lasting("the SIM card wants its PIN: give it by pin_file")
        if self._spent:
            raise _lasting("the SIM card's PIN was not accepted and is not tried again: mend pin_file and start again")
        self._spent = True
        try:
            await modem.command("sim_pin", self._accepted, pin=self._pin)
        except ModuleError as error:
            raise _lasting(f"the SIM card's PIN was refused ({error.code}) and is not tried again: mend pin_file") from None

    def _accepted(self) -> None:
        self._spent = False


def _lasting(why: str) -> ModuleLost:
    return ModuleLost(Condition.BEARER_REFUSED, why, lasting=True)
