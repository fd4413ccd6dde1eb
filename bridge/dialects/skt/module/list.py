"""Closing and listing: ``AT+SKTDEL`` and ``AT+SKTSTATE``."""

from __future__ import annotations

import trio

from bridge.dialects.skt.module.call import Request
from bridge.dialects.skt.module.node import Node, Role
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Endpoint

_NOBODY = Endpoint("0.0.0.0", 0)


async def skt_del(module: Module, request: Request) -> Outcome:
    """S1 and S1b: one id, a server with its seeds; 0 is everything, and automatic receiving is off then."""
    text, con_id = request.values.get("con_id", ""), request.number("con_id")
    if not text.strip().lstrip("+-").isdecimal() and not module.quirk("quirk_atoi"):
        raise Refused(Condition.BAD_ARGUMENT, "con_id", f"{text!r} is no id")
    if con_id == 0:
        module.auto = False
        nodes = list(module.nodes.values())
    elif (node := module.nodes.get(con_id)) is not None:
        nodes = [node, *module.seeds(node)]
    else:
        module.counters["unknown-ids"] += 1
        module.trace.note("unknown id", f"{con_id}")
        about = "negative" if con_id < 0 else "id"
        if module.switch("module_del_tells"):
            raise Refused(Condition.WRONG_STATE, about, f"no {con_id}")
        return Outcome()
    return await _close(module, nodes)


async def link_del(module: Module, request: Request) -> Outcome:
    """S2: one link; 0 is a link like others."""
    text = request.values.get("link_id", "")
    node = module.nodes.get(request.number("link_id")) if text.strip().isdecimal() else None
    if node is None:
        module.counters["unknown-ids"] += 1
        raise Refused(Condition.BAD_ARGUMENT, "link", f"no {text}")
    return await _close(module, [node, *module.seeds(node)])


async def _close(module: Module, nodes: list[Node]) -> Outcome:
    """The ids are free when the host is told, and not before: a peer that comes then must not be taken for the old one."""
    events = [module.shed(node) for node in nodes]
    with trio.move_on_after(module.profile.seconds("module_close")):
        for event in events:
            await event.wait()

    def free() -> None:
        for node in nodes:
            module.drop(node)
            if module.through is node:
                module.through = None

    return Outcome(then=free)


async def skt_state(module: Module, _request: Request) -> Outcome:
    """Every connection in a line of its own; the real S1 prints them one by one, and others may come between."""
    row = "module_state_link" if module.switch("module_state_both_ends") else "module_state"
    return Outcome([_line(module, node, row) for node in module.connections()])


def _line(module: Module, node: Node, row: str) -> bytes:
    prefix = module.words.say("module_state_seed") if node.role is Role.SEED else b""
    if node.role is Role.SERVER:
        own, far = Endpoint(module.address, node.far.port), _NOBODY
    else:
        own = (node.link.local if node.link is not None else None) or Endpoint(module.address, 0)
        far = node.far
    return prefix + module.words.say(
        row,
        id=node.id,
        role=node.role,
        protocol=node.protocol,
        ip=node.far.host,
        port=node.far.port,
        socket=node.descriptor,
        own_ip=own.host,
        own_port=own.port,
        far_ip=far.host,
        far_port=far.port,
    )
