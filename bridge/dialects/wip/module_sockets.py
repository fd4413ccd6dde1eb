"""AT+WIPCREATE, WIPCLOSE, WIPOPT and WIPDATA: TCP client sockets.  Servers are refused as not implemented."""

from __future__ import annotations

import re

from bridge.dialects.wip import module_datagrams as datagrams
from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_reply import Cme, Outcome, Refused
from bridge.dialects.wip.module_settings import Request
from bridge.dialects.wip.module_socket import ModuleSocket
from bridge.dialects.wip.module_state import Bearer, Module
from bridge.wire.grammar import Form

UDP, TCP, SERVER = 1, 2, 3
_MOST_SOCKETS = 6  # WIPCFG option
_READ = 1


def _index(module: Module, request: Request) -> int:
    """The index, checked for its protocol."""
    protocol, index = request.number("protocol"), request.number("index")
    if protocol not in {UDP, TCP, SERVER}:
        raise Refused(Cme.BAD_PROTOCOL)
    if not 1 <= index <= module.profile.number("module_servers" if protocol == SERVER else "module_sockets"):
        raise Refused(Cme.BAD_INDEX)
    return index


def _socket(module: Module, request: Request) -> ModuleSocket:
    index = _index(module, request)
    socket = module.sockets.get(index) if request.number("protocol") == TCP else None
    if socket is None:
        raise Refused(Cme.BAD_STATE)
    return socket


def _datagram_index(module: Module, request: Request) -> int | None:
    """The index, where the request names a UDP socket that is there."""
    index = _index(module, request)
    return index if request.number("protocol") == UDP and index in module.datagrams else None


async def wipcreate(module: Module, request: Request) -> Outcome:
    """OK means that the syntax was right; +WIPREADY or +WIPERROR tells the rest."""
    if request.form is Form.QUERY:
        streams = [await _described(socket) for _, socket in sorted(module.sockets.items())]
        return Outcome(
            [f'+WIPCREATE: 1,{d.index},{d.local_port},"{d.host}",{d.port}' for d in module.datagrams.values()] + streams
        )
    index = _index(module, request)
    if request.number("protocol") == SERVER:
        raise Refused(Cme.NOT_IMPLEMENTED)
    if not module.stack or module.bearer is not Bearer.UP:
        raise Refused(Cme.WRONG_STACK_STATE)
    if index in (module.datagrams if request.number("protocol") == UDP else module.sockets):
        raise Refused(Cme.ALREADY_ACTIVE)
    if len(module.sockets) + len(module.datagrams) >= module.stack_options[_MOST_SOCKETS]:
        raise Refused(Cme.NO_FREE_SOCKET)
    if request.number("protocol") == UDP:
        return datagrams.create(module, request, index)
    host, port = request.text("first").strip(), request.text("second").strip()
    if not host or request.text("third"):
        raise Refused(Cme.INVALID_OPTION)
    # Seen from hosts: 5000, 05000, "05000".
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise Refused(Cme.BAD_PORT)
    socket = ModuleSocket(
        index,
        host,
        int(port),
        receive_room=module.profile.number("module_receive_buffer"),
        transmit_room=module.profile.number("module_transmit_buffer"),
    )
    module.sockets[index] = socket
    return Outcome(then=lambda: module.connect(socket))


async def _described(socket: ModuleSocket) -> str:
    local_port, host, port = await _ends(socket)
    return f'+WIPCREATE: {socket.protocol},{socket.index},{local_port},"{host}",{port}'


async def _ends(socket: ModuleSocket) -> tuple[int, str, int]:
    """Local port, peer address and port: what the Network says, else what the host said."""
    local, peer = await socket.link.find_endpoints() if socket.link is not None else (None, None)
    return local.port if local else 0, peer.host if peer else socket.host, peer.port if peer else socket.port


async def wipclose(module: Module, request: Request) -> Outcome:
    """FIN to the peer; the index is free at OK."""
    if (index := _datagram_index(module, request)) is not None:
        del module.datagrams[index]
        return Outcome()
    socket = _socket(module, request)
    module.release(socket, module.profile.seconds("module_close_flush"))
    return Outcome()


async def wipopt(module: Module, request: Request) -> Outcome:
    """Read (1) or write (2) an option.  The answer does not name the index."""
    number = request.number("option")
    if (index := _datagram_index(module, request)) is not None:
        if request.number("action") != _READ:
            raise Refused(Cme.OPTION_NOT_SUPPORTED)
        return Outcome([f"+WIPOPT: {UDP},{number},{datagrams.option(module.datagrams[index], number)}"])
    socket = _socket(module, request)
    known = reply.options(module.profile.words("module_wipopt_options")).get(number)
    if known is None:
        raise Refused(Cme.INVALID_OPTION)
    if request.number("action") == _READ:
        return Outcome([f"+WIPOPT: {socket.protocol},{number},{await _option(socket, number, known.default)}"])
    if not known.writable:
        raise Refused(Cme.OPTION_NOT_SUPPORTED)
    value = request.text("value")
    if not re.fullmatch(r"[0-9]{1,5}", value) or not known.low <= int(value) <= known.high:
        raise Refused(Cme.INVALID_VALUE)
    socket.options[number] = int(value)
    return Outcome()


async def _option(socket: ModuleSocket, number: int, default: int) -> str:
    if number == 6:
        return str(len(socket.received))
    if number > 2:
        return str(socket.options.get(number, default))
    local_port, host, port = await _ends(socket)
    return (str(local_port), str(port), f'"{host}"')[number]


async def wipdata(module: Module, request: Request) -> Outcome:
    """Map a socket (CONNECT instead of OK), or list what waits."""
    if request.form is Form.QUERY:
        waiting = [s for _, s in sorted(module.sockets.items()) if s.received]
        return Outcome([f"+WIPDATA: {s.protocol},{s.index},{len(s.received)}" for s in waiting])
    if request.number("protocol") not in {UDP, TCP}:
        raise Refused(Cme.BAD_PROTOCOL)
    if _datagram_index(module, request) is not None:
        raise Refused(Cme.NOT_IMPLEMENTED)
    socket = _socket(module, request)
    if request.number("mode") != module.profile.number("module_tcp_mode"):
        raise Refused(Cme.INVALID_VALUE)
    unread = bool(socket.received) and module.profile.value["module_map_unread"].value is True
    if not socket.connected and not unread:
        raise Refused(Cme.BAD_STATE)
    return Outcome(connect=socket)
