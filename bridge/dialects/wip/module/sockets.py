"""AT+WIPCREATE, WIPCLOSE and WIPDATA: UDP sockets, TCP clients and TCP servers."""

from __future__ import annotations

import re
from functools import partial

import trio

from bridge.dialects.wip.module.datagram import NOBODY, DatagramSocket, Line
from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.server import ModuleServer
from bridge.dialects.wip.module.settings import Request
from bridge.dialects.wip.module.socket import DataMode, ModuleSocket
from bridge.dialects.wip.module.state import Module
from bridge.dialects.wip.module.stream import StreamSocket
from bridge.model import Condition, Endpoint, Peers
from bridge.network import DatagramLink, NetworkError, StreamLink
from bridge.wire.addresses import dotted, unpadded
from bridge.wire.grammar import Form

UDP, TCP, SERVER = 1, 2, 3
SEND_ROOM, RECEIVE_ROOM = 4, 5  # WIPOPT: what a server's sockets start with


def find(module: Module, request: Request) -> ModuleSocket | ModuleServer:
    """The socket or server that the request names."""
    name = _name(module, request)
    found = module.servers.get(name[1]) if name[0] == SERVER else module.sockets.get(name)
    if found is None:
        raise Refused(Cme.BAD_STATE)
    return found


def _name(module: Module, request: Request) -> tuple[int, int]:
    """Protocol and index, the index checked for its protocol."""
    protocol, index = request.number("protocol"), request.number("index")
    if str(protocol) in module.profile.words("module_sessions").split():
        raise Refused(Cme.NOT_IMPLEMENTED, Condition.NOT_SUPPORTED)
    if protocol not in {UDP, TCP, SERVER}:
        raise Refused(Cme.BAD_PROTOCOL)
    if not 1 <= index <= module.profile.number("module_servers" if protocol == SERVER else "module_sockets"):
        raise Refused(Cme.BAD_INDEX)
    return protocol, index


# -- create


async def wipcreate(module: Module, request: Request) -> Outcome:
    """OK means that the syntax was right (a server: that it listens); +WIPREADY or +WIPERROR tells the rest."""
    if request.form is Form.QUERY:
        return Outcome(await _listed(module))
    protocol, index = _name(module, request)
    if any(name in request.values for name in ("password", "more", "most")):
        raise Refused(Cme.INVALID_OPTION, Condition.BAD_ARGUMENT)  # a session's, not a socket's
    if not module.stack or not module.call.up:
        raise Refused(Cme.WRONG_STACK_STATE)
    if index in module.servers if protocol == SERVER else (protocol, index) in module.sockets:
        raise Refused(Cme.ALREADY_ACTIVE)
    if protocol == SERVER:
        return await _serve(module, request, index)
    socket = _datagram(module, request, index) if protocol == UDP else _client(module, request, index)
    if module.full():
        raise Refused(Cme.NO_FREE_SOCKET)
    module.sockets[socket.name] = socket
    return Outcome(then=lambda: module.carry(socket, module.profile.seconds("module_create")))


async def _listed(module: Module) -> list[str]:
    lines = []
    for name, socket in sorted(module.sockets.items()):
        local_port, peer = await socket.ends()
        lines.append(f'+WIPCREATE: {name[0]},{name[1]},{local_port},"{peer.host}",{peer.port}')
    for index, server in sorted(module.servers.items()):
        lines.append(f'+WIPCREATE: {SERVER},{index},{server.listener.local.port},"{NOBODY.host}",{NOBODY.port}')
    return lines


def _port(text: str, *, low: int) -> int:
    """Seen from hosts: 5000, 05000, "05000"; so addresses may come padded, too, and are `unpadded`."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not low <= int(text) <= 65535:
        raise Refused(Cme.BAD_PORT)
    return int(text)


def _client(module: Module, request: Request, index: int) -> StreamSocket:
    host, port = unpadded(request.text("first").strip()), request.text("second").strip()
    if not host or request.text("third"):
        raise Refused(Cme.INVALID_OPTION)
    peer = Endpoint(host, _port(port, low=1))
    if module.reserved(index):
        raise Refused(Cme.INDEX_RESERVED)
    return StreamSocket(
        index,
        peer,
        receive_room=module.profile.number("module_receive_buffer"),
        transmit_room=module.profile.number("module_transmit_buffer"),
        send_size=module.network.limits.send_size,
        connect=partial(module.network.open_stream, peer.host, peer.port),
        limit=module.profile.seconds("module_connect_limit"),
        drop=module.drop,
    )


def _datagram(module: Module, request: Request, index: int) -> DatagramSocket:
    """``[<local port>][,"<peer>",<peer port>]``: without a peer it listens to everybody and cannot transmit."""
    local, host, port = (request.text(name).strip() for name in ("first", "second", "third"))
    if not port and host and not re.fullmatch(r"[0-9]*", local) and module.profile.value["module_udp_short"].value is True:
        local, host, port = "", local, host  # without the empty field for the local port
    local_port = _port(local or "0", low=0)
    if not host and port:
        raise Refused(Cme.INVALID_OPTION)
    table = module.profile
    return DatagramSocket(
        index,
        Endpoint(unpadded(host), _port(port, low=1)) if host else NOBODY,
        receive_room=table.number("module_receive_buffer"),
        transmit_room=table.number("module_transmit_buffer"),
        line=Line(table.number("module_udp_size"), etx_ends=table.value["module_udp_etx_ok"].value is True),
        connect=partial(_open, module, local_port),
        limit=table.seconds("module_connect_limit"),
        counters=module.counters,
        trace=module.trace,
    )


async def _open(module: Module, local_port: int, socket: DatagramSocket) -> DatagramLink:
    """A name is looked up first, because WIPOPT 2 tells its address; hosts look names up that way."""
    if socket.listening:
        return await module.network.open_datagram(None, local_port=local_port, peers=Peers.LAST)
    if not dotted(socket.peer.host):
        try:
            socket.peer = Endpoint(await module.network.resolve(socket.peer.host), socket.peer.port)
        except NetworkError as error:
            if error.condition is not Condition.NOT_SUPPORTED:
                raise
    return await module.network.open_datagram(socket.peer, local_port=local_port, peers=Peers.FIXED)


# -- servers


async def _serve(module: Module, request: Request, index: int) -> Outcome:
    """``<local port>,<from>,<to>``.  OK means that it listens; what cannot be had is refused by number.

    The Network is asked for as many peers as the range has indexes, and not for one more to refuse by ourselves: room
    is reserved where modules count their sockets, so one more could be refused although the range itself fits.  The peer
    above is refused by the Network, in its own way; `_accepted` refuses whom the host's indexes have no place for.
    """
    port, low, high = (request.text(name).strip() for name in ("first", "second", "third"))
    if not re.fullmatch(r"[0-9]{1,3}", low) or not re.fullmatch(r"[0-9]{1,3}", high):
        raise Refused(Cme.INVALID_OPTION)
    local_port = _port(port, low=0)
    indexes = range(int(low), int(high) + 1)
    if not 1 <= int(low) <= int(high) <= module.profile.number("module_sockets"):
        raise Refused(Cme.BAD_INDEX)
    if any((TCP, client) in module.sockets or module.reserved(client) for client in indexes):
        raise Refused(Cme.INDEX_RESERVED)
    if module.full():
        raise Refused(Cme.NO_FREE_SOCKET)
    epoch = module.epoch
    listener = await module.network.listen(local_port, room=min(len(indexes), module.network.limits.stream_links))
    server = ModuleServer(index, indexes, listener)
    if epoch != module.epoch:  # everything was taken away meanwhile
        await server.finish()
        raise Refused(Cme.WRONG_STACK_STATE)
    module.servers[index] = server
    return Outcome(then=lambda: module.spawn(partial(server.run, partial(_accepted, module), module.tell_server_end)))


def _accepted(module: Module, server: ModuleServer, link: StreamLink) -> bool:
    """The lowest free index of the range; False: none, or no socket left."""
    index = next((index for index in server.indexes if (TCP, index) not in module.sockets), None)
    if index is None or module.full() or not module.holds(server):
        module.counters["peers-refused"] += 1
        module.trace.note("peer-refused", f"server {server.index}: no index or no socket is free")
        return False
    table = module.profile
    socket = StreamSocket(
        index,
        link.peer or NOBODY,
        receive_room=server.options.get(RECEIVE_ROOM, table.number("module_receive_buffer")),
        transmit_room=server.options.get(SEND_ROOM, table.number("module_transmit_buffer")),
        send_size=module.network.limits.send_size,
        link=link,
        drop=module.drop,
    )
    socket.server = server
    socket.options = dict(server.options)
    module.sockets[socket.name] = socket
    module.urc(lambda: f"+WIPACCEPT: {server.index},{index}" if module.holds(socket) else None)
    module.carry(socket)
    return True


# -- close, map


async def wipclose(module: Module, request: Request) -> Outcome:
    """FIN to the peer; the index is free at OK, and where the socket was bound to a local port, that is free too."""
    socket = find(module, request)
    closed = module.release(socket, module.profile.seconds("module_close_flush"))
    if socket.protocol != TCP:
        with trio.move_on_after(module.profile.seconds("module_close_port")):
            await closed.wait()
    return Outcome()


async def wipdata(module: Module, request: Request) -> Outcome:
    """Map a socket (CONNECT instead of OK), or list what waits."""
    if request.form is Form.QUERY:
        waiting = [socket.pending() for _, socket in sorted(module.sockets.items())]
        return Outcome([line for line in waiting if line is not None])
    if request.number("protocol") not in {UDP, TCP}:
        raise Refused(Cme.BAD_PROTOCOL)
    socket = find(module, request)
    assert isinstance(socket, ModuleSocket)
    mode = _data_mode(module, request)
    unread = socket.waiting() > 0 and module.profile.value["module_map_unread"].value is True
    if not socket.connected and not unread:
        if socket.ended is Condition.LINK_RESET:
            raise Refused(module.number_of(socket.ended, "WIPDATA"))
        raise Refused(Cme.BAD_STATE)
    socket.mode = mode
    return Outcome(connect=socket)


def _data_mode(module: Module, request: Request) -> DataMode:
    """1 continuous, 2 transparent; the table knows which protocol has which, and what a left-out one means."""
    table = module.profile
    number = request.number("mode", 1)
    allowed = dict(entry.split(":") for entry in table.words("module_modes").split())
    if str(number) not in allowed[str(request.number("protocol"))].split(","):
        raise Refused(Cme.INVALID_VALUE)
    size = request.number("size", table.number("module_udp_cut"))
    wait = request.number("wait", table.number("module_udp_wait")) * table.seconds("module_udp_wait_unit")
    return DataMode(number != 1, size, wait)
