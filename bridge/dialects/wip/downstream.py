"""A Network made of a WIP modem's bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
import trio

from bridge.dialects.wip.arbiter import Arbiter
from bridge.dialects.wip.bringup import bring_up
from bridge.dialects.wip.creates import Creator, Work, check_argument, dotted
from bridge.dialects.wip.datagrams import Bounds, WipDatagramLink
from bridge.dialects.wip.links import Room, WipLink
from bridge.dialects.wip.listener import Listeners, WipListener
from bridge.dialects.wip.lookup import Lookup
from bridge.dialects.wip.modem import Modem
from bridge.dialects.wip.questions import Questions
from bridge.dialects.wip.registry import Registry
from bridge.dialects.wip.sockets import SERVER, TCP, UDP, Socket
from bridge.dialects.wip.trouble import ModemError, ModemLost
from bridge.dialects.wip.urcs import Urcs
from bridge.model import Capability, Condition, Endpoint, Limits, Login, Peers, Phase, State
from bridge.network import Network, NetworkError, StateBox
from bridge.ports import Port, PortLost
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip")

T = TypeVar("T")


class WipNetwork(Network):
    """Drives a modem of the WIP family on ``port``."""

    shutdown_grace = 5.0  # seconds: a mapped socket must be left by its guards

    def __init__(self, port: Port, profile: Profile, trace: Trace) -> None:
        self._port = port
        self._profile = profile
        self._trace = trace
        self._box = StateBox()
        self._ever_up = False
        self._reset_told = False  # the generation has grown since the modem was up
        self.counters: Counter[str] = Counter()
        sockets = self._sockets = Registry(profile)
        self._urcs = Urcs(profile, trace, self.counters, sockets)
        self._modem = Modem(port, profile, trace, self.counters, self._urcs)
        self._want = self._modem.wake.set
        self._arbiter = Arbiter(self._modem, profile, trace, sockets)
        self._creator = Creator(self._modem, profile, trace, self._arbiter, sockets)
        self._questions = Questions(profile, self._arbiter, self._creator, sockets, lambda: self._box.now.address)
        self._lookup = Lookup(profile, self._arbiter, self._creator, self._questions, sockets, want=self._want)
        self._listeners = Listeners(profile, trace, self._creator, sockets, new_link=self._new_link, want=self._want)
        self._urcs.serve(self._modem, self._arbiter, self._listeners.accepted)
        self._room = _room(profile)
        self._bounds = Bounds(profile.number("datagram_size"), profile.number("datagram_most"), profile.number("datagram_queue"))
        self.limits = Limits(
            stream_links=profile.number("stream_links"),
            datagram_links=profile.number("datagram_links"),
            send_size=profile.number("send_size"),
            capabilities=frozenset(Capability(name) for name in profile.capabilities),
            datagram_size=profile.number("datagram_size"),
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
        self._listeners.end(Condition.LINK_CLOSED)
        for socket in self._sockets:
            socket.end(Condition.LINK_CLOSED)
        self._want()
        await trio.lowlevel.checkpoint()

    # --- the wire ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network.  A port that reopens is waited for; what the modem still holds then is closed by the bring-up."""
        task_status.started()
        try:
            while await self._lost_port():
                if not self._port.reopens:
                    raise NetworkError(Condition.PORT_LOST, self._port.name)
                try:
                    await self._port.reopen()
                except PortLost:
                    raise NetworkError(Condition.PORT_LOST, self._port.name) from None
                self._modem.start_over()
        finally:
            self._listeners.end(self._box.now.cause or Condition.ABORTED)

    async def _lost_port(self) -> bool:
        """Drive the modem until the port is lost (True)."""
        lost = False
        async with trio.open_nursery() as nursery:
            # The reader outlives a cancellation: leaving a mapped socket needs its answers.
            reading = trio.CancelScope(shield=True)

            def fail() -> None:
                nonlocal lost
                lost = True
                self._fail(Phase.FAILED, Condition.PORT_LOST)

            async def read() -> None:
                with reading:
                    try:
                        await self._modem.read()
                    except PortLost:
                        fail()
                        nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            try:
                await self._drive()
            except PortLost:
                fail()
            finally:
                if not lost:
                    with trio.move_on_after(self.shutdown_grace, shield=True):
                        await self._say_goodbye()
                reading.cancel()
        return lost

    async def _drive(self) -> None:
        while True:
            try:
                self._box.change(Phase.STARTING)
                self._modem.up = self._modem.echoed = False
                address = await bring_up(self._modem, self._profile, lambda: self._urcs.bearer)
                self._modem.up = True
                self._arbiter.start_over()
                await self._listeners.listen_again()
                # Our ATE0 is gone: a module that went mute came back from a reset.
                reset = self._modem.echoed and self._ever_up and not self._reset_told
                self._ever_up, self._reset_told = True, False
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
        """State first, then the links and whoever waits for a create, then everything else that was asked."""
        self._urcs.bearer = False  # bring-up asks; a modem whose bearer is up says 803
        self._questions.forget()
        reset = condition is Condition.MODULE_RESET
        self._reset_told = self._reset_told or reset
        self._box.change(phase, cause=condition, new_generation=reset)
        for socket in self._sockets:
            socket.end(condition)
        self._sockets.clear()  # bring-up closes whatever the modem still holds
        self._arbiter.jobs.fail(condition)

    async def _say_goodbye(self) -> None:
        """Leave the modem in command state, with nothing open."""
        try:
            if self._arbiter.mapped is not None and not await self._modem.escape(evidence=False):
                return
            for socket in sorted(self._sockets, key=lambda socket: socket.protocol != SERVER):
                if socket.asked:
                    await self._modem.command("close", protocol=socket.protocol, index=socket.index)
        except (ModemError, ModemLost, PortLost) as error:
            log.debug("module: not left in order", error=repr(error))

    # --- operations ---

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> WipLink:
        """See Network.  ``keepalive`` is not realisable on these modems and has no effect."""
        check_argument(self._profile, host, port)
        self._check_up()
        link = self._new_link(await self._chosen(partial(self._sockets.index, TCP)))
        work = self._creator.work(link, "create", host=host, port=port)
        await self._open(link, work, host, port)
        return link

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> WipDatagramLink:
        """See Network.  A socket of these modems is bound to one peer, or cannot send at all (Multi-Tech S000478 p.102)."""
        if peer is None or peers is not Peers.FIXED:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.NOT_SUPPORTED, f"a socket of this modem has one peer: {peers}")
        check_argument(self._profile, peer.host, peer.port)
        self._check_up()
        if not 0 <= local_port < 65536:
            raise NetworkError(Condition.BAD_ARGUMENT, f"local port {local_port}")
        index = await self._chosen(partial(self._sockets.index, UDP))
        local_port = self._sockets.port(UDP, local_port)
        link = WipDatagramLink(index, self._bounds, self._want, self._questions.endpoints, self._datagram_dropped)
        link.local_port = local_port
        work = self._creator.work(link, "create_datagram", local_port=local_port, host=peer.host, port=peer.port)
        await self._open(link, work, peer.host, peer.port)
        if (address := self._box.now.address) is not None:
            link.local = Endpoint(address, local_port)
        return link

    async def _open(self, link: WipLink | WipDatagramLink, work: Work, host: str, port: int) -> None:
        async def find_peer() -> None:
            if link.peer is None:
                await self._arbiter.jobs.ask(partial(self._questions.find_peer, link, port))

        link.peer = Endpoint(host, port) if dotted(host) else None
        await self._creator.open(link, self._profile.seconds("connect"), work, find_peer)

    async def listen(self, port: int, *, room: int) -> WipListener:
        """See Network.  Port 0: one of ours, because the modem would not tell which one it took."""
        if not 0 <= port < 65536 or not 1 <= room <= self.limits.stream_links:
            await trio.lowlevel.checkpoint()
            raise NetworkError(Condition.BAD_ARGUMENT, f"port {port}, room {room}")
        self._check_up()
        await self._chosen(partial(self._sockets.server, room))
        return await self._listeners.listen(port, room, self._box.now.address or "0.0.0.0")

    async def resolve(self, name: str) -> str:
        """See Network."""
        check_argument(self._profile, name, 1)
        self._check_up()
        return name if dotted(name) else await self._lookup.resolve(name)

    async def signal(self) -> int | None:
        """See Network."""
        if self._box.now.phase is not Phase.UP:
            await trio.lowlevel.checkpoint()
            return None
        return await self._questions.signal()

    async def name_servers(self) -> list[str]:
        """See Network."""
        self._check_up()
        return await self._questions.name_servers()

    # --- helpers ---

    async def _chosen(self, choose: Callable[[], T]) -> T:
        """What ``choose`` finds; where nothing is free, closes under way are waited for.  Raises NetworkError."""
        with trio.move_on_after(self._profile.seconds("index_wait")):
            while True:
                try:
                    return choose()
                except NetworkError:
                    closing = next((socket for socket in self._sockets if socket.condition is not None), None)
                    if closing is None:
                        raise
                await closing.freed.wait()
                self._check_up()
        raise NetworkError(Condition.NO_FREE_LINK, "the modem is slow to close")

    def _check_up(self) -> None:
        if self._box.now.phase is not Phase.UP:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, str(self._box.now.cause or "starting"))

    def _new_link(self, index: int) -> WipLink:
        return WipLink(index, self._room, self._want, self._questions.endpoints)

    def _datagram_dropped(self, socket: Socket, why: str) -> None:
        self.counters["datagrams-dropped"] += 1
        self._trace.note("datagram-dropped", f"{socket.protocol},{socket.index}: {why}")


def _room(profile: Profile) -> Room:
    """A link's buffer: what a visit may leave in it, and what the modem can still push until an escape works."""
    rate = profile.number("baud") / 10
    waits = ("guard", "escape_answer", "escape_answer", "guard", "fallback")
    leave = profile.number("leave_mark")
    return Room(profile.number("low_water"), leave, leave + int(rate * sum(profile.seconds(name) for name in waits)))
