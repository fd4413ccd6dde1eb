"""What some modems do not tell: that the bearer is gone, and which link an error without an index is about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bridge.dialects.wip.driver.arbiter import UNREAD, Arbiter
from bridge.dialects.wip.driver.bearer import ADDRESS
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import TCP, Socket
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.patterns import Pattern

_CANNOT = {Condition.NOT_SUPPORTED, Condition.BAD_ARGUMENT}  # refusals that say nothing about the socket


class Who:
    """Finds the link that an error without an index is about, in the driver's task."""

    def __init__(self, modem: Modem, profile: Profile, trace: Trace, sockets: Registry) -> None:
        self._modem = modem
        self._profile = profile
        self._trace = trace
        self._sockets = sockets

    async def is_gone(self) -> None:
        """A socket that is not active any more refuses every question (Multi-Tech S000478 p.108).

        Where all of several refuse, the question is what is refused: nobody is condemned.
        """
        asked = [socket for socket in self._sockets if socket.live and socket.protocol == TCP]
        refused = [socket for socket in asked if await self._refuses(socket)]
        if len(refused) == len(asked) > 1 or not refused:
            self._trace.note("bare", f"cannot tell: {len(refused)} of {len(asked)} links refuse to be asked")
            return
        for socket in refused:
            socket.end(Condition.LINK_RESET)

    async def _refuses(self, socket: Socket) -> bool:
        try:
            await self._modem.command("option", protocol=socket.protocol, index=socket.index, option=UNREAD)
        except ModuleError as error:
            return self._profile.condition_of(error.code, "WIPOPT") not in _CANNOT
        return False


class Watch:
    """Asks for the bearer's address, where no URC tells that it is gone."""

    def __init__(self, modem: Modem, profile: Profile, arbiter: Arbiter, address: Callable[[], str | None]) -> None:
        self._modem = modem
        self._profile = profile
        self._arbiter = arbiter
        self._address = address  # the bearer's, as far as is known; None while it is not up

    def look(self) -> None:
        """Have it asked whether the address is what it was.  A mapped socket is not disturbed."""
        if self._arbiter.mapped is None:
            self.doubt()

    def doubt(self) -> None:
        """The same, as soon as the wire is in command state: something was said that may be about the bearer."""
        if not self._profile.number("bearer_urc") and (address := self._address()) is not None:
            self._arbiter.jobs.post(partial(self._ask, address))

    async def _ask(self, address: str) -> None:
        """Raises ModuleLost where the bearer is not what it was: its sockets are dead."""
        pattern = Pattern(self._profile.words("address"))
        try:
            answers = await self._modem.command("bearer_option", option=ADDRESS)
        except ModuleError as error:
            raise ModuleLost(Condition.BEARER_LOST, f"it has no address any more: {error.code}") from None
        found = [fields["value"] for line in answers if (fields := pattern.match(line)) is not None]
        if found and found[0] != address:
            raise ModuleLost(Condition.BEARER_LOST, "it has another address")
