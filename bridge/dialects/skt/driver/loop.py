"""The driver's task: who has the wire, and one life of the module after the other.

Policy, in order: a doubt is settled before anything is addressed; ids that are dead are deleted, so that the pool never
runs dry; questions and opens; what must be looked for from time to time; then payload, in turn.
"""

from __future__ import annotations

from collections import Counter

import structlog
import trio

from bridge.dialects.skt.driver.asking import Asked, Pace
from bridge.dialects.skt.driver.bearer import Bearer
from bridge.dialects.skt.driver.bringup import find, set_up
from bridge.dialects.skt.driver.held import Held, Registry
from bridge.dialects.skt.driver.links import SktLink
from bridge.dialects.skt.driver.listener import Listeners, Server
from bridge.dialects.skt.driver.opening import Opener
from bridge.dialects.skt.driver.payload import Alphabet
from bridge.dialects.skt.driver.traffic import Traffic
from bridge.dialects.skt.driver.upkeep import Upkeep
from bridge.dialects.skt.driver.urcs import Urcs
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.jobs import Jobs
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition, Phase
from bridge.network import StateBox
from bridge.ports import Port, PortLost
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.skt")


class OtherGenerationError(Exception):
    """The module speaks another profile than it was taken for; ``name`` is that one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Driver:
    """Everything that one profile's module needs."""

    def __init__(
        self, port: Port, profile: Profile, trace: Trace, counters: Counter[str], box: StateBox, *, detect: bool
    ) -> None:
        self.profile = profile
        self._detect = detect
        self.counters = counters
        self._trace = trace
        self._box = box
        self._ever_up = False
        self._looking = False
        self.in_service = False
        pushed = str(profile.value["receive"].value) != "read"
        self.pace = Pace(
            low_water=profile.number("low_water"),
            most=profile.number("buffer"),
            shortest=profile.seconds("ask"),
            longest=profile.seconds("ask_idle"),
            busy=profile.seconds("ask_busy"),
            pushed=pushed,
        )
        self.alphabet = Alphabet(profile)
        self.registry = Registry(profile)
        self.wire = Wire(port, profile, trace, counters)
        self._urcs = Urcs(trace, counters, self.registry)
        self._upkeep = Upkeep(self.wire, profile, trace, counters, registry=self.registry, urcs=self._urcs)
        self.opener = Opener(self.wire, profile, trace, self.registry, self._upkeep.rows)
        self.listeners = Listeners(profile, trace, self.opener, self.registry, new_link=self.new_link, want=self.want)
        self.traffic = Traffic(self.wire, profile, trace, counters, registry=self.registry, alphabet=self.alphabet)
        self.bearer = Bearer(self.wire, profile, self._bearer_changed)
        self.jobs = Jobs(profile.number("jobs"), self.want)
        self.registry.added = self._added
        self._urcs.serve(self.wire, self.opener, self.listeners, self.traffic)
        self._upkeep.serve(self.opener, self.listeners)

    def want(self) -> None:
        """Wake the driver's task."""
        self.wire.wake.set()

    def new_link(self) -> SktLink:
        """A connection that the module has not given an id yet."""
        return SktLink(self.pace, self.alphabet, self.want)

    def _added(self, held: Held) -> None:
        if isinstance(held, Asked):
            self.traffic.claim(held)

    # --- lives ---

    async def live(self) -> None:
        """Bring the module up and serve until it is lost.  Raises PortLost, OtherGenerationError."""
        try:
            self._box.change(Phase.STARTING)
            self.wire.start_over()
            name = await find(self.wire, self.profile, self.traffic.raw, detect=self._detect and not self._ever_up)
            if name != self.profile.profile:
                raise OtherGenerationError(name)
            self.registry.clear()  # ids that were told of since it was lost: SKTSTATE lists those that are there
            await set_up(self.wire, self.profile, self._upkeep)
            self.wire.up = True
            self._ever_up = self.in_service = True
            log.info("module: in service", profile=self.profile.profile)
            await self.bearer.look()
            await self._serve()
        except ModuleLost as lost:
            trouble = self.wire.trouble or lost
            log.warning("module: lost", condition=str(trouble.condition), detail=trouble.detail)
            self._trace.note("module-lost", f"{trouble.condition}: {trouble.detail}")
            self.counters["module-lost"] += 1
            self.fail(Phase.DOWN, trouble.condition)
            await trio.sleep(self.profile.seconds("retry"))

    async def _serve(self) -> None:
        while True:
            self.wire.check()
            self.wire.look()
            if not await self._step():
                due = min(self.opener.due, self._look_at, self.bearer.look_at, self.traffic.due)
                if self.opener.alone:
                    due = self.opener.due
                await self.wire.wake.wait(min(due - trio.current_time(), self.wire.look_in))

    async def _step(self) -> bool:
        """Whatever is first; False: nothing is due."""
        now = trio.current_time()
        if self._looking != (looking := self._upkeep.look_at < float("inf")):
            self._looking = looking
            self._upkeep.look_later()
        self.wire.serving = any(isinstance(held, Server) and held.live for held in self.registry)
        if self._box.now.phase is Phase.UP:
            self.listeners.listen_again()
        if self._urcs.look_at_bearer:
            self._urcs.look_at_bearer, self.bearer.look_at = False, now
        if self.wire.doubt:
            await self._upkeep.resync()
        elif self.opener.alone and not self.opener.work:
            return False
        elif (held := self._upkeep.to_delete()) is not None:
            await self._upkeep.delete(held)
        elif self.jobs:
            await self.jobs.run_next()
        elif self.opener.work:
            await self.opener.run_next()
        elif now >= self._look_at:
            await self._upkeep.look()
        elif now >= self.bearer.look_at:
            await self.bearer.look()
        elif (asked := self.traffic.next()) is not None:
            await self.traffic.visit(asked)
        else:
            return False
        return True

    @property
    def _look_at(self) -> float:
        """When SKTSTATE is due.  It costs the wire like payload, and a peer that left is seen by a send."""
        due = self._upkeep.look_at
        return self.pace.put_off(due, self.traffic.quiet_at, due)

    def _bearer_changed(self, address: str | None) -> None:
        """State first, then the links: without the address they had, none of them has a peer any more."""
        before = self._box.now
        if address is not None:
            self._box.change(Phase.UP, address=address)
        else:
            cause = Condition.BEARER_LOST if before.phase is Phase.UP else before.cause or Condition.BEARER_UNAVAILABLE
            self._box.change(Phase.DOWN, cause=cause)
        if before.phase is Phase.UP and address != before.address:
            for held in self.registry:
                if isinstance(held, Asked):
                    held.end(Condition.BEARER_LOST)

    def fail(self, phase: Phase, condition: Condition) -> None:
        """State first, then the links and whoever waits for one, then everything else that was asked."""
        reset = condition is Condition.MODULE_RESET and self.in_service
        self.in_service = self.wire.up = False
        self._box.change(phase, cause=condition, new_generation=reset)
        for held in self.registry:
            held.end(condition)
        self.registry.clear()  # bring-up closes whatever the module still holds
        self.listeners.start_over()
        self.opener.fail(condition)
        self.traffic.start_over()
        self.bearer.forget()
        self.jobs.fail(condition)

    async def leave(self) -> None:
        """Leave the module with nothing open, each id by itself and seeds first."""
        try:
            await self.traffic.break_off()
            for held in sorted(self.registry, key=lambda held: isinstance(held, Server)):
                if not held.deleting:  # else nobody knows whether it is there
                    await self._upkeep.delete_id(held.id)
        except (ModuleError, ModuleLost, PortLost) as error:
            log.debug("module: not left in order", error=repr(error))
