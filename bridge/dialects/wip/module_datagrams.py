"""UDP sockets of the module: so far they know their peer, and carry nothing.

That is what a host needs that looks names up (create to a name, WIPOPT 2, close).  Mapping one is refused as not
implemented, so no host can believe that a datagram left.
"""

from __future__ import annotations

import re

import trio

from bridge.dialects.wip.module_reply import Cme, Outcome, Refused
from bridge.dialects.wip.module_settings import Request
from bridge.dialects.wip.module_socket import ModuleDatagramSocket
from bridge.dialects.wip.module_state import Module
from bridge.model import Condition
from bridge.network import NetworkError


def create(module: Module, request: Request, index: int) -> Outcome:
    """``1,<index>,<local port>,"<peer>",<peer port>``; without a peer it would only receive, which is not there yet."""
    local, host, port = (request.text(name).strip() for name in ("first", "second", "third"))
    if not host:
        raise Refused(Cme.NOT_IMPLEMENTED)
    if not re.fullmatch(r"[0-9]{1,5}", local or "0") or not re.fullmatch(r"[0-9]{1,5}", port):
        raise Refused(Cme.BAD_PORT)
    if int(local or 0) > 65535 or not 0 < int(port) <= 65535:
        raise Refused(Cme.BAD_PORT)
    socket = ModuleDatagramSocket(index, int(local or 0), host, int(port))
    module.datagrams[index] = socket

    async def look_up() -> None:
        await trio.sleep(module.profile.seconds("module_create"))
        try:
            with trio.fail_after(module.profile.seconds("module_connect_limit")):
                socket.host = await module.network.resolve(socket.host)
        except (NetworkError, trio.TooSlowError) as error:
            condition = error.condition if isinstance(error, NetworkError) else Condition.NAME_NOT_FOUND
            number = module.number_of(condition, "WIPCREATE")
            module.urc(lambda: f"+WIPERROR: 1,{index},{number}" if module.datagrams.get(index) is socket else None)
        else:
            module.urc(lambda: f"+WIPREADY: 1,{index}" if module.datagrams.get(index) is socket else None)

    return Outcome(then=lambda: module.spawn(look_up))


def option(socket: ModuleDatagramSocket, number: int) -> str:
    """WIPOPT 0 local port, 1 peer's port, 2 peer's address, 3 bound to a peer, 6 bytes that wait."""
    values = {0: str(socket.local_port), 1: str(socket.port), 2: f'"{socket.host}"', 3: "1", 6: "0"}
    if number not in values:
        raise Refused(Cme.OPTION_NOT_SUPPORTED)
    return values[number]
