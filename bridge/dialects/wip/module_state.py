"""What the module remembers, and when it may speak unasked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial

import structlog
import trio

from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_socket import ModuleDatagramSocket, ModuleSocket
from bridge.dialects.wip.module_writer import ModuleWriter, Render
from bridge.model import Condition, Login, Phase
from bridge.network import Network, NetworkError
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip.module")

URC_ROOM = 64  # unsolicited lines kept while a socket is mapped; more are dropped and counted


class Bearer(StrEnum):
    """The PPP call."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"


class Module:
    """The state of one module.  Everything but its stored settings is lost by `forget`."""

    def __init__(self, network: Network, profile: Profile, writer: ModuleWriter, trace: Trace, counters: Counter[str]) -> None:
        self.network = network
        self.profile = profile
        self.writer = writer
        self.trace = trace
        self.counters = counters
        self.stored = reply.defaults(profile.words("module_defaults"))
        self.settings = dict(self.stored)
        self.stack_options = {n: o.default for n, o in reply.options(profile.words("module_wipcfg_options")).items()}
        self.stack = False
        self.bearer = Bearer.DOWN
        self.user = ""
        self.password = ""
        self.sockets: dict[int, ModuleSocket] = {}
        self.datagrams: dict[int, ModuleDatagramSocket] = {}
        self.mapped: ModuleSocket | None = None
        self.reboot: Callable[[], None] = lambda: None
        self._urcs: deque[Render] = deque()
        self._bearer_scope = trio.CancelScope()
        self._generation = 0
        self._nursery: trio.Nursery | None = None

    # -- tasks

    async def run(self, ready: Callable[[], None]) -> None:
        """Watch the network and hold the sockets' tasks."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.writer.run)
            ready()
            await self._watch()

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the commands; what it raises costs a log line, never the module."""

        async def guarded() -> None:
            try:
                await work()
            except NetworkError as error:
                self.trace.note("network", str(error))
            except Exception:
                self.counters["crashes"] += 1
                log.exception("task of the module")

        assert self._nursery is not None
        self._nursery.start_soon(guarded)

    def forget(self) -> None:
        """Lose everything: sockets, bearer, stack, and settings that were not stored."""
        self.stop_stack()
        self._urcs.clear()
        self.user = self.password = ""
        self.settings = dict(self.stored)
        self.stack_options = {n: o.default for n, o in reply.options(self.profile.words("module_wipcfg_options")).items()}

    # -- unsolicited lines

    def urc(self, text: Callable[[], str | None] | str) -> None:
        """Print a line now, or keep it while a socket is mapped.  A callable is asked when the line is written."""

        def render() -> bytes | None:
            said = text if isinstance(text, str) else text()
            return None if said is None else reply.line(said)

        if self.mapped is None:
            self.writer.post_render(render)
        elif len(self._urcs) < URC_ROOM:
            self._urcs.append(render)
        else:
            self.counters["urc-dropped"] += 1
            self.trace.note("urc-dropped", "too many while mapped")

    def flush_urcs(self) -> None:
        """Back in AT mode: what was kept comes first."""
        while self._urcs:
            self.writer.post_render(self._urcs.popleft())

    # -- sockets

    def number_of(self, condition: Condition, during: str = "") -> int:
        """The module's number for a condition."""
        return int(self.profile.refusal_of(condition, during))

    def connect(self, socket: ModuleSocket) -> None:
        """Start connecting; a URC will tell."""

        async def work() -> None:
            await trio.sleep(self.profile.seconds("module_create"))
            await socket.run(
                self.network,
                limit=self.profile.seconds("module_connect_limit"),
                ready=self._ready,
                arrived=self.arrived,
                over=self._over,
            )

        self.spawn(work)

    def _holds(self, socket: ModuleSocket) -> bool:
        return self.sockets.get(socket.index) is socket

    def _ready(self, socket: ModuleSocket) -> None:
        if self._holds(socket):
            self.urc(f"+WIPREADY: {socket.protocol},{socket.index}")

    def arrived(self, socket: ModuleSocket) -> None:
        """Edge-triggered: once, then silent until the socket was mapped and read."""
        if socket.mapped or socket.announced or not self._holds(socket):
            return
        socket.announced = True

        def render() -> str | None:
            if not self._holds(socket) or not socket.received:
                return None
            return f"+WIPDATA: {socket.protocol},{socket.index},{len(socket.received)}"

        self.urc(render)

    def _over(self, socket: ModuleSocket) -> None:
        if not socket.mapped:  # a mapped one's bytes come first: the visit tells
            self.tell_end(socket)

    def tell_end(self, socket: ModuleSocket) -> None:
        """+WIPPEERCLOSE or +WIPERROR, once, while the socket still is somebody's."""
        if socket.ended is None or socket.end_told or not self._holds(socket):
            return
        socket.end_told = True
        name = f"{socket.protocol},{socket.index}"
        if socket.in_order:
            text = f"+WIPPEERCLOSE: {name}"
        else:
            during = "WIPCREATE" if socket.link is None else ""
            text = f"+WIPERROR: {name},{self.number_of(socket.ended, during)}"
        self.urc(lambda: text if self._holds(socket) else None)

    def release(self, socket: ModuleSocket, flush: float) -> None:
        """Free the index now; the connection is closed behind."""
        self.sockets.pop(socket.index, None)
        self.spawn(partial(socket.finish, flush))

    # -- bearer

    def start_bearer(self) -> None:
        """Begin the call; +WIPBR tells."""
        self.bearer = Bearer.STARTING
        self._bearer_scope = scope = trio.CancelScope()

        async def work() -> None:
            with scope:
                await trio.sleep(self.profile.seconds("module_bearer_start"))
                up = await self._attach()
                # No waiting between here and the URC: a stop in between would be told first and then contradicted.
                self.bearer = Bearer.UP if up else Bearer.DOWN
                self._generation = self.network.state.generation
                self.urc("+WIPBR: 6,1" if up else "+WIPBR: 6,0")

        self.spawn(work)

    async def _attach(self) -> bool:
        login = Login(self.user, self.password) if self.user.strip() else None
        with trio.move_on_after(self.profile.seconds("module_bearer_limit")):
            try:
                await self.network.attach(login)
                return True
            except NetworkError as error:
                self.trace.note("bearer", str(error))
        return False

    def stop_bearer(self) -> None:
        """End the call: every connection dies with it."""
        self._bearer_scope.cancel()
        self.bearer = Bearer.DOWN
        self.spawn(self.network.detach)
        self.urc("+WIPBR: 6,0")
        for socket in self.sockets.values():
            if socket.ended is None:
                socket.lose(Condition.BEARER_LOST)
                self.tell_end(socket)
                self.spawn(partial(socket.finish, 0.0))

    def stop_stack(self) -> None:
        """Tear everything down without a word."""
        if self.bearer is not Bearer.DOWN:
            self._bearer_scope.cancel()
            self.bearer = Bearer.DOWN
            self.spawn(self.network.detach)
        self.datagrams.clear()
        for socket in list(self.sockets.values()):
            self.release(socket, 0.0)
        self.stack = False

    async def _watch(self) -> None:
        state = self.network.state
        while True:
            state = await self.network.wait_state(state.seq)
            lost = state.phase is not Phase.UP or state.generation != self._generation
            if self.bearer is Bearer.UP and lost:
                self.bearer = Bearer.DOWN
                self.trace.note("bearer", f"lost: {state.cause}")
                self.urc("+WIPBR: 6,0")
