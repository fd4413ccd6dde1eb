"""A Network made of a WIP modem's bytes."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog
import trio

from bridge.dialects.wip.arbiter import Arbiter, Job
from bridge.dialects.wip.bringup import bring_up
from bridge.dialects.wip.links import WipLink
from bridge.dialects.wip.modem import Modem, ModemError, ModemLost
from bridge.model import Capability, Condition, Endpoint, Limits, Login, Phase, State
from bridge.network import Network, NetworkError, StateBox
from bridge.ports import Port, PortLost
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.patterns import Pattern

log = structlog.get_logger("bridge.wip")

T = TypeVar("T")
TCP, UDP = 2, 1  # WIP's protocol numbers


class _Question:
    """A create that waits for its URC."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.failure: Condition | None = None
        self.detail = ""

    def answer(self, failure: Condition | None = None, detail: str = "") -> None:
        if not self.answered.is_set():
            self.failure, self.detail = failure, detail
            self.answered.set()


class WipNetwork(Network):
    """Drives a modem of the WIP family on ``port``."""

    shutdown_grace = 5.0  # seconds: a mapped socket must be left by its guards

    def __init__(self, port: Port, profile: Profile, trace: Trace) -> None:
        self._port = port
        self._profile = profile
        self._trace = trace
        self._box = StateBox()
        self._links: dict[int, WipLink] = {}
        self._questions: dict[tuple[int, int], _Question] = {}
        self._bearer = False
        self._ever_up = False
        self.counters: Counter[str] = Counter()
        self._modem = Modem(port, profile, trace, self.counters, self._on_urc)
        self._arbiter = Arbiter(self._modem, profile, trace, self._links)
        self._urcs = {
            "ready": self._urc_ready,
            "failed": self._urc_failed,
            "data": self._urc_data,
            "peer_close": self._urc_peer_close,
            "bearer": self._urc_bearer,
            "boot": self._urc_boot,
            "echo": self._urc_echo,
            "unexplained": self._urc_unexplained,
        }
        self.limits = Limits(
            stream_links=profile.number("stream_links"),
            datagram_links=0,
            send_size=profile.number("send_size"),
            capabilities=frozenset(Capability(name) for name in profile.capabilities),
        )

    # --- state ---

    @property
    def state(self) -> State:
        """See Network."""
        return self._box.now

    async def wait_state(self, after: int) -> State:
        """See Network."""
        return await self._box.wait(after)

    async def attach(self, login: Login | None = None) -> None:
        """See Network.  The modem has its own subscription: the host's login is accepted as it is."""
        await trio.lowlevel.checkpoint()
        while self._box.now.phase is not Phase.UP:
            if self._box.now.cause in {Condition.BEARER_REFUSED, Condition.PORT_LOST}:
                raise NetworkError(self._box.now.cause)
            await self._box.wait(self._box.now.seq)

    async def detach(self) -> None:
        """See Network.  The bearer stays: bringing it up again takes longer than a host waits."""
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """See Network."""
        for link in list(self._links.values()):
            link.end(Condition.LINK_CLOSED)
        self._modem.wake.set()
        await trio.lowlevel.checkpoint()

    # --- the wire ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        lost = False
        async with trio.open_nursery() as nursery:
            # The reader outlives a cancellation: leaving a mapped socket needs its answers.
            reading = trio.CancelScope(shield=True)

            async def read() -> None:
                nonlocal lost
                with reading:
                    try:
                        await self._modem.read()
                    except PortLost:
                        lost = True
                        self._fail(Phase.FAILED, Condition.PORT_LOST)
                        nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            task_status.started()
            try:
                await self._drive()
            except PortLost:
                lost = True
            finally:
                if not lost:
                    with trio.move_on_after(self.shutdown_grace, shield=True):
                        await self._say_goodbye()
                reading.cancel()
        if lost:
            self._fail(Phase.FAILED, Condition.PORT_LOST)
            raise NetworkError(Condition.PORT_LOST, self._port.name)

    async def _drive(self) -> None:
        while True:
            try:
                self._box.change(Phase.STARTING)
                self._modem.up = self._modem.echoed = False
                address = await bring_up(self._modem, self._profile, lambda: self._bearer)
                self._modem.up = True
                self._arbiter.trouble, self._arbiter.doubt = None, False
                # Our ATE0 is gone: a module that went mute came back from a reset.
                reset = self._modem.echoed and self._ever_up
                self._ever_up = True
                self._box.change(Phase.UP, address=address, new_generation=reset)
                log.info("module: up", address=address)
                await self._arbiter.run()
            except ModemLost as lost:
                trouble = self._arbiter.trouble or lost  # a boot line says more than the silence after it
                log.warning("module: lost", condition=str(trouble.condition), detail=trouble.detail)
                self._trace.note("module-lost", f"{trouble.condition}: {trouble.detail}")
                self.counters["module-lost"] += 1
                self._fail(Phase.DOWN, trouble.condition)
                await trio.sleep(self._profile.seconds("retry"))

    def _fail(self, phase: Phase, condition: Condition) -> None:
        """State first, then the links, then whoever waits for a create."""
        self._bearer = False  # bring-up asks; a modem whose bearer is up says 803
        self._box.change(phase, cause=condition, new_generation=condition is Condition.MODULE_RESET)
        for link in self._links.values():
            link.end(condition)
            link.freed.set()  # bring-up closes whatever the modem still holds
        self._links.clear()
        for question in list(self._questions.values()):
            question.answer(condition)
        while self._arbiter.jobs:
            self._arbiter.jobs.popleft().fail(condition)

    async def _say_goodbye(self) -> None:
        """Leave the modem in command state, with nothing open."""
        try:
            if self._arbiter.mapped is not None and not await self._modem.escape(evidence=False):
                return
            for link in list(self._links.values()):
                if link.asked:
                    await self._modem.command("close", index=link.index)
        except (ModemError, ModemLost, PortLost) as error:
            log.debug("module: not left in order", error=repr(error))

    # --- what the modem says unasked ---

    def _on_urc(self, name: str, fields: dict[str, int | str]) -> None:
        self._urcs[name](fields)
        self._modem.wake.set()

    def _urc_ready(self, fields: dict[str, int | str]) -> None:
        protocol, index = int(fields["protocol"]), int(fields["index"])
        if protocol == TCP and index in self._links:
            self._links[index].ready = True
        if (question := self._questions.get((protocol, index))) is not None:
            question.answer()

    def _urc_failed(self, fields: dict[str, int | str]) -> None:
        protocol, index, code = int(fields["protocol"]), int(fields["index"]), int(fields["code"])
        question = self._questions.get((protocol, index))
        if question is not None:
            question.answer(self._profile.condition_of(code, "WIPCREATE"), f"+WIPERROR {code}")
        elif protocol == TCP and index in self._links:
            self._links[index].end(self._profile.condition_of(code, "link"))

    def _urc_data(self, fields: dict[str, int | str]) -> None:
        link = self._links.get(int(fields["index"]))
        if link is not None and fields["protocol"] == TCP:
            link.announce(int(fields["count"]))

    def _urc_peer_close(self, fields: dict[str, int | str]) -> None:
        link = self._links.get(int(fields["index"]))
        if link is not None and fields["protocol"] == TCP:
            link.fin = link.unpolled = True

    def _urc_bearer(self, fields: dict[str, int | str]) -> None:
        self._bearer = fields["state"] == 1
        if not self._bearer and self._modem.up:
            self._arbiter.trouble = ModemLost(Condition.BEARER_LOST, "the modem said so")

    def _urc_boot(self, fields: dict[str, int | str]) -> None:
        self._bearer = False
        if self._modem.up and fields["event"] in {3, 4, 8}:
            self._arbiter.trouble = ModemLost(Condition.MODULE_RESET, "it announced a boot")

    def _urc_echo(self, _fields: dict[str, int | str]) -> None:
        self._bearer = False
        self._arbiter.trouble = ModemLost(Condition.MODULE_RESET, "its echo is on again")

    def _urc_unexplained(self, fields: dict[str, int | str]) -> None:
        self.counters["unexplained-results"] += 1
        self._trace.note("unexplained", str(fields["line"]))
        self._arbiter.doubt = self._modem.up

    # --- operations ---

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> WipLink:
        """See Network.  ``keepalive`` is not realisable on these modems and has no effect."""
        self._check(host, port)
        link = WipLink(self._free_index(), Endpoint(host, port) if _dotted(host) else None, self._room(), self._modem.wake.set)
        self._links[link.index] = link
        question = self._questions[TCP, link.index] = _Question()
        try:
            with trio.move_on_after(self._profile.seconds("connect")) as limit:
                await self._in_driver(partial(self._create, link, host, port))
                self._arbiter.creating += 1
                try:
                    await question.answered.wait()
                finally:
                    self._arbiter.creating -= 1
                if question.failure is None and link.peer is None:
                    link.peer = await self._in_driver(partial(self._ask_peer, TCP, link.index, port))
            if limit.cancelled_caught:
                raise NetworkError(Condition.CONNECT_TIMEOUT, "no URC")
            if question.failure is not None:
                raise NetworkError(question.failure, question.detail)
        except BaseException as error:
            self._abandon(link)
            if isinstance(error, ModemError):
                condition = self._profile.condition_of(error.code, "WIPCREATE")
                raise NetworkError(condition, f"create refused: {error.code}") from None
            raise
        finally:
            self._questions.pop((TCP, link.index), None)
        return link

    def _abandon(self, link: WipLink) -> None:
        """Nothing is left behind: the arbiter closes what the modem may hold."""
        link.end(Condition.ABORTED)
        if not link.asked:
            self._links.pop(link.index, None)
            link.freed.set()
        self._modem.wake.set()

    async def _create(self, link: WipLink, host: str, port: int) -> None:
        """In the driver's task.  One retry where the modem holds something under this index."""
        link.asked = True
        for last in (False, True):
            try:
                await self._modem.command("create", index=link.index, host=host, port=port)
            except ModemError as error:
                condition = self._profile.condition_of(error.code, "WIPCREATE")
                if condition is Condition.MODULE_RESET:
                    raise ModemLost(condition, f"create refused: {error.code}") from None
                if condition is not Condition.INDEX_IN_USE or last:
                    raise
                await self._quietly("close", index=link.index)
            else:
                self._arbiter.created()
                return

    async def _ask_peer(self, protocol: int, index: int, port: int) -> Endpoint | None:
        pattern = Pattern(self._profile.words("option"))
        for line in await self._quietly("option", protocol=protocol, index=index, option=2):
            if (fields := pattern.match(line)) is not None and _dotted(str(fields["value"])):
                return Endpoint(str(fields["value"]), port)
        return None

    async def _quietly(self, template: str, **arguments: object) -> list[bytes]:
        try:
            return await self._modem.command(template, **arguments)
        except ModemError as error:
            self._trace.note("refused", f"{template}: {error.code}")
            return []

    async def resolve(self, name: str) -> str:
        """See Network.  These modems have no lookup; a UDP socket to the name knows its peer's address."""
        self._check(name, 1)
        if _dotted(name):
            return name
        index = self._profile.number("resolve_index")
        if (UDP, index) in self._questions:
            raise NetworkError(Condition.NO_FREE_LINK, "another lookup is under way")
        question = self._questions[UDP, index] = _Question()
        port = self._profile.number("resolve_port")
        command = partial(self._modem.command, "create_datagram", index=index, local_port=port, host=name)
        try:
            with trio.move_on_after(self._profile.seconds("lookup")):
                await self._in_driver(command)
                await question.answered.wait()
                if question.failure is not None:
                    raise NetworkError(question.failure, question.detail)
                peer = await self._in_driver(partial(self._ask_peer, UDP, index, 9))
                if peer is not None:
                    return peer.host
        except ModemError as error:
            condition = self._profile.condition_of(error.code, "WIPCREATE")
            raise NetworkError(condition, f"lookup refused: {error.code}") from None
        finally:
            self._questions.pop((UDP, index), None)
            self._arbiter.jobs.append(Job(partial(self._quietly, "close_any", protocol=UDP, index=index)))
            self._modem.wake.set()
        raise NetworkError(Condition.NAME_NOT_FOUND, name)

    # --- helpers ---

    async def _in_driver(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have a dialogue done by the driver's task.  Raises ModemError, NetworkError."""
        if len(self._arbiter.jobs) >= self._profile.number("jobs"):
            raise NetworkError(Condition.NO_FREE_LINK, "too many operations wait")
        job = Job(work)
        self._arbiter.jobs.append(job)
        self._modem.wake.set()
        return await job.result()

    def _check(self, host: str, port: int) -> None:
        """No argument of a host may ever become a second command or a broken string on the module's wire."""
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or len(host) > self._profile.number("host_length"):
            raise NetworkError(Condition.BAD_ARGUMENT, "a name this modem cannot carry")
        if not 0 < port < 65536:
            raise NetworkError(Condition.BAD_ARGUMENT, "port")
        if self._box.now.phase is not Phase.UP:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, str(self._box.now.cause or "starting"))

    def _free_index(self) -> int:
        for index in range(1, self.limits.stream_links + 1):
            if index not in self._links:
                return index
        raise NetworkError(Condition.NO_FREE_LINK)

    def _room(self) -> int:
        """A link's buffer: what a visit may leave in it, and what the modem can still push until an escape works."""
        rate = self._profile.number("baud") / 10
        waits = ("guard", "escape_answer", "escape_answer", "guard", "fallback")
        return self._profile.number("leave_mark") + int(rate * sum(self._profile.seconds(name) for name in waits))


def _dotted(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
