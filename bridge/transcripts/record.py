"""A transcript of a live session, made from its trace.

A trace has what both wires said, and when; what the bridge itself cost in time is in it, too.  So the session is played once
more in virtual time: what came in comes in again at its time, but not before the bridge has said what it had said by then, and
as much later as it was; what the bridge says is written down at the moment when it is due.  Where that is not what it said in
the live session, there is no transcript: RecordError tells the first difference.

Both wires are needed: of the gateway's own network a trace has nothing to play.  Secrets are as the trace has them, masked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio
import trio.testing

from bridge import __version__
from bridge.trace import Lane, escape, printable
from bridge.trace_view import Row
from bridge.transcripts.run import DEADLINE, MismatchError, makers, run_script
from bridge.transcripts.script import TranscriptError, parse, unescape
from bridge.transcripts.stage import Makers, Stage

LATE = 5.0  # seconds that the bridge may be later than in the live session
_TICKS = 1_000_000  # a second.  Coarser, and what comes in would meet the bridge's own times, or be late by all that was rounded
_WIRES = {Lane.FROM_HOST: "host", Lane.TO_HOST: "host", Lane.FROM_MODULE: "module", Lane.TO_MODULE: "module"}
_NAME = re.compile(r"[\w.-]+")
_IN = {Lane.FROM_HOST, Lane.FROM_MODULE}


class RecordError(Exception):
    """There is no transcript of this trace.  The text says why and what can be done."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came in at once, and how much the bridge had said by then."""

    at: float  # seconds since the start
    since: float  # seconds since what came in before
    gap: float  # seconds since the record before, whichever it is
    lane: str
    data: bytes
    after: dict[str, int]  # bytes of each lane


@dataclass(frozen=True, slots=True)
class Session:
    """What a trace has of one session."""

    came: tuple[Said, ...]
    told: dict[str, bytes]  # what the bridge said, by lane
    when: dict[str, list[tuple[int, float]]]  # of each record of these: where it ends, and its seconds
    rest: float  # seconds from the last of what came in to the end


def transcript(rows: Iterable[Row]) -> str:
    """The text of a transcript that passes.  Raises RecordError, tables.TableError."""
    try:
        head, *records = _last_start(rows)
        sides = {lane: _side(head, side) for lane, side in (("host", "upstream"), ("module", "downstream"))}
        if "ack" in head.head:
            raise RecordError("the bridge acknowledged sends by itself (ack=bridge), which no transcript does")
        announce = bool(head.head["upstream"].get("announce", True))
        made = makers(sides, announce=announce)
        steps = _Recording(_session(records), made).played()
    except TranscriptError as error:
        raise RecordError(str(error)) from None
    comments = [
        f"# Title: a session of {printable(str(head.head.get('wall')))}",
        f"# Source: recorded by at-bridge {__version__} from a trace; secrets are masked",
        f"# Profiles: {' '.join(':'.join(side) for side in sides.values())}",
        f"# Announce: {'yes' if announce else 'no'}",
    ]
    for lane in sides:
        if not any(step.startswith(lane) for step in steps):
            raise RecordError(f"nothing was said on the wire of the {lane}: that is no conversation")
    text = "\n".join([*comments, *steps]) + "\n"
    result = run_script(parse(text, "transcript"), made)
    if not result.ok:
        raise RecordError(f"it does not say the same each time: {result.message}")
    return text


def _last_start(rows: Iterable[Row]) -> list[Row]:
    """A trace file is appended to: what belongs to its last header."""
    kept: list[Row] = []
    for row in rows:
        if row.head:
            kept = []
        kept.append(row)
    if not kept or not kept[0].head:
        raise RecordError("the trace has no header, which says whose dialects these are; take the whole file")
    return kept


def _side(head: Row, side: str) -> tuple[str, str]:
    """Its dialect and profile."""
    facts = head.head.get(side)
    words = [facts.get(key) for key in ("dialect", "profile")] if isinstance(facts, dict) else []
    if words[:1] == ["local"]:
        raise RecordError("a session on the gateway's own network has no module's wire; it cannot be played again")
    found = [word for word in words if isinstance(word, str) and _NAME.fullmatch(word)]
    if len(found) != 2:
        raise RecordError(f"line {head.number}: the header does not say which dialect and profile the {side} has")
    return found[0], found[1]


def _session(rows: Sequence[Row]) -> Session:
    told = {"host": bytearray(), "module": bytearray()}
    came: list[Said] = []
    when: dict[str, list[tuple[int, float]]] = {lane: [] for lane in told}
    before = now = 0.0  # seconds of what came in before, and of the record before
    hole = ""  # what is missing before the next record
    for row in rows:
        where = f"line {row.number}"
        if row.damaged or row.gap:
            hole = f"{where}: {row.damaged or 'records are missing here'}; cut the session before it, with --to"
            continue
        if row.lane is None:
            continue
        if hole:
            raise RecordError(hole)
        if row.data is None:
            raise RecordError(f"{where}: only the length of a link's payload was kept; take the trace with --trace-payload")
        lane, data = _WIRES[row.lane], unescape(row.data, where)
        if row.lane in _IN:
            after = {name: len(said) for name, said in told.items()}
            came.append(Said(row.seconds, row.seconds - before, row.seconds - now, lane, data, after))
            before = row.seconds
        else:
            told[lane] += data
            when[lane].append((len(told[lane]), row.seconds))
        now = row.seconds
    if now > DEADLINE - LATE:
        raise RecordError(f"the session takes {now:.0f} s, and a transcript at most {DEADLINE - LATE:.0f}; cut it with --to")
    return Session(tuple(came), {lane: bytes(said) for lane, said in told.items()}, when, now - before)


class _Recording:
    """Plays a session in virtual time, in whole ticks, and writes down what the bridge says.

    What was said after some time is written at least half a tick later: when the transcript is played it must be there,
    and sums of waits are not exact.
    """

    def __init__(self, session: Session, makers: Makers) -> None:
        self._session = session
        self._stage = Stage(makers)
        self._steps: list[str] = []
        self._said = dict.fromkeys(session.told, b"")
        self._began = 0.0  # of trio's clock
        self._written = 0  # ticks at the last step
        self._behind = -math.inf  # ticks that what comes in is later than in the live session

    def played(self) -> list[str]:
        """The steps.  Raises RecordError."""
        trio.run(self._run, clock=trio.testing.MockClock(autojump_threshold=0))
        for lane, told in self._session.told.items():
            if self._said[lane] != told:
                raise RecordError(self._difference(lane, told))
        return self._steps

    def _difference(self, lane: str, told: bytes) -> str:
        said = self._said[lane]
        same = next((at for at, (a, b) in enumerate(zip(said, told, strict=False)) if a != b), min(len(said), len(told)))
        begin, end = max(0, same - 40), same + 80
        at = next((f" at {seconds:.3f}" for ends, seconds in self._session.when[lane] if ends > same), " at the end")
        reason = f"'{lane} <'{at}: played again, the bridge says something else"
        shown = MismatchError(None, reason, told[begin:end], said[begin:end])
        died = f"\n    the bridge ended: {self._stage.died}" if self._stage.died else ""
        return (
            f"{str(shown).removeprefix('end: ')}{died}\n"
            "    it may have been set up in another way (overrides, ack, settings of the module), the trace may not have all\n"
            "    that was on the wire, or the session's end is in it, which nobody waits for: cut it off with --to"
        )

    async def _run(self) -> None:
        self._began = trio.current_time()
        session = self._session
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stage.run)
            for said in session.came:
                if not await self._hear(said.after, said.since):
                    break
                await self._pass(said)
                if self._stage.died:
                    break
                self._wait()
                self._steps.append(f"{said.lane:<6} > {escape(said.data)}")
                await self._stage.say(said.lane, said.data)
            else:
                await self._hear({lane: len(told) for lane, told in session.told.items()}, session.rest)
            nursery.cancel_scope.cancel()

    async def _hear(self, after: dict[str, int], seconds: float) -> bool:
        """Wait until so much was said; False: it was not, though there was time."""
        last = self._clock() + math.ceil((seconds + LATE) * _TICKS)
        await self._settle()
        while any(len(self._said[lane]) < count for lane, count in after.items()):
            if self._clock() >= last or self._stage.died:
                return False
            await self._until(last)
        return True

    async def _pass(self, said: Said) -> None:
        """Let time pass until this comes in, whatever is said meanwhile.

        The live bridge took a while for all that it did.  Were this left out, what has its own time (a host, a peer) would
        come earlier and earlier for what the bridge does from time to time.
        """
        end = math.ceil(max(self._clock() + said.gap * _TICKS, said.at * _TICKS + self._behind))
        self._behind = end - said.at * _TICKS
        while self._clock() < end and not self._stage.died:
            await self._until(end)

    async def _until(self, last: int) -> None:
        """Until the next thing is heard, but not longer than to this tick."""
        with trio.move_on_at(self._began + last / _TICKS):
            await self._stage.stirred()
        await trio.testing.wait_all_tasks_blocked()
        if any(self._stage.heard.values()):
            now = (trio.current_time() - self._began) * _TICKS
            await trio.sleep_until(self._began + (math.floor(now + 0.5) + 1) / _TICKS)
        await self._settle()

    async def _settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self._write()

    def _clock(self) -> int:
        """Ticks since the start."""
        return round((trio.current_time() - self._began) * _TICKS)

    def _write(self) -> None:
        for lane in self._said:
            if heard := bytes(self._stage.heard[lane]):
                self._wait()
                self._steps.append(f"{lane:<6} < {escape(heard)}")
                self._said[lane] += heard
                self._stage.heard[lane].clear()

    def _wait(self) -> None:
        if (now := self._clock()) > self._written:
            self._steps.append(f"+{(now - self._written) * 1000 / _TICKS:.3f}".rstrip("0").rstrip(".") + "ms")
            self._written = now
