"""A Network made of an SKT module's bytes (Realtek Ameba)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog
import trio

from bridge.dialects.skt.driver.datagrams import SktDatagramLink
from bridge.dialects.skt.driver.links import SktLink
from bridge.dialects.skt.driver.listener import SktListener
from bridge.dialects.skt.driver.loop import Driver, OtherGenerationError
from bridge.dialects.skt.driver.opening import Opening, check
from bridge.dialects.skt.driver.questions import Questions
from bridge.driving.life import DrivenNetwork
from bridge.driving.trouble import ModuleError
from bridge.model import Capability, Condition, Endpoint, Identity, Limits, Login, Peers, Phase
from bridge.network import NetworkError
from bridge.ports import Port
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.addresses import dotted

log = structlog.get_logger("bridge.skt")

T = TypeVar("T")


class SktNetwork(DrivenNetwork):
    """Drives a module of the SKT family on ``port``.

    ``others``: the profiles that it may turn out to have, where nobody has said which; it is asked at its first bring-up.
    """

    shutdown_grace = 2.0  # seconds: what is open is closed, id by id
    finds_profile = True

    def __init__(self, port: Port, profile: Profile, trace: Trace, *, others: Sequence[Profile] = ()) -> None:
        super().__init__(port)
        self._others = {other.profile: other for other in others}
        self._trace = trace
        self.counters: Counter[str] = Counter()
        self._use(profile)

    def _use(self, profile: Profile) -> None:
        self._profile = profile
        detect = bool(self._others)
        self._driver = Driver(self._port, profile, self._trace, self.counters, self._box, detect=detect)
        self._questions = Questions(self._driver)

    @property
    def limits(self) -> Limits:  # type: ignore[override]  # worked out, not stored
        """See Network.  They change when the module turns out to be of another generation, or not to take a CR."""
        profile = self._profile
        return Limits(
            stream_links=profile.number("stream_links"),
            datagram_links=profile.number("datagram_links"),
            send_size=profile.number("send_size"),
            capabilities=frozenset(Capability(name) for name in profile.capabilities),
            alphabet=self._driver.alphabet.values,
            datagram_size=profile.number("datagram_size"),
        )

    # --- state ---

    async def attach(self, login: Login | None = None) -> None:
        """See Network.  A module that has an address is taken as it is; one that has none joins with the host's login."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._profile.seconds("attach")):
            while (state := self._box.now).phase is not Phase.UP:
                if state.cause is Condition.PORT_LOST:
                    raise NetworkError(Condition.PORT_LOST)
                if self._driver.in_service and login is not None and login.name:
                    await self._ask(partial(self._driver.bearer.join, login))
                else:
                    await self._box.wait(state.seq)
            return
        raise NetworkError(Condition.BEARER_UNAVAILABLE, "the module has not joined a network")

    async def detach(self) -> None:
        """See Network.  The bearer stays: the next attach finds it."""
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """See Network."""
        self._driver.listeners.end(Condition.LINK_CLOSED)
        for held in self._driver.registry:
            if not held.server_side or isinstance(held, SktDatagramLink):
                held.end(Condition.LINK_CLOSED)
        self._driver.want()
        await trio.lowlevel.checkpoint()

    # --- the wire ---

    async def _read(self) -> None:
        while True:
            self._driver.wire.feed(await self._port.receive())

    async def _drive(self, line: trio.Nursery) -> None:
        while True:
            try:
                await self._driver.live()
            except OtherGenerationError as other:
                log.warning("module: another generation", profile=other.name, instead_of=self._profile.profile)
                self._trace.note("generation", f"{other.name} instead of {self._profile.profile}")
                found = self._others[other.name]
                self._others = {}  # found: it is not asked again
                self._use(found)

    def _fail(self, phase: Phase, condition: Condition) -> None:
        self._driver.fail(phase, condition)

    async def _leave(self) -> None:
        await self._driver.leave()

    def _end_listeners(self, condition: Condition) -> None:
        self._driver.listeners.end(condition)

    # --- operations ---

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> SktLink:
        """See Network.  ``keepalive`` is not realisable on these modules and has no effect."""
        check(self._profile, host, port)
        self._check_up()
        link = self._driver.new_link()
        await self._driver.opener.open(Opening(link, "open", "SKTCLIENT", host, port, {"host": host, "port": port}))
        link.peer = Endpoint(host, port) if dotted(host) else None
        return link

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> SktDatagramLink:
        """See Network.  A peer that may change needs a server of the module, and so a local port."""
        if not 0 <= local_port < 65536:
            raise NetworkError(Condition.BAD_ARGUMENT, f"local port {local_port}")
        if peers is Peers.FIXED and peer is None:
            raise NetworkError(Condition.BAD_ARGUMENT, "a fixed peer is needed")
        host = "" if peer is None else peer.host
        if peer is not None:
            check(self._profile, peer.host, peer.port)
        self._check_up()
        queue = self._profile.number("datagram_queue")
        link = SktDatagramLink(self._driver.pace, queue, peers, self._driver.traffic.fits, self._driver.want)
        if peers is Peers.FIXED and peer is not None:
            source = local_port or self._questions.free_port() if self._profile.value["source_port"].value else local_port
            arguments = {"host": host, "port": peer.port, "local": source or "", "comma": "," if source else ""}
            opening = Opening(link, "open_datagram", "SKTCLIENT", host, peer.port, arguments)
            local_port = source
        else:
            if peer is not None and not dotted(host):
                host = await self.resolve(host)
            local_port = local_port or self._questions.free_port()
            opening = Opening(link, "bind", "SKTSERVER", "", local_port, {"port": local_port})
        link.local_port = local_port
        link.peer = None if peer is None else Endpoint(host, peer.port)
        await self._driver.opener.open(opening)
        if self._box.now.address is not None and local_port:
            link.local = Endpoint(self._box.now.address, local_port)
        return link

    async def listen(self, port: int, *, room: int) -> SktListener:
        """See Network."""
        if not 0 <= port < 65536 or not 1 <= room <= self.limits.stream_links:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}, room {room}")
        self._check_up()
        port = port or self._questions.free_port()
        return await self._driver.listeners.listen(port, room, self._box.now.address or "0.0.0.0")

    async def resolve(self, name: str) -> str:
        """See Network."""
        check(self._profile, name, 1)
        self._check_up()
        if dotted(name):
            await trio.lowlevel.checkpoint()
            return name
        return await self._ask(partial(self._questions.resolve, name))

    async def signal(self) -> int | None:
        """See Network."""
        await trio.lowlevel.checkpoint()
        if self._box.now.phase is not Phase.UP:
            return None
        try:
            return await self._ask(self._driver.bearer.signal)
        except NetworkError:
            return None

    async def identity(self) -> Identity:
        """See Network."""
        await trio.lowlevel.checkpoint()
        try:
            return await self._ask(self._questions.identity)
        except NetworkError:
            return Identity("Realtek", "Ameba")

    # --- helpers ---

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have a dialogue done by the driver's task.  Raises NetworkError."""
        if not self._driver.in_service:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, str(self._box.now.cause or "starting"))
        try:
            return await self._driver.jobs.ask(work)
        except ModuleError as error:
            condition = self._profile.condition_of(error.code, error.during)
            raise NetworkError(condition if error.code > 0 else Condition.MODULE_MUTE, f"{error.during}: {error.code}") from None
