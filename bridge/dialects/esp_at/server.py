"""The module's TCP server: one, and its clients take the lowest free ids."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio

from bridge.dialects.esp_at.channels import TcpChannel
from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.links import LOST, Link
from bridge.dialects.esp_at.pump import pump
from bridge.dialects.esp_at.sockets import connected_text
from bridge.model import Capability, Condition
from bridge.network import LinkLost, Listener, StreamLink
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

log = structlog.get_logger("bridge.esp-at")


class Server:
    """What the host set, and the listener while there is one."""

    def __init__(self, unit: EspAtUpstream) -> None:
        self._unit = unit
        self._listener: Listener | None = None
        self._changed = trio.Event()  # a client more, or another idle time
        self.port = 0
        self.most = self.idle = 0
        self.forget()

    @property
    def running(self) -> bool:
        """Whether peers can come."""
        return self._listener is not None

    def forget(self) -> None:
        """A reset: no server, and the settings of power-up."""
        self.stop()
        self.most = self._unit.profile.number("links")
        self.idle = self._unit.profile.number("server_idle")

    def start(self, listener: Listener, port: int) -> None:
        """Serve from now on."""
        self._listener, self.port = listener, port
        self._unit.spawn(self._accept_all, listener)
        self._unit.spawn(self._close_idle, listener)

    def stop(self) -> trio.Event | None:
        """Serve no more; clients that are here stay.  The event is set when the port is free."""
        listener, self._listener = self._listener, None
        if listener is None:
            return None
        self.stir()
        return self._unit.links.drain(listener)

    def stir(self) -> None:
        """Whose turn it is to be closed for idleness may have changed."""
        self._changed.set()
        self._changed = trio.Event()

    def clients(self) -> list[Link]:
        """The links that came from it."""
        return [link for link in self._unit.links.opened() if link.served]

    async def _accept_all(self, listener: Listener) -> None:
        """One peer at a time: the next waits below until the host was told of this one."""
        while True:
            try:
                stream = await listener.accept()
            except Exception as error:
                if not isinstance(error, LOST):
                    self._unit.crashed("accept")
                if self._listener is listener:
                    self.stop()
                    self._unit.counters["servers-lost"] += 1
                    self._unit.trace.note("server lost", str(error))
                    log.warning("the server ended", reason=str(error))
                return
            await self._accept(listener, stream)

    async def _accept(self, listener: Listener, stream: StreamLink) -> None:
        unit = self._unit
        link: Link | None = None

        def render() -> bytes | None:
            """The id is taken when the host is told, so that it cannot be older than what the host was told before."""
            nonlocal link
            peer = stream.peer
            room = self._listener is listener and unit.station.up and len(self.clients()) < self.most
            host, port = (peer.host, peer.port) if peer is not None else ("0.0.0.0", 0)
            link = unit.links.reserve(unit.links.free(), host, port, served=True) if room else None
            if link is None or not unit.links.open(link, TcpChannel(stream, unit.profile.seconds("fetch_again"))):
                return None
            return unit.through.tell(connected_text(unit, link))

        await unit.writer.urc(render, rule="accepted", link=lambda: str(link.number) if link is not None else "")
        if link is None:
            unit.counters["peers-refused"] += 1
            unit.trace.note("peer refused", f"{stream.peer}: no room for it")
            unit.links.drain(stream)
            return
        unit.spawn(pump, unit, link)
        self.stir()

    async def _close_idle(self, listener: Listener) -> None:
        """AT+CIPSTO: close the clients that nothing came from and nothing went to for so long."""
        while self._listener is listener:
            due = min((link.touched for link in self.clients()), default=math.inf) + (self.idle or math.inf)
            with trio.move_on_at(due):
                await self._changed.wait()
                continue
            for link in self.clients():
                if self._is_idle(link):
                    close = partial(self._end, link)
                    await self._unit.writer.urc(close, rule="idle", link=str(link.number))

    def _is_idle(self, link: Link) -> bool:
        if link.channel.waiting():  # something came, and only waits to be told or read
            link.touch()
        return bool(self.idle) and trio.current_time() >= link.touched + self.idle

    def _end(self, link: Link) -> bytes | None:
        return self._unit.links.close(link) if self._is_idle(link) else None


def server(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSERVER."""
    if command.form is Form.QUERY:
        running = unit.server.running
        command.ok(unit.say("cipserver_on", port=unit.server.port) if running else unit.say("cipserver_off"))
    elif bool(command.number("on")) == unit.server.running:
        command.refuse(Condition.WRONG_STATE, "already so", about="unchanged")
    elif not command.number("on"):
        return _stop(unit, command, close_all=command.number("port") == 1)
    elif not unit.mux:
        command.refuse(Condition.WRONG_STATE, "needs AT+CIPMUX=1")
    elif Capability.LISTEN not in unit.network.limits.capabilities:
        command.refuse(Condition.NOT_SUPPORTED, "no server")
    elif not (port := command.number("port", unit.profile.number("server_port"))):
        command.refuse(Condition.BAD_ARGUMENT, "port 0")
    else:
        return _start(unit, command, port)
    return None


async def _start(unit: EspAtUpstream, command: Command, port: int) -> None:
    life = unit.life.number
    room = min(unit.server.most, unit.network.limits.stream_links)
    listener = await unit.network.listen(port, room=room)
    if unit.life.number != life:  # a reset came first
        unit.links.drain(listener)
        raise LinkLost(Condition.ABORTED)
    unit.server.start(listener, port)
    command.ok()


async def _stop(unit: EspAtUpstream, command: Command, *, close_all: bool) -> None:
    """OK when the port is free again: hosts start the next server at once."""
    if (freed := unit.server.stop()) is not None:
        with trio.move_on_after(unit.profile.seconds("unlisten")):
            await freed.wait()

    def answer() -> bytes:
        closed = [unit.links.close(link) for link in unit.server.clients() if close_all]
        return b"".join(closed) + unit.say("ok")

    command.finish(answer)


def room(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSERVERMAXCONN: before there is a server."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipservermaxconn", most=unit.server.most))
    elif unit.server.running:
        command.refuse(Condition.WRONG_STATE, "the server runs")
    elif unit.mux and unit.through.on and command.number("most") != 1:
        command.refuse(Condition.WRONG_STATE, "AT+CIPMODE is 1")
    else:
        unit.server.most = command.number("most")
        command.ok()


def idle(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTO: seconds without a byte after which the server closes a client; 0: never."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipsto", idle=unit.server.idle))
    elif not unit.server.running and unit.profile.number("idle_needs_server"):
        command.refuse(Condition.WRONG_STATE, "no server runs")
    else:
        unit.server.idle = command.number("idle")
        unit.server.stir()
        command.ok()


HOOKS: dict[str, Hook] = {"server": server, "room": room, "idle": idle}
