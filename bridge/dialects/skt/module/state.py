"""What the module remembers: its pool of ids, its modes, its station; and the tasks that work for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio

from bridge.dialects.skt.module.node import LOST, Node, Role
from bridge.dialects.skt.module.reply import Words
from bridge.model import HostSettings, Login, Phase
from bridge.network import Network, NetworkError
from bridge.ports import PortLost
from bridge.session import HostWriter
from bridge.tables import Profile
from bridge.trace import Trace

log = structlog.get_logger("bridge.skt.module")

CLOSE_LIMIT = 10.0  # seconds that a link may take to close after the host was told that it is


class Module:
    """The state of one module.  All but what belongs to its board is lost by `forget`."""

    def __init__(
        self,
        network: Network,
        profile: Profile,
        writer: HostWriter,
        trace: Trace,
        *,
        counters: Counter[str],
        settings: HostSettings,
    ) -> None:
        self.network = network
        self.profile = profile
        self.writer = writer
        self.trace = trace
        self.counters = counters
        self.settings = settings
        self.words = Words(profile)
        self.nodes: dict[int, Node] = {}  # in the order in which they were made
        self.auto = False  # AT+SKTRECVCFG
        self.through: Node | None = None  # the connection of the transparent mode
        self.through_entries = 0  # since the reset
        self.joined = self.joins_itself
        self.login: Login | None = None
        self.options: dict[str, int] = {}  # AT+SKTCFG
        self.reboot: Callable[[], None] = lambda: None
        self._nursery: trio.Nursery | None = None

    def quirk(self, name: str) -> bool:
        """Whether this weakness of the real module is played: only where the host asked for a faithful one."""
        return self.settings.quirks and self.profile.value[name].value is True

    def switch(self, name: str) -> bool:
        """A switch of the table."""
        return self.profile.value[name].value is True

    @property
    def joins_itself(self) -> bool:
        """Whether the station is there after a reset without a word of the host."""
        return self.settings.joined_at_start or self.switch("module_joined")

    @property
    def address(self) -> str:
        """The station's own address."""
        state = self.network.state
        return state.address or "0.0.0.0" if self.joined and state.phase is Phase.UP else "0.0.0.0"

    # -- tasks

    async def run(self, ready: Callable[[], None]) -> None:
        """Hold the tasks.  Ends by cancellation."""
        async with trio.open_nursery() as self._nursery:
            ready()
            await trio.sleep_forever()

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Work that no command waits for; what it raises costs a log line, never the module."""
        assert self._nursery is not None
        self._nursery.start_soon(self._guarded, work, *arguments)

    async def _guarded(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        try:
            await work(*arguments)
        except NetworkError as error:
            self.trace.note("network", str(error))
        except PortLost:
            pass  # the one who reads the port knows it as well
        except Exception:
            self.crashed("task")

    def crashed(self, where: str) -> None:
        """For a crash barrier, in its except clause: the module lives, and somebody gets to know."""
        self.counters["crashes"] += 1
        self.trace.note("crash", where)
        log.exception("unexpected exception", where=where)  # noqa: LOG004 - called from except clauses

    # -- the pool

    def free_id(self) -> int | None:
        """The lowest id that nobody has; None: the pool is full."""
        first = self.profile.number("module_first_id")
        return next((n for n in range(first, self.profile.number("module_pool")) if n not in self.nodes), None)

    def descriptor(self) -> int:
        """The lowest number that no socket has."""
        taken = {node.descriptor for node in self.nodes.values()}
        return next(n for n in range(len(taken) + 1) if n not in taken)

    def holds(self, node: Node) -> bool:
        """Whether its id still is its own."""
        return self.nodes.get(node.id) is node

    def seeds(self, server: Node) -> list[Node]:
        """The peers that came to a server and were not deleted."""
        return [node for node in self.nodes.values() if node.owner is server]

    def connections(self) -> list[Node]:
        """Every node that is open, or was and still has its id: servers with their seeds behind them."""
        listed = []
        for node in self.nodes.values():
            if node.role is not Role.SEED and node.opened:
                listed += [node, *self.seeds(node)]
        return listed

    def shed(self, node: Node) -> trio.Event:
        """End its connection; it keeps its id.  The event is set when the Network is done with it."""
        return self.close(node.lose())

    def close(self, closes: Sequence[Callable[[], Awaitable[None]]]) -> trio.Event:
        """Close what the Network gave us, behind the host's back.  The event is set when that is over."""
        closed = trio.Event()

        async def work() -> None:
            try:
                with trio.move_on_after(CLOSE_LIMIT):
                    for close in closes:
                        try:
                            await close()
                        except LOST as error:
                            log.debug("close failed", error=str(error))
            finally:
                closed.set()

        if closes:
            self.spawn(work)
        else:
            closed.set()
        return closed

    def drop(self, node: Node) -> None:
        """Its id is free, and so are those of its seeds."""
        for seed in self.seeds(node):
            self.nodes.pop(seed.id, None)
        if self.holds(node):
            self.nodes.pop(node.id)

    def forget(self) -> None:
        """What a reset forgets.  Nobody is told."""
        for node in list(self.nodes.values()):
            self.shed(node)
        self.nodes.clear()
        self.auto = False
        self.through = None
        self.through_entries = 0
        self.options.clear()
        self.joined = self.joins_itself
        self.login = None

    # -- the station

    async def join(self, login: Login | None) -> None:
        """Raises NetworkError."""
        await self.network.attach(login)
        self.joined, self.login = True, login
