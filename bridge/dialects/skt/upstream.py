"""The module side of SKT: a Realtek Ameba as its host sees it, on any Network.  Also the simulated module.

One task hears the host.  A command is heard, run and answered before the next one is looked at: what its connections
do takes place beside it and is told by lines of its own.  While a command runs the real module is deaf and forgets
what it hears; this one waits with reading instead, unless the host asked for a faithful module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import trio

from bridge.command_log import CommandEvent, CommandLog, Part
from bridge.dialects.skt.module import call as module_call
from bridge.dialects.skt.module import station as module_station
from bridge.dialects.skt.module import through as module_through
from bridge.dialects.skt.module.call import Call
from bridge.dialects.skt.module.console import Console, Editor, Heard, Manner, Order
from bridge.dialects.skt.module.reply import Outcome, Raw, Refused
from bridge.dialects.skt.module.runner import Runner
from bridge.dialects.skt.module.send import RawPayload
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition, HostSettings
from bridge.network import Network, NetworkError
from bridge.ports import Port, PortLost
from bridge.ports.pty import PortError
from bridge.session import HostWriter, Upstream
from bridge.tables import Profile
from bridge.trace import Lane, Trace
from bridge.wire.grammar import Form

DEFAULTS = HostSettings()

ECHO_BACKLOG = 256  # messages that may wait for a host that does not read; then echo is dropped and counted


class SktUpstream(Upstream):
    """Presents an SKT module to a host.  Raises TableError, and PortError where the port has no such reset wire."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace, settings: HostSettings = DEFAULTS) -> None:
        if settings.reset_on is not None and settings.reset_on not in port.wires:
            there = ", ".join(sorted(port.wires)) or "none"
            raise PortError(port.name, f"it has no wire {settings.reset_on} to be reset by", f"the wires are: {there}")
        self.counters = Counter()
        self._port = port
        self._profile = profile
        self._trace = trace
        self._settings = settings
        self._writer = HostWriter(port, trace, self.counters)
        self._log = CommandLog(trace, port)
        self._module = Module(network, profile, self._writer, trace, counters=self.counters, settings=settings)
        self._module.reboot = self.reset
        self._words = self._module.words
        self._runner = Runner(self._module, self._writer, profile, trace, self.counters)
        self._echoes = self._module.switch("module_echo")
        self._console = Console(self._manner())
        self._booting = False
        self._boots = 0
        self._listening = trio.Event()

    def _manner(self) -> Manner:
        module, values = self._module, self._profile.value
        real = module.quirk("quirk_editor")
        return Manner(
            editor=cast("Editor", values["module_editor"].value if real else "any"),
            room=self._profile.number("module_line_room" if real else "module_line_most"),
            keeps_escape=not (real and self._echoes),
            counted=module.switch("module_send_counted"),
            order=cast("Order", values["module_send_order"].value),
            payload_room=self._profile.number("module_send_most"),
        )

    async def module_to_host(self) -> None:
        """See Upstream."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._writer.run)
            nursery.start_soon(module_station.watch, self._module)
            if self._settings.reset_on is not None:
                nursery.start_soon(self._watch_reset)
            await self._module.run(self._listening.set)

    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Upstream."""
        await self._listening.wait()
        if self._settings.joined_at_start:
            self._module.spawn(self._join)
        if self._settings.announce:
            self._say_ready()
        task_status.started()
        while True:
            data = b""
            with trio.move_on_after(self._profile.seconds("module_payload_gap") if self._console.counting else math.inf):
                data = await self._receive()
            if data:
                await self._typed(data)
            elif self._console.counting:
                await self._give_up_payload()

    async def _join(self) -> None:
        await self._module.network.attach(None)

    async def _receive(self) -> bytes:
        """The host's bytes; ``b""`` after a port that reopens was lost: what was half typed is of no use then."""
        try:
            return await self._port.receive()
        except PortLost:
            if not self._port.reopens:
                raise
        await self._port.reopen()
        self._console.reset()
        return b""

    # -- reset

    def reset(self) -> None:
        """Everything is forgotten at once, and nothing is heard while it boots.  What was answered is still said."""
        self._boots += 1
        self._booting = True
        self._log.abandon("reset")
        self._runner.reset()
        self._console.reset()
        self._writer.void(answers=False)
        self._module.forget()
        self._module.spawn(self._boot, self._boots)

    async def _boot(self, boot: int) -> None:
        await trio.lowlevel.checkpoint()  # the closes of what it forgot begin before the Network hears of it
        try:
            await self._module.network.reset()
        except NetworkError as error:
            self._trace.note("reset", str(error))
        await trio.sleep(self._profile.seconds("module_boot"))
        if boot == self._boots:
            self._booting = False
            self._say_ready()

    def _say_ready(self) -> None:
        if banner := self._words.say("module_banner", baud=self._port.baud or self._profile.number("baud")):
            self._writer.post(banner, rule="ready")

    async def _watch_reset(self) -> None:
        wire, level = self._settings.reset_on, self._settings.reset_level
        assert wire is not None
        while True:
            try:
                await self._port.wait_wire(wire, level)
                self._trace.note("reset", f"by {wire}")
                self._writer.void(answers=True)
                self.reset()
                await self._port.wait_wire(wire, not level)
            except PortLost:
                if not self._port.reopens:
                    raise
                await trio.sleep(self._profile.seconds("module_boot"))

    # -- what the host types

    async def _typed(self, data: bytes) -> None:
        while data:
            if self._booting:
                self.counters["unheard"] += len(data)
                return
            self._console.relays = self._module.through is not None
            heard = self._console.feed(data)
            data = heard.rest
            if heard.late:
                self._trace.line(Lane.FROM_HOST, heard.late, "end")
            self._echo(heard)
            if heard.line is not None:
                data = await self._line(heard, data)

    def _echo(self, heard: Heard) -> None:
        """As typed, byte by byte; the trace shows a line once, masked."""
        if not self._echoes or not heard.echo:
            return
        if self._writer.backlog < ECHO_BACKLOG:
            self._writer.post(heard.echo, shown=b"...", rule="echo")
        else:
            self.counters["echo-dropped"] += len(heard.echo)

    async def _line(self, heard: Heard, rest: bytes) -> bytes:
        """A whole line; returns what of ``rest`` is still to be heard."""
        assert heard.line is not None
        text = heard.line.decode("latin-1")
        if self._module.through is not None:
            self._trace.carrying(Lane.FROM_HOST, b"", heard.line, heard.end, "transparent")
            if heard.too_long and not self._module.quirk("quirk_editor"):
                self.counters["through-lost"] += 1
                self._trace.note("not sent", "a line longer than this module takes")
                return rest
            rest, _ = await self._deaf(rest, lambda: self._relay(text))
            return rest
        if not text:
            self._trace.line(Lane.FROM_HOST, heard.end, "empty")
            self._writer.post(self._words.say("module_empty"), rule="prompt")
            return rest
        call = module_call.call(text, space=self._module.switch("module_space"))
        row = self._profile.command.get(call.name) if call is not None else None
        self._record(text, heard)
        if heard.too_long:
            self.counters["lines-too-long"] += 1
            if said := self._words.say("module_overflow") if self._module.quirk("quirk_editor") else b"":
                self._writer.post(said + heard.line, shown=said + b"...", rule="echo")
        event = self._event(text, call, heard)
        if call is None or row is None:
            self.counters["commands-unknown"] += 1
            self._trace.note("refused", f"{call.name if call else 'no command'}: unknown, and nothing is said of it")
            said = self._words.say("module_unknown", line="{line}").replace(b"{line}", text.encode("latin-1"))
            self._writer.post(said, shown=b"..." if said else None, rule="unknown")
            if event is not None:
                event.refused(Condition.NOT_SUPPORTED, "unknown")
                event.said(len(said))
                event.end(b"")
            return rest
        assert event is not None
        rest, raw = await self._deaf(rest, lambda: self._runner.run(call, heard, event))
        if raw is not None:
            rest = await self._raw(call.name, raw, rest, event)
        if trailer := self._words.say("module_trailer"):  # it is the sign that the next line is heard
            await self._writer.answer(trailer, rule="prompt")
        return rest

    def _record(self, text: str, heard: Heard) -> None:
        """A line for the trace, as it is after editing.  One that is no command may be a payload gone astray."""
        if not self._trace.kept:
            return
        colon = str(self._profile.value["module_send_order"].value).endswith(":")
        shown, payload = (word.encode("latin-1") for word in module_call.masked(text, self._profile.command, colon=colon))
        if not text.startswith("AT") and shown == heard.line:
            self._trace.carrying(Lane.FROM_HOST, b"", shown, heard.end, "garbage")
        else:
            self._trace.carrying(Lane.FROM_HOST, shown, payload + (heard.payload or b""), heard.end, "command")

    def _event(self, text: str, call: Call | None, heard: Heard) -> CommandEvent | None:
        """The log's event of a command; what is none of them in any way has none."""
        if call is None and not text.startswith("AT"):
            return None
        name, form = ("AT", Form.EXECUTE) if call is None else (call.name, Form.EXECUTE if call.text is None else Form.SET)
        row = self._profile.command.get(name)
        size = len(text) + len(heard.payload or b"") + len("\r\n")
        return self._log.begin(name, str(form), row.disposition if row else "refused", size)

    async def _deaf(self, rest: bytes, work: Callable[[], Awaitable[Raw | None]]) -> tuple[bytes, Raw | None]:
        """Run a line.  A faithful module hears nothing meanwhile, and a little longer."""
        if not self._module.quirk("quirk_deaf"):
            return rest, await work()
        raw = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop, rest)
            raw = await work()
            if raw is None:
                await trio.sleep(self._profile.seconds("module_deaf"))
            nursery.cancel_scope.cancel()
        return b"", raw

    async def _drop(self, data: bytes) -> None:
        while True:
            if data:
                self.counters["unheard"] += len(data)
                self._trace.note("unheard", f"{len(data)} bytes came while a command ran")
            data = await self._receive()

    async def _relay(self, text: str) -> None:
        if said := await module_through.heard(self._module, text):
            await self._writer.answer(said, rule="transparent")

    async def _give_up_payload(self) -> None:
        """A counted payload stopped coming."""
        line = self._console.give_up().decode("latin-1")
        self.counters["payload-given-up"] += 1
        call = module_call.call(line, space=self._module.switch("module_space"))
        if call is not None and (event := self._event(line, call, Heard(b"", None, None, too_long=False, rest=b""))) is not None:
            refused = Refused(Condition.BAD_ARGUMENT, "count", "the payload stopped coming")
            await self._runner.answer(call.name, None, refused, event)

    async def _behind_end(self, early: bytes) -> bytes:
        """What comes before the prompt, without a line feed that still ends the command."""
        if self._console.half_ended and not early:
            with trio.move_on_after(self._profile.seconds("module_line_end")):
                early = await self._receive()
        if self._console.half_ended and early.startswith(b"\n"):
            self._trace.line(Lane.FROM_HOST, b"\n", "end")
            early = early[1:]
        self._console.reset()
        return early

    def _raw_bytes(self, payload: RawPayload, data: bytes, event: CommandEvent) -> bytes:
        rest = payload.hear(data)
        if taken := data[: len(data) - len(rest)]:
            self._trace.payload(Lane.FROM_HOST, taken, "raw")
            event.heard(len(taken))
        return rest

    async def _raw(self, name: str, raw: Raw, early: bytes, event: CommandEvent) -> bytes:
        """The prompt and the counted bytes behind it; returns what is typed again."""
        boots = self._boots
        gate = None if self._module.quirk("quirk_split") else self._writer.shut()
        try:
            early = await self._behind_end(early)
            payload = RawPayload(raw)
            prompt = self._words.say("module_prompt")
            event.said(len(prompt))
            await self._writer.answer(prompt, rule="prompt")
            rest = self._raw_bytes(payload, early, event)
            while payload.missing and boots == self._boots:
                with event.waiting(Part.MODULE):
                    await payload.pass_on(self._module)
                patience = self._profile.seconds("module_raw_abort") if payload.marked else self._settings.payload
                data = b""
                with trio.move_on_after(math.inf if patience is None else patience), event.waiting(Part.WIRE):
                    data = await self._receive()
                if data:
                    rest = self._raw_bytes(payload, data, event)
                else:
                    self.counters["payload-given-up"] += 1
                    payload.give_up()
            if boots != self._boots:
                return b""
            with event.waiting(Part.MODULE):
                await payload.pass_on(self._module)
            await self._runner.answer(name, Outcome(), payload.refused, event)
            return rest
        finally:
            if gate is not None:
                gate.open()
