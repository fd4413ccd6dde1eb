"""Plays an ESP-AT module to a host.

Two tasks.  The reader takes lines and payload apart and *begins* commands: everything that can be answered from our
own state is answered there and then, so the result does not depend on timing; the rest becomes the job of the one
running command.  The other task owns the writer, the jobs, the pumps of the links and the watch on the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import trio

from bridge.dialects.esp_at import sockets, wifi
from bridge.dialects.esp_at.command import Command, Hook, Payload
from bridge.dialects.esp_at.lines import Line, LineReader, Mask, Piece, Request, parse
from bridge.dialects.esp_at.links import LOST, LinkTable
from bridge.model import Condition
from bridge.network import LinkLost, Network, NetworkError
from bridge.ports import Port, PortLost
from bridge.session import HostWriter, Upstream
from bridge.tables import Profile, TableError
from bridge.trace import Lane, Trace
from bridge.wire.grammar import ArgumentError, Form, Grammar, split

log = structlog.get_logger("bridge.esp-at")

BACKLOG = 256  # answers that may wait for a host that types and does not read; then it is told busy


class EspAtUpstream(Upstream):
    """An ESP-AT module made of a Network.  ``announce`` says ``ready`` when it starts, as a module does at power-up."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace, *, announce: bool = False) -> None:
        self.port = port
        self.network = network
        self.profile = profile
        self.trace = trace
        self.counters: Counter[str] = Counter()
        self.writer = HostWriter(port, trace, self.counters)
        self.links = LinkTable(self)
        self.station = wifi.Station()
        self.echo = True
        self.mux = False
        self.dinfo = False
        self._announce = announce
        self._reader = LineReader(profile.number("max_line"))
        self._mask = Mask(profile.command)
        self._hooks: dict[str, Hook] = {**wifi.HOOKS, **sockets.HOOKS, "echo": echo, "restart": restart}
        self._grammars = {name: Grammar(row.set) for name, row in profile.command.items() if row.set is not None}
        for name, row in profile.command.items():
            if row.hook and row.hook not in self._hooks:
                raise TableError(f"{profile.file}: command.{name}.hook: {row.hook!r} is no hook of this dialect")
        self._command: Command | None = None
        self._payload: Payload | None = None
        self._booting = False
        self._nursery: trio.Nursery | None = None
        self._running = trio.Event()

    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Upstream."""
        await self._running.wait()
        if self._announce:
            self.writer.post(self.say("ready"), rule="ready")
        task_status.started()
        while True:
            data = await self.port.receive()
            if self._booting:
                self.counters["boot-dropped"] += len(data)
                continue
            self._reader.feed(data)
            while (event := self._reader.next()) is not None:
                if isinstance(event, Line):
                    self._hear(event)
                else:
                    self._hear_payload(event)

    async def module_to_host(self) -> None:
        """See Upstream."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(wifi.watch, self)
            self._running.set()
            await self.writer.run()

    def say(self, row: str, **fields: object) -> bytes:
        """A text row of the table, filled in."""
        return self.profile.words(row).format(**fields).encode("latin-1", "replace")

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Work that no command waits for, behind a crash barrier of its own."""
        assert self._nursery is not None
        self._nursery.start_soon(self._guard, work, *arguments)

    def crashed(self, where: str) -> None:
        """For a crash barrier, in its except clause: the bridge lives, and somebody gets to know."""
        self.counters["crashes"] += 1
        self.trace.note("crash", where)
        log.exception("unexpected exception", where=where)  # noqa: LOG004 - called from except clauses

    def free(self, command: Command) -> None:
        """The final result is being written: the next line is a command again."""
        if self._command is command:
            self._command = None

    def collect(self, payload: Payload) -> None:
        """The next bytes are this payload."""
        self._payload = payload
        self._reader.collect(payload.total)

    def reset(self) -> None:
        """What a reset module forgets, without a word, until `boot` lets it speak again."""
        self._booting = True
        self.writer.shut()
        self._reader.clear()
        self.links.close_all(silent=True)
        self.links.used = False
        self.echo, self.mux, self.dinfo = True, False, False
        self.station.leave()
        self.station.left = False
        self.spawn(self._boot)

    async def _boot(self) -> None:
        """Pause, ``ready``, and the join that was remembered."""
        with trio.move_on_after(self.profile.seconds("restart")):
            try:
                await self.network.reset()
            except NetworkError as error:
                self.trace.note("reset", str(error))
            except Exception:
                self.crashed("reset")
            await trio.sleep_forever()
        self._booting = False
        await self.writer.answer(self.say("ready"), rule="ready")
        self.writer.open()
        if self.station.autoconnect and self.station.login is not None:
            await wifi.rejoin(self, self.station.login)

    def _hear(self, line: Line) -> None:
        shown = self._mask.line(line.raw)
        if self._command is not None or self.writer.backlog > BACKLOG:
            self.counters["busy"] += 1
            self.trace.line(Lane.FROM_HOST, shown, "busy")
            self.writer.aside(self.say("busy"))
            return
        request = parse(line.raw)
        self.trace.line(Lane.FROM_HOST, shown, "" if request else "garbage" if line.raw else "too long")
        if self.echo and line.raw:
            self.writer.post(line.raw, shown=shown, rule="echo")
        row = self.profile.command.get(request.name) if request else None
        command = Command(self, request.name if request else "", request.form if request else Form.EXECUTE, row, {})
        self._command = command
        try:
            job = self._begin(command, request)
        except ArgumentError as error:
            command.refuse(Condition.BAD_ARGUMENT, str(error))
            job = None
        except Exception:
            self._barrier(command)
            job = None
        if job is not None:
            assert self._nursery is not None
            payload = self._payload if row is not None and row.gate == "payload" else None
            if payload is not None and not self.writer.urcs:
                self._prompt(payload)
            self._nursery.start_soon(self._run, command, job, payload)
            return
        if not command.done:
            command.refuse(Condition.MODULE_ERROR, "its hook said nothing")
        self.free(command)

    def _begin(self, command: Command, request: Request | None) -> Coroutine[Any, Any, None] | None:
        row = command.row
        if request is None or row is None or row.disposition == "refused":
            command.refuse(Condition.NOT_SUPPORTED, row.why if row else "unknown")
            return None
        if command.form is Form.SET and command.name in self._grammars:
            tokens = split(request.arguments)
            for index, token in enumerate(tokens):
                if any(char < " " or char == "\x7f" for char in token.text):
                    raise ArgumentError("value", index, "a control character")
            command.values = self._grammars[command.name].parse(tokens, mux=self.mux)
        elif not {Form.SET: False, Form.QUERY: row.query, Form.TEST: row.test, Form.EXECUTE: row.execute}[command.form]:
            command.refuse(Condition.NOT_SUPPORTED, "no such form")
            return None
        if not row.hook:
            command.ok(row.answer.get(str(command.form), "").encode("latin-1"))
            return None
        return self._hooks[row.hook](self, command)

    async def _run(self, command: Command, job: Coroutine[Any, Any, None], payload: Payload | None) -> None:
        """The job of a command that takes time: whatever it does, one final result in time."""
        assert command.row is not None
        command.during = command.name
        if payload is None:
            command.scope.deadline = trio.current_time() + (command.row.final or 0)
        if payload is not None and not payload.prompted:
            # What waits to be told goes first, or a host that sends without a pause would never hear of its links.
            await self.writer.let_through(self.profile.seconds("let_through"))
            self._prompt(payload)
        condition = Condition.MODULE_MUTE  # where the scope ends it
        try:
            with command.scope:
                await job
        except (NetworkError, LinkLost) as error:
            condition = error.condition
        except LOST:
            condition = Condition.LINK_CLOSED
        except Exception:
            condition = Condition.MODULE_ERROR
            self.crashed(command.name)
        if payload is not None:
            await payload.complete.wait()  # a module collects all of it, whatever became of the link
        if not command.done:
            command.refuse(condition)
        if payload is not None:
            assert command.written is not None
            await command.written.wait()
            await self.port.drain()  # the gap is one on the wire: it begins when SEND OK has left
            self.writer.open(self.profile.seconds("send_gap"))

    def _prompt(self, payload: Payload) -> None:
        """From here to the final result no URC passes."""
        self.writer.shut()
        self.writer.post(self.say("prompt"), rule="prompt")
        payload.prompted = True
        if payload.complete.is_set():
            self._received(payload)

    def _received(self, payload: Payload) -> None:
        self.writer.post(self.say("recv", count=payload.total), rule="recv")
        final = payload.command.row.final if payload.command.row else None
        payload.command.scope.deadline = trio.current_time() + (final or 0)

    def _hear_payload(self, piece: Piece) -> None:
        payload = self._payload
        assert payload is not None
        self.trace.payload(Lane.FROM_HOST, piece.data)
        payload.add(piece.data, piece.left)
        if piece.left == 0:
            self._payload = None
            if payload.prompted:
                self._received(payload)

    def _barrier(self, command: Command) -> None:
        self.crashed(command.name)
        if not command.done:
            command.refuse(Condition.MODULE_ERROR)

    async def _guard(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        try:
            await work(*arguments)
        except PortLost:
            raise
        except Exception:
            self.crashed(getattr(work, "__name__", "work"))


def echo(unit: EspAtUpstream, command: Command) -> None:
    """ATE0 and ATE1."""
    unit.echo = command.name == "ATE1"
    command.ok()


def restart(unit: EspAtUpstream, command: Command) -> None:
    """AT+RST: OK at once; the links are gone without a word."""
    command.ok()
    unit.reset()
