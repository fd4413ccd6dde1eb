"""AT+WIPCFG and AT+WIPBR: the stack and its one bearer."""

from __future__ import annotations

from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_reply import Cme, Outcome, Refused
from bridge.dialects.wip.module_settings import Request
from bridge.dialects.wip.module_state import Bearer, Module
from bridge.wire.grammar import Form

_USER, _PASSWORD = "0", "1"
_OWN_ADDRESS, _NAME_SERVERS = "15", ("17", "18")


async def wipcfg(module: Module, request: Request) -> Outcome:
    """0 stop, 1 start, 2 set an option, 4 store or free; ``?`` lists the options of a running stack."""
    if request.form is Form.QUERY:
        if not module.stack:
            raise Refused(Cme.WRONG_STACK_STATE)
        return Outcome([f"+WIPCFG: {number},{value}" for number, value in module.stack_options.items()])
    match request.number("mode"):
        case 0:
            module.stop_stack()
        case 1:
            if module.stack:
                raise Refused(Cme.STACK_STARTED)
            module.stack = True
        case 2:
            _set_option(module, request)
        case 4:
            pass  # options live in memory; that they are stored changes nothing a host could see before a reset
        case _:
            raise Refused(Cme.NOT_IMPLEMENTED)
    return Outcome()


def _set_option(module: Module, request: Request) -> None:
    option = reply.options(module.profile.words("module_wipcfg_options")).get(request.number("option", -1))
    if option is None:
        raise Refused(Cme.INVALID_OPTION)
    value = request.number("value", -1)
    if not option.low <= value <= option.high:
        raise Refused(Cme.INVALID_VALUE)
    module.stack_options[request.number("option")] = value


async def wipbr(module: Module, request: Request) -> Outcome:
    """2 set, 3 get, 4 start, 5 stop.  Start is accepted at once; the URC +WIPBR tells how it went."""
    if not module.stack:
        raise Refused(Cme.WRONG_STACK_STATE)
    bearer = module.profile.number("module_bearer")
    if request.form is Form.QUERY:
        return Outcome([f"+WIPBR: {bearer},{int(module.bearer is Bearer.UP)}"])
    mode = request.number("mode")
    if mode not in {2, 3, 4, 5}:
        raise Refused(Cme.NOT_IMPLEMENTED)
    if request.number("bearer", -1) != bearer:
        raise Refused(Cme.INVALID_VALUE)
    match mode:
        case 2:
            _set_login(module, request)
        case 3:
            return Outcome([f"+WIPBR: {bearer},{await _fact(module, request)}"])
        case 4:
            return _start(module, request)
        case _:
            if module.bearer is Bearer.DOWN:
                raise Refused(Cme.WRONG_STACK_STATE)
            return Outcome(then=module.stop_bearer)
    return Outcome()


def _set_login(module: Module, request: Request) -> None:
    match request.text("option"):
        case "0":
            module.user = request.text("value")
        case "1":
            module.password = request.text("value")
        case _:
            raise Refused(Cme.INVALID_OPTION)


async def _fact(module: Module, request: Request) -> str:
    if module.bearer is not Bearer.UP:
        raise Refused(Cme.WRONG_STACK_STATE)
    option = request.text("option")
    if option == _OWN_ADDRESS:
        return f'{option},"{module.network.state.address or "0.0.0.0"}"'
    if option in _NAME_SERVERS:
        servers = await module.asked(module.network.name_servers) or []
        named = dict(zip(_NAME_SERVERS, servers, strict=False))
        return f'{option},"{named.get(option, module.profile.words("module_name_server"))}"'
    raise Refused(Cme.INVALID_OPTION)


def _start(module: Module, request: Request) -> Outcome:
    if module.bearer is not Bearer.DOWN:
        raise Refused(Cme.WRONG_STACK_STATE)
    if request.text("option") not in {"", "0"}:  # 1: be the server of the call
        raise Refused(Cme.NOT_IMPLEMENTED)
    if request.text("value"):
        module.user, module.password = request.text("value"), request.text("password")
    return Outcome(then=module.start_bearer)
