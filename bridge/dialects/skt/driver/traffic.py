"""Payload on the wire: one chunk or one question of an id at a time, in turn.

A send that is not answered is never repeated: the module may have taken it.  Its link is closed.
"""

from __future__ import annotations

from collections import Counter, deque

import trio

from bridge.dialects.skt.driver.asking import Asked
from bridge.dialects.skt.driver.datagrams import SktDatagramLink
from bridge.dialects.skt.driver.early import Early
from bridge.dialects.skt.driver.finals import GARBLED, SILENT
from bridge.dialects.skt.driver.held import Registry
from bridge.dialects.skt.driver.links import SktLink
from bridge.dialects.skt.driver.payload import CR, LF, Alphabet
from bridge.dialects.skt.driver.raw import RawSends
from bridge.dialects.skt.driver.reader import Data, Loss
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.addresses import dotted

_GONE = {Condition.PEER_CLOSED, Condition.LINK_RESET}
_HARMLESS = {Condition.BAD_ARGUMENT, Condition.TOO_LONG}  # the module said no and took nothing


class Traffic:
    """Sends and reads."""

    def __init__(
        self, wire: Wire, profile: Profile, trace: Trace, counters: Counter[str], *, registry: Registry, alphabet: Alphabet
    ) -> None:
        self._wire = wire
        self.raw = RawSends(wire, profile, trace)
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._registry = registry
        self._alphabet = alphabet
        self._sending = str(profile.value["sending"].value)  # line, counted or raw
        self._turn: deque[Asked] = deque()
        self._chunk = profile.number("chunk")
        self._sizes = [int(size) for size in profile.words("read_sizes").split()]
        self._early = Early(profile, trace)
        registry.freed = self._early.freed

    def start_over(self) -> None:
        """The module was lost: nothing that came before counts."""
        self._turn.clear()
        self._early.clear()

    # --- whose turn ---

    def next(self) -> Asked | None:
        """Who has something for the wire now."""
        now = trio.current_time()
        for asked in [asked for asked in self._turn if not self._registry.holds(asked)]:
            self._turn.remove(asked)
        known = set(map(id, self._turn))
        self._turn.extend(held for held in self._registry if isinstance(held, Asked) and id(held) not in known)
        for _ in range(len(self._turn)):
            asked = self._turn[0]
            self._turn.rotate(-1)
            if asked.live and (self._outgoing(asked) or asked.due(now, sending=False)):
                return asked
        return None

    @property
    def due(self) -> float:
        """When the next question is due."""
        return min((held.ask_at for held in self._registry if isinstance(held, Asked)), default=float("inf"))

    @property
    def quiet_at(self) -> float:
        """When no payload has gone out for a while; while some waits for the wire, not before it has."""
        asked = [held for held in self._registry if isinstance(held, Asked) and held.live]
        if any(self._outgoing(one) for one in asked):
            return float("inf")
        return max((one.sent_at + one.pace.shortest for one in asked), default=float("-inf"))

    def _outgoing(self, asked: Asked) -> bool:
        if isinstance(asked, SktLink):
            sending = asked.current
            return asked.draining is None and sending is not None and bool(sending.ready(self._chunk))
        return isinstance(asked, SktDatagramLink) and asked.current is not None and not asked.current.touched

    async def visit(self, asked: Asked) -> None:
        """One chunk out, and one question where it is due.  Raises ModuleLost."""
        sending = self._outgoing(asked)
        if sending:
            if isinstance(asked, SktLink):
                await self._send_chunk(asked)
            elif isinstance(asked, SktDatagramLink):
                await self._send_datagram(asked)
        if asked.live and asked.due(trio.current_time(), sending=sending) and not self._wire.doubt:
            await self._read(asked)

    # --- out ---

    def fits(self, data: bytes, target: Endpoint | None) -> None:
        """Raises NetworkError where a datagram cannot be carried: it cannot be split."""
        if target is not None and not (dotted(target.host) and 0 < target.port < 65536):
            raise NetworkError(Condition.BAD_ARGUMENT, "a target is an address and a port")
        if (byte := self._alphabet.unfit(data)) is not None:
            raise NetworkError(Condition.BAD_ARGUMENT, f"this module cannot carry a byte of value {byte}")
        if self._sending != "line":
            most = self._profile.number("datagram_size")
            if len(data) > most:
                raise NetworkError(Condition.TOO_LONG, f"{len(data)} of at most {most} bytes")
            return
        room = self._alphabet.room(len(self._head(len(data), self._registry.pool, target)))
        if CR in data[:-1]:
            raise NetworkError(Condition.BAD_ARGUMENT, "a CR inside a datagram could end the line")
        if not self._alphabet.whole(data, room):
            raise NetworkError(Condition.TOO_LONG, f"{len(data)} bytes in one line of {room}")

    def _head(self, size: int, number: int, target: Endpoint | None) -> str:
        return self._profile.template["send"].send.format(size=size, id=number, target=_named(target))

    async def _put(self, asked: Asked, data: bytes, target: Endpoint | None) -> None:
        """One command with payload.  Raises ModuleError, ModuleLost."""
        arguments = {"size": len(data), "id": asked.id, "target": _named(target)}
        if self._sending == "raw":
            await self.raw.send("send", data, **arguments)
        else:
            text = self._alphabet.escape(data) if self._sending == "line" else data
            await self._wire.command("send", text, **arguments)

    async def _send_chunk(self, link: SktLink) -> None:
        sending = link.current
        if sending is None:
            return
        waiting = sending.ready(self._chunk)
        if self._sending == "line":
            room = self._alphabet.room(len(self._head(self._chunk, link.id, None)))
            count = self._alphabet.chunk(waiting[: self._chunk], min(room, self._chunk))
        else:
            count = min(len(waiting), self._chunk)
        first = not sending.touched
        sending.touched = True
        try:
            await self._put(link, waiting[:count], None)
        except ModuleError as error:
            condition = self._failed(link, error, "send")
            untouched = first and condition in _HARMLESS
            if condition in _HARMLESS and self._shorter(waiting[:count]):
                sending.touched = not first
                return  # it is said again in smaller pieces: the module took nothing of it
            if {CR, LF} & set(waiting[:count]) and condition is Condition.BAD_ARGUMENT and self._sending == "line":
                # The text was shorter than its count: a CR ended the line or a LF was dropped, and nothing was sent.
                self._trace.note("line-ends", "this module's console takes no CR and no LF: none is sent any more")
                self._alphabet.refuse_line_ends()
            sending.touched = not untouched
            sending.fail(condition, f"SKTSEND: {error.code}", untouched=untouched)
            if untouched or link.doubted:
                return
            if condition in _GONE:
                link.drain(condition)
            else:
                link.end(condition)
            return
        sending.took(count)
        link.sent(trio.current_time())

    def _shorter(self, piece: bytes) -> bool:
        """Whether a refused piece may have been too long: the oldest build keeps less of a line, and says error 1."""
        if self._sending != "line":
            return False
        shorter = self._profile.number("chunk_careful")
        if len(self._alphabet.escape(piece)) <= shorter or self._chunk <= shorter:
            return False
        self._trace.note("chunk", f"{shorter} bytes a line from now on, instead of {self._chunk}")
        self._chunk = shorter
        return True

    async def break_off(self) -> None:
        """The bridge ends in the middle of a dialogue: back to where a command is one.  Raises ModuleLost."""
        if not self._wire.unanswered:
            return
        if self._sending == "counted":
            raise ModuleLost(Condition.ABORTED, "what is written now may be payload")
        if self._sending == "raw":
            await self.raw.leave()
        await self._wire.clean_line()

    async def _send_datagram(self, link: SktDatagramLink) -> None:
        post = link.current
        if post is None:
            return
        post.touched = True
        try:
            await self._put(link, post.data, post.target)
        except ModuleError as error:
            condition = self._failed(link, error, "send")
            if error.code < 0 and not link.doubted:
                link.end(condition)  # nobody knows whether it went out
            link.posted(condition)
            return
        link.posted(None)
        link.sent(trio.current_time())

    def _failed(self, asked: Asked, error: ModuleError, what: str) -> Condition:
        """What a refusal, or no answer, means."""
        self._trace.note(f"{what}-failed", f"id {asked.id}: {error.code}")
        if error.code == SILENT:
            return Condition.MODULE_MUTE
        if error.code == GARBLED:
            return Condition.DATA_LOST if what == "read" else Condition.MODULE_ERROR
        condition = self._profile.condition_of(error.code, error.during)
        if condition is Condition.WRONG_STATE:
            # It does not know the id: it is not addressed again before SKTSTATE has told what there is.
            self._wire.doubt = self._wire.doubt or f"id {asked.id} is not known"
            asked.doubted = True
        return condition

    # --- in ---

    async def _read(self, asked: Asked) -> None:
        size = self._sizes[0]
        try:
            got = await self._wire.read_data(asked.id, size)
        except ModuleError as error:
            condition = self._failed(asked, error, "read")
            if condition is Condition.TOO_LONG and len(self._sizes) > 1:
                self._sizes.pop(0)  # refused before anything was read: this build has a smaller line buffer
                return
            if error.code == GARBLED:
                self._counters["reads-garbled"] += 1
            # What a read without its answer took from the module, nobody knows: a datagram may be lost, a part of a stream not.
            unknown = error.code in {SILENT, GARBLED}
            if not asked.doubted and (isinstance(asked, SktLink) or not unknown):
                asked.end(condition)
            return
        if got.data:
            self._deliver(asked, got, size)
        asked.asked(trio.current_time(), len(got.data))

    def _deliver(self, asked: Asked, got: Data, size: int) -> None:
        # A datagram that fills the buffer may have had a tail, which the module drops.
        cut = isinstance(asked, SktDatagramLink) and len(got.data) >= size
        if not asked.deliver(got.data, got.source, cut=cut):
            self._drop(asked, "no room for it")

    def _drop(self, asked: Asked, why: str) -> None:
        self._counters["datagrams-dropped"] += 1
        self._trace.note("datagram-dropped", f"id {asked.id}: {why}")

    def pushed(self, data: Data) -> None:
        """The module sent data by itself; called while they are read."""
        held = self._registry.get(data.id)
        if isinstance(held, Asked):
            self._deliver(held, data, self._profile.number("push_most"))
        else:
            self._early.keep(data)

    def claim(self, asked: Asked) -> None:
        """The module told of this id, or we chose it: what came just before it was told is its."""
        early, whole = self._early.claim(asked.id)
        if self._registry.by_host and asked.server is None:
            return
        if not whole:
            asked.end(Condition.RECEIVE_OVERRUN)
        for data in early:
            self._deliver(asked, data, self._profile.number("push_most"))

    def lost(self, loss: Loss) -> None:
        """A payload did not come whole: never delivered as if it had; called while it is read."""
        held = self._registry.get(loss.id)
        if loss.cut:
            smallest = self._profile.number("read_careful")
            self._sizes = [size for size in self._sizes if size <= smallest] or [smallest]
        if isinstance(held, SktDatagramLink):
            self._drop(held, "it did not come whole")
            held.asked(trio.current_time(), loss.length)
        elif isinstance(held, SktLink):
            self._counters["links-lost-by-loss"] += 1
            held.end(Condition.DATA_LOST)
        elif loss.id:
            self._early.spoil(loss.id)

    def ended(self, number: int, code: int) -> bool:
        """The module says that an id has closed; False: it is of an id that is not ours (yet)."""
        held = self._registry.get(number)
        if not isinstance(held, Asked):
            return False
        held.end(self._profile.condition_of(code, "SKTREAD"))
        return True


def _named(target: Endpoint | None) -> str:
    return "" if target is None else f",{target.host},{target.port}"
