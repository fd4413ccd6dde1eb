r"""Transparent mode (AT+CIPMODE=1): what comes is told raw, and from a bare AT+CIPSEND to ``+++`` what is typed is sent.

Over the seam alone: what was gathered (see `bursts`) goes out by counted sends, so it is the same on every Network.

*What is held.*  One send under way, and `AHEAD` bytes that wait for it.  Only when there are more the host's port is not
read (back-pressure): bytes that nobody reads have no pauses between them, and without its pauses ``+++`` is not heard.
For the same reason a send has a limit, that of AT+CIPSEND.  Until all has gone that was typed before ``+++``, a command
finds the module busy.

*When the link is lost* nobody is told (AT+SYSMSG has a bit for that), and a module connects again by itself, every so
often (AT+CIPRECONNINTV), until ``+++``.  What is typed meanwhile is lost, as on a module.  Lost is all of it and not
only what does not fit into a buffer: the new connection would begin with old bytes that have a hole behind them, and a
port that is not read would keep the host in the mode.  It is counted and traced.

*When a Network cannot carry a byte* (or does not take the bytes in time) there is no SEND FAIL here to say so.  Left
out, that byte would be missing in the middle of a stream that goes on, and no end of it would ever know.  So the link
ends there: the peer sees where it breaks off, the operator reads why, and the host finds what it finds whenever a link
was lost - another connection.  A datagram that cannot be sent is lost alone, as any datagram may be, and is counted.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.dialects.esp_at.bursts import Bursts
from bridge.dialects.esp_at.channels import Channel
from bridge.dialects.esp_at.links import LOST, Link, LinkState
from bridge.dialects.esp_at.pump import pump
from bridge.dialects.esp_at.sockets import connected_text
from bridge.network import NetworkError
from bridge.trace import Lane

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

log = structlog.get_logger("bridge.esp-at")

AHEAD = 16384  # bytes typed that may wait to be sent: 1.4 s of a line at 115200 baud
QUITT = 1  # the bits of AT+SYSMSG: tell when the mode is left
BITS = 10  # of one byte on the line: start, 8 data, stop
LATE = 0.005  # seconds: who is woken so much later was held up, and the host's bytes with him


class Passthrough:
    """The mode of one host.  ``on``: AT+CIPMODE=1.  ``active``: what is typed is data."""

    def __init__(self, unit: EspAtUpstream) -> None:
        profile = unit.profile
        self._unit = unit
        self._most = profile.number("through_buffer")
        self._bursts = Bursts(self._most, profile.seconds("through_pause"), profile.seconds("through_latency"))
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes in it
        self._changed = trio.Event()
        self._link: Link | None = None  # that of the mode; the last one, where it is lost
        self._able = False  # what is typed can be sent over it
        self._carrying = False  # `_carry` runs: until everything was sent
        self._carry_scope = trio.CancelScope()
        self._redial_scope = trio.CancelScope()
        self._dialled = -math.inf  # when a new connection was last tried
        self._missed = 0  # bytes that were lost since the link was
        self.saved: Link | None = None  # AT+SAVETRANSLINK: a link as one that was lost
        self.due: Link | None = None  # and it has not begun since the last start
        self.on = self.active = False
        self.deadline = math.inf  # when the host will have paused

    # --- for everybody

    def raw(self, link: Link) -> bool:
        """Whether what comes is told as it is.  With AT+CIPMUX=1 it is the server's only client that is meant."""
        return self.on and (not self._unit.mux or self._unit.server.clients() == [link])

    def tell(self, text: bytes) -> bytes:
        """An unsolicited line: nothing while what is typed is data, unless the host asked for it."""
        if not self.active or self._unit.kept.number("SYSMSG", "bits") & self._unit.profile.number("through_told"):
            return text
        return b""

    def candidate(self) -> Link | None:
        """The one link that there is, if it may be the mode's: any TCP link, or UDP with a peer that stays."""
        opened = self._unit.links.opened()
        return opened[0] if len(opened) == 1 and self.raw(opened[0]) and opened[0].channel.fixed else None

    def links_changed(self) -> None:
        """From the table: one was opened or closed."""
        if self._link is not None and self._link.state is LinkState.CLOSED:
            self._fail()
        self._stir()

    def begin(self, link: Link) -> None:
        """What is typed from here on is data for this link; one that is not open is opened as if it had been lost."""
        self._note("entered")
        self.active, self._able = True, link.state is LinkState.OPEN
        self._link = link
        self._missed = 0
        self._bursts.clear()
        self.deadline = math.inf
        self._carrying = True
        self._carry_scope = trio.CancelScope()
        self._unit.spawn(self._carry, self._carry_scope)

    def forget(self) -> None:
        """A reset: normal mode, until what was saved begins."""
        self.due = self.saved
        self.on = self.active = self._able = False
        self._carry_scope.cancel()

    # --- for the one who reads the host's port

    @property
    def full(self) -> bool:
        """Whether the port should not be read now."""
        return self._queued >= AHEAD

    @property
    def draining(self) -> bool:
        """Whether the mode was left, and what was typed in it has not gone yet."""
        return self._carrying and not self.active

    async def wait_room(self) -> None:
        """Until it should."""
        while self.full:
            await self._changed.wait()

    def hear(self, data: bytes) -> None:
        """What the host types."""
        if not data:
            return
        baud = self._unit.port.baud
        self._unit.trace.payload(Lane.FROM_HOST, data, link=self._number)
        for full in self._bursts.feed(data, trio.current_time(), BITS / baud if baud else 0.0):
            self._put(full)
        self.deadline = self._bursts.deadline

    def silence(self) -> None:
        """The deadline is over: unless we were late ourselves, the host has paused."""
        now = trio.current_time()
        if now > self.deadline + LATE:
            self.deadline = now + LATE
            return
        self.deadline = math.inf
        data, left = self._bursts.end()
        if data:
            self._put(data)
        if left:
            self._leave()

    def _leave(self) -> None:
        self._note("left")
        if self._missed:
            self._note(f"{self._missed} bytes were lost with the link and since")
        if self._unit.kept.number("SYSMSG", "bits") & QUITT:
            self._unit.writer.post(self._unit.say("quitt"), rule="quitt", link=self._number)
        self.active = False
        self._redial_scope.cancel()
        self._stir()

    # --- the queue

    def _put(self, data: bytes) -> None:
        if self._able:
            self._queue.append(data)
            self._queued += len(data)
            self._unit.counters["through-peak"] = max(self._unit.counters["through-peak"], self._queued)
            self._stir()
        else:
            self._miss(len(data))

    def _take(self, most: int, *, join: bool) -> bytes:
        """The next bytes to send: with ``join`` as many as fit, otherwise those up to one pause of the host."""
        data = self._queue.popleft()
        while join and self._queue and len(data) < most:
            data += self._queue.popleft()
        if len(data) > most:
            self._queue.appendleft(data[most:])
            data = data[:most]
        self._queued -= len(data)
        self._stir()
        return data

    def _fail(self) -> None:
        """Nothing more can be sent over this link."""
        self._able = False
        self._miss(self._queued)
        self._queue.clear()
        self._queued = 0
        self._stir()

    def _miss(self, count: int) -> None:
        self._missed += count
        self._unit.counters["through-lost"] += count

    def _stir(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def _number(self) -> str:
        return str(self._link.number) if self._link is not None else ""

    def _note(self, what: str) -> None:
        self._unit.trace.note("passthrough", what)

    # --- the one who sends

    async def _carry(self, scope: trio.CancelScope) -> None:
        """Send what is typed, and connect again, until the mode was left and everything has gone."""
        try:
            with scope:
                while await self._step():
                    pass
        finally:
            self._carrying = False
            self._stir()

    async def _step(self) -> bool:
        """One thing at a time; False: there is nothing more to do."""
        link = self._link
        assert link is not None
        if not self._able:
            if not self.active:
                return False
            await self._reconnect(link)
        elif self._queue:
            await self._send(link)
        elif not self.active:
            return False
        else:
            await self._changed.wait()
        return True

    async def _send(self, link: Link) -> None:
        unit, channel, limits = self._unit, link.channel, self._unit.network.limits
        most = limits.send_size if channel.linked else limits.datagram_size
        data = self._take(min(most, self._most), join=channel.linked)
        try:
            with trio.fail_after(unit.profile.command["CIPSEND"].final or 0):
                await channel.carry(data)
        except NetworkError as error:  # nothing of it went out, and the link lives
            if not channel.linked:
                unit.counters["datagrams-refused"] += 1
                self._note(f"a datagram of {len(data)} bytes is lost: {error}")
                return
            self._lose(link, len(data), str(error))
        except trio.TooSlowError:
            self._lose(link, len(data), "not taken in time")
        except LOST as error:
            self._lose(link, len(data), str(error))
            return
        except Exception:
            unit.crashed("passthrough")
            self._lose(link, len(data), "an error of ours")
        else:
            link.touch()
            return
        if channel.condition is None:  # it lives, and a peer that goes on talking would keep it
            await unit.writer.urc(lambda: unit.links.close(link), rule="closed: not sent", link=self._number)

    def _lose(self, link: Link, count: int, why: str) -> None:
        """A send failed: what still comes is told, then the link is closed."""
        link.expire(self._unit.profile.seconds("linger"))
        self._miss(count)
        self._fail()
        self._unit.counters["through-broken"] += 1
        self._note(f"the link is lost: {why}; so are {self._missed} bytes")
        log.warning("a link in transparent mode is lost", reason=why, bytes=self._missed)

    # --- connecting again

    async def _reconnect(self, old: Link) -> None:
        """Try it once, when it is time to; or wait for the server's next client."""
        profile = self._unit.profile
        with trio.CancelScope() as self._redial_scope:
            while old.state is LinkState.OPEN:
                await self._changed.wait()
            if old.served:
                while (link := self.candidate()) is None:
                    await self._changed.wait()
                self._adopt(link)
                return
            await trio.sleep(self._unit.kept.number("CIPRECONNINTV", "interval") * profile.seconds("through_interval"))
            await trio.sleep_until(self._dialled + profile.seconds("through_redial"))
            self._dialled = trio.current_time()
            if self._unit.station.up:
                await self._dial(old)

    async def _dial(self, old: Link) -> None:
        unit = self._unit
        assert old.again is not None
        link = unit.links.reserve(old.number, old.host, old.port)
        if link is None:  # a reset is under way
            return
        unit.counters["through-redials"] += 1
        channel: Channel | None = None
        try:
            with trio.fail_after(unit.settings.connect or unit.profile.command["CIPSTART"].final or 0):
                channel = await old.again()
        except (*LOST, trio.TooSlowError) as error:
            self._note(f"no new link: {str(error) or 'not in time'}")
        except Exception:
            unit.crashed("passthrough")
        finally:
            if channel is None:
                unit.links.release(link)
        if channel is None:
            return
        if not unit.links.open(link, channel):  # as above
            return
        link.again = old.again
        self._adopt(link)
        unit.spawn(self._announce, link)

    def _adopt(self, link: Link) -> None:
        self._note(f"a new link; {self._missed} bytes were lost with the old one and since")
        self._missed = 0
        self._link = link
        self._able = True

    async def _announce(self, link: Link) -> None:
        unit = self._unit
        await unit.writer.urc(lambda: self.tell(connected_text(unit, link)), rule="connected again", link=str(link.number))
        await pump(unit, link)
