"""What the module remembers, and when it may speak unasked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog
import trio

from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.call import Bearer, ModuleCall
from bridge.dialects.wip.module.carrier import Carrier
from bridge.dialects.wip.module.port import HostLine
from bridge.dialects.wip.module.server import ModuleServer
from bridge.dialects.wip.module.socket import ModuleSocket
from bridge.dialects.wip.module.wind import Indications
from bridge.dialects.wip.module.writer import ModuleWriter, Render
from bridge.model import Condition, Phase
from bridge.network import Network, NetworkError
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.wip.module")

Answer = TypeVar("Answer")

MOST_SOCKETS = 6  # WIPCFG option
URC_ROOM = 64  # unsolicited lines kept while a socket is mapped; more are dropped and counted


class Module:
    """The state of one module.  Everything but its stored settings is lost by `forget`."""

    def __init__(
        self, network: Network, profile: Profile, *, line: HostLine, writer: ModuleWriter, trace: Trace, counters: Counter[str]
    ) -> None:
        self.network = network
        self.profile = profile
        self.line = line
        self.writer = writer
        self.trace = trace
        self.counters = counters
        self.stored = reply.defaults(profile.words("module_defaults"))
        if line.baud:
            self.stored["IPR"] = (line.baud,)
        self.settings = dict(self.stored)
        self.stored_options = reply.values(profile.words("module_wipcfg_options"))  # AT+WIPCFG=4
        self.stack_options = dict(self.stored_options)
        self.application = profile.value["module_application"].value is True  # +WOPEN; kept in flash
        self.stack = False
        self.carrier = Carrier(self)
        self.call = ModuleCall(self)
        self.indications = Indications(self)
        self.sockets: dict[tuple[int, int], ModuleSocket] = {}  # by protocol and index
        self.servers: dict[int, ModuleServer] = {}
        self.bare_errors = profile.value["module_bare_errors"].value is True
        self.epoch = 0  # grows when every socket is taken away at once: what was under way then comes too late
        self.pinging: trio.CancelScope | None = None  # the series of echo requests that is under way
        self.mapped: ModuleSocket | None = None
        self.quirks = False  # the real module's weaknesses are shown, too
        self.reboot: Callable[[], None] = lambda: None
        self._urcs: deque[Render] = deque()
        self._nursery: trio.Nursery | None = None

    # -- tasks

    async def run(self, ready: Callable[[], None]) -> None:
        """Watch the network and hold the sockets' tasks."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.writer.run)
            self._nursery.start_soon(self.carrier.run)
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
        self.call.forget()
        self.settings = dict(self.stored)
        self.carrier.refresh()
        self.stack_options = dict(self.stored_options)

    async def asked(self, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """What the Network says of itself; None where it does not know, or not soon enough for a host."""
        with trio.move_on_after(self.profile.seconds("module_ask")):
            try:
                return await question()
            except NetworkError as error:
                self.trace.note("network", str(error))
        return None

    def starting(self, quirk: str) -> bool:
        """Whether a simulated module is not ready yet for what the table's time is about."""
        return self.quirks and self.indications.since_boot() < self.profile.seconds(quirk)

    def drop(self, counter: str, detail: str) -> None:
        """Something of the host or of a peer is lost: counted, and noted with why."""
        self.counters[counter] += 1
        self.trace.note(counter, detail)

    # -- unsolicited lines

    def urc(self, text: Callable[[], str | None] | str) -> None:
        """Print a line now, or keep it while a socket is mapped.  A callable is asked when the line is written."""

        def render() -> bytes | None:
            said = text if isinstance(text, str) else text()
            if said is not None and self.quirks and self.profile.value["quirk_comma_space"].value is True:
                said = said.replace(",", ", ")
            return None if said is None else reply.line(said)

        self._unasked(render)

    def _unasked(self, render: Render) -> None:
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
            self.urc(lambda: f"+WIPPEERCLOSE: {name}" if self.holds(socket) else None)
        else:
            self._tell_error(socket, self.number_of(socket.ended, "WIPCREATE" if socket.link is None else ""))

    def tell_server_end(self, server: ModuleServer) -> None:
        """A server cannot listen any more."""
        if server.ended is not None:
            self._tell_error(server, self.number_of(server.ended))

    def _tell_error(self, socket: ModuleSocket | ModuleServer, number: int) -> None:
        """``+WIPERROR`` names the socket; GSM modules print a bare ``+CME ERROR``, or ERROR where numbers are off."""
        if not self.bare_errors:
            text = f"+WIPERROR: {socket.protocol},{socket.index},{number}"
            self.urc(lambda: text if self.holds(socket) else None)
            return
        self._unasked(lambda: reply.refusal(number, self.settings) if self.holds(socket) else None)

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

    # -- the end of everything

    def hang_up(self) -> None:
        """DTR is off under ``&D2``: every socket is closed, the call ends."""
        self._release_all()
        self.flush_urcs()
        if self.call.phase is not Bearer.DOWN:
            self.call.stop()

    def stop_stack(self) -> None:
        """Tear everything down without a word."""
        if self.pinging is not None:
            self.pinging.cancel()
            self.pinging = None
        self.call.drop()
        self._release_all()
        self.stack = False

    async def _watch(self) -> None:
        state = self.network.state
        while True:
            before = state
            state = await self.network.wait_state(state.seq)
            self.call.noticed(state)
            if (state.phase is Phase.UP) is not (before.phase is Phase.UP):
                self.indications.service(available=state.phase is Phase.UP)
