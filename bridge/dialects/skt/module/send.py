r"""Sends: ``AT+SKTSEND`` of every generation, and the raw mode of the later ones.

The payload stands in the command's own line.  Its length must be what the line says: nothing waits for more bytes,
and nothing of it goes out otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from bridge.dialects.skt.module.call import Request, atoi, unescaped
from bridge.dialects.skt.module.node import LOST, Node
from bridge.dialects.skt.module.receive import kind
from bridge.dialects.skt.module.reply import Outcome, Raw, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError
from bridge.wire.addresses import aton

_COUNT = "count"


async def skt_send(module: Module, request: Request) -> Outcome:
    """S1: ``<data_size>,<con_id>[,<dst_ip>,<dst_port>]:<data>``.  S1b has the first two the other way."""
    if request.payload is None:
        cut = module.profile.number("module_send_cut") if module.quirk("quirk_send_cut") else None
        fields, data = _split(request.text[:cut])
    else:
        fields, data = request.text.removesuffix(":").split(","), request.payload
    if len(fields) not in {2, 4}:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, f"{len(fields)} fields")
    size, con_id = (fields[1], fields[0]) if module.switch("module_send_id_first") else (fields[0], fields[1])
    if atoi(size) > _room(module):
        raise Refused(Condition.TOO_LONG, "data_size", f"{size} bytes")
    node = _node(module, con_id)
    if data is None:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, "no colon")
    if len(data) != atoi(size) or len(data) < module.profile.number("module_send_least"):
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, f"{len(data)} bytes of {size}")
    target = _target(node, fields[2:])
    await deliver(module, node, data, target)
    return Outcome(id=node.id if module.switch("module_ok_has_id") else None)


def _split(text: str) -> tuple[Sequence[str], bytes | None]:
    """The fields, and what stands behind the first colon of the last one.  Raises Refused."""
    fields = unescaped(text, 0)
    if fields is None:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, "a backslash before something else")
    last, colon, data = fields[-1].partition(":")
    return [*fields[:-1], last], data.encode("latin-1") if colon else None


def _room(module: Module) -> int:
    return module.profile.number("module_line_room" if module.quirk("quirk_room") else "module_send_most")


def _node(module: Module, con_id: str) -> Node:
    node = module.nodes.get(atoi(con_id))
    if node is None or not node.opened:
        module.counters["unknown-ids"] += 1
        raise Refused(Condition.WRONG_STATE, "id", f"no {con_id}")
    return node


def _target(node: Node, fields: Sequence[str]) -> Endpoint | None:
    """Where a UDP server's datagram goes; everybody else has a peer.  Raises Refused."""
    if node.listens:
        raise Refused(Condition.NOT_SUPPORTED, "server", "its seeds have the peers")
    if not node.named:
        return None
    if len(fields) != 2:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, "a UDP server needs the peer")
    host, port = aton(fields[0]), atoi(fields[1])
    if host is None or not 0 < port < 65536:
        raise Refused(Condition.BAD_ARGUMENT, "dst_ip", ",".join(fields))
    return Endpoint(host, port)


async def deliver(module: Module, node: Node, data: bytes, target: Endpoint | None) -> None:
    """Return when the Network took it.  Raises Refused."""
    if not data and not (node.datagrams is not None and module.switch("module_sends_empty")):
        return
    try:
        if node.datagrams is not None:
            known = target == node.datagrams.peer  # then it is an answer, which may go where no other datagram may
            await node.datagrams.send(data, None if known else target)
        elif node.stream is not None:
            await _stream(module, node, data)
        else:
            raise Refused(node.end or Condition.LINK_CLOSED, kind(node), "it is closed")
    except NetworkError as error:
        raise Refused.by(error, kind(node)) from None
    except LOST as error:
        condition = error.condition if isinstance(error, LinkLost) else Condition.LINK_CLOSED
        raise Refused(condition, kind(node), str(error)) from None


async def _stream(module: Module, node: Node, data: bytes) -> None:
    """In pieces that the Network takes.  A stream with a hole must not go on: it is closed, and the host reads its end."""
    assert node.stream is not None
    size = module.network.limits.send_size
    out = 0
    try:
        while out < len(data):
            piece = data[out : out + size]
            await node.stream.send_all(piece)
            out += len(piece)
    except NetworkError:
        if out:
            module.shed(node)
        raise


# -- S2, and the raw mode


async def link_send(module: Module, request: Request) -> Outcome:
    """S2: ``<link_id>,<size>,[ip],[port],<data>``; the data are last, and have no colon."""
    fields = unescaped(request.text, 0)
    if fields is None or len(fields) != 5:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, "not 5 fields, or a backslash before something else")
    node = _node(module, fields[0])
    data = fields[4].encode("latin-1")
    if not 0 < atoi(fields[1]) <= _room(module) or len(data) != atoi(fields[1]):
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, f"{len(data)} bytes of {fields[1]}")
    if node.ended is not None:
        raise Refused(Condition.WRONG_STATE, "closed", "its peer left")
    await deliver(module, node, data, _target(node, fields[2:4]))
    return Outcome()


async def link_sendraw(module: Module, request: Request) -> Outcome:
    """``<id>,<size>[,<ip>,<port>]``, a prompt, and then so many bytes as they are."""
    fields = request.text.split(",")
    if len(fields) not in {2, 4}:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, f"{len(fields)} fields")
    size = atoi(fields[1])
    node = _node(module, fields[0])
    if size <= 0:
        raise Refused(Condition.BAD_ARGUMENT, _COUNT, f"{fields[1]} bytes")
    if node.ended is not None:
        raise Refused(Condition.WRONG_STATE, "closed", "its peer left")
    target = _target(node, fields[2:])
    most = module.network.limits.datagram_size
    if node.datagrams is not None and size > most:
        raise Refused(Condition.TOO_LONG, kind(node), f"{size} bytes, at most {most}")
    return Outcome(raw=Raw(node, size, target))


class RawPayload:
    """The counted bytes of the raw mode: taken piece by piece, so that any length has room.

    Three ``<`` that come one by one, and then a silence, give the rest up; what came before them is sent.
    """

    PIECE = 4096  # bytes that are passed on at a time

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._missing = raw.size
        self._waiting = bytearray()
        self._marks = 0
        self.refused: Refused | None = None

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self._missing

    @property
    def marked(self) -> bool:
        """Whether a silence now ends it."""
        return self._marks >= 3

    def hear(self, data: bytes) -> bytes:
        """One burst of the host; returns what is behind the payload."""
        if data:
            self._marks = self._marks + 1 if data == b"<" else 0
        taken = data[: self._missing]
        self._waiting += taken
        self._missing -= len(taken)
        return data[len(taken) :]

    def give_up(self) -> None:
        """A silence: after the marks they are no payload."""
        if self.marked:
            del self._waiting[-3:]
        self._missing = 0

    async def pass_on(self, module: Module) -> None:
        """Send what is due: a datagram whole, a stream in pieces.  After a failure the rest is only counted."""
        datagram = self._raw.node.datagrams is not None
        while self._waiting and (not self._missing or (len(self._waiting) >= self.PIECE and not datagram)):
            piece = bytes(self._waiting) if datagram else bytes(self._waiting[: self.PIECE])
            del self._waiting[: len(piece)]
            if self.refused is None:
                await self._deliver(module, piece)

    async def _deliver(self, module: Module, piece: bytes) -> None:
        try:
            with trio.move_on_after(module.profile.seconds("module_raw_limit")) as limit:
                await deliver(module, self._raw.node, piece, self._raw.target)
            if limit.cancelled_caught:
                raise Refused(Condition.MODULE_BLOCKED, kind(self._raw.node), "not taken in time")
        except Refused as refused:
            self.refused = refused
