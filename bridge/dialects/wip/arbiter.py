"""Who has the wire: one socket is mapped at a time, all share it.

Policy, in order:

1. Commands first: creates, closes, questions.  They are short.
2. Then visits, in turn: a socket is visited when it has bytes to send or the modem announced bytes for it and there is
   room.  Reading and writing happen in one visit (`bridge.dialects.wip.visits` tells when it ends).
3. After every visit the modem is asked what waits where: URCs that were due while mapped may never be printed.

Every wait is bounded, so every socket with work is visited in time; `ModemLost` ends the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import trio

from bridge.dialects.wip.jobs import Jobs
from bridge.dialects.wip.modem import Modem
from bridge.dialects.wip.registry import Registry
from bridge.dialects.wip.sockets import Key, Socket
from bridge.dialects.wip.trouble import ModemError, ModemLost
from bridge.dialects.wip.visits import Visitor
from bridge.model import Condition
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.patterns import Pattern

CLOSE_TRIES = 5  # refusals of one WIPCLOSE before the modem's state counts as unknown
UNREAD = 6  # the number of WIPOPT's option "bytes that can be read"


class Arbiter:
    """The driver's loop while the modem is up."""

    def __init__(self, modem: Modem, profile: Profile, trace: Trace, sockets: Registry) -> None:
        self._modem = modem
        self._profile = profile
        self._trace = trace
        self._sockets = sockets
        self._turn: deque[Socket] = deque()
        self._refused: dict[Key, int] = {}
        self._visitor = Visitor(modem, profile, trace, sockets, check=self.check, others=self._others)
        self._create_dwell = 0.0
        self._no_list = False  # this modem refused the list of what waits: it is asked socket by socket
        self.jobs = Jobs(profile.number("jobs"), modem.wake.set)
        self.trouble: ModemLost | None = None  # a URC said the modem or its bearer is gone
        self.doubt = False  # something arrived that no exchange explains

    @property
    def mapped(self) -> Socket | None:
        """The socket that the wire is glued to."""
        return self._visitor.mapped

    def start_over(self) -> None:
        """The modem was brought up: what was known of its former life is of no use."""
        self.trouble, self.doubt, self._no_list = None, False, False
        self._visitor.mapped = None
        self._refused.clear()
        self._turn.clear()

    async def run(self) -> None:
        """Serve for ever.  Raises ModemLost, PortLost."""
        while True:
            self.check()
            if self.doubt:
                await self._resolve_doubt()
            elif self.jobs:
                await self.jobs.run_next()
            elif (socket := self._to_close()) is not None:
                await self._close(socket)
            elif any(socket.unpolled for socket in self._live()):
                await self._poll()
            elif (socket := self._to_visit()) is not None:
                if await self._visitor.visit(socket):
                    self.check()
                    await self._poll()
            else:
                await self._modem.wake.wait(self._next_due())

    def check(self) -> None:
        """Raises ModemLost where a URC said that the modem or its bearer is gone."""
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    def _live(self) -> Iterable[Socket]:
        return [socket for socket in self._sockets if socket.live]

    # --- short commands ---

    async def _resolve_doubt(self) -> None:
        self.doubt = False
        self._trace.note("unknown-state", "a result nobody asked for")
        if not await self._modem.unknown():
            raise ModemLost(Condition.MODULE_MUTE, "no command state after an unexplained result")
        if self._modem.discarded:
            # It was mapped, and what a peer of ours sent meanwhile is gone: never silently.
            raise ModemLost(Condition.MODULE_ERROR, f"{self._modem.discarded} bytes came while its state was unknown")
        await self._poll()

    def _to_close(self) -> Socket | None:
        for socket in self._sockets:
            if socket.condition is not None and socket.asked:
                return socket
        return None

    async def _close(self, socket: Socket) -> None:
        def free() -> None:
            self._refused.pop(socket.key, None)
            if socket.again:
                socket.again = False
            else:
                self._sockets.free(socket)

        try:
            await self._modem.command("close", free, protocol=socket.protocol, index=socket.index)
        except ModemError as error:
            if self._profile.condition_of(error.code, "WIPCLOSE") is Condition.WRONG_STATE:
                free()
                return
            self._refused[socket.key] = tries = self._refused.get(socket.key, 0) + 1
            self._trace.note("close-refused", f"{socket.protocol},{socket.index}: {error.code}")
            if tries >= CLOSE_TRIES:
                raise ModemLost(Condition.MODULE_ERROR, f"{socket.protocol},{socket.index} cannot be closed") from None
            await self._modem.wake.wait(self._profile.seconds("retry"))

    async def _poll(self) -> None:
        """Ask what waits where; a modem without the list is asked for each socket."""
        polled = self._live()
        for socket in polled:
            socket.forget_announced()
            socket.unpolled = False
        if not self._no_list:
            try:
                await self._modem.command("pending")
            except ModemError as error:
                self._trace.note("poll-refused", str(error.code))
                self._no_list = True
        if self._no_list:
            for socket in polled:
                await self._poll_one(socket)
        for socket in self._live():
            if socket.fin and not socket.unpolled and not socket.announced:
                socket.end(Condition.PEER_CLOSED)

    async def _poll_one(self, socket: Socket) -> None:
        if not socket.live or not socket.mode:
            return
        pattern = Pattern(self._profile.words("option"))
        try:
            answers = await self._modem.command("option", protocol=socket.protocol, index=socket.index, option=UNREAD)
        except ModemError as error:
            self._trace.note("poll-refused", f"{socket.protocol},{socket.index}: {error.code}")
            return
        for line in answers:
            if (fields := pattern.match(line)) is not None and str(fields["value"]).isdigit() and int(fields["value"]):
                socket.announce(int(fields["value"]), None)

    # --- whose turn ---

    def _to_visit(self) -> Socket | None:
        self._fail_stuck_sends()
        if self._create_dwell > trio.current_time() and self._creating():
            return None
        for socket in [socket for socket in self._turn if not self._sockets.holds(socket)]:
            self._turn.remove(socket)
        self._turn.extend(socket for socket in self._sockets if socket not in self._turn)
        for _ in range(len(self._turn)):
            socket = self._turn[0]
            self._turn.rotate(-1)
            if socket.work:
                return socket
        return None

    def created(self) -> None:
        """A create went out: stay in command state a moment, most peers answer at once."""
        self._create_dwell = trio.current_time() + self._profile.seconds("create_dwell")

    def _creating(self) -> bool:
        return any(socket.pending_create for socket in self._sockets)

    def _fail_stuck_sends(self) -> None:
        """A send that would pull in more than there is room for waits for the host to read, but not for ever."""
        for socket in self._live():
            sending = socket.current
            if sending is None or not sending.pending or not socket.no_room:
                continue
            if trio.current_time() - sending.begun < self._profile.seconds("room"):
                continue
            if sending.touched:
                socket.end(Condition.RECEIVE_BUFFER_FULL)
            else:
                sending.failed = Condition.RECEIVE_BUFFER_FULL
                sending.wake()

    def _next_due(self) -> float:
        """How long the loop may sleep when nothing is due: only stuck sends and create dwell need a timer."""
        busy = self._creating() or any(socket.current is not None for socket in self._live())
        return self._profile.seconds("dwell_look") if busy else self._profile.seconds("lone")

    def _others(self, mapped: Socket) -> bool:
        """Whether anybody but the mapped socket has use for the wire."""
        return (
            bool(self.jobs)
            or self.doubt
            or any(
                other.work or other.pending_create or (other.condition is not None and other.asked)
                for other in self._sockets
                if other is not mapped
            )
        )
