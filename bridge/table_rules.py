"""The rules that every mapping table must keep: `tables.parse` refuses one that breaks them, with place and reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bridge.blanks import BlankError, blanks
from bridge.model import Condition
from bridge.wire.grammar import Form, Grammar, GrammarError
from bridge.wire.patterns import Pattern, PatternError

if TYPE_CHECKING:
    from bridge.tables import Command, Profile, Urc


def problems(table: Profile) -> Iterable[str]:
    """Every rule a table must keep, one line a breach."""
    known = {str(c) for c in Condition}
    for section in ("value", "time", "text", "command", "template", "urc"):
        for name, row in getattr(table, section).items():
            if not row.source.strip():
                yield f"{section}.{name}.source: is empty; name the document and section"
    for name, wait in table.time.items():
        if wait.seconds < 0:
            yield f"time.{name}.seconds: must not be negative"
    for name, template in table.template.items():
        if template.limit <= 0:
            yield f"template.{name}.limit: must be more than 0 s"
    named = [(f"error[{n}]", e.condition) for n, e in enumerate(table.error)]
    named += [(f"refusal[{n}]", r.condition) for n, r in enumerate(table.refusal) if r.condition != "*"]
    for where, condition in named:
        if condition not in known:
            yield f"{where}.condition: {condition!r} is not a condition of bridge/model.py"
    texts = [(f"text.{name}.text", row.text) for name, row in table.text.items()]
    texts += [(f"template.{name}.send", row.send) for name, row in table.template.items()]
    texts += [(f"refusal[{n}].text", row.text) for n, row in enumerate(table.refusal)]
    for where, text in texts:
        try:
            blanks(text)
        except BlankError as error:
            yield f"{where}: {error}"
    for name, command in table.command.items():
        yield from _command_problems(name, command)
    yield from _urc_problems(table.urc)


def _command_problems(name: str, command: Command) -> Iterable[str]:
    where = f"command.{name}"
    if command.set is not None:
        try:
            grammar = Grammar(command.set)
        except GrammarError as error:
            yield f"{where}.set: {error}"
            return
        for secret in command.secret:
            if secret not in grammar.names:
                yield f"{where}.secret: {secret!r} is no argument of its set form"
        for argument in grammar.names:
            if re.search(r"password|pwd|key|pin|psk", argument) and argument not in command.secret:
                yield f"{where}.secret: argument {argument!r} looks secret and is not marked"
    forms = {Form.SET: command.set is not None, Form.QUERY: command.query, Form.TEST: command.test, Form.EXECUTE: command.execute}
    if command.disposition in {"answered", "refused"} and not command.why:
        yield f"{where}.why: say why {command.disposition!r} is true to the host"
    if command.disposition == "refused":
        if command.hook or any(forms.values()):
            yield f"{where}: a refused command has no forms and no hook"
        return
    if not any(forms.values()):
        yield f"{where}: has no form (set, query, test, execute)"
    if command.disposition in {"translated", "emulated"} and command.final is None:
        yield f"{where}.final: the seconds until its final result are missing"
    for form in command.answer:
        if form not in {str(f) for f in Form}:
            yield f"{where}.answer.{form}: no such form"


def _urc_problems(urcs: Mapping[str, Urc]) -> Iterable[str]:
    compiled: dict[str, Pattern] = {}
    for name, urc in urcs.items():
        try:
            compiled[name] = Pattern(urc.pattern)
        except PatternError as error:
            yield f"urc.{name}.pattern: {error}"
    rows = list(compiled.items())
    for index, (name, pattern) in enumerate(rows):
        for other, second in rows[index + 1 :]:
            if pattern.match(second.sample) is not None or second.match(pattern.sample) is not None:
                yield f"urc.{name}.pattern: overlaps urc.{other}.pattern"
