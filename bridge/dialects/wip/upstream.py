"""The module side of WIP: a modem of the family as its host sees it, on any Network.  Also the simulated modem.

One task hears the host; it is in command state or glued to a socket (`Visit`), never in between.  Everything that
takes time (connecting, the bearer, a peer's bytes) runs beside it and tells by URC, so a command is short and the
next one is read only when its final result was written: a host that does not read is held back by its own line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio

from bridge.command_log import CommandLog, final_words
from bridge.dialects.wip.module import line as module_line
from bridge.dialects.wip.module import reply
from bridge.dialects.wip.module.commands import CommandLine, Ran
from bridge.dialects.wip.module.line import CommandReader
from bridge.dialects.wip.module.port import HostLine
from bridge.dialects.wip.module.socket import ModuleSocket
from bridge.dialects.wip.module.state import Module
from bridge.dialects.wip.module.visit import Visit
from bridge.dialects.wip.module.writer import ModuleWriter
from bridge.model import HostSettings
from bridge.network import Network, NetworkError
from bridge.ports import Port, Wire
from bridge.session import Upstream
from bridge.tables import Profile
from bridge.trace import Lane, Trace

DEFAULTS = HostSettings()

_READ = 4096


class WipUpstream(Upstream):
    """Presents a WIP module to a host.  Of the host's settings only the quirks are about this dialect's module."""

    def __init__(self, port: Port, network: Network, profile: Profile, trace: Trace, settings: HostSettings = DEFAULTS) -> None:
        self.counters = Counter()
        self._profile = profile
        self._trace = trace
        self._port = HostLine(port, Wire(str(profile.value["module_dtr"].value)), self.counters, self._dtr_off)
        self._writer = ModuleWriter(self._port, trace, self.counters)
        self._module = Module(network, profile, line=self._port, writer=self._writer, trace=trace, counters=self.counters)
        self._log = CommandLog(trace, port, final_words(reply.FINALS))
        self._commands = CommandLine(self._module, self._log)
        self._module.quirks = settings.quirks
        self._module.reboot = lambda: self._module.spawn(self.reboot)
        self._reader = CommandReader(profile.number("module_line_room"))
        self._visit: Visit | None = None
        self._booting = False
        self._boots = 0
        self._boot = trio.CancelScope()  # of the latest restart
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
        self._booting = True
        self._module.indications.hush()
        if self._visit is not None and not self._visit.over:
            self._visit.abandon()
        self._reader.reset()
        self._log.abandon("reset")
        self._module.forget()
        self._boot.cancel()
        with trio.CancelScope() as self._boot:
            try:
                await self._module.network.reset()
            except NetworkError as error:
                self._trace.note("reset", str(error))
            speed = self._module.settings["IPR"][0]
            if isinstance(speed, int) and speed not in {0, self._port.baud}:
                await self._port.set_speed(speed)
            await trio.sleep(self._profile.seconds("module_boot"))
            self._booting = False
            await self._module.indications.booted()

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
                self._trace.line(Lane.FROM_HOST, f"AT{shown}\r".encode("latin-1"), "command")
                if echo:
                    self._trace.line(Lane.TO_HOST, f"AT{shown}\r".encode("latin-1"), "echo")
                data = await self._command(heard.line, data, too_long=heard.too_long)

    async def _command(self, line: str, rest: bytes, *, too_long: bool) -> bytes:
        """Run a line; returns what of ``rest`` is still to be read as commands."""
        boots = self._boots
        ran = await self._commands.run(line, too_long=too_long)
        if boots != self._boots:
            return b""  # reset while it ran: nobody answers
        if ran.connect is not None:
            return await self._map(ran.connect, ran, rest)
        data = ran.lines + ran.final
        ran.event.end(data)
        written = self._writer.post(data, shown=b"..." + ran.final if ran.secret else None)
        for outcome in ran.outcomes:
            if outcome.then is not None:
                outcome.then()
        await written.wait()
        for outcome in ran.outcomes:
            if outcome.last is not None:
                await outcome.last()
        return rest

    # -- data mode

    async def _map(self, socket: ModuleSocket, ran: Ran, early: bytes) -> bytes:
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
            self._connected(ran, "NO CARRIER")
            return early
        self._reader.forget_end()
        visit = self._visit = Visit(self._module, socket)
        self._connected(ran, "CONNECT")
        visit.begin()
        return self._sent(visit, early) if early else b""

    def _connected(self, ran: Ran, word: str) -> None:
        data = ran.lines + reply.result(word, self._module.settings)
        ran.event.end(data)
        self._writer.post(data, "connect")

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
