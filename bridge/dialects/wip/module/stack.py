"""AT+WIPCFG, AT+WIPBR and AT+WOPEN: the stack, its bearer, and the application that both live in.

Which modes and options a module has is in its table.  On GSM modules the stack is an application that must be
started once (``AT+WOPEN=1``, which restarts the module) and a bearer is opened before it is used.
"""

from __future__ import annotations

import re

from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.call import Bearer
from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.settings import Request
from bridge.dialects.wip.module.state import Module
from bridge.model import Condition
from bridge.wire.grammar import Form

_USER, _PASSWORD = 0, 1
_OWN_ADDRESS, _NAME_SERVERS = 15, (17, 18)
_TEXT = 32  # an option that may be as long as this is a text and is given back between quotes


async def wopen(module: Module, request: Request) -> Outcome:
    """Start (1) or stop (0) the application; where that changes anything the module restarts."""
    if request.form is Form.QUERY:
        return Outcome([f"+WOPEN: {int(module.application)}"])
    wanted = request.number("mode") == 1
    if wanted is module.application:
        return Outcome()
    module.application = wanted
    return Outcome(then=module.reboot)


# -- the stack


async def wipcfg(module: Module, request: Request) -> Outcome:
    """0 stop, 1 start, 2 set an option, 3 version, 4 store or free; ``?`` lists the options of a running stack."""
    if request.form is Form.QUERY:
        if not module.stack:
            raise Refused(Cme.WRONG_STACK_STATE)
        return Outcome([f"+WIPCFG: {number},{value}" for number, value in module.stack_options.items()])
    mode = request.number("mode")
    if str(mode) not in module.profile.words("module_wipcfg_modes").split():
        raise Refused(Cme.NOT_IMPLEMENTED)
    match mode:
        case 0:
            module.stop_stack()
        case 1:
            if module.stack:
                raise Refused(Cme.STACK_STARTED)
            module.stack = True
        case 2:
            _set_option(module, request)
        case 3:
            return Outcome(module.profile.words("module_wipcfg_version").splitlines())
        case _:
            _store(module, request.number("option"))
    return Outcome()


def _set_option(module: Module, request: Request) -> None:
    option = reply.options(module.profile.words("module_wipcfg_options")).get(request.number("option", -1))
    if option is None:
        raise Refused(Cme.INVALID_OPTION)
    value = request.number("value", -1)
    if not option.low <= value <= option.high:
        raise Refused(Cme.INVALID_VALUE)
    module.stack_options[request.number("option")] = value


def _store(module: Module, action: int) -> None:
    """1 keep the options for the next start, 0 go back to the factory's."""
    if action not in {0, 1}:
        raise Refused(Cme.INVALID_VALUE)
    module.stored_options = (
        dict(module.stack_options) if action == 1 else reply.values(module.profile.words("module_wipcfg_options"))
    )


# -- the bearer


async def wipbr(module: Module, request: Request) -> Outcome:
    """0 close, 1 open, 2 set, 3 get, 4 start, 5 stop, 6 store or free: those that the module has."""
    if not module.stack:
        raise Refused(Cme.WRONG_STACK_STATE)
    carrier = module.profile.number("module_bearer")
    opens = module.profile.value["module_bearer_opens"].value is True
    if request.form is Form.QUERY:
        known = sorted(module.call.opened) if opens else [carrier]
        return Outcome([f"+WIPBR: {bearer},{int(bearer == carrier and module.call.up)}" for bearer in known])
    mode, bearer = request.number("mode"), request.number("bearer", -1)
    if str(mode) not in module.profile.words("module_wipbr_modes").split():
        raise Refused(Cme.NOT_IMPLEMENTED)
    if str(bearer) not in module.profile.words("module_bearers").split():
        raise Refused(Cme.INVALID_VALUE)
    if mode == 1:
        if bearer in module.call.opened:
            raise Refused(Cme.DEVICE_OPEN)
        module.call.opened.add(bearer)
        return Outcome()
    if opens and bearer not in module.call.opened:
        raise Refused(Cme.WRONG_STACK_STATE)
    return await _opened(module, request, mode, carries=bearer == carrier)


async def _opened(module: Module, request: Request, mode: int, *, carries: bool) -> Outcome:
    call, bearer = module.call, request.number("bearer")
    match mode:
        case 0:
            call.opened.discard(bearer)
            return Outcome(then=call.stop) if carries and call.phase is not Bearer.DOWN else Outcome()
        case 2:
            _set(module, request)
        case 3:
            return await _get(module, request)
        case 4:
            if not carries:
                raise Refused(Cme.NO_INTERFACE, Condition.NOT_SUPPORTED)
            return await _start(module, request)
        case 5:
            if not carries or call.phase is Bearer.DOWN:
                raise Refused(Cme.WRONG_STACK_STATE)
            return Outcome(then=call.stop)
        case _:
            pass  # options live in memory; that they are stored changes nothing a host could see before a reset
    return Outcome()


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) else -1


def _set(module: Module, request: Request) -> None:
    option, value = _number(request.text("option")), request.text("value")
    longest = reply.numbers(module.profile.words("module_wipbr_options")).get(option)
    if longest is None:
        raise Refused(Cme.INVALID_OPTION)
    if len(value) > longest:
        raise Refused(Cme.INVALID_VALUE)
    if option == _USER:
        module.call.user = value
    elif option == _PASSWORD:
        module.call.password = value
    else:
        module.call.options[option] = value


async def _get(module: Module, request: Request) -> Outcome:
    option, bearer = _number(request.text("option")), request.number("bearer")
    longest = reply.numbers(module.profile.words("module_wipbr_options")).get(option)
    if longest is not None and option not in {_USER, _PASSWORD}:
        value = module.call.options.get(option, "")
        shown = f'"{value}"' if longest >= _TEXT else value or "0"
        return Outcome([f"+WIPBR: {bearer},{option},{shown}"], secret=True)
    if option not in {_OWN_ADDRESS, *_NAME_SERVERS}:
        raise Refused(Cme.WRONG_STACK_STATE if not module.call.up else Cme.INVALID_OPTION)
    if not module.call.up:
        raise Refused(Cme.WRONG_STACK_STATE)
    if option == _OWN_ADDRESS:
        return Outcome([f'+WIPBR: {bearer},{option},"{module.network.state.address or "0.0.0.0"}"'])
    servers = await module.asked(module.network.name_servers) or []
    named = dict(zip(_NAME_SERVERS, servers, strict=False))
    return Outcome([f'+WIPBR: {bearer},{option},"{named.get(option, module.profile.words("module_name_server"))}"'])


async def _start(module: Module, request: Request) -> Outcome:
    call = module.call
    if call.phase is not Bearer.DOWN:
        raise Refused(Cme.WRONG_STACK_STATE)
    if request.text("option") not in {"", "0"}:  # 1: be the server of the call
        raise Refused(Cme.NOT_IMPLEMENTED, Condition.NOT_SUPPORTED)
    if request.text("value"):
        call.user, call.password = request.text("value"), request.text("password")
    if module.profile.value["module_bearer_urc"].value is True:
        return Outcome(then=call.start)
    if module.starting("quirk_bearer_ready"):
        raise Refused(module.number_of(Condition.BEARER_UNAVAILABLE, "WIPBR"), Condition.BEARER_UNAVAILABLE)
    if (failed := await call.connect()) is not None:
        raise Refused(module.number_of(failed, "WIPBR"), failed)
    return Outcome()
