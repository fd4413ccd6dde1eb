"""Commands about the module itself: settings, registration, signal, reset."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_reply import Outcome
from bridge.dialects.wip.module_state import Module
from bridge.model import Phase
from bridge.wire.grammar import Form


@dataclass(frozen=True, slots=True)
class Request:
    """A command that fits its row's grammar."""

    name: str
    form: Form
    values: dict[str, int | str]

    def number(self, name: str, default: int = 0) -> int:
        """A whole-number argument."""
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """An argument as written; empty where it was left out."""
        return str(self.values.get(name, ""))


async def setting(module: Module, request: Request) -> Outcome:
    """Keep a value and give it back; what it changes is looked up where it matters."""
    if request.form is Form.QUERY:
        values = ",".join(str(v) for v in module.settings[request.name])
        prefix = "" if request.name.startswith("$") else "+"
        return Outcome([f"{prefix}{request.name}: {values}"])
    module.settings[request.name] = tuple(request.values.values())
    if request.name == "WIND":  # stored at once
        module.stored["WIND"] = module.settings["WIND"]
    return Outcome()


async def settings_factory(module: Module, _request: Request) -> Outcome:
    """``AT&F``: what the table says."""
    module.settings = reply.defaults(module.profile.words("module_defaults"))
    return Outcome()


async def settings_stored(module: Module, _request: Request) -> Outcome:
    """``ATZ``: what was stored last."""
    module.settings = dict(module.stored)
    return Outcome()


async def settings_store(module: Module, _request: Request) -> Outcome:
    """``AT&W``."""
    module.stored = dict(module.settings)
    return Outcome()


async def registration(module: Module, _request: Request) -> Outcome:
    """``AT+CREG?``: 1 registered, 2 searching, 0 neither; from the Network's state."""
    stat = {Phase.UP: 1, Phase.STARTING: 2}.get(module.network.state.phase, 0)
    return Outcome([f"+CREG: 0,{stat}"])


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
