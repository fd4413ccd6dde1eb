"""What the module remembers, and when it may speak unasked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from typing import TypeVar

import structlog
import trio

from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_server import ModuleServer
from bridge.dialects.wip.module_socket import ModuleSocket
from bridge.dialects.wip.module_writer import ModuleWriter, Render
from bridge.model import Condition, Login, Phase
from bridge.network import Network, NetworkError
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip.module")

Answer = TypeVar("Answer")

MOST_SOCKETS = 6  # WIPCFG option
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
        self.sockets: dict[tuple[int, int], ModuleSocket] = {}  # by protocol and index
        self.servers: dict[int, ModuleServer] = {}
        self.epoch = 0  # grows when every socket is taken away at once: what was under way then comes too late
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

    async def asked(self, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """What the Network says of itself; None where it does not know, or not soon enough for a host."""
        with trio.move_on_after(self.profile.seconds("module_ask")):
            try:
                return await question()
            except NetworkError as error:
                self.trace.note("network", str(error))
        return None

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

    def full(self) -> bool:
        """Whether no socket of any kind can be added (WIPCFG option 6)."""
        return len(self.sockets) + len(self.servers) >= self.stack_options[MOST_SOCKETS]

    def reserved(self, index: int) -> bool:
        """Whether a server's range has this client index: its own, or the one a spawned socket still keeps."""
        spawned = (socket.server for socket in self.sockets.values())
        return any(server is not None and index in server.indexes for server in (*self.servers.values(), *spawned))

    def holds(self, socket: ModuleSocket | ModuleServer) -> bool:
        """Whether it still is somebody's: not closed, not forgotten."""
        return socket is (self.servers.get(socket.index) if isinstance(socket, ModuleServer) else self.sockets.get(socket.name))

    def carry(self, socket: ModuleSocket, delay: float = 0.0) -> None:
        """Connect, where it is not yet, and carry; URCs will tell."""

        async def work() -> None:
            await trio.sleep(delay)
            await socket.run(ready=self._ready, arrived=self.arrived, over=self._over)

        self.spawn(work)

    def _ready(self, socket: ModuleSocket) -> None:
        if self.holds(socket):
            self.urc(f"+WIPREADY: {socket.protocol},{socket.index}")

    def arrived(self, socket: ModuleSocket) -> None:
        """Edge-triggered: once, then silent until the socket was mapped and read."""
        if socket.mapped or socket.announced or not self.holds(socket):
            return
        socket.announced = True
        self.urc(lambda: socket.pending() if self.holds(socket) else None)

    def _over(self, socket: ModuleSocket) -> None:
        if not socket.mapped:  # a mapped one's bytes come first: the visit tells
            self.tell_end(socket)

    def tell_end(self, socket: ModuleSocket) -> None:
        """+WIPPEERCLOSE or +WIPERROR, once, while the socket still is somebody's."""
        if socket.ended is None or socket.end_told or not self.holds(socket):
            return
        socket.end_told = True
        name = f"{socket.protocol},{socket.index}"
        self.trace.note("socket-ended", f"{name}: {socket.ended}")
        if socket.in_order:
            text = f"+WIPPEERCLOSE: {name}"
        else:
            during = "WIPCREATE" if socket.link is None else ""
            text = f"+WIPERROR: {name},{self.number_of(socket.ended, during)}"
        self.urc(lambda: text if self.holds(socket) else None)

    def tell_server_end(self, server: ModuleServer) -> None:
        """+WIPERROR of a server that cannot listen any more."""
        if server.ended is not None:
            text = f"+WIPERROR: {server.protocol},{server.index},{self.number_of(server.ended)}"
            self.urc(lambda: text if self.holds(server) else None)

    def release(self, socket: ModuleSocket | ModuleServer, flush: float = 0.0) -> trio.Event:
        """Free the index now; the connection is closed behind, and the event tells when."""
        closed = trio.Event()
        if isinstance(socket, ModuleServer):
            self.servers.pop(socket.index, None)
            finish = socket.finish
        else:
            self.sockets.pop(socket.name, None)
            finish = partial(socket.finish, flush)

        async def work() -> None:
            try:
                await finish()
            finally:
                closed.set()

        self.spawn(work)
        return closed

    def _release_all(self) -> None:
        self.epoch += 1
        for server in list(self.servers.values()):
            self.release(server)
        for socket in list(self.sockets.values()):
            self.release(socket)

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
        for server in self.servers.values():
            if server.ended is None:
                server.lose(Condition.BEARER_LOST)
                self.tell_server_end(server)
                self.spawn(server.finish)

    def hang_up(self) -> None:
        """DTR is off under ``&D2``: every socket is closed, the call ends."""
        self._release_all()
        self.flush_urcs()
        if self.bearer is not Bearer.DOWN:
            self.stop_bearer()

    def stop_stack(self) -> None:
        """Tear everything down without a word."""
        if self.bearer is not Bearer.DOWN:
            self._bearer_scope.cancel()
            self.bearer = Bearer.DOWN
            self.spawn(self.network.detach)
        self._release_all()
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
