"""The life of a modem: brought up, served, lost, and brought up again; and what the driver is made of.

One task drives the wire, one reads it (`DrivenNetwork`), one looks after a bearer that dies without a word.  What the
Network offers above this is in `bridge.dialects.wip.downstream`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog
import trio

from bridge.dialects.wip.driver import family
from bridge.dialects.wip.driver.arbiter import Arbiter
from bridge.dialects.wip.driver.bearer import Bearer
from bridge.dialects.wip.driver.bringup import BringUp
from bridge.dialects.wip.driver.creates import Creator
from bridge.dialects.wip.driver.data_mode import CODED
from bridge.dialects.wip.driver.datagrams import Bounds
from bridge.dialects.wip.driver.links import Room, WipLink
from bridge.dialects.wip.driver.listener import Listeners
from bridge.dialects.wip.driver.lookup import Lookup
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.pinging import Pinger
from bridge.dialects.wip.driver.questions import Questions
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sim import Sim
from bridge.dialects.wip.driver.sockets import SERVER, Socket
from bridge.dialects.wip.driver.urcs import Fields, Urcs
from bridge.dialects.wip.driver.watch import Watch, Who
from bridge.driving.life import DrivenNetwork
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Capability, Condition, Limits, ModuleSettings, Phase
from bridge.ports import Port, PortLost
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip")


class Life(DrivenNetwork):
    """Drives a modem of the WIP family on ``port``.

    ``others``: the profiles that it may turn out to have, where nobody has said which; it is asked at its first bring-up.
    """

    shutdown_grace = 5.0  # seconds: a mapped socket must be left by its guards
    module_keys = ("apn", "user", "password_file", "pin_file")  # of ModuleSettings, those that have an effect
    finds_profile = True

    def __init__(
        self,
        port: Port,
        profile: Profile,
        trace: Trace,
        settings: ModuleSettings | None = None,
        others: Sequence[Profile] = (),
    ) -> None:
        super().__init__(port)
        self._trace = trace
        self._settings = settings or ModuleSettings()
        self._sim = Sim(self._settings.pin)
        self._finder = family.Finder(others)
        self._ever_up = False
        self._reset_told = False  # the generation has grown since the modem was up
        self._told = ""  # the last lasting trouble that was logged
        self.counters: Counter[str] = Counter()
        self._modem = Modem(port, profile, trace, self.counters, self._hear)
        self._want = self._modem.wake.set
        self._use(profile)

    def _use(self, profile: Profile) -> None:
        """Go by this table from here on.  Nothing is open, and nobody waits for anything: it was never up."""
        modem, trace = self._modem, self._trace
        self._profile = profile
        modem.use(profile)
        sockets = self._sockets = Registry(profile)
        self._urcs = Urcs(profile, trace, self.counters, sockets)
        modem.creating = self._urcs.creating
        self._arbiter = Arbiter(self._modem, profile, trace, sockets)
        self._creator = Creator(self._modem, profile, trace, self._arbiter, sockets)
        self._questions = Questions(modem, profile, self._arbiter, self._creator, sockets, address=lambda: self._box.now.address)
        self._lookup = Lookup(profile, self._arbiter, self._creator, self._questions, sockets, want=self._want)
        self._listeners = Listeners(profile, trace, self._creator, sockets, new_link=self._new_link, want=self._want)
        self._pinger = Pinger(modem, profile, self._arbiter.jobs)
        self._watch = Watch(modem, profile, self._arbiter, lambda: self._box.now.address)
        who = Who(modem, profile, trace, sockets)
        self._urcs.serve(modem, self._arbiter, self._listeners.accepted, self._pinger, who=who, watch=self._watch)
        bearer = Bearer(modem, profile, self._settings, lambda: self._urcs.bearer)
        self._bring_up = BringUp(modem, profile, self._sim, bearer, partial(self._finder.identify, modem, profile))
        self._room = _room(profile, modem.rate)
        self._bounds = Bounds(profile.number("datagram_size"), profile.number("datagram_most"), profile.number("datagram_queue"))
        self.limits = Limits(
            stream_links=profile.number("stream_links"),
            datagram_links=profile.number("datagram_links"),
            send_size=profile.number("send_size"),
            capabilities=frozenset(Capability(name) for name in profile.capabilities),
            datagram_size=profile.number("datagram_size"),
        )

    def _hear(self, name: str, fields: Fields) -> None:
        self._urcs(name, fields)

    # --- the wire ---

    async def _read(self) -> None:
        await self._modem.read()

    def _end_listeners(self, condition: Condition) -> None:
        self._listeners.end(condition)

    async def _watch_bearer(self) -> None:
        """For as long as there is a line."""
        while True:
            await trio.sleep(self._profile.seconds("watch"))
            self._watch.look()

    async def _drive(self, line: trio.Nursery) -> None:
        self._modem.start_over()
        line.start_soon(self._watch_bearer)
        while True:
            try:
                self._box.change(Phase.STARTING)
                self._modem.up, self._modem.echoes = False, 0
                address = await self._bring_up.run()
                if self._urcs.bearer_fell:
                    raise ModuleLost(Condition.BEARER_LOST, "the modem said so before it was used")
                self._modem.up = True
                self._arbiter.start_over()
                await self._listeners.listen_again()
                # Our ATE0 is gone: a module that went mute came back from a reset.
                reset = bool(self._modem.echoes) and self._ever_up and not self._reset_told
                self._ever_up, self._reset_told = True, False
                self._box.change(Phase.UP, address=address, new_generation=reset)
                self._told = ""
                log.info("module: up", address=address)
                await self._arbiter.run()
            except family.OtherProfile as found:
                self._trace.note("profile", found.profile.profile)
                self._use(found.profile)
            except ModuleLost as lost:
                await self._pause(self._arbiter.trouble or lost)  # a boot line says more than the silence after it

    async def _pause(self, trouble: ModuleLost) -> None:
        """It is lost: say so, and wait before the next bring-up; longer where a person is needed, who is told once."""
        known = trouble.lasting and trouble.detail == self._told
        (log.debug if known else log.warning)("module: lost", condition=str(trouble.condition), detail=trouble.detail)
        self._told = trouble.detail if trouble.lasting else ""
        self._trace.note("module-lost", f"{trouble.condition}: {trouble.detail}")
        self.counters["module-lost"] += 1
        self._fail(Phase.FAILED if trouble.lasting else Phase.DOWN, trouble.condition)
        await trio.sleep(self._profile.seconds("lasting_retry" if trouble.lasting else "retry"))

    def _fail(self, phase: Phase, condition: Condition) -> None:
        """See DrivenNetwork.  Whoever waits for a create is told with the links."""
        self._modem.up = False  # what is said until it is brought up again is about what is gone
        self._arbiter.trouble = None  # told
        self._urcs.bearer = self._urcs.bearer_fell = False  # bring-up asks; a modem whose bearer is up says 803
        self._questions.forget()
        reset = condition is Condition.MODULE_RESET
        self._reset_told = self._reset_told or reset
        self._box.change(phase, cause=condition, new_generation=reset)
        for socket in self._sockets:
            socket.end(condition)
        self._sockets.clear()  # bring-up closes whatever the modem still holds
        self._arbiter.jobs.fail(condition)

    async def _leave(self) -> None:
        """Leave the modem in command state, with nothing open."""
        try:
            if self._modem.between:  # what is typed now may be the peer's payload
                if not await self._modem.unknown():
                    return
            elif self._arbiter.mapped is not None and not await self._modem.leave():
                return
            for socket in sorted(self._sockets, key=lambda socket: socket.protocol != SERVER):
                if socket.asked:
                    with suppress(ModuleError):  # the others are closed all the same
                        await self._modem.command("close", protocol=socket.protocol, index=socket.index)
        except (ModuleLost, PortLost) as error:
            log.debug("module: not left in order", error=repr(error))

    # --- parts ---

    def _new_link(self, index: int) -> WipLink:
        coded = self._profile.number("stream_mode") == CODED
        return WipLink(index, self._room, self._want, self._questions.endpoints, coded=coded)

    def _datagram_dropped(self, socket: Socket, why: str) -> None:
        self.counters["datagrams-dropped"] += 1
        self._trace.note("datagram-dropped", f"{socket.protocol},{socket.index}: {why}")


def _room(profile: Profile, rate: float) -> Room:
    """A link's buffer: what a visit may leave in it, and what the modem can still push until an escape works.

    ``rate``: bytes per second of the line.
    """
    waits = ("guard", "escape_answer", "escape_answer", "guard", "fallback")
    leave = profile.number("leave_mark")
    return Room(profile.number("low_water"), leave, leave + int(rate * sum(profile.seconds(name) for name in waits)))
