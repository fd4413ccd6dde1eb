"""Name lookup on a modem that has none: a UDP socket to the name knows its peer's address, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bridge.dialects.wip.driver.arbiter import Arbiter
from bridge.dialects.wip.driver.creates import Creator
from bridge.dialects.wip.driver.questions import Questions
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import UDP, Socket
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Profile

DISCARD = 9  # RFC 863; no byte ever goes there


class LookupSocket(Socket):
    """The one socket that is kept for lookups."""

    protocol = UDP


class Lookup:
    """Looks names up, one at a time."""

    def __init__(
        self,
        profile: Profile,
        arbiter: Arbiter,
        creator: Creator,
        questions: Questions,
        sockets: Registry,
        *,
        want: Callable[[], None],
    ) -> None:
        self._profile = profile
        self._arbiter = arbiter
        self._creator = creator
        self._questions = questions
        self._sockets = sockets
        self._want = want

    async def resolve(self, name: str) -> str:
        """The address.  Raises NetworkError.  The socket is closed by the arbiter, whoever still wants the answer."""
        socket = LookupSocket(self._profile.number("resolve_index"), self._want)
        socket.local_port = self._profile.number("resolve_port")
        while (former := self._sockets.get(socket.key)) is not None:
            if former.condition is None:
                raise NetworkError(Condition.NO_FREE_LINK, "another lookup is under way")
            await former.freed.wait()
        work = self._creator.work(socket, "create_datagram", local_port=socket.local_port, host=name, port=DISCARD)

        async def ask() -> None:
            await self._arbiter.jobs.ask(partial(self._questions.find_peer, socket, DISCARD))

        try:
            await self._creator.open(socket, self._profile.seconds("lookup"), work, ask)
        except NetworkError as error:
            if error.condition is Condition.CONNECT_TIMEOUT:
                raise NetworkError(Condition.NAME_NOT_FOUND, f"{name}: {error.detail}") from None
            raise
        self._creator.abandon(socket)
        if socket.peer is None:
            raise NetworkError(Condition.NAME_NOT_FOUND, name)
        return socket.peer.host
