"""From an unknown modem to a bearer with an address: the steps that a profile's table names, in its order.

What counts as success although the modem says ERROR stands beside each step.  Raises ModuleLost where a step fails; the
caller waits and starts again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
import trio

from bridge.dialects.wip.driver.bearer import Bearer
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.sim import Sim
from bridge.dialects.wip.driver.sockets import SERVER, TCP, UDP
from bridge.dialects.wip.driver.trouble import Restarted
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.wire.patterns import Pattern

log = structlog.get_logger("bridge.wip")

SETTINGS = ("verbose", "results_on", "numbers", "dtr_keeps", "flow", "indications_off")
RESTARTS = 2  # times that a modem is told to restart before it counts as one that cannot be used
_REGISTERED = {1, 5}  # home, roaming (3GPP TS 27.007, 7.2)
_FLOW = {False: 0, True: 2}  # what +IFC calls none, and RTS and CTS


class BringUp:
    """One profile's way up, in the driver's task."""

    def __init__(self, modem: Modem, profile: Profile, sim: Sim, bearer: Bearer, identify: Callable[[], Awaitable[None]]) -> None:
        self._modem = modem
        self._profile = profile
        self._address = ""
        self._steps: dict[str, Callable[[], Awaitable[None]]] = {
            "settings": self._settings,
            "identify": identify,
            "sim": lambda: sim.ready(modem, profile),
            "registered": self._registered,
            "application": self._application,
            "stack": self._stack,
            "clean_listed": self._clean_listed,
            "clean_blind": self._clean_blind,
            "bearer_open": self._bearer_open,
            "bearer_options": bearer.options,
            "bearer": bearer.start,
            "address": self._ask_address,
        }
        self._bearer = bearer

    async def run(self) -> str:
        """The bearer's address."""
        log.info("module: looking for it", hint="leaves data mode first, which takes a few seconds")
        if not await self._modem.unknown():
            raise ModuleLost(Condition.MODULE_MUTE, "no answer to AT; check cable, speed and power")
        for _ in range(RESTARTS + 1):
            try:
                await self._through()
            except Restarted:
                await self._boot()
            else:
                return self._address
        raise ModuleLost(Condition.MODULE_ERROR, "its Open AT application does not start", lasting=True)

    async def _through(self) -> None:
        try:
            for name in self._profile.words("bring_up").split():
                await self._steps[name]()
                self._modem.quiet = True  # the settings come first
        finally:
            self._modem.quiet = False

    async def _boot(self) -> None:
        """Until it answers after a restart that it was told to make."""
        await trio.sleep(self._profile.seconds("restart"))
        end = trio.current_time() + self._profile.seconds("boot")
        while not await self._modem.sync():
            if trio.current_time() > end:
                raise ModuleLost(Condition.MODULE_MUTE, "it did not come back from a restart")

    # --- steps ---

    async def _settings(self) -> None:
        try:
            await self._modem.command("echo_off")
        except ModuleError as error:  # with its echo on, every command of ours would look like a reset
            raise ModuleLost(Condition.MODULE_ERROR, f"it does not switch its echo off: {error.code}") from None
        for step in SETTINGS:
            if step in self._profile.template:
                await self._tolerant(step, **({"flow": _FLOW[self._modem.flow]} if step == "flow" else {}))

    async def _tolerant(self, step: str, **arguments: object) -> None:
        try:
            await self._modem.command(step, **arguments)
        except ModuleError as error:
            log.debug("module: refused", step=step, code=error.code)

    async def _registered(self) -> None:
        end = trio.current_time() + self._profile.seconds("register")
        questions = [name for name in ("registration", "packet_registration") if name in self._profile.template]
        while True:
            states = [await self._registration(name) for name in questions]
            if None in states[:1]:
                return  # a modem that does not know the question is asked for its bearer instead
            if _REGISTERED.intersection(states):
                return
            if trio.current_time() > end:
                raise ModuleLost(Condition.BEARER_UNAVAILABLE, "not registered; check antenna and subscription")
            await trio.sleep(self._profile.seconds("retry"))

    async def _registration(self, question: str) -> int | None:
        """The state; None where the modem does not know the question, 0 where its answer says nothing."""
        patterns = [Pattern(text) for text in self._profile.words(question).split("|")]
        try:
            answers = await self._modem.command(question)
        except ModuleError as error:
            log.debug("module: registration question refused", code=error.code)
            return None
        found = [fields for line in answers for pattern in patterns if (fields := pattern.match(line)) is not None]
        return int(found[0]["state"]) if found else 0

    async def _application(self) -> None:
        """Some modems have their IP stack as an Open AT application, which is started once, by a restart."""
        pattern = Pattern(self._profile.words("application"))
        try:
            answers = await self._modem.command("application")
        except ModuleError as error:
            log.debug("module: no Open AT application", code=error.code)
            return  # built in
        states = [fields["state"] for line in answers if (fields := pattern.match(line)) is not None]
        if 0 not in states:
            return
        try:
            await self._modem.command("application_start")
        except ModuleError as error:
            why = f"its Open AT application does not start: {error.code} (541: it does not fit the firmware)"
            raise ModuleLost(Condition.MODULE_ERROR, why, lasting=True) from None
        log.info("module: restarts with its Open AT application")
        raise Restarted

    async def _stack(self) -> None:
        await self._tolerant("stack_start")  # ERROR, 844 and 850 mean that it runs already

    async def _bearer_open(self) -> None:
        await self._tolerant("bearer_open")  # 804: it is open already

    async def _ask_address(self) -> None:
        self._address = await self._bearer.address()

    async def _clean_listed(self) -> None:
        """Close what a former life of the bridge left open, where the modem tells it."""
        pattern = Pattern(self._profile.words("socket"))
        try:
            answers = await self._modem.command("sockets")
        except ModuleError:
            return
        for line in answers:
            if (fields := pattern.match(line)) is not None:
                await self._tolerant("close", protocol=fields["protocol"], index=fields["index"])

    async def _clean_blind(self) -> None:
        """The same where it does not: everything is closed, servers first; what is not there is refused."""
        for protocol, most in ((SERVER, "servers"), (TCP, "sockets"), (UDP, "sockets")):
            for index in range(1, self._profile.number(most) + 1):
                with suppress(ModuleError):  # mostly 831: there is none
                    await self._modem.command("close", protocol=protocol, index=index)
                    log.info("module: left-over socket closed", protocol=protocol, index=index)
