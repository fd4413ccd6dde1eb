"""The host's lines and payload, each on its way to its one final result.

Lines are taken apart and *begun* by the task that reads: everything that can be answered from our own state is
answered there and then, so the result does not depend on timing; the rest becomes the job of the one running command.

A payload that stops coming.  A module waits for it for ever, and so does this one unless its operator says after how
many silent seconds it is given up (`HostSettings.payload`), because only the operator knows whether the host pauses.
Two things end then, and not at the same moment.  After one such silence the *send* is over: it is aborted, and the
host is told SEND FAIL, once.  The *count* still holds: a host that was merely slow sends the rest without looking,
and a byte of it taken for a line would be an answer too many, or a command.  So what comes is counted and dropped.
Only after a second such silence - or with the last byte that was announced - is the next byte a line again: that is
for the host that was reset in mid-payload and will never send the rest.  What it types before that is swallowed,
which is why the silence should be shorter than the pause between its attempts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import trio

from bridge.command_log import CommandLog, Part, final_words
from bridge.dialects.esp_at import errors
from bridge.dialects.esp_at.command import Command, Hook, Payload
from bridge.dialects.esp_at.lines import Line, LineReader, Mask, Piece, Request, parse
from bridge.dialects.esp_at.links import LOST
from bridge.dialects.esp_at.sending import OPENING, to_datagrams
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError
from bridge.ports import PortLost
from bridge.tables import TableError
from bridge.trace import Lane
from bridge.wire.grammar import ArgumentError, Form, Grammar, split

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

BACKLOG = 256  # answers that may wait for a host that types and does not read; then it is told busy
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Runner:
    """Hears a host and runs its commands, one at a time."""

    def __init__(self, unit: EspAtUpstream, hooks: dict[str, Hook]) -> None:
        profile = unit.profile
        self._unit = unit
        self._reader = LineReader(profile.number("max_line"))
        self._mask = Mask(profile.command)
        self._hooks = hooks
        self._grammars = {name: Grammar(row.set) for name, row in profile.command.items() if row.set is not None}
        self._about_links = {name for name, grammar in self._grammars.items() if "link" in grammar.names}
        for name, row in profile.command.items():
            if row.hook and row.hook not in hooks:
                raise TableError(f"{profile.file}: command.{name}.hook: {row.hook!r} is no hook of this dialect")
        results = [profile.words(row) for row in ("ok", "error", "send_ok", "busy", "busy_sending")]
        results += [row.text for row in profile.refusal]
        self._log = CommandLog(unit.trace, unit.port, final_words(results))
        self._command: Command | None = None
        self._payload: Payload | None = None
        self._ending: list[Command] = []  # abandoned, and not quite over

    @property
    def command(self) -> Command | None:
        """The running command."""
        return self._command

    def free(self, command: Command) -> None:
        """The final result is being written: the next line is a command again."""
        if self._command is command:
            self._command = None

    def collect(self, payload: Payload) -> None:
        """The next bytes are this payload."""
        self._payload = payload
        self._reader.collect(payload.total, escaped=payload.escaped)

    def hear(self, data: bytes) -> bool:
        """Bytes of the host.  Whether they were typed: no byte of a payload among them."""
        if self._unit.through.active:
            self._unit.through.hear(data)
            return False
        return self._hear_commands(data)

    def _hear_commands(self, data: bytes) -> bool:
        typed = self._payload is None
        self._reader.feed(data)
        while (event := self._reader.next()) is not None:
            if isinstance(event, Line):
                self._hear_line(event)
            else:
                typed = False
                self._hear_payload(event)
            if self._unit.through.active:  # by this line
                self._unit.through.hear(self._reader.rest())
                return False
        return typed

    @property
    def deadline(self) -> float:
        """When the host will have been silent for too long."""
        if self._unit.through.active:
            return self._unit.through.deadline
        patience = self._unit.settings.payload
        if self._payload is None or patience is None:
            return math.inf
        return self._payload.heard + patience

    def silence(self) -> None:
        """The deadline is over: first the send is given up, then its payload."""
        if self._unit.through.active:
            self._unit.through.silence()
            return
        payload = self._payload
        if payload is None:
            return
        payload.heard = trio.current_time()
        if not payload.prompted:  # it was not told to send yet
            return
        if not payload.given_up:
            self._unit.counters["payload-given-up"] += 1
            self._unit.trace.note("payload", "silence: the send is given up, its bytes may still come")
            payload.give_up()
            return
        self._unit.trace.note("payload", "silence: the rest will not come any more")
        self._payload = None
        self._reader.abandon()

    def forget_line(self) -> None:
        """What was typed was at another speed.  A payload is counted all the same."""
        if self._payload is None:
            self._reader.clear()

    def forget(self, *, hard: bool) -> None:
        """The module was reset: nothing of what was typed is known any more.  ``hard``: what runs ends without a word."""
        if self._payload is not None:
            self._unit.trace.note("payload", "the rest did not come before the reset")
            self._payload = None
        self._reader.clear()
        if not hard:
            return
        command, self._command = self._command, None
        if command is not None and not command.done:
            self._unit.counters["reset-abandoned"] += 1
            self._unit.trace.note(f"abandoned {command.name}", "reset")
            command.abandon()
            self._ending.append(command)
        self._log.abandon("reset")  # answered, and nobody will hear it

    async def ended(self) -> None:
        """Until every job is over that `forget` abandoned."""
        while self._ending:
            await self._ending[0].ended.wait()
            self._ending.pop(0)

    def _hear_line(self, line: Line) -> None:
        unit = self._unit
        request = parse(line.raw)
        shown = self._mask.line(line.raw, request)
        name, form = (request.name, request.form) if request else ("", Form.EXECUTE)
        row = unit.profile.command.get(name)
        event = self._log.begin(name, form, row.disposition if row else "refused", len(line.raw))
        link = self._link_of(request)
        if self._command is not None or unit.through.draining or unit.writer.backlog > BACKLOG:
            unit.counters["busy"] += 1
            unit.trace.line(Lane.FROM_HOST, shown, "busy", link=link)
            reply = errors.busy(unit, self._command)
            if unit.writer.aside(reply):
                event.end(reply)
            else:
                event.abandon("the host does not read")
            return
        unit.trace.line(Lane.FROM_HOST, shown, "" if request else "garbage" if line.raw else "too long", link=link)
        if request is not None:
            unit.uart.understood()
        command = Command(unit, name, form, row, event)
        command.link = link
        if unit.echo and line.raw:
            end = unit.say("echo_end")
            event.said(len(line.raw[:-1] + end))
            unit.writer.post(line.raw[:-1] + end, shown=shown.removesuffix(b"\n") + end, rule="echo", link=link)
        self._command = command
        try:
            job = self._begin(command, request, line.raw)
        except ArgumentError as error:
            errors.refuse_arguments(command, error)
            job = None
        except Exception:
            self._barrier(command)
            job = None
        if job is not None:
            payload = self._payload if row is not None and row.gate == "payload" else None
            if payload is not None and not unit.writer.urcs:
                self._prompt(payload)
            unit.start(self._run, command, job, payload)
            return
        if not command.done:
            command.refuse(Condition.MODULE_ERROR, "its hook said nothing")
        self.free(command)

    def _link_of(self, request: Request | None) -> str:
        """The id that a line is about, for the trace; nothing where there is none or it is no id."""
        if request is None or request.form is not Form.SET or request.name not in self._about_links:
            return ""
        number = request.arguments.partition(",")[0] if self._unit.mux else "0"
        return number if number in map(str, self._unit.links.numbers()) else ""

    def _begin(self, command: Command, request: Request | None, raw: bytes) -> Coroutine[Any, Any, None] | None:
        row = command.row
        if request is None:
            command.refuse(Condition.NOT_SUPPORTED, "no command", code=errors.of_line(raw))
            return None
        if row is None or row.disposition == "refused":
            command.refuse(Condition.NOT_SUPPORTED, row.why if row else "unknown", code=errors.Code.UNKNOWN)
            return None
        if command.form is Form.SET and command.name in self._grammars:
            tokens = split(request.arguments)
            for index, token in enumerate(tokens):
                if _CONTROL.search(token.text):
                    raise ArgumentError("value", index, "a control character")
            command.values = self._grammars[command.name].parse(
                tokens, mux=self._unit.mux, udp=to_datagrams(self._unit, command.base, tokens)
            )
        elif not {Form.SET: False, Form.QUERY: row.query, Form.TEST: row.test, Form.EXECUTE: row.execute}[command.form]:
            command.refuse(Condition.NOT_SUPPORTED, "no such form", code=errors.Code.FORM)
            return None
        if not row.hook:
            command.ok(row.answer.get(str(command.form), "").encode("latin-1"))
            return None
        return self._hooks[row.hook](self._unit, command)

    async def _run(self, command: Command, job: Coroutine[Any, Any, None], payload: Payload | None) -> None:
        """The job of a command that takes time; nothing of it outlives a reset."""
        try:
            with command.life:
                await self._finish(command, job, payload)
        finally:
            job.close()  # it may never have begun
            command.ended.set()

    async def _finish(self, command: Command, job: Coroutine[Any, Any, None], payload: Payload | None) -> None:
        """Whatever the job does, one final result in time."""
        unit = self._unit
        if command.abandoned:  # by a reset, before its job could begin
            return
        command.during = command.base
        if payload is None:
            command.scope = trio.CancelScope(deadline=trio.current_time() + self._limit(command))
        if payload is not None and not payload.prompted:
            # What waits to be told goes first, or a host that sends without a pause would never hear of its links.
            await unit.writer.let_through(unit.profile.seconds("let_through"))
            self._prompt(payload)
        condition, why = Condition.MODULE_MUTE, ""  # where its limit ends it
        try:
            with command.scope, command.event.waiting(Part.MODULE):
                await job
        except NetworkError as error:
            condition, why = error.condition, error.detail
        except LinkLost as error:
            condition = error.condition
        except LOST:
            condition = Condition.LINK_CLOSED
        except Exception:
            condition = Condition.MODULE_ERROR
            unit.crashed(command.name)
        if payload is not None:
            with command.event.waiting(Part.WIRE):
                await payload.over.wait()  # a module collects all of it, whatever became of the link
            condition = Condition.ABORTED if payload.given_up else condition
        if not command.done:
            command.refuse(condition, why)
        if payload is not None:
            assert command.written is not None
            await command.written.wait()
            try:
                await unit.port.drain()  # the gap is one on the wire: it begins when SEND OK has left
            except PortLost:  # whoever reads the port knows it as well, and what to do
                return
            if payload.gate is not None:
                payload.gate.open(unit.profile.seconds("send_gap"))

    def _limit(self, command: Command) -> float:
        own = self._unit.settings.connect
        if own is not None and command.base in OPENING:
            return own
        return (command.row.final or 0) if command.row is not None else 0

    def _prompt(self, payload: Payload) -> None:
        """From here to the final result no URC passes."""
        if payload.command.abandoned:
            return
        payload.gate = self._unit.writer.shut()
        prompt = self._unit.say("prompt")
        payload.command.event.said(len(prompt))
        self._unit.writer.post(prompt, rule="prompt", link=payload.command.link)
        payload.prompted = True
        payload.heard = trio.current_time()
        if payload.complete.is_set():
            self._received(payload)

    def _received(self, payload: Payload) -> None:
        received = self._unit.say("recv", count=payload.size)
        payload.command.event.said(len(received))
        self._unit.writer.post(received, rule="recv", link=payload.command.link)
        payload.command.scope.deadline = trio.current_time() + self._limit(payload.command)

    def _hear_payload(self, piece: Piece) -> None:
        payload = self._payload
        assert payload is not None
        payload.heard = trio.current_time()
        payload.command.event.heard(len(piece.data))
        typed = piece.data if piece.typed is None else piece.typed
        self._unit.trace.payload(Lane.FROM_HOST, typed, "late" if payload.given_up else "", link=payload.command.link)
        if payload.given_up:
            self._unit.counters["late-payload"] += len(piece.data)
        payload.add(piece.data, piece.left)
        if piece.left == 0:
            self._payload = None
            if payload.prompted and not payload.given_up:
                self._received(payload)

    def _barrier(self, command: Command) -> None:
        self._unit.crashed(command.name)
        if not command.done:
            command.refuse(Condition.MODULE_ERROR)
