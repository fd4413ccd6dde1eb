"""The bearer: a CDMA module's PPP call, a GSM module's GPRS context.

They differ in what the host hears of it (the table says which):

* A CDMA module answers OK at once and tells by ``+WIPBR: 6,1`` and ``+WIPBR: 6,0`` (Multi-Tech S000478 p.101-102).
* A GSM module's OK *is* the bearer (POS terminal drivers wait 60 s for it), and no line ever tells that it went:
  the sockets tell it each by themselves.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import trio

from bridge.model import Condition, Login, Phase, State
from bridge.network import NetworkError

if TYPE_CHECKING:
    from bridge.dialects.wip.module.state import Module


class Bearer(StrEnum):
    """Where the call is."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"


class ModuleCall:
    """The one bearer that carries, and what the host set for it."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._tells = module.profile.value["module_bearer_urc"].value is True
        self._phase = Bearer.DOWN
        self.opened: set[int] = set()  # bearers that the host opened, where its module wants that
        self.user = ""
        self.password = ""
        self.options: dict[int, str] = {}  # others that the host wrote; a Network has no such switches
        self._scope = trio.CancelScope()
        self._generation = 0

    @property
    def phase(self) -> Bearer:
        """Where the call is."""
        return self._phase

    @phase.setter
    def phase(self, phase: Bearer) -> None:
        ended = self.up and phase is Bearer.DOWN
        self._phase = phase
        self._module.carrier.refresh(ended=ended)

    @property
    def up(self) -> bool:
        """Whether sockets can be made."""
        return self._phase is Bearer.UP

    def forget(self) -> None:
        """A restart: what the host set is gone."""
        self.user = self.password = ""
        self.options.clear()
        self.opened.clear()

    # -- up

    def start(self) -> None:
        """Begin; +WIPBR tells."""
        self.phase = Bearer.STARTING
        scope = self._scope = trio.CancelScope()

        async def work() -> None:
            with scope:
                # No waiting between the end of this and the URC: a stop in between would be told first and then contradicted.
                failed = await self._begin()
                self._module.urc("+WIPBR: 6,1" if failed is None else "+WIPBR: 6,0")

        self._module.spawn(work)

    async def connect(self) -> Condition | None:
        """Bring it up and return, with why that failed.  ABORTED: it was ended meanwhile."""
        self.phase = Bearer.STARTING
        try:
            with trio.CancelScope() as self._scope:
                return await self._begin()
            return Condition.ABORTED
        finally:
            if self.phase is Bearer.STARTING:
                self.phase = Bearer.DOWN

    async def _begin(self) -> Condition | None:
        await trio.sleep(self._module.profile.seconds("module_bearer_start"))
        failed = await self._attach()
        self.phase = Bearer.UP if failed is None else Bearer.DOWN
        self._generation = self._module.network.state.generation
        return failed

    async def _attach(self) -> Condition | None:
        login = Login(self.user, self.password) if self.user.strip() else None
        with trio.move_on_after(self._module.profile.seconds("module_bearer_limit")):
            try:
                await self._module.network.attach(login)
                return None
            except NetworkError as error:
                self._module.trace.note("bearer", str(error))
                return error.condition
        return Condition.CONNECT_TIMEOUT

    # -- down

    def stop(self) -> None:
        """The host ends the call: every connection dies with it."""
        self.drop()
        self._tell_down()
        for socket in self._module.sockets.values():
            if socket.ended is None:
                socket.lose(Condition.BEARER_LOST)
                socket.end_told = socket.end_told or not self._tells  # a host that asked for it waits for its OK alone
                self._module.tell_end(socket)
                self._module.spawn(partial(socket.finish, 0.0))
        for server in self._module.servers.values():
            if server.ended is None:
                server.lose(Condition.BEARER_LOST)
                if self._tells:
                    self._module.tell_server_end(server)
                self._module.spawn(server.finish)

    def drop(self) -> None:
        """End it without a word."""
        if self.phase is not Bearer.DOWN:
            self._scope.cancel()
            self.phase = Bearer.DOWN
            self._module.spawn(self._module.network.detach)

    def noticed(self, state: State) -> None:
        """The Network changed; the call that it carried may be gone."""
        lost = state.phase is not Phase.UP or state.generation != self._generation
        if self.up and lost:
            self.phase = Bearer.DOWN
            self._module.trace.note("bearer", f"lost: {state.cause}")
            self._tell_down()

    def _tell_down(self) -> None:
        if self._tells:
            self._module.urc("+WIPBR: 6,0")
