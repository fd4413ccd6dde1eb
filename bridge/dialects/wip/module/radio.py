"""Card, registration, signal, restart: there is no radio here, so the Network answers for one."""

from __future__ import annotations

from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.settings import Request, setting
from bridge.dialects.wip.module.state import Module
from bridge.model import Phase
from bridge.wire.grammar import Form


async def card(module: Module, request: Request) -> Outcome:
    """``AT+CPIN``: no card, so nothing to unlock; a PIN is refused as by a card that is ready."""
    if module.starting("quirk_card_ready"):
        raise Refused(Cme.CARD_BUSY)
    if request.form is Form.QUERY:
        return Outcome(["+CPIN: READY"])
    raise Refused(Cme.NOT_ALLOWED)


async def registration(module: Module, request: Request) -> Outcome:
    """``AT+CREG?`` and ``AT+CGREG?``: 1 registered, 2 searching, 0 neither; from the Network's state."""
    if request.form is not Form.QUERY:
        return await setting(module, request)
    stat = {Phase.UP: 1, Phase.STARTING: 2}.get(module.network.state.phase, 0)
    return Outcome([f"+{request.name}: {module.settings[request.name][0]},{stat}"])


async def attachment(module: Module, request: Request) -> Outcome:
    """``AT+CGATT``: attached means that the Network is up; to detach ends the bearer, whose start attaches again."""
    if request.form is Form.QUERY:
        return Outcome([f"+CGATT: {int(module.network.state.phase is Phase.UP)}"])
    if request.number("state") == 0 and module.call.up:
        return Outcome(then=module.call.stop)
    return Outcome()


async def signal(module: Module, _request: Request) -> Outcome:
    """``AT+CSQ``: the Network's dBm as 0..31; where it has no radio, full while it is up, and not known otherwise."""
    strength = await module.asked(module.network.signal)
    if strength is not None:
        return Outcome([module.profile.words("module_csq").format(rssi=min(max((strength + 113) // 2, 0), 31))])
    up = module.network.state.phase is Phase.UP
    return Outcome([module.profile.words("module_csq_up" if up else "module_csq_down")])


async def functionality(module: Module, request: Request) -> Outcome:
    """``AT+CFUN=1``: OK, then the module restarts."""
    if request.form is Form.QUERY:
        return Outcome(["+CFUN: 1"])
    return Outcome(then=module.reboot)
