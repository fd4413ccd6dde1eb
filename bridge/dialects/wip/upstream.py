"""The module side of WIP: a Multi-Tech C1 as its host sees it, on any Network.  Also the simulated modem.

One task hears the host; it is in command state or glued to a socket (`Visit`), never in between.  Everything that
takes time (connecting, the bearer, a peer's bytes) runs beside it and tells by URC, so a command is short and the
next one is read only when its final result was written: a host that does not read is held back by its own line.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
import trio

from bridge.dialects.wip import module_line, module_options, module_settings, module_sockets, module_stack
from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_line import Call, CommandReader, SyntaxProblem
from bridge.dialects.wip.module_port import HostLine
from bridge.dialects.wip.module_reply import Cme, Outcome, Refused
from bridge.dialects.wip.module_settings import Request
from bridge.dialects.wip.module_socket import ModuleSocket
from bridge.dialects.wip.module_state import Module
from bridge.dialects.wip.module_visit import Visit
from bridge.dialects.wip.module_writer import ModuleWriter
from bridge.model import HostSettings
from bridge.network import Network, NetworkError
from bridge.ports import Port, Wire
from bridge.session import Upstream
from bridge.tables import Command, Profile
from bridge.trace import Lane, Trace
from bridge.wire.grammar import ArgumentError, Form

log = structlog.get_logger("bridge.wip.module")

DEFAULTS = HostSettings()

_READ = 4096

Hook = Callable[[Module, Request], Awaitable[Outcome]]

HOOKS: dict[str, Hook] = {
    hook.__name__: hook
    for hook in (
        module_settings.setting,
        module_settings.settings_factory,
        module_settings.settings_stored,
        module_settings.settings_store,
        module_settings.registration,
        module_settings.signal,
        module_settings.functionality,
        module_stack.wipcfg,
        module_stack.wipbr,
        module_sockets.wipcreate,
        module_sockets.wipclose,
        module_options.wipopt,
        module_sockets.wipdata,
    )
}


class WipUpstream(Upstream):
    """Presents a WIP module to a host.  Of the host's settings none is about this dialect's module."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace, settings: HostSettings = DEFAULTS) -> None:
        self.counters = Counter()
        self._profile = profile
        self._trace = trace
        self._port = HostLine(port, Wire(str(profile.value["module_dtr"].value)), self.counters, self._dtr_off)
        self._writer = ModuleWriter(self._port, trace, self.counters)
        self._module = Module(network, profile, self._writer, trace, self.counters)
        self._module.reboot = lambda: self._module.spawn(self.reboot)
        self._reader = CommandReader(profile.number("module_line_room"))
        self._visit: Visit | None = None
        self._booting = False
        self._boots = 0
        self._drops = 0  # of DTR, where that means something
        self._hearing = trio.CancelScope()
        self._left: Callable[[Visit | None], None] | None = None  # DTR is off: what is to be done when all is heard
        self._listening = trio.Event()

    async def module_to_host(self) -> None:
        """See Upstream."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._port.run)
            await self._module.run(self._listening.set)

    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Upstream."""
        await self._listening.wait()
        task_status.started()
        while True:
            visit = self._visit
            if visit is not None and visit.over:
                if self._left is not None:
                    self._left(visit)
                visit = self._visit = self._left = None
            if visit is None:
                await self._typed(await self._port.receive(_READ))
            else:
                await self._glued(visit)

    async def reboot(self) -> None:
        """Power cycle: everything but stored settings is gone, nothing is heard while it boots.

        Prints the ready indication afterwards, where AT+WIND asks for it; some units say nothing at all.
        """
        self._boots += 1
        boot = self._boots
        self._booting = True
        if self._visit is not None and not self._visit.over:
            self._visit.abandon()
        self._reader.reset()
        self._module.forget()
        try:
            await self._module.network.reset()
        except NetworkError as error:
            self._trace.note("reset", str(error))
        await trio.sleep(self._profile.seconds("module_boot"))
        if boot != self._boots:
            return  # it was reset again meanwhile
        self._booting = False
        level = self._module.settings["WIND"][0]
        if isinstance(level, int) and level & self._profile.number("module_wind_ready"):
            self._module.urc(f"+WIND: {self._profile.number('module_wind_ready')}")

    def _dtr_off(self) -> None:
        """What ``&D`` makes of it (Multi-Tech S000478 p.29-30): 0 nothing, 1 command state, 2 everything is closed."""
        level = self._module.settings["&D"]
        if level == (0,):
            return
        self._drops += 1
        self.counters["dtr-off"] += 1
        self._trace.note("dtr-off", f"&D{level[0]}")
        leave = self._leave if level == (1,) else self._hang_up
        if self._visit is None or self._visit.over:
            leave(self._visit)
            return
        # What the host sent before it is payload, and may still be on its way to us.
        self._left = leave
        self._hearing.deadline = trio.current_time() + self._profile.seconds("module_dtr_settle")
        self._visit.socket.ring()

    @staticmethod
    def _leave(visit: Visit | None) -> None:
        if visit is not None:
            visit.leave()

    def _hang_up(self, visit: Visit | None) -> None:
        if visit is not None:
            visit.abandon()
        self._module.hang_up()

    # -- command state

    async def _typed(self, data: bytes) -> None:
        while data:
            if self._booting:
                self.counters["unheard"] += len(data)
                return
            heard = self._reader.feed(data)
            data = heard.rest
            echo = self._module.settings["E"] == (1,)
            if echo:
                self._writer.echo(heard.echo)
            if heard.line is not None:
                shown = "..." if heard.too_long else module_line.masked(heard.line, self._profile.command)
                if echo:
                    self._trace.line(Lane.TO_HOST, f"AT{shown}\r".encode("latin-1"), "echo")
                self._trace.line(Lane.FROM_HOST, f"AT{shown}\r".encode("latin-1"), "command")
                data = await self._command(heard.line, data, too_long=heard.too_long)

    async def _command(self, line: str, rest: bytes, *, too_long: bool) -> bytes:
        """Run a line; returns what of ``rest`` is still to be read as commands."""
        answer = bytearray()
        after: list[Callable[[], None]] = []
        connect: ModuleSocket | None = None
        boots = self._boots
        module = self._module
        try:
            if too_long:
                raise SyntaxProblem("longer than the line buffer")
            for call in module_line.calls(line):
                outcome = await self._run(call)
                for text in outcome.lines:
                    answer += reply.information(text, module.settings)
                if outcome.then is not None:
                    after.append(outcome.then)
                connect = outcome.connect or connect
            final = reply.result("OK", module.settings)
        except (SyntaxProblem, ArgumentError) as problem:
            self._trace.note("refused", str(problem))
            final = reply.result("ERROR", module.settings)
            connect = None
        except Refused as refused:
            final = reply.refusal(refused.number, module.settings)
            connect = None
        if boots != self._boots:
            return b""  # reset while it ran: nobody answers
        if connect is not None:
            return await self._map(connect, bytes(answer), rest)
        written = self._writer.post(bytes(answer + final))
        for act in after:
            act()
        await written.wait()
        return rest

    async def _run(self, call: Call) -> Outcome:
        """One command through its row, within its time, behind the crash barrier."""
        row = self._profile.command.get(call.name)
        if row is None or row.disposition == "refused":
            self.counters["commands-refused"] += 1
            raise SyntaxProblem(f"{call.name}: {row.why if row else 'no such command'}")
        request = self._request(row, call)
        if call.form is Form.TEST or not row.hook:
            return Outcome([row.answer[call.form]] if call.form in row.answer else [])
        with trio.move_on_after(row.final if row.final is not None else math.inf):
            try:
                return await HOOKS[row.hook](self._module, request)
            except (Refused, SyntaxProblem):
                raise
            except NetworkError as error:
                self._trace.note("refused", f"{call.name}: {error}")
                raise Refused(self._module.number_of(error.condition)) from None
            except Exception:
                self.counters["crashes"] += 1
                log.exception("command", name=call.name)
                raise SyntaxProblem(f"{call.name}: internal") from None
        self.counters["commands-late"] += 1
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
                raise Refused(Cme.INVALID_VALUE) from None
            raise

    # -- data mode

    async def _map(self, socket: ModuleSocket, answer: bytes, early: bytes) -> bytes:
        """CONNECT.  An LF that still belongs to the command comes before it; what else does is data already.

        Returns what of it is typed all the same, because the bytes before ended the data mode.
        """
        drops, boots = self._drops, self._boots
        with trio.move_on_after(self._profile.seconds("module_connect")):
            while len(early) < _READ:
                early += await self._port.receive(_READ)
        early = early.removeprefix(b"\n")
        if boots != self._boots:
            return b""
        if drops != self._drops:  # the host dropped DTR: it does not want the data mode any more
            self._writer.post(answer + reply.result("NO CARRIER", self._module.settings))
            return early
        self._reader.forget_end()
        visit = self._visit = Visit(self._module, socket)
        self._writer.post(answer + reply.result("CONNECT", self._module.settings), "connect")
        visit.begin()
        return self._sent(visit, early) if early else b""

    async def _glued(self, visit: Visit) -> None:
        """Hear the next bytes of a mapped host, the end of a guard, or that it dropped DTR."""
        room = visit.socket.transmit_room()
        if room == 0 and self._left is None:
            # Not reading is our CTS.
            await visit.socket.changed()
            visit.guard.listen_again(trio.current_time())
            return
        data = b""
        until = visit.guard.deadline if self._left is None else trio.current_time() + self._profile.seconds("module_dtr_settle")
        with trio.CancelScope(deadline=until) as self._hearing:
            if room:
                data = await self._port.receive(min(room, _READ))
        if visit.over:
            # The peer ended it while we listened: what the host goes on sending is typed.
            await self._typed(data)
        elif data:
            await self._typed(self._sent(visit, data))
        elif self._left is not None:
            self._left(visit)
        else:
            visit.guard_over()

    def _sent(self, visit: Visit, data: bytes) -> bytes:
        self._trace.payload(Lane.FROM_HOST, data, "data")
        return visit.heard(data)
