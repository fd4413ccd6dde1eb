"""Having a socket made: the dialogue, the wait for its outcome, and nothing left behind where it is given up."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import trio

from bridge.dialects.wip.driver.arbiter import Arbiter
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import SERVER, Socket
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.addresses import dotted, numeric

Work = Callable[[], Awaitable[None]]  # a dialogue for the driver's task

_NAME = re.compile(r"[A-Za-z0-9._:-]+")


def check_argument(profile: Profile, host: str, port: int) -> None:
    """No argument of a host may ever become a second command, a broken string or another address on the module's wire."""
    if not _NAME.fullmatch(host) or len(host) > profile.number("host_length"):
        raise NetworkError(Condition.BAD_ARGUMENT, "a name this modem cannot carry")
    if numeric(host) and not dotted(host):
        raise NetworkError(Condition.BAD_ARGUMENT, f"not a dotted address: {host}")
    if not 0 < port < 65536:
        raise NetworkError(Condition.BAD_ARGUMENT, "port")


class Creator:
    """Creates sockets."""

    def __init__(self, modem: Modem, profile: Profile, trace: Trace, arbiter: Arbiter, sockets: Registry) -> None:
        self._modem = modem
        self._profile = profile
        self._trace = trace
        self._arbiter = arbiter
        self._sockets = sockets
        # Where a failure comes without an index, one create is pending at a time.
        self._turn = trio.Lock() if profile.number("bare_failure") else None

    async def open(
        self,
        socket: Socket,
        limit: float,
        work: Work,
        then: Work | None = None,
    ) -> None:
        """In the caller's task: take the index, have ``work`` done, wait for the outcome, do ``then``.

        Raises NetworkError, ``connect-timeout`` after ``limit`` seconds.  However it ends early, the arbiter closes what
        the modem may hold, and a late success is nobody's.
        """
        self._sockets.add(socket)
        begun = False
        try:
            with trio.move_on_after(limit) as timer:
                async with self._its_turn(socket):
                    await self._formers(socket)
                    if socket.failure is not None:
                        raise NetworkError(socket.failure, socket.detail)
                    begun = True
                    await self._arbiter.jobs.ask(work)
                    await socket.answered.wait()
                if socket.failure is not None:
                    raise NetworkError(socket.failure, socket.detail)
                if then is not None:
                    await then()
            if timer.cancelled_caught:
                if not begun:
                    raise NetworkError(Condition.NO_FREE_LINK, "this modem opens one link at a time")
                raise NetworkError(Condition.CONNECT_TIMEOUT, "no URC")
        except BaseException as error:
            self.abandon(socket)
            if isinstance(error, ModuleError):
                condition = self._profile.condition_of(error.code, "WIPCREATE")
                raise NetworkError(condition, f"create refused: {error.code}") from None
            raise

    def _its_turn(self, socket: Socket) -> AbstractAsyncContextManager[object]:
        """A server needs none: the OK to its command is the outcome."""
        return nullcontext() if self._turn is None or socket.protocol == SERVER else self._turn

    async def _formers(self, socket: Socket) -> None:
        """A create that was given up may still fail, and nobody could tell whose failure it is: its close comes first."""
        if self._turn is None or socket.protocol == SERVER:
            return
        for former in self._sockets:
            if former is not socket and former.asked and not former.ready and former.condition is not None:
                await former.freed.wait()

    def abandon(self, socket: Socket) -> None:
        """Nothing is left behind."""
        socket.end(Condition.ABORTED)
        if not socket.asked:
            self._sockets.free(socket)
        self._modem.wake.set()

    def work(self, socket: Socket, template: str, **arguments: object) -> Work:
        """The dialogue of a create, for the driver's task."""
        return partial(self._create, socket, template, arguments)

    async def _create(self, socket: Socket, template: str, arguments: dict[str, object]) -> None:
        """One retry where the modem holds something under this index that we do not know of."""
        socket.asked = True
        for last in (False, True):
            try:
                await self._modem.command(template, socket.was_created, index=socket.index, **arguments)
            except ModuleError as error:
                self._arbiter.check()  # an echo of the command says more than its refusal
                condition = self._profile.condition_of(error.code, "WIPCREATE")
                if condition in {Condition.MODULE_RESET, Condition.BEARER_LOST}:
                    raise ModuleLost(condition, f"create refused: {error.code}") from None
                if condition is not Condition.INDEX_IN_USE or last:
                    raise
                await self.quietly("close", protocol=socket.protocol, index=socket.index)
            else:
                self._arbiter.created()
                return

    async def quietly(self, template: str, **arguments: object) -> list[bytes]:
        """In the driver's task: a command whose refusal is an answer too."""
        try:
            return await self._modem.command(template, **arguments)
        except ModuleError as error:
            self._trace.note("refused", f"{template}: {error.code}")
            return []
