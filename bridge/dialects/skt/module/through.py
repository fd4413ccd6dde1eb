"""Transparent mode, ``AT+SKTTT=1``: a line relay over the one connection there is, left by a line of hyphens."""

from __future__ import annotations

import trio

from bridge.dialects.skt.module import receive
from bridge.dialects.skt.module.call import Request
from bridge.dialects.skt.module.node import Role
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.send import deliver
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition

_LEAVE = "----"


async def skt_tt(module: Module, request: Request) -> Outcome:
    """One connection, a client, and nothing beside it."""
    if request.values.get("enable") != "1":
        raise Refused(Condition.BAD_ARGUMENT, "enable", "only 1")
    nodes = [node for node in module.connections() if node.link is not None or node.listens]
    if not nodes:
        raise Refused(Condition.LINK_CLOSED, "transparent", "no connection")
    if any(node.role is Role.SERVER for node in nodes):
        raise Refused(Condition.NOT_SUPPORTED, "transparent", "a server")
    if len(nodes) > 1:
        raise Refused(Condition.WRONG_STATE, "transparent", f"{len(nodes)} connections")
    node = nodes[0]

    def begin() -> None:
        if not module.holds(node):
            return
        module.through = node
        module.through_entries += 1
        module.auto = True
        receive.begin(module, node)
        module.trace.note("transparent", f"over {node.id}")

    return Outcome(then=begin)


async def heard(module: Module, line: str) -> bytes:
    """A line while it lasts; returns what the host is told."""
    node = module.through
    assert node is not None
    if module.quirk("quirk_tt_once") and module.through_entries > 1:
        module.counters["through-wedged"] += 1
        module.trace.note("wedged", "the second transparent mode since the reset hears nothing, as the real module's")
        return b""
    if line.startswith(_LEAVE):
        module.through = None
        module.auto = False
        await receive.halt_all(module)
        module.trace.note("transparent", "left")
        return module.words.say("module_through_left")
    if not line:
        return b""
    try:
        with trio.move_on_after(module.profile.seconds("module_through_send")) as limit:
            await deliver(module, node, line.encode("latin-1"), None)
        if limit.cancelled_caught:
            raise Refused(Condition.MODULE_BLOCKED, "transparent", "not taken in time")
    except Refused as refused:
        module.counters["through-lost"] += 1
        module.trace.note("not sent", f"{len(line)} bytes: {refused}")
    return b""
