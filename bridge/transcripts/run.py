"""Transcripts as tests: one runs in virtual time against the real dialect code over lines in memory.

Strict on purpose, so that a wrong byte, a missing line, trailing bytes and a wrong time are all failures:

* A line with ``<`` must be there when everything has settled, without time passing.
* ``+250ms`` first demands that every lane is silent: what comes during it may come at any moment of it, not before.
* A line with ``>`` demands that its own lane is silent: the script does not talk over an answer.
* At the end nothing may be left over on any lane.
* ``...`` skips whatever comes on the next line's lane, and lets time pass, until that line matches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio
import trio.testing

from bridge import dialects, tables
from bridge.model import HostSettings
from bridge.network import Network
from bridge.ports import Port
from bridge.session import Upstream
from bridge.trace import Trace, escape
from bridge.transcripts.script import Kind, Script, Step, TranscriptError, parse
from bridge.transcripts.stage import Makers, Stage

__all__ = ["Makers", "MismatchError", "Result", "TranscriptError", "load", "parse", "run_file", "run_script"]

DEADLINE = 600.0  # virtual seconds that one file may take
STEP = 0.01  # how finely `...` looks


@dataclass(frozen=True, slots=True)
class Result:
    """How a transcript went.  ``message`` is empty where it passed."""

    name: str
    title: str
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether every line matched."""
        return not self.message


class MismatchError(Exception):
    """The first difference."""

    def __init__(self, step: Step | None, reason: str, expected: bytes = b"", got: bytes = b"") -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        where = self.step.where if self.step else "end"
        text = f"{where}: {self.reason}"
        if not self.expected and not self.got:
            return text
        left, right = _pieces(self.expected), _pieces(self.got)
        rows = max(len(left), len(right))
        left += [""] * (rows - len(left))
        right += [""] * (rows - len(right))
        width = max(len("expected"), *map(len, left))
        out = [text, f"    {'expected':<{width}} | got"]
        seen = False  # only the first difference is pointed at; what follows it is a consequence
        for a, b in zip(left, right, strict=True):
            mark = " " if a == b or seen else "*"
            seen = seen or a != b
            out.append(f"  {mark} {a:<{width}} | {b}".rstrip())
        return "\n".join(out)


def load(path: Path) -> Script:
    """A transcript with the steps of the one it comes after in front of its own."""
    script = parse(path.read_text("utf-8"), path.name)
    seen = {path.resolve()}
    while script.after:
        path = path.parent / script.after
        if path.resolve() in seen:
            raise TranscriptError(f"{script.name}: '# After: {script.after}' goes in a circle")
        seen.add(path.resolve())
        try:
            first = parse(path.read_text("utf-8"), path.name)
        except OSError as error:
            raise TranscriptError(f"{script.name}: '# After: {script.after}': {error.strerror}") from None
        steps = (*first.steps, *script.steps)
        script = replace(
            script,
            steps=steps,
            after=first.after,
            profiles=script.profiles or first.profiles,
            announce=script.announce or first.announce,
        )
    return script


def run_file(path: Path | str) -> Result:
    """Run one transcript.  Never raises for what the file or the bridge does: the Result says it."""
    path = Path(path)
    try:
        script = load(path)
        return run_script(script, makers_of(script))
    except (OSError, UnicodeDecodeError, TranscriptError, tables.TableError) as error:
        return Result(path.name, "", f"{path.name}: {error}")


def makers_of(script: Script) -> Makers:
    """The dialects that the script's profiles name, on the sides that its lanes name."""
    sides = [side for side in ("host", "module") if side in script.lanes]
    if not sides or len(script.profiles) != len(sides):
        raise TranscriptError("needs the lane host or module or both, and in '# Profiles:' one for each of them, in that order")
    if len(sides) == 2 and "net" in script.lanes:
        raise TranscriptError("the net lane needs one side to be left out: host or module")
    return makers(dict(zip(sides, script.profiles, strict=True)), announce=script.announce)


def makers(sides: Mapping[str, tuple[str, str]], *, announce: bool) -> Makers:
    """(dialect, profile) of ``host``, of ``module``, or of both.  Raises TranscriptError, tables.TableError."""
    upstream = downstream = None
    for side, (dialect, profile) in sides.items():
        known = dialects.UPSTREAMS if side == "host" else dialects.DOWNSTREAMS
        if dialect not in known:
            raise TranscriptError(f"no dialect {dialect!r} on the {side}'s side; there are: {', '.join(sorted(known))}")
        table = tables.load(dialect, profile)
        if side == "host":
            upstream = _upstream_maker(dialects.upstream(dialect), table, HostSettings(announce=announce))
        else:
            downstream = _downstream_maker(dialects.downstream(dialect), table)
    return Makers(upstream, downstream)


def _upstream_maker(kind: Any, table: tables.Profile, settings: HostSettings) -> Callable[[Port, Network, Trace], Upstream]:
    def make(port: Port, network: Network, trace: Trace) -> Upstream:
        made: Upstream = kind(port, network, table, trace, settings)
        return made

    return make


def _downstream_maker(kind: Any, table: tables.Profile) -> Callable[[Port, Trace], Network]:
    def make(port: Port, trace: Trace) -> Network:
        made: Network = kind(port, table, trace)
        return made

    return make


def run_script(script: Script, makers: Makers) -> Result:
    """Run a script in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        trio.run(_Run(script, makers).run, clock=clock)
    except MismatchError as error:
        return Result(script.name, script.title, str(error))
    return Result(script.name, script.title)


class _Run:
    """One run: the script, step by step, against the bridge."""

    def __init__(self, script: Script, makers: Makers) -> None:
        self._script = script
        self._stage = Stage(makers)
        self._heard = self._stage.heard
        self._step: Step | None = None

    async def run(self) -> None:
        """Raises MismatchError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stage.run)
            failure: MismatchError | None = None
            with trio.move_on_after(DEADLINE) as limit:
                try:
                    await self._play()
                except MismatchError as error:
                    failure = error
            nursery.cancel_scope.cancel()
        died = self._stage.died
        if failure is not None:  # raised out here, so that no nursery wraps it in a group
            if died:
                failure.reason += f"\n    the bridge ended: {died}"
            raise failure
        if limit.cancelled_caught:
            raise MismatchError(self._step, f"not over after {DEADLINE:.0f} s of virtual time")
        if died:
            raise MismatchError(self._step, f"the bridge ended: {died}")

    async def _play(self) -> None:
        skip = False
        for step in self._script.steps:
            self._step = step
            await trio.testing.wait_all_tasks_blocked()
            match step.kind:
                case Kind.SAY:
                    self._silent([step.lane], step)
                    await self._say(step)
                case Kind.HEAR:
                    await (self._search(step) if skip else self._expect(step))
                case Kind.WAIT:
                    self._silent(self._heard, step)
                    await trio.sleep(step.seconds)
                case Kind.SKIP:
                    pass
            skip = step.kind is Kind.SKIP
        await trio.testing.wait_all_tasks_blocked()
        self._silent(self._heard, None)

    async def _say(self, step: Step) -> None:
        try:
            await self._stage.say(step.lane, step.data)
        except (ValueError, LookupError) as error:
            raise MismatchError(step, f"cannot be said now: {error}") from None

    def _silent(self, lanes: Any, step: Step | None) -> None:
        for lane in lanes:
            if self._heard[lane]:
                why = "before this line" if step else "after the last line"
                raise MismatchError(step, f"unexpected bytes on '{lane} <' {why}", b"", bytes(self._heard[lane]))

    async def _expect(self, step: Step) -> None:
        heard = self._heard[step.lane]
        if not heard.startswith(step.data):
            got = bytes(heard[: len(step.data) + 80])
            reason = "nothing came" if not heard else "the rest did not come" if step.data.startswith(got) else "other bytes came"
            raise MismatchError(step, f"'{step.lane} <': {reason}", step.data, got)
        del heard[: len(step.data)]

    async def _search(self, step: Step) -> None:
        heard = self._heard[step.lane]
        until = trio.current_time() + DEADLINE / 2
        while (at := heard.find(step.data)) < 0:
            if trio.current_time() >= until or self._stage.died:
                raise MismatchError(step, f"'{step.lane} <': never came after '...'", step.data, bytes(heard[-200:]))
            await trio.sleep(STEP)
            await trio.testing.wait_all_tasks_blocked()
        del heard[: at + len(step.data)]


def _pieces(data: bytes) -> list[str]:
    """Escaped, a row per line of the wire."""
    return [escape(piece) for piece in data.splitlines(keepends=True)]
