"""The life of a driver on its port: one task drives the module, one reads, and a port that is lost is opened again."""

from __future__ import annotations

from abc import abstractmethod

import trio

from bridge.model import Condition, Phase, State
from bridge.network import Network, NetworkError, StateBox
from bridge.ports import Port, PortLost


class DrivenNetwork(Network):
    """A Network whose module hangs on ``port``.  How the module is driven is the dialect's."""

    shutdown_grace: float  # seconds that leaving the module in order may take

    def __init__(self, port: Port) -> None:
        self._port = port
        self._box = StateBox()

    # --- state ---

    @property
    def state(self) -> State:
        """See Network."""
        return self._box.now

    async def wait_state(self, after: int) -> State:
        """See Network."""
        return await self._box.wait(after)

    def _check_up(self) -> None:
        if self._box.now.phase is not Phase.UP:
            raise NetworkError(Condition.BEARER_UNAVAILABLE, str(self._box.now.cause or "starting"))

    # --- the dialect's ---

    @abstractmethod
    async def _read(self) -> None:
        """The reader task: what the module says goes to the driver.  Raises PortLost."""

    @abstractmethod
    async def _drive(self, line: trio.Nursery) -> None:
        """The driver's task: bring the module up and serve, again and again.  Raises PortLost.

        ``line``: for tasks beside it, for as long as there is a line.  Each call is another line: nothing that was said
        before counts.
        """

    @abstractmethod
    def _fail(self, phase: Phase, condition: Condition) -> None:
        """The module is lost: state first, then the links, then everything else that was asked."""

    @abstractmethod
    async def _leave(self) -> None:
        """Leave the module in command state, with nothing open, as far as it goes."""

    @abstractmethod
    def _end_listeners(self, condition: Condition) -> None:
        """Every server ends, for good."""

    # --- the wire ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network.  A port that reopens is waited for; what the module still holds then is closed by the bring-up."""
        task_status.started()
        try:
            while await self._lost_port():
                if not self._port.reopens:
                    raise NetworkError(Condition.PORT_LOST, self._port.name)
                try:
                    await self._port.reopen()
                except PortLost:
                    raise NetworkError(Condition.PORT_LOST, self._port.name) from None
        finally:
            self._end_listeners(self._box.now.cause or Condition.ABORTED)

    async def _lost_port(self) -> bool:
        """Drive the module until the port is lost (True)."""
        lost = False
        async with trio.open_nursery() as nursery:
            # The reader outlives a cancellation: leaving the module in order needs its answers.
            reading = trio.CancelScope(shield=True)

            def fail() -> None:
                nonlocal lost
                if not lost:  # reader and driver may both meet it
                    lost = True
                    self._fail(Phase.FAILED, Condition.PORT_LOST)

            async def read() -> None:
                with reading:
                    try:
                        await self._read()
                    except PortLost:
                        fail()
                        nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            try:
                await self._drive(nursery)
            except PortLost:
                fail()
            finally:
                if not lost:
                    with trio.move_on_after(self.shutdown_grace, shield=True):
                        await self._leave()
                reading.cancel()
                nursery.cancel_scope.cancel()
        return lost
