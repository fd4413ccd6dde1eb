"""Commands about the module itself, and names."""

from __future__ import annotations

from bridge.dialects.skt.module.call import Request, atoi
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.wire.addresses import aton

_OPTIONS = ("so_sndtimeo", "so_rcvtimeo", "tcp_nodelay", "so_keepalive", "tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt")


async def version(module: Module, _request: Request) -> Outcome:
    """``AT+GMR``: who the module is, as far as the Network says; its line is the whole answer."""
    who = await module.network.identity()
    revision = who.revision.replace(",", " ") or str(module.profile.value["module_revision"].value)
    return Outcome([module.words.say("module_version", revision=revision)], ok=module.switch("module_version_ok"))


async def names(module: Module, _request: Request) -> Outcome:
    """``AT+LIST``: what it knows."""
    known = [name for name, row in module.profile.command.items() if row.disposition != "refused"]
    return Outcome([module.words.say("module_name", name=name) for name in known])


async def restart(module: Module, _request: Request) -> Outcome:
    """``AT+RST``: OK, then everything is forgotten."""
    return Outcome(then=module.reboot)


async def lookup(module: Module, request: Request) -> Outcome:
    """``AT+IPDOMAIN=<name>``."""
    name = request.values["name"]
    if not name:
        raise Refused(Condition.BAD_ARGUMENT, "count", "no name")
    try:
        found = aton(name) or await module.network.resolve(name)
    except NetworkError as error:
        raise Refused(Condition.NAME_NOT_FOUND, "name", str(error)) from None
    return Outcome([module.words.say("module_found", ip=found)])


async def echo_request(module: Module, request: Request) -> Outcome:
    """``AT+PING``: OK means that it was understood; results go to the log port alone, and no host sees them."""
    if not request.text:
        raise Refused(Condition.BAD_ARGUMENT, "count", "no host")
    return Outcome()


async def options(module: Module, request: Request) -> Outcome:
    """``AT+SKTCFG``: numbers for sockets that are opened later.  They are kept and told; the Network has its own."""
    limits = {"tcp_nodelay": 1, "so_keepalive": 1, "tcp_keepidle": 7200, "tcp_keepintvl": 75, "tcp_keepcnt": 10}
    fields = request.text.split(",")
    if not request.text or len(fields) > len(_OPTIONS):
        raise Refused(Condition.BAD_ARGUMENT, "count", f"{len(fields)} fields")
    chosen = dict.fromkeys(_OPTIONS, 0) | {name: atoi(text) for name, text in zip(_OPTIONS, fields, strict=False)}
    for name, number in chosen.items():
        if not 0 <= number <= limits.get(name, number):
            raise Refused(Condition.BAD_ARGUMENT, name, f"{number}")
    module.options = chosen
    return Outcome()


async def options_told(module: Module, _request: Request) -> Outcome:
    """``AT+SKTQUERY``."""
    lines = "".join(f"{name}: {module.options.get(name, 0)}\r\n" for name in _OPTIONS)
    return Outcome([module.words.say("module_options") + lines.encode("ascii")])
