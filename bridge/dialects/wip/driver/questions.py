"""Questions that the modem answers at once: endpoints of a socket, signal, name servers.

Asking costs the mapped socket its visit, so what can be remembered is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from bridge.dialects.wip.driver import family
from bridge.dialects.wip.driver.arbiter import Arbiter
from bridge.dialects.wip.driver.creates import Creator
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import Socket
from bridge.model import Endpoint, Identity
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.wire.addresses import dotted
from bridge.wire.patterns import Pattern

LOCAL_PORT, PEER_PORT, PEER_ADDRESS = 0, 1, 2  # numbers of WIPOPT's options
NAME_SERVERS = (17, 18)  # numbers of WIPBR's options
_SIGNAL_FLOOR, _SIGNAL_STEP, _SIGNAL_MOST = -113, 2, 31  # dBm of +CSQ: 0, per step, its last step (3GPP TS 27.007, 8.5)


class Questions:
    """Asks them, from the caller's task."""

    def __init__(
        self,
        modem: Modem,
        profile: Profile,
        arbiter: Arbiter,
        creator: Creator,
        sockets: Registry,
        *,
        address: Callable[[], str | None],
    ) -> None:
        self._modem = modem
        self._profile = profile
        self._arbiter = arbiter
        self._creator = creator
        self._sockets = sockets
        self._address = address
        self._signal: int | None = None
        self._signal_at = float("-inf")
        self._name_servers: list[str] | None = None
        self._identity: Identity | None = None

    def forget(self) -> None:
        """The bearer is gone: what was known of it is of no use."""
        self._name_servers = None
        self._identity = None
        self._signal, self._signal_at = None, float("-inf")

    async def endpoints(self, socket: Socket) -> None:
        """Fill in what is not known of a socket's ends.  Raises NetworkError."""
        if socket.local is None or socket.peer is None:
            await self._arbiter.jobs.ask(partial(self._ask_endpoints, socket))

    async def _ask_endpoints(self, socket: Socket) -> None:
        if not socket.live or not self._sockets.holds(socket):
            return
        if socket.local is None:
            port = await self._option(socket, LOCAL_PORT)
            address = self._address()
            if port.isdigit() and address is not None:
                socket.local = Endpoint(address, int(port))
        if socket.peer is None:
            port = await self._option(socket, PEER_PORT)
            if port.isdigit():
                await self.find_peer(socket, int(port))

    async def find_peer(self, socket: Socket, port: int) -> None:
        """In the driver's task: the address of a peer that was named, whose port is known."""
        address = await self._option(socket, PEER_ADDRESS)
        if dotted(address):
            socket.peer = Endpoint(address, port)

    async def _option(self, socket: Socket, option: int) -> str:
        pattern = Pattern(self._profile.words("option"))
        for line in await self._creator.quietly("option", protocol=socket.protocol, index=socket.index, option=option):
            if (fields := pattern.match(line)) is not None and fields["option"] == option:
                return str(fields["value"])
        return ""

    async def signal(self) -> int | None:
        """See Network.  While a socket is mapped, what was last heard: nobody's payload waits for this."""
        await trio.lowlevel.checkpoint()
        old = trio.current_time() - self._signal_at >= self._profile.seconds("signal_fresh")
        if old and self._arbiter.mapped is None:
            try:
                await self._arbiter.jobs.ask(self._ask_signal)
            except NetworkError:
                return None
        return self._signal

    async def _ask_signal(self) -> None:
        pattern = Pattern(self._profile.words("signal"))
        self._signal = None
        for line in await self._creator.quietly("signal"):
            if (fields := pattern.match(line)) is not None and int(fields["level"]) <= _SIGNAL_MOST:
                self._signal = _SIGNAL_FLOOR + _SIGNAL_STEP * int(fields["level"])
        self._signal_at = trio.current_time()

    async def identity(self) -> Identity:
        """See Network.  It does not change while the module is up."""
        await trio.lowlevel.checkpoint()
        if self._identity is None:
            self._identity = await self._arbiter.jobs.ask(partial(family.ask, self._modem))
        return self._identity

    async def name_servers(self) -> list[str]:
        """See Network."""
        await trio.lowlevel.checkpoint()
        if self._name_servers is None:
            await self._arbiter.jobs.ask(self._ask_name_servers)
        return list(self._name_servers or [])

    async def _ask_name_servers(self) -> None:
        pattern = Pattern(self._profile.words("address"))
        found: list[str] = []
        for option in NAME_SERVERS:
            answers = map(pattern.match, await self._creator.quietly("bearer_option", option=option))
            found += [str(fields["value"]) for fields in answers if fields is not None and fields["option"] == option]
        self._name_servers = [address for address in found if dotted(address) and address != "0.0.0.0"]
