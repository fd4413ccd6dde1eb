"""Who has the wire: one socket is mapped at a time, and nothing is heard of the others then.

The policy:

* **Urgency.**  Commands first: creates, closes, questions.  They are short; but where a socket has work, at most
  `COMMANDS` of them come between two visits.  A create that is pending keeps the wire in command state for a moment
  (``create_dwell``, once between two visits), because its outcome is only printed there.
* **Fairness.**  Then visits, in turn.  A socket has work when a send has bytes for the wire, or the modem holds bytes for
  it; and there is room for what a visit pulls in.
* **Batching.**  In one visit both ways are served, and sends that follow each other pay no guard.  While somebody else
  has work it ends when nothing has moved for ``idle_out`` (in the middle of a send, whose host pauses, ``payload_idle``),
  after ``batch`` bytes, or after the time these take on the line.  While nobody else is known to have work, after
  ``linger`` without a byte, and after ``visit`` in any case: others may have work that cannot be heard.  A link that is
  alone, with no listener and no create, stays mapped until it is idle for ``lone``, and is left every ``lone`` seconds.
* **Polling.**  After every visit, and every ``lone`` seconds, the modem is asked what waits where: URCs that were due
  while mapped may never be printed.  A modem that answers no such question keeps what it announced, and every socket
  is visited each ``lone`` seconds to see.

So with k open sockets each that has work is visited within k turns, a turn being

    mapping + batch x 10 / baud + idle_out + the guards and the escape (or DTR)

and the commands that come between.  (A host that writes its send more slowly than the line takes it makes that ``visit``
seconds in the place of the batch.)  `ModuleLost` ends the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import trio

from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import Key, Socket
from bridge.dialects.wip.driver.visits import Visitor
from bridge.driving.jobs import Jobs
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.patterns import Pattern

COMMANDS = 8  # between two visits, while a socket has work
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
        self._refused: dict[Key, tuple[int, float]] = {}  # closes: how often, and when it is tried again
        self._commands = 0  # since the last visit
        self._polled_at = 0.0
        self._visitor = Visitor(modem, profile, trace, sockets, check=self.check, others=self._others)
        self._create_dwell = 0.0  # visits wait until then
        self._dwelt = False  # since the last visit
        self._no_list = False  # this modem refused the list of what waits: it is asked socket by socket
        self.jobs = Jobs(profile.number("jobs"), modem.wake.set)
        self.trouble: ModuleLost | None = None  # a URC said the modem or its bearer is gone
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
        self._commands, self._dwelt, self._polled_at = 0, False, trio.current_time()

    async def run(self) -> None:
        """Serve for ever.  Raises ModuleLost, PortLost."""
        while True:
            self.check()
            if self.doubt:
                await self._resolve_doubt()
            elif not self._visit_due() and await self._command():
                self._commands += 1
            elif (socket := self._to_visit()) is not None:
                self._commands, self._dwelt = 0, False
                if await self._visitor.visit(socket):
                    self.check()
                    await self._poll()
            else:
                await self._modem.wake.wait(self._next_due())

    async def _command(self) -> bool:
        """One short thing that somebody waits for, in command state; False: there is none."""
        if self.jobs:
            await self.jobs.run_next()
        elif (socket := self._to_close()) is not None:
            await self._close(socket)
        elif self._poll_due():
            await self._poll()
        else:
            return False
        return True

    def _visit_due(self) -> bool:
        return self._commands >= COMMANDS and any(socket.work for socket in self._sockets)

    def _poll_due(self) -> bool:
        live = self._live()
        late = bool(live) and trio.current_time() >= self._polled_at + self._profile.seconds("lone")
        return late or any(socket.unpolled for socket in live)

    def check(self) -> None:
        """Raises ModuleLost where a URC said that the modem or its bearer is gone."""
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    def _live(self) -> list[Socket]:
        return [socket for socket in self._sockets if socket.live]

    # --- short commands ---

    async def _resolve_doubt(self) -> None:
        self.doubt = False
        self._trace.note("unknown-state", "a result nobody asked for")
        if not await self._modem.unknown():
            raise ModuleLost(Condition.MODULE_MUTE, "no command state after an unexplained result")
        if self._modem.discarded:
            # It was mapped, and what a peer of ours sent meanwhile is gone: never silently.
            raise ModuleLost(Condition.MODULE_ERROR, f"{self._modem.discarded} bytes came while its state was unknown")
        await self._poll()

    def _to_close(self) -> Socket | None:
        now = trio.current_time()
        for socket in self._sockets:
            if socket.condition is not None and socket.asked and now >= self._close_at(socket):
                return socket
        return None

    def _close_at(self, socket: Socket) -> float:
        """Not right after a refusal, nor before what was written last has had its time to leave the modem."""
        _, again = self._refused.get(socket.key, (0, 0.0))
        return max(again, socket.last_out + self._profile.seconds("close_wait"))

    async def _close(self, socket: Socket) -> None:
        def free() -> None:
            self._refused.pop(socket.key, None)
            if socket.again:
                socket.again = False
            else:
                self._sockets.free(socket)

        try:
            await self._modem.command("close", free, protocol=socket.protocol, index=socket.index)
        except ModuleError as error:
            if self._profile.condition_of(error.code, "WIPCLOSE") is Condition.WRONG_STATE:
                free()
                return
            tries = self._refused.get(socket.key, (0, 0.0))[0] + 1
            self._refused[socket.key] = tries, trio.current_time() + self._profile.seconds("retry")
            self._trace.note("close-refused", f"{socket.protocol},{socket.index}: {error.code}")
            if tries >= CLOSE_TRIES:
                raise ModuleLost(Condition.MODULE_ERROR, f"{socket.protocol},{socket.index} cannot be closed") from None

    async def _poll(self) -> None:
        """Ask what waits where; a modem without the list is asked for each socket."""
        polled = self._live()
        self._polled_at = trio.current_time()
        for socket in polled:
            socket.unpolled = False
        if not await self._poll_list(polled):
            for socket in polled:
                await self._poll_one(socket)
        for socket in self._live():
            if socket.fin and not (socket.unpolled or socket.announced or socket.unsure):
                socket.end(Condition.PEER_CLOSED)

    async def _poll_list(self, polled: Iterable[Socket]) -> bool:
        """One question for all; False: this modem has no such answer."""
        if self._no_list or "pending" not in self._profile.template:
            return False
        kept = [(socket, socket.announced) for socket in polled]
        for socket, _ in kept:
            socket.forget_announced()  # before the answer, which is read as URCs
        try:
            await self._modem.command("pending")
        except ModuleError as error:
            self._trace.note("poll-refused", str(error.code))
            self._no_list = True
            for socket, count in kept:
                if count and socket.live:
                    socket.announce(count, None)
        return not self._no_list

    async def _poll_one(self, socket: Socket) -> None:
        if not socket.live or not socket.mode:
            return
        pattern = Pattern(self._profile.words("option"))
        try:
            answers = await self._modem.command("option", protocol=socket.protocol, index=socket.index, option=UNREAD)
        except ModuleError as error:
            # What it announced stays; only a visit shows more: the last one after a FIN, else now and then.
            self._trace.note("poll-refused", f"{socket.protocol},{socket.index}: {error.code}")
            last = socket.fin and not socket.searched
            socket.searched = socket.searched or last
            socket.unsure = last or trio.current_time() >= socket.visited_at + self._profile.seconds("lone")
            return
        socket.forget_announced()
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
        self._commands, self._dwelt = 0, False  # nobody has waited for them
        return None

    def created(self) -> None:
        """A create went out: stay in command state a moment, most peers answer at once."""
        if not self._dwelt:
            self._dwelt = True
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
        """How long the loop may sleep when nothing is due: stuck sends, create dwell, closes and polls need a timer."""
        now, lone = trio.current_time(), self._profile.seconds("lone")
        busy = self._creating() or any(socket.current is not None for socket in self._live())
        due = [now + self._profile.seconds("dwell_look") if busy else now + lone, self._polled_at + lone]
        due += [self._close_at(socket) for socket in self._sockets if socket.condition is not None and socket.asked]
        return min(at - now for at in due if at > now)

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
