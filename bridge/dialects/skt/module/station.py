"""The station: ``AT+WLCONN`` and its family, on the Network's bearer."""

from __future__ import annotations

import trio

from bridge.dialects.skt.module.call import Request
from bridge.dialects.skt.module.reply import Outcome, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, Login, Phase
from bridge.network import NetworkError
from bridge.wire.addresses import aton

_PAIRS = {"ssid", "pw", "bssid", "ch", "key_id"}


async def wl_conn(module: Module, request: Request) -> Outcome:
    """``ssid,<s>[,pw,<p>]...``: names and values in turn."""
    fields = request.text.split(",")
    if len(fields) % 2 or len(fields) > 2 * len(_PAIRS):
        raise Refused(Condition.BAD_ARGUMENT, "count", f"{len(fields)} fields")
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    if pairs.keys() - _PAIRS:
        raise Refused(Condition.BAD_ARGUMENT, "pairs", "an unknown name")
    login = Login(pairs.get("ssid", ""), pairs.get("pw", ""))
    if not login.name:
        raise Refused(Condition.BAD_ARGUMENT, "ssid", "no network name")
    settings = module.settings
    if settings.ssid not in {"", login.name}:
        raise Refused(Condition.BEARER_REFUSED, "join", f"only {settings.ssid!r} can be joined")
    if settings.password not in {None, login.password}:
        raise Refused(Condition.BEARER_REFUSED, "join", "another password")
    try:
        await module.join(login)
    except NetworkError as error:
        urc(module, "module_join_failed")
        raise Refused.by(error, "join") from None
    return Outcome(then=lambda: urc(module, "module_joined_urc"))


def urc(module: Module, row: str) -> None:
    """What some generations print of the station."""
    said = module.words.say(row, ip=module.address)

    async def work() -> None:
        await module.writer.urc(lambda: said, rule="station")

    if said:
        module.spawn(work)


async def wl_disconn(module: Module, _request: Request) -> Outcome:
    """Leave.  OK also where it was not there."""
    was, module.joined = module.joined, False
    module.login = None
    await module.network.detach()
    return Outcome(then=(lambda: urc(module, "module_left_urc")) if was else None)


async def wl_static(module: Module, request: Request) -> Outcome:
    """``AT+WLSTATICIP``: taken, and without effect: the Network has its own address."""
    fields = request.text.split(",")
    if len(fields) not in {1, 3} or any(aton(field) is None for field in fields):
        raise Refused(Condition.BAD_ARGUMENT, "count", request.text)
    return Outcome()


async def wl_state(module: Module, _request: Request) -> Outcome:
    """The block of interface 0.  The password that the real one prints is left out."""
    joined = module.joined and module.network.state.phase is Phase.UP
    name = (module.login.name if module.login else "") or module.settings.ssid or str(module.profile.value["module_ssid"].value)
    gateway = module.profile.words("module_gateway") if joined else "0.0.0.0"
    mask = module.profile.words("module_mask") if joined else "0.0.0.0"
    block = module.words.say(
        "module_station",
        status="Running" if joined else "Stopped",
        ssid=name if joined else "",
        mac=module.profile.words("module_mac"),
        ip=module.address,
        gateway=gateway,
        mask=mask,
    )
    return Outcome([block])


async def wl_rssi(module: Module, _request: Request) -> Outcome:
    """The Network's dBm; the table's where it has no radio."""
    strength = None
    with trio.move_on_after(module.profile.seconds("module_ask")):
        try:
            strength = await module.network.signal()
        except NetworkError as error:
            module.trace.note("signal", str(error))
    if strength is None:
        strength = module.profile.number("module_rssi")
    return Outcome([module.words.say("module_strength", rssi=strength)])


async def wl_scan(module: Module, _request: Request) -> Outcome:
    """OK first; the one network that can be joined comes after it."""
    name = module.settings.ssid or str(module.profile.value["module_ssid"].value)
    line = module.words.say(
        "module_scanned", mac=module.profile.words("module_mac"), rssi=module.profile.number("module_rssi"), ssid=name
    )

    async def work() -> None:
        await trio.sleep(module.profile.seconds("module_scan"))
        await module.writer.urc(lambda: line, rule="scan")

    return Outcome(then=lambda: module.spawn(work))


async def wl_reconn(module: Module, request: Request) -> Outcome:
    """``auto,<0|1>`` or ``fast,<0|1>``: the bearer comes back by itself in any case."""
    what, _, value = request.text.partition(",")
    if what not in {"auto", "fast"} or value not in {"0", "1"}:
        raise Refused(Condition.BAD_ARGUMENT, "pairs", request.text)
    return Outcome()


async def watch(module: Module) -> None:
    """Tell of a bearer that goes and comes, where the generation does."""
    state = module.network.state
    up = state.phase is Phase.UP
    while True:
        state = await module.network.wait_state(state.seq)
        before, up = up, state.phase is Phase.UP
        if module.joined and before != up:
            urc(module, "module_joined_urc" if up else "module_left_urc")
