"""Servers: ``AT+SKTSERVER``, and the seeds that they make of the peers that come."""

from __future__ import annotations

import trio

from bridge.dialects.skt.module.call import Request
from bridge.dialects.skt.module.node import LOST, Node, Role
from bridge.dialects.skt.module.open import free_link, port_of, protocol_of, ready, show, switch_of, taken, type_of
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Endpoint, Peers
from bridge.network import NetworkError, StreamLink

_NOBODY = Endpoint("0.0.0.0", 0)


async def skt_server(module: Module, request: Request) -> Outcome:
    """S1 and S1b: ``<mode>,<loc_port>``."""
    if module.through is not None:
        raise Refused(Condition.WRONG_STATE, "transparent")
    mode = request.values.get("mode", "")
    if not mode:
        raise Refused(Condition.BAD_ARGUMENT, "count", "no mode")
    protocol = protocol_of(module, mode)
    if protocol not in {"tcp", "udp"}:
        raise Refused(Condition.NOT_SUPPORTED, "mode", mode)
    port = port_of(request, "loc_port")
    con_id = module.free_id()
    if con_id is None:
        raise Refused(Condition.NO_FREE_LINK, "con_id")
    node = module.nodes[con_id] = Node(con_id, Role.SERVER, protocol, Endpoint(module.address, port))
    return Outcome(then=lambda: module.spawn(_start, module, node, request.name))


async def link_server(module: Module, request: Request) -> Outcome:
    """S2: ``<link_id>,<type>,[cert],<port>,<auto_rcv>``; OK means that it listens."""
    protocol = type_of(module, request)
    con_id = free_link(module, request)
    port = port_of(request, "port")
    auto = switch_of(request, "auto_rcv")
    node = Node(con_id, Role.SERVER, protocol, Endpoint(module.address, port))
    node.auto = auto
    with taken(module, node):
        await _open(module, node)

    def then() -> None:
        show(module, node)
        if node.listens:
            module.spawn(_serve, module, node, request.name)

    return Outcome(then=then)


async def _start(module: Module, node: Node, command: str) -> None:
    """The second answer, and the peers.  Deleted meanwhile: without a word."""
    with node.work():
        await trio.sleep(module.profile.seconds("module_open_pause" if module.quirk("quirk_slow") else "module_open_gap"))
        try:
            await _open(module, node)
        except Refused as refused:
            await _die(module, node, command, refused)
            return

        await module.writer.urc(lambda: ready(module, node, "module_server_id", "module_server_noise"), rule="opened")
        if node.listens:
            await _accept(module, node, command)


async def _open(module: Module, node: Node) -> None:
    port, limit = node.far.port, module.profile.seconds("module_listen_limit")
    for other in module.nodes.values():  # in the order in which they were asked for: the first one has the port
        if other is node:
            break
        if other.role is Role.SERVER and other.protocol == node.protocol and other.far.port == port:
            raise Refused(Condition.INDEX_IN_USE, node.protocol, f"port {port}")
    try:
        with trio.move_on_after(limit) as patience:
            if node.listens:
                room = min(module.network.limits.stream_links, module.profile.number("module_pool"))
                node.listener = await module.network.listen(port, room=max(1, room))
            else:
                node.datagrams = await module.network.open_datagram(None, local_port=port, peers=Peers.LAST)
        if patience.cancelled_caught:
            raise NetworkError(Condition.MODULE_MUTE, f"not within {limit} s")
    except NetworkError as error:
        raise Refused.by(error, "open") from None
    except Exception:
        module.crashed("listen")
        raise Refused(Condition.MODULE_ERROR, "task", "internal") from None
    node.descriptor = module.descriptor()


async def _accept(module: Module, server: Node, command: str) -> None:
    """Peers, one at a time: the next waits below until the host was told of this one."""
    while server.listener is not None:
        try:
            link = await server.listener.accept()
        except LOST as error:
            await _die(module, server, command, Refused(Condition.MODULE_ERROR, "accept", str(error)))
            return
        if not await _seed(module, server, link) and module.quirk("quirk_full_pool"):
            await _die(module, server, command, Refused(Condition.NO_FREE_LINK, "seed"))
            return


async def _serve(module: Module, server: Node, command: str) -> None:
    with server.work():
        await _accept(module, server, command)


async def _seed(module: Module, server: Node, link: StreamLink) -> bool:
    """An id for a peer, taken when the host is told, so that it cannot be older than what the host was told before.

    False: the pool is full.
    """
    taken, why = False, "no id is free"
    peer = _NOBODY

    def render() -> bytes | None:
        nonlocal taken
        con_id = module.free_id() if module.holds(server) else None
        if con_id is None:
            return None
        taken = True
        seed = module.nodes[con_id] = Node(con_id, Role.SEED, server.protocol, peer, server)
        seed.stream, seed.auto, seed.descriptor = link, server.auto, module.descriptor()
        show(module, seed)
        return module.words.say(
            "module_arrival", server=server.id, id=con_id, ip=peer.host, port=peer.port, socket=seed.descriptor
        )

    try:
        peer = await _who(module, link)
        if any(seed.far == peer != _NOBODY and seed.end is None for seed in module.seeds(server)):
            why = "it is here already"
            return True
        await module.writer.urc(render, rule="arrival")
    finally:
        if not taken:
            module.counters["peers-refused"] += 1
            module.trace.note("peer refused", f"{peer}: {why}")
            module.close([link.aclose])
    return taken


async def _who(module: Module, link: StreamLink) -> Endpoint:
    """The peer, which the host is always told; a Network that did not say it is asked."""
    if link.peer is None:
        with trio.move_on_after(module.profile.seconds("module_ask")):
            try:
                await link.find_endpoints()
            except LOST as error:
                module.trace.note("peer not known", str(error))
    return link.peer or _NOBODY


async def _die(module: Module, server: Node, command: str, refused: Refused) -> None:
    """A server that cannot be, or cannot go on, takes its seeds with it."""
    module.trace.note("server", f"{server.id}: {refused}")
    module.counters["servers-lost"] += server.opened

    def render() -> bytes | None:
        if not module.holds(server):
            return None
        for seed in module.seeds(server):
            module.shed(seed)
        module.drop(server)
        return module.words.error(command, refused)

    await module.writer.urc(render, rule="server ended")
    module.shed(server)
