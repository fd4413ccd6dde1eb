"""From an unknown modem to a bearer with an address (the sequence of Multi-Tech S000478 for C1).

Raises ModemLost where a step fails; the caller waits and starts again.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from bridge.dialects.wip.modem import Modem
from bridge.dialects.wip.trouble import ModemError, ModemLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.wire.patterns import Pattern

log = structlog.get_logger("bridge.wip")

SETTINGS = ("echo_off", "verbose", "results_on", "numbers", "dtr_keeps", "flow")
ADDRESS = 15  # the number of WIPBR's option "local address"


async def bring_up(modem: Modem, profile: Profile, bearer_up: Callable[[], bool]) -> str:
    """The bearer's address.  ``bearer_up`` tells whether the bearer's URC has come."""
    log.info("module: looking for it", hint="leaves data mode first, which takes a few seconds")
    if not await modem.unknown():
        raise ModemLost(Condition.MODULE_MUTE, "no answer to AT; check cable, speed and power")
    for step in SETTINGS:
        await _tolerant(modem, step)
    await _registered(modem, profile)
    await _tolerant(modem, "stack_start")  # ERROR and 844 mean that it runs already
    await _clean(modem, profile)
    if not bearer_up():
        await _bearer(modem, profile, bearer_up)
    return await _address(modem, profile)


async def _tolerant(modem: Modem, step: str) -> None:
    try:
        await modem.command(step)
    except ModemError as error:
        log.debug("module: setting refused", step=step, code=error.code)


async def _registered(modem: Modem, profile: Profile) -> None:
    pattern = Pattern(profile.words("registration"))
    end = trio.current_time() + profile.seconds("register")
    while True:
        try:
            answers = await modem.command("registration")
        except ModemError as error:
            log.debug("module: registration question refused", code=error.code)
            return  # a modem that does not know the question is asked for its bearer instead
        for line in answers:
            if (fields := pattern.match(line)) is not None and fields["state"] in {1, 5}:
                return
        if trio.current_time() > end:
            raise ModemLost(Condition.BEARER_UNAVAILABLE, "not registered; check antenna and subscription")
        await trio.sleep(profile.seconds("retry"))


async def _clean(modem: Modem, profile: Profile) -> None:
    """Close what a former life of the bridge left open."""
    pattern = Pattern(profile.words("socket"))
    try:
        answers = await modem.command("sockets")
    except ModemError:
        return
    for line in answers:
        if (fields := pattern.match(line)) is not None:
            try:
                await modem.command("close", protocol=fields["protocol"], index=fields["index"])
            except ModemError as error:
                log.debug("module: left-over socket not closed", line=line.decode("latin-1"), code=error.code)


async def _bearer(modem: Modem, profile: Profile, bearer_up: Callable[[], bool]) -> None:
    try:
        await modem.command("bearer_start")
    except ModemError as error:
        condition = profile.condition_of(error.code, "WIPBR")
        if condition is Condition.WRONG_STATE:
            return  # 803: it is up already
        raise ModemLost(condition, f"the bearer does not start: {error.code}") from None
    end = trio.current_time() + profile.seconds("bearer")
    while not bearer_up():
        left = end - trio.current_time()
        if left <= 0:
            raise ModemLost(Condition.BEARER_UNAVAILABLE, "the bearer did not come up")
        await modem.wake.wait(left)


async def _address(modem: Modem, profile: Profile) -> str:
    pattern = Pattern(profile.words("address"))
    try:
        for line in await modem.command("bearer_option", option=ADDRESS):
            if (fields := pattern.match(line)) is not None:
                return str(fields["value"])
    except ModemError as error:
        log.debug("module: no address", code=error.code)
    raise ModemLost(Condition.BEARER_UNAVAILABLE, "the bearer has no address")
