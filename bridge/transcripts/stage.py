"""A bridge between the far ends of its lines: what a transcript is played against, and recorded from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import trio

from bridge.network import Network
from bridge.ports import Port, PortLost
from bridge.ports.memory import MemoryPort, line
from bridge.session import Upstream, run_session
from bridge.trace import Trace
from bridge.transcripts.driver_lane import NetDriver
from bridge.transcripts.net_lane import ScriptedNetwork

LANES = ("host", "module", "net")


@dataclass(frozen=True, slots=True)
class Makers:
    """How the two sides are made; tests put their own here."""

    upstream: Callable[[Port, Network, Trace], Upstream] | None = None
    downstream: Callable[[Port, Trace], Network] | None = None


class Stage:
    """The lanes' far ends, what was heard on them and nobody took yet, and the bridge between them."""

    def __init__(self, makers: Makers) -> None:
        self.heard: dict[str, bytearray] = {lane: bytearray() for lane in LANES}
        self.died = ""  # why the bridge ended; "": it lives
        self._makers = makers
        self._far: dict[str, MemoryPort] = {}
        self._net: ScriptedNetwork | NetDriver | None = None
        self._stirred = trio.Event()

    async def run(self) -> None:
        """Run the bridge; what ends it is in ``died``, and only cancellation leaves."""
        trace = Trace()
        try:
            async with trio.open_nursery() as nursery:
                network: Network
                if self._makers.downstream is not None:
                    network = self._makers.downstream(self._line("module", nursery), trace)
                else:
                    network = self._net = ScriptedNetwork(self._tell)
                if self._makers.upstream is not None:
                    await run_session(self._makers.upstream(self._line("host", nursery), network, trace), network)
                else:
                    self._net = NetDriver(network, self._tell)
                    await self._net.run()
                self.died = "it returned"
        except trio.Cancelled:
            raise
        except Exception as error:
            self.died = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
        self._stir()

    async def say(self, lane: str, data: bytes) -> None:
        """Bytes, or a line of the net lane.  Raises ValueError, LookupError: that cannot be said on the net lane now."""
        if lane != "net":
            with suppress(PortLost):  # the bridge ended; whoever listens finds that out
                await self._far[lane].send(data)
            return
        if self._net is None:
            raise LookupError("the net lane needs one side to be left out")
        self._net.say(data.removesuffix(b"\n"))

    async def stirred(self) -> None:
        """Wait until more is heard, or the bridge ends."""
        await self._stirred.wait()

    def _line(self, lane: str, nursery: trio.Nursery) -> Port:
        ours, theirs = line(lane)
        self._far[lane] = theirs
        nursery.start_soon(self._hear, lane, theirs)
        return ours

    async def _hear(self, lane: str, port: MemoryPort) -> None:
        with suppress(PortLost):
            while True:
                self.heard[lane] += await port.receive()
                self._stir()

    def _tell(self, text: bytes) -> None:
        self.heard["net"] += text + b"\n"
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside nested groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
