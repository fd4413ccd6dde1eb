r"""What comes from peers: asked for by the host (``AT+SKTREAD``), printed unasked, or in transparent mode.

The real module prints payload as a C string and through a buffer of 1 KiB; both lose bytes behind a header that tells
the whole length, and both are played where the host asked for a faithful module.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from bridge.dialects.skt.module.call import Request
from bridge.dialects.skt.module.node import LOST, Node, Pull, Pump
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Datagram, Endpoint

_NOBODY = Endpoint("", 0)


def kind(node: Node) -> str:
    """The word of the table for what failed on it."""
    return "udp-server" if node.named else node.protocol


# -- asked for


async def skt_read(module: Module, request: Request) -> Outcome:
    """One read of S1 and S1b: what is there within the wait, as much as the host has room for."""
    size = request.number("buff_size")
    if not 0 < size <= _read_room(module):
        raise Refused(Condition.TOO_LONG, "buff_size", f"{size} bytes")
    con_id = request.number("con_id")
    if not 0 < con_id < module.profile.number("module_pool"):
        raise Refused(Condition.BAD_ARGUMENT, "con_id", f"{con_id} is no id")
    if module.auto:
        raise Refused(Condition.WRONG_STATE, "auto", "it comes by itself")
    node = module.nodes.get(con_id)
    if node is None or not node.opened:
        module.counters["unknown-ids"] += 1
        raise Refused(Condition.WRONG_STATE, "id", f"no {con_id}")
    if node.listens:
        raise Refused(Condition.WRONG_STATE, "server", "its seeds have the data")
    return await _read(module, node, size)


async def link_read(module: Module, request: Request) -> Outcome:
    """One read of S2."""
    size = request.number("size")
    node = module.nodes.get(request.number("link_id"))
    if node is None or not node.opened or node.listens or not 0 < size <= _read_room(module):
        raise Refused(Condition.BAD_ARGUMENT, "link", "no such link, or no such size")
    if node.auto:
        raise Refused(Condition.WRONG_STATE, "auto", "it comes by itself")
    if node.told:
        raise Refused(Condition.WRONG_STATE, "closed", "its end was told")
    return await _read(module, node, size)


def _read_room(module: Module) -> int:
    return module.profile.number("module_read_room" if module.quirk("quirk_room") else "module_read_most")


async def _read(module: Module, node: Node, size: int) -> Outcome:
    datagram: Datagram | None = None
    if node.link is not None:
        await halt(node)  # one that was stopped may not be over yet
        try:
            if await node.arrival(module.profile.seconds("module_read_wait")):
                with trio.move_on_after(module.profile.seconds("module_pull")):  # what comes later is for the next read
                    await _pulled(module, node)
                datagram = node.take(size)
        except LOST as error:
            module.trace.note("read", str(error))
    if datagram is None and (condition := node.ended) is not None and not _silent(module, node):
        first, node.told = not node.told, True
        module.shed(node)
        if first or not module.quirk("quirk_told_once"):
            raise Refused(condition, kind(node), "its end")
    prints = _prints(module, node, datagram, _READ)
    return Outcome(prints, ok=module.switch("module_read_ok"), carried=_CARRIED)


async def _pulled(module: Module, node: Node) -> int:
    """Have what waits below come up; returns whether any is here.  Raises what a link raises.

    A modem may take seconds to turn to this connection.  Nobody has to wait so long: the demand lives on.
    """
    pull = node.pull
    if pull is None or pull.over.is_set():
        pull = node.pull = Pull()
        module.spawn(_pull, node, pull)
    await pull.over.wait()
    if pull.error is not None:
        raise pull.error
    return pull.count


async def _pull(node: Node, pull: Pull) -> None:
    try:
        with node.work():
            if node.link is not None:
                pull.count = await node.link.fetch()
    except Exception as error:  # it is raised where it is waited for
        pull.error = error
    finally:
        pull.over.set()


def _silent(module: Module, node: Node) -> bool:
    """Whether this end is never told: a peer's FIN is no error in some generations, and the socket stays as it is."""
    return node.in_order and module.switch("module_end_silent")


# -- how it is printed


@dataclass(frozen=True, slots=True)
class _Shape:
    """The rows of the table by which data are printed."""

    head: str
    head_from: str  # where the peer is named
    tail: str
    unasked: bool = False


_READ = _Shape("module_read_head", "module_read_from", "module_read_tail")
_DATA = _Shape("module_data_head", "module_data_from", "module_data_tail", unasked=True)
_THROUGH = _Shape("", "", "module_through_tail")


_CARRIED = 1  # of the prints: the payload


def _prints(module: Module, node: Node, datagram: Datagram | None, shape: _Shape) -> list[bytes]:
    """Header, payload, tail."""
    data = datagram.data if datagram is not None else b""
    if datagram is not None and datagram.cut:
        module.counters["datagrams-cut"] += 1
        module.trace.note("datagram cut", f"{len(data)} bytes of it are for {node.id}")
    named = node.named if module.profile.value["module_from"].value == "server" else node.protocol == "udp"
    source = (datagram.source if datagram is not None else None) or (_NOBODY if datagram is None else node.far)
    row = shape.head_from if named else shape.head
    head = module.words.say(row, len=len(data), id=node.id, ip=source.host, port=source.port or 0)
    return [head, _printed(module, data, shape), module.words.say(shape.tail)]


def _printed(module: Module, data: bytes, shape: _Shape) -> bytes:
    """What of the payload comes out."""
    out = data
    raw = shape.unasked and module.switch("module_data_raw")
    if module.quirk("quirk_nul") and not raw:
        out = out.split(b"\0", 1)[0]
    if module.quirk("quirk_1k") and not raw and len(out) >= module.profile.number("module_print_room"):
        out = b""
    if len(out) != len(data):
        module.counters["bytes-not-printed"] += len(data) - len(out)
        module.trace.note("not printed", f"{len(data) - len(out)} of {len(data)} bytes, as the real module does")
    return out


# -- unasked


def begin(module: Module, node: Node) -> None:
    """Print what comes for this node from now on."""
    before = node.pump
    if node.link is not None and (before is None or not before.on):
        pump = node.pump = Pump()
        module.spawn(_run, module, node, pump, before)


async def halt(node: Node) -> None:
    """Print no more of it; what was not printed waits for the host to read it."""
    if node.pump is not None:
        node.pump.stop()
        await node.pump.over.wait()


def wanted(module: Module, node: Node) -> bool:
    """Whether what comes for it is printed unasked."""
    return module.auto or node.auto or module.through is node


async def _run(module: Module, node: Node, pump: Pump, before: Pump | None) -> None:
    try:
        with node.work():
            if before is not None:
                await before.over.wait()  # one reader at a time
            await _pump(module, node, pump)
    except LOST as error:
        module.trace.note("receive", str(error))
        node.end = node.end or getattr(error, "condition", Condition.MODULE_ERROR)
    finally:
        pump.over.set()
    if pump.on and module.holds(node) and (node.end or node.ended) is not None:
        await module.writer.urc(lambda: _end(module, node), rule="end")


async def _pump(module: Module, node: Node, pump: Pump) -> None:
    link = node.link
    while link is not None and pump.on:
        with pump.waiting():
            if not await link.wait_readable():
                return
            if await _pulled(module, node):
                await _turn(module, node)
                await _tell(module, node)
                if module.through is node and module.quirk("quirk_turns"):  # the relay rests after each chunk
                    await trio.sleep(module.profile.seconds("module_read_wait"))
            else:
                await trio.sleep(module.profile.seconds("module_fetch_again"))


async def _turn(module: Module, node: Node) -> None:
    """One task of the module looks at all connections in turn, and waits a while at each where nothing is."""
    if module.quirk("quirk_turns") and module.auto:
        others = (other.link for other in module.nodes.values() if other is not node)
        idle = sum(link is not None and not link.waiting() for link in others)
        await trio.sleep(idle * module.profile.seconds("module_read_wait"))


async def _tell(module: Module, node: Node) -> None:
    carried = slice(0)

    def render() -> bytes | None:
        nonlocal carried
        datagram = node.take(module.profile.number("module_chunk"))
        if datagram is None:
            return None
        if module.through is node:
            prints = [b"", _printed(module, datagram.data, _THROUGH), module.words.say(_THROUGH.tail)]
        else:
            prints = _prints(module, node, datagram, _DATA)
        head, data = map(len, prints[: _CARRIED + 1])
        carried = slice(head, head + data)
        return b"".join(prints)

    await module.writer.urc(render, rule="data", carried=lambda: carried)


def _end(module: Module, node: Node) -> bytes | None:
    """The end of a connection, once."""
    if node.told or not module.holds(node) or _silent(module, node):
        return None
    node.end = condition = node.ended or node.end or Condition.LINK_CLOSED
    node.told = True
    module.shed(node)
    module.trace.note("ended", f"{node.id}: {condition}")
    if module.through is node:
        module.through = None
        module.through_entries = 0  # the worker ended by itself
    number = module.words.number("SKTREAD", Refused(condition, kind(node)))
    return module.words.say("module_end", id=node.id, number=number)


async def skt_recvcfg(module: Module, request: Request) -> Outcome:
    """Automatic receiving for all connections, on or off."""
    text = request.values.get("enable", "")
    number = request.number("enable")
    if number not in {0, 1} or (text not in {"0", "1"} and not module.quirk("quirk_atoi")):
        raise Refused(Condition.BAD_ARGUMENT, "enable", "neither 0 nor 1")
    module.auto = number == 1
    if module.auto:
        return Outcome(then=lambda: _begin_all(module))
    await halt_all(module)
    return Outcome()


def _begin_all(module: Module) -> None:
    for node in module.nodes.values():
        if node.opened:
            begin(module, node)


async def halt_all(module: Module) -> None:
    """Nothing is printed unasked any more, but for links that have their own switch."""
    for node in list(module.nodes.values()):
        if not wanted(module, node):
            await halt(node)
