"""A command line of the host: its commands one after the other, each through its row of the table, to one result.

The first that fails ends the line.  What those before it did is done, and their lines are said.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from bridge.command_log import CommandEvent, CommandLog, Part
from bridge.dialects.wip.module import line as module_line
from bridge.dialects.wip.module import options as module_options
from bridge.dialects.wip.module import ping as module_ping
from bridge.dialects.wip.module import radio as module_radio
from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module import settings as module_settings
from bridge.dialects.wip.module import sockets as module_sockets
from bridge.dialects.wip.module import stack as module_stack
from bridge.dialects.wip.module.line import Call, SyntaxProblem
from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.settings import Request
from bridge.dialects.wip.module.socket import ModuleSocket
from bridge.dialects.wip.module.state import Module
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Command
from bridge.wire.grammar import ArgumentError, Form

log = structlog.get_logger("bridge.wip.module")

Hook = Callable[[Module, Request], Awaitable[Outcome]]

HOOKS: dict[str, Hook] = {
    hook.__name__: hook
    for hook in (
        module_settings.setting,
        module_settings.settings_factory,
        module_settings.settings_stored,
        module_settings.settings_store,
        module_settings.settings_listed,
        module_settings.line_speed,
        module_radio.card,
        module_radio.registration,
        module_radio.attachment,
        module_radio.signal,
        module_radio.functionality,
        module_stack.wopen,
        module_stack.wipcfg,
        module_stack.wipbr,
        module_sockets.wipcreate,
        module_sockets.wipclose,
        module_options.wipopt,
        module_sockets.wipdata,
        module_ping.wipping,
    )
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a line."""

    event: CommandEvent
    lines: bytes  # the information lines
    final: bytes  # not said where a socket is to be mapped
    outcomes: list[Outcome]

    failed: bool = False

    @property
    def connect(self) -> ModuleSocket | None:
        """The socket that the line maps: the last one that it names."""
        if self.failed:
            return None
        return next((outcome.connect for outcome in reversed(self.outcomes) if outcome.connect), None)

    @property
    def secret(self) -> bool:
        """Whether the lines are not for the trace."""
        return any(outcome.secret for outcome in self.outcomes)


class CommandLine:
    """Runs lines, one at a time."""

    def __init__(self, module: Module, events: CommandLog) -> None:
        self._module = module
        self._events = events

    async def run(self, line: str, *, too_long: bool) -> Ran:
        """The commands of a line without its AT; never raises for what they do."""
        module = self._module
        found: list[Call] = []
        wrong = SyntaxProblem("longer than the line buffer") if too_long else None
        try:
            found = [] if too_long else module_line.calls(line)
        except SyntaxProblem as problem:
            wrong = problem
        event = self._event(found, len("AT") + len(line) + 1)
        lines, done = bytearray(), list[Outcome]()
        try:
            if wrong is not None:
                raise wrong
            for call in found:
                done.append(await self._call(call, event))
                for text in done[-1].lines:
                    lines += reply.information(text, module.settings)
        except (SyntaxProblem, ArgumentError) as problem:
            module.trace.note("refused", str(problem))
            event.refused(Condition.BAD_ARGUMENT, str(problem))
            final = reply.result("ERROR", module.settings)
        except Refused as refused:
            event.refused(refused.condition, str(refused.number))
            final = reply.refusal(refused.number, module.settings)
        else:
            return Ran(event, bytes(lines), reply.result("OK", module.settings), done)
        return Ran(event, bytes(lines), final, done, failed=True)

    def _event(self, found: Sequence[Call], heard: int) -> CommandEvent:
        """One for the whole line: it has one final result.  Of several commands all are named."""
        if not found:
            return self._events.begin("AT", str(Form.EXECUTE), "answered", heard)
        row = self._module.profile.command.get(found[-1].name)
        verb = ";".join(call.name for call in found)
        return self._events.begin(verb, str(found[-1].form), row.disposition if row else "refused", heard)

    async def _call(self, call: Call, event: CommandEvent) -> Outcome:
        """One command through its row, within its time, behind the crash barrier."""
        module = self._module
        row = module.profile.command.get(call.name)
        if row is None or row.disposition == "refused":
            module.counters["commands-refused"] += 1
            raise SyntaxProblem(f"{call.name}: {row.why if row else 'no such command'}")
        if call.name.startswith("WIP") and not module.application:
            raise SyntaxProblem(f"{call.name}: the application is not started (AT+WOPEN=1)")
        request = self._request(row, call)
        if call.form is Form.TEST or not row.hook:
            return Outcome([row.answer[call.form]] if call.form in row.answer else [])
        part = Part.MODULE if row.disposition == "translated" else Part.OWN
        with trio.move_on_after(row.final if row.final is not None else math.inf), event.waiting(part):
            try:
                return await HOOKS[row.hook](module, request)
            except (Refused, SyntaxProblem):
                raise
            except NetworkError as error:
                module.trace.note("refused", f"{call.name}: {error}")
                raise Refused(module.number_of(error.condition), error.condition) from None
            except Exception:
                module.counters["crashes"] += 1
                log.exception("command", name=call.name)
                raise SyntaxProblem(f"{call.name}: internal") from None
        module.counters["commands-late"] += 1
        raise SyntaxProblem(f"{call.name}: no answer within {row.final} s")

    @staticmethod
    def _request(row: Command, call: Call) -> Request:
        forms = {Form.SET: row.set is not None, Form.QUERY: row.query, Form.TEST: row.test, Form.EXECUTE: row.execute}
        if not forms[call.form]:
            raise SyntaxProblem(f"{call.name}: has no {call.form} form")
        if call.form is not Form.SET:
            return Request(call.name, call.form, {})
        try:
            return Request(call.name, call.form, module_line.arguments(row, call.text))
        except ArgumentError as problem:
            if problem.kind == "value":
                raise Refused(Cme.INVALID_VALUE, Condition.BAD_ARGUMENT) from None
            raise
