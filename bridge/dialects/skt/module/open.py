"""Clients: ``AT+SKTCLIENT``.

In S1 the module chooses the id and answers twice: OK when it has the address, and the id (or an error) when it is
connected, at least a second later.  In S2 the host chooses the id, and OK means connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import trio

from bridge.dialects.skt.module import receive
from bridge.dialects.skt.module.call import Request, atoi
from bridge.dialects.skt.module.node import Node, Role
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.wire.addresses import aton

_PROTOCOLS = {"tcp", "udp"}


async def skt_client(module: Module, request: Request) -> Outcome:
    """S1 and S1b: ``<mode>,<rmt_host>,<rmt_port>[,<loc_port>]``."""
    if module.through is not None:
        raise Refused(Condition.WRONG_STATE, "transparent")
    protocol = protocol_of(module, request.values.get("mode", ""))
    if protocol not in _PROTOCOLS:
        raise Refused(Condition.NOT_SUPPORTED, "mode", request.values.get("mode", ""))
    port = port_of(request, "rmt_port", low=0 if module.quirk("quirk_port_0") else 1)
    local = port_of(request, "loc_port") if _has_local(module, request, protocol) else 0
    host = await found(module, request.values["rmt_host"], during="rmt_host")
    con_id = module.free_id()
    if con_id is None:
        raise Refused(Condition.NO_FREE_LINK, "con_id")
    node = module.nodes[con_id] = Node(con_id, Role.CLIENT, protocol, Endpoint(host, port))
    return Outcome(then=lambda: module.spawn(_connect, module, node, local, request.name))


def _has_local(module: Module, request: Request, protocol: str) -> bool:
    """A TCP client's local port is looked at by nobody; a UDP client of S1b must have one."""
    return protocol == "udp" and ("loc_port" in request.values or module.switch("module_udp_needs_port"))


async def _connect(module: Module, node: Node, local: int, command: str) -> None:
    """The second answer.  Deleted meanwhile: without a word."""
    with node.work():
        await trio.sleep(module.profile.seconds("module_open_pause" if module.quirk("quirk_slow") else "module_open_gap"))
        try:
            await opened(module, node, local)
        except Refused as refused:
            module.trace.note("refused", f"{command}: {refused}")
            await module.writer.urc(_failed(module, node, command, refused), rule="not opened")
            return
        await module.writer.urc(lambda: ready(module, node, "module_client_id", "module_client_noise"), rule="opened")


def _failed(module: Module, node: Node, command: str, refused: Refused) -> Callable[[], bytes | None]:
    def render() -> bytes | None:
        if not module.holds(node):
            return None
        module.drop(node)
        return module.words.error(command, refused)

    return render


def ready(module: Module, node: Node, row: str, noise: str) -> bytes | None:
    """The second answer of S1; on its log port there is something before it."""
    if not module.holds(node) or (node.link is None and node.listener is None):
        return None
    show(module, node)
    before = module.words.say(noise, protocol=node.protocol.upper()) if module.quirk("quirk_noise") else b""
    return before + module.words.say(row, id=node.id)


def show(module: Module, node: Node) -> None:
    """It is open: listed, and what comes for it is printed where that is wanted."""
    node.opened = True
    if receive.wanted(module, node):
        receive.begin(module, node)


async def opened(module: Module, node: Node, local: int) -> None:
    """Have the Network connect.  Raises Refused."""
    limit = module.settings.connect or module.profile.seconds("module_connect_limit")
    about = "open"
    with trio.move_on_after(limit):
        try:
            if not module.joined:
                raise NetworkError(Condition.BEARER_UNAVAILABLE, "the host did not join")
            if node.protocol == "tcp":
                if not node.far.port:
                    raise NetworkError(Condition.CONNECT_REFUSED, "port 0, where nobody can be")
                node.stream = await module.network.open_stream(node.far.host, node.far.port)
            else:
                about = cast_of(node.far.host)
                node.datagrams = await module.network.open_datagram(node.far, local_port=local)
        except NetworkError as error:
            about = node.protocol if error.condition is Condition.INDEX_IN_USE else about
            raise Refused.by(error, about) from None
        except Exception:
            module.crashed("open")
            raise Refused(Condition.MODULE_ERROR, "task", "internal") from None
        node.descriptor = module.descriptor()
        return
    raise Refused(Condition.CONNECT_TIMEOUT, about, f"not within {limit} s")


def cast_of(host: str) -> str:
    """The word of the table for the step that a datagram socket fails at: what the address asks for."""
    try:
        number = IPv4Address(host)
    except ValueError:
        return "open"
    if number.is_multicast:
        return "multicast"
    return "broadcast" if number in {IPv4Address("255.255.255.255"), IPv4Address(0)} else "open"


async def link_client(module: Module, request: Request) -> Outcome:
    """S2: ``<link_id>,<type>,[cert],<host>,<port>,[src_port],<auto_rcv>``; OK means connected."""
    protocol = type_of(module, request)
    con_id = free_link(module, request)
    port = port_of(request, "port")
    local = port_of(request, "src_port") if protocol == "udp" else 0
    auto = switch_of(request, "auto_rcv")
    host = await found(module, request.values["host"], during="host")
    node = Node(con_id, Role.CLIENT, protocol, Endpoint(host, port))
    node.auto = auto
    with taken(module, node):
        await opened(module, node, local)
    return Outcome(then=lambda: show(module, node))


@contextmanager
def taken(module: Module, node: Node) -> Iterator[None]:
    """S2: the link is taken while it opens.  What a UDP socket fails at has numbers of its own, whatever step it is."""
    module.nodes[node.id] = node
    try:
        yield
    except BaseException as problem:
        module.nodes.pop(node.id, None)
        if isinstance(problem, Refused) and node.protocol == "udp":
            raise Refused(problem.condition, "udp", str(problem)) from None
        raise


# -- fields


def type_of(module: Module, request: Request) -> str:
    """What S2 numbers as a type: tcp or udp.  Raises Refused."""
    text = request.values["type"]
    protocol = protocol_of(module, text)
    if not protocol:
        raise Refused(Condition.BAD_ARGUMENT, "type", f"{text!r} is no type")
    if protocol not in _PROTOCOLS:
        raise Refused(Condition.NOT_SUPPORTED, "type", text)
    return protocol


def protocol_of(module: Module, mode: str) -> str:
    """tcp, udp, or what this module does not have.  "": no mode at all."""
    table = dict(entry.split(":") for entry in str(module.profile.value["module_modes"].value).split())
    number = mode.strip()
    if number.isdecimal() or (number and module.quirk("quirk_atoi")):
        number = str(atoi(number))
    return table.get(number, "")


def port_of(request: Request, name: str, *, low: int = 1) -> int:
    """A port.  Raises Refused."""
    text = request.values.get(name, "")
    number = request.number(name)
    if not text or not low <= number <= 65535:
        raise Refused(Condition.BAD_ARGUMENT, name, f"{text!r} is no port")
    return number


def switch_of(request: Request, name: str) -> bool:
    """0 or 1.  Raises Refused."""
    number = request.number(name)
    if number not in {0, 1} or not request.values.get(name):
        raise Refused(Condition.BAD_ARGUMENT, name, "neither 0 nor 1")
    return number == 1


def free_link(module: Module, request: Request) -> int:
    """The link that the host chose.  Raises Refused."""
    text, number = request.values.get("link_id", ""), request.number("link_id")
    if not text.strip().isdecimal() or not 0 <= number < module.profile.number("module_pool"):
        raise Refused(Condition.BAD_ARGUMENT, "link_id", f"{text!r} is no link")
    if number in module.nodes:
        raise Refused(Condition.INDEX_IN_USE, "link_id", f"{number} is taken")
    return number


async def found(module: Module, host: str, *, during: str) -> str:
    """The address of a host, which the module has before it says OK.  Raises Refused."""
    if (number := aton(host)) is not None:
        return number
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise Refused(Condition.NAME_NOT_FOUND, during, "no name")
    if not module.joined:
        raise Refused(Condition.NAME_NOT_FOUND, during, "the host did not join")
    try:
        return await module.network.resolve(host)
    except NetworkError as error:
        if error.condition is Condition.NOT_SUPPORTED:
            return host  # the Network looks it up by itself
        raise Refused(Condition.NAME_NOT_FOUND, during, str(error)) from None
