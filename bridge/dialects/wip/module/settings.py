"""Settings: how the module answers and how its line runs, kept, listed, stored and given back."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.state import Module
from bridge.model import Condition
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
    module.carrier.refresh()
    return Outcome()


async def settings_factory(module: Module, _request: Request) -> Outcome:
    """``AT&F``: what the table says; the line's speed stays, or nobody would understand the OK."""
    module.settings = reply.defaults(module.profile.words("module_defaults")) | {"IPR": module.settings["IPR"]}
    module.carrier.refresh()
    return Outcome()


async def settings_stored(module: Module, _request: Request) -> Outcome:
    """``ATZ``: what was stored last, but for the line's speed."""
    module.settings = module.stored | {"IPR": module.settings["IPR"]}
    module.carrier.refresh()
    return Outcome()


async def settings_store(module: Module, _request: Request) -> Outcome:
    """``AT&W``."""
    module.stored = dict(module.settings)
    return Outcome()


async def settings_listed(module: Module, _request: Request) -> Outcome:
    """``AT&V``: everything that is kept, in one line."""
    shown = []
    for name, values in module.settings.items():
        prefix = "" if name[0] in "&$" or len(name) == 1 else "+"
        shown.append(f"{prefix}{name}:{','.join(str(value) for value in values)}")
    return Outcome([" ".join(shown)])


async def line_speed(module: Module, request: Request) -> Outcome:
    """``AT+IPR``: the port's speed, changed when the OK has left.  0 lets the module find out: it stays as it is."""
    if request.form is Form.QUERY:
        return Outcome([f"+IPR: {module.settings['IPR'][0]}"])
    rate = request.number("rate")
    if str(rate) not in module.profile.words("module_rates").split():
        raise Refused(Cme.NOT_ALLOWED, Condition.BAD_ARGUMENT)
    before = module.settings["IPR"]
    module.settings["IPR"] = (rate,)

    async def change() -> None:
        if rate and not await module.line.set_speed(rate):
            module.settings["IPR"] = before

    return Outcome(last=change)
