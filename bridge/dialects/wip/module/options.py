"""AT+WIPOPT: what a socket tells of itself, and what a host may set.

Buffers (4, 5) take effect at once; no-delay, TTL and TOS (7, 8, 9) are kept and read back, because a Network has no
such switches.  A server's values are those that its sockets start with.
"""

from __future__ import annotations

import re

from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.datagram import NOBODY
from bridge.dialects.wip.module.reply import Cme, Option, Outcome, Refused
from bridge.dialects.wip.module.server import ModuleServer
from bridge.dialects.wip.module.settings import Request
from bridge.dialects.wip.module.socket import ModuleSocket
from bridge.dialects.wip.module.sockets import RECEIVE_ROOM, SEND_ROOM, SERVER, TCP, UDP, find
from bridge.dialects.wip.module.state import Module

_TABLES = {UDP: "module_wipopt_udp", TCP: "module_wipopt_options", SERVER: "module_wipopt_server"}
_LOCAL_PORT, _PEER_PORT, _PEER, _BOUND, _WAITING = 0, 1, 2, 3, 6
_READ = 1


async def wipopt(module: Module, request: Request) -> Outcome:
    """Read (1) or write (2) an option.  The answer does not name the index."""
    number = request.number("option")
    socket = find(module, request)
    known = _known(module, socket.protocol, number)
    if isinstance(socket, ModuleSocket) and socket.broken and not socket.waiting():
        raise Refused(Cme.BAD_STATE)  # Multi-Tech S000478 p.108: a socket that is not active.  So a host that asks learns it
    if request.number("action") == _READ:
        return Outcome([f"+WIPOPT: {socket.protocol},{number},{await _read(socket, number, known)}"])
    if not known.writable:
        raise Refused(Cme.OPTION_NOT_SUPPORTED)
    value = request.text("value")
    if not re.fullmatch(r"[0-9]{1,5}", value) or not known.low <= int(value) <= known.high:
        raise Refused(Cme.INVALID_VALUE)
    socket.options[number] = int(value)
    if isinstance(socket, ModuleSocket) and number in {SEND_ROOM, RECEIVE_ROOM}:
        if number == SEND_ROOM:
            socket.transmit_limit = int(value)
        else:
            socket.receive_room = int(value)
        socket.ring()
    return Outcome()


def _known(module: Module, protocol: int, number: int) -> Option:
    options = {kind: reply.options(module.profile.words(table)) for kind, table in _TABLES.items()}
    if number in options[protocol]:
        return options[protocol][number]
    # 835 for what only another protocol has.
    raise Refused(Cme.OPTION_NOT_SUPPORTED if any(number in known for known in options.values()) else Cme.INVALID_OPTION)


async def _read(socket: ModuleSocket | ModuleServer, number: int, known: Option) -> str:
    if isinstance(socket, ModuleServer):
        return str(socket.listener.local.port if number == _LOCAL_PORT else socket.options.get(number, known.default))
    if number == _WAITING:
        return str(socket.waiting())
    if number not in {_LOCAL_PORT, _PEER_PORT, _PEER, _BOUND}:
        return str(socket.options.get(number, known.default))
    local_port, peer = await socket.ends()
    return {
        _LOCAL_PORT: str(local_port),
        _PEER_PORT: str(peer.port),
        _PEER: f'"{peer.host}"',
        _BOUND: str(int(peer != NOBODY)),
    }[number]
