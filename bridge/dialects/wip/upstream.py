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

from bridge.dialects.wip import module_line, module_settings, module_sockets, module_stack
from bridge.dialects.wip import module_reply as reply
from bridge.dialects.wip.module_line import Call, CommandReader, SyntaxProblem
from bridge.dialects.wip.module_reply import Cme, Outcome, Refused
from bridge.dialects.wip.module_settings import Request
from bridge.dialects.wip.module_socket import ModuleSocket
from bridge.dialects.wip.module_state import Module
from bridge.dialects.wip.module_visit import Visit
from bridge.dialects.wip.module_writer import ModuleWriter
from bridge.network import Network, NetworkError
from bridge.ports import Port
from bridge.session import Upstream
from bridge.tables import Command, Profile
from bridge.trace import Lane, Trace
from bridge.wire.grammar import ArgumentError, Form

log = structlog.get_logger("bridge.wip.module")

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
        module_sockets.wipopt,
        module_sockets.wipdata,
    )
}


class WipUpstream(Upstream):
    """Presents a WIP module to a host."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace) -> None:
        self.counters = Counter()
        self._port = port
        self._profile = profile
        self._trace = trace
        self._writer = ModuleWriter(port, trace, self.counters)
        self._module = Module(network, profile, self._writer, trace, self.counters)
        self._module.reboot = lambda: self._module.spawn(self.reboot)
        self._reader = CommandReader(profile.number("module_line_room"))
        self._visit: Visit | None = None
        self._booting = False
        self._boots = 0
        self._listening = trio.Event()

    async def module_to_host(self) -> None:
        """See Upstream."""
        await self._module.run(self._listening.set)

    async def host_to_module(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Upstream."""
        await self._listening.wait()
        task_status.started()
        while True:
            visit = self._visit
            if visit is not None and visit.over:
                visit = self._visit = None
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
            await self._map(connect, bytes(answer), rest)
            return b""
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

    async def _map(self, socket: ModuleSocket, answer: bytes, early: bytes) -> None:
        """CONNECT.  An LF that still belongs to the command comes before it; what else does is data already."""
        with trio.move_on_after(self._profile.seconds("module_connect")):
            while len(early) < _READ:
                early += await self._port.receive(_READ)
        early = early.removeprefix(b"\n")
        if self._module.sockets.get(socket.index) is not socket:
            return  # the module was reset in the meantime
        self._reader.forget_end()
        visit = self._visit = Visit(self._module, socket)
        self._writer.post(answer + reply.result("CONNECT", self._module.settings), "connect")
        visit.begin()
        if early:
            self._sent(visit, early)

    async def _glued(self, visit: Visit) -> None:
        """Hear the next bytes of a mapped host, or the end of a guard."""
        room = visit.socket.transmit_room()
        if room == 0:
            # Not reading is our CTS.
            await visit.socket.changed()
            visit.guard.listen_again(trio.current_time())
            return
        data = b""
        with trio.move_on_at(visit.guard.deadline):
            data = await self._port.receive(min(room, _READ))
        if visit.over:
            # The peer ended it while we listened: what the host goes on sending is typed.
            await self._typed(data)
        elif data:
            self._sent(visit, data)
        else:
            payload = visit.guard.expire()
            if payload is None:
                visit.escape()
            else:
                visit.socket.put(payload)

    def _sent(self, visit: Visit, data: bytes) -> None:
        self._trace.payload(Lane.FROM_HOST, data, "data")
        visit.socket.put(visit.guard.feed(data, trio.current_time()))
