"""One event for each host command, for operators: what was asked, what became of it, and where its time went.

``command verb=CIPSEND form=set disposition=translated steps=[map, escape] bytes_in=25 bytes_out=48 wire=0.011
module=1.204 own=0.001 final="SEND OK"``, and ``condition`` and ``reason`` where it was refused; times in seconds.

*Time.*  ``wire``: what the bytes of the command and of its answer take on the host's line by its speed (10 bits a byte;
nothing where the port has no speed), and what the host let us wait for an announced payload.  ``module``: what the
command's work waited for the Network.  ``own``: the rest, from the last byte of the line to the moment when the final
result is given to the port.

*Steps* are the commands that went to the module between those two moments, by their names in its table.  An upstream
does not know what is below; it sees them through the trace, where every driver tells them anyway.  So they are what was
said *meanwhile*: a step for another link's sake is among them, and a module without commands has none.

*Levels.*  A busy host sends a hundred commands in a second, and a journal that is full of OK hides what matters: what
went well is ``debug``.  What the host itself got wrong (an unknown command, an argument, a link that is not open) is
``info``: the host's program is frozen and its operator cannot mend it.  What the network or the module refused is
``warning``: somebody can.  A host that tries the same again without a pause would flood the journal with that as well:
above `BURST` events, one a second; the others are ``debug``, and the next one says how many they were (``unlogged``).

No payload and no argument is ever in it: the verb, words of the table, numbers, and the reason that the trace has, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum

import structlog
import trio

from bridge.model import Condition
from bridge.ports import Port
from bridge.trace import Trace

__all__ = ["CommandEvent", "CommandLog", "Part", "final_words"]

log = structlog.get_logger("bridge")

BURST = 20  # events above debug at once; one more each second
STEPS_MOST = 16  # module steps that are named; the others are only counted
VERB_MOST = 32  # characters of a verb that are shown: an unknown one is whatever the host typed
_BITS = 10  # of one byte on the line: start, 8 data, stop

_ASKED = frozenset(  # refused for what the host asked, whatever the network
    {
        Condition.BAD_ARGUMENT,
        Condition.INDEX_IN_USE,
        Condition.NOT_SUPPORTED,
        Condition.TOO_LONG,
        Condition.WRONG_STATE,
    }
)


class Part(IntEnum):
    """Who is waited for; the number is its place in `CommandEvent`'s account."""

    WIRE = 0
    MODULE = 1
    OWN = 2


def final_words(texts: Iterable[str]) -> frozenset[bytes]:
    """The lines of a dialect's final results, from its table's texts; those with a ``{name}`` are none."""
    lines = (line.strip() for text in texts for line in text.splitlines())
    return frozenset(line.encode("latin-1", "replace") for line in lines if line and "{" not in line)


class CommandLog:
    """The commands of one host: `begin` each when its line is there."""

    def __init__(self, trace: Trace, port: Port, finals: frozenset[bytes] = frozenset()) -> None:
        self._port = port
        self._finals = finals
        self._open: dict[CommandEvent, None] = {}  # in the order in which they began
        self._tokens = float(BURST)
        self._filled = -math.inf
        self._unlogged = 0
        trace.watch_steps(self._step)

    def begin(self, verb: str, form: str, disposition: str, heard: int) -> CommandEvent:
        """A command whose line of ``heard`` bytes is there.  The names of its form and disposition are the tables'."""
        event = CommandEvent(self, verb, form, disposition, heard)
        self._open[event] = None
        return event

    def abandon(self, reason: str) -> None:
        """A reset: what has no final result yet gets none."""
        for event in list(self._open):
            event.abandon(reason)

    def seconds_of(self, count: int) -> float:
        """How long so many bytes take on the host's line now."""
        return count * _BITS / self._port.baud if self._port.baud else 0.0

    def final(self, data: bytes) -> str:
        """The final result in an answer: its last line that is one, or the last there is."""
        lines = [line for line in data.splitlines() if line.strip()]
        word = next((line for line in reversed(lines) if line in self._finals), lines[-1] if lines else b"")
        return word.decode("latin-1")

    def _step(self, name: str) -> None:
        for event in self._open:
            event.step(name)

    def closed(self, event: CommandEvent, facts: dict[str, object], condition: Condition | None) -> None:
        """For `CommandEvent`: it is over."""
        self._open.pop(event, None)
        if condition is None:
            log.debug("command", **facts)
        elif not self._may_log():
            self._unlogged += 1
            log.debug("command", **facts)
        else:
            if self._unlogged:
                facts["unlogged"] = self._unlogged
                self._unlogged = 0
            (log.info if condition in _ASKED else log.warning)("command", **facts)

    def _may_log(self) -> bool:
        now = trio.current_time()
        self._tokens = min(BURST, self._tokens + now - self._filled)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Waiting:
    """See `CommandEvent.waiting`.  A class, because a generator costs more than all it does."""

    def __init__(self, event: CommandEvent, part: Part) -> None:
        self._event = event
        self._part = part

    def __enter__(self) -> None:
        self._part = self._event.turn(self._part)  # from here on the one to go back to

    def __exit__(self, *_: object) -> None:
        self._event.turn(self._part)


class CommandEvent:
    """One command on its way to its final result.  After `end` or `abandon` nothing has an effect."""

    def __init__(self, owner: CommandLog, verb: str, form: str, disposition: str, heard: int) -> None:
        self._owner = owner
        self._about = {"verb": verb[:VERB_MOST], "form": str(form), "disposition": disposition}
        self._in = heard
        self._out = 0
        self._steps: list[str] = []
        self._more_steps = 0
        self._refused: tuple[Condition, str] | None = None
        self._wire = owner.seconds_of(heard)
        self._spent = [0.0] * len(Part)
        self._part = Part.OWN
        self._since = trio.current_time()
        self._over = False

    def heard(self, count: int) -> None:
        """Bytes of its payload.  What they take is what was waited for them: see `waiting`."""
        self._in += count

    def said(self, count: int) -> None:
        """Bytes of its answer before the final result: echo, prompt, data."""
        self._out += count
        spent = self._owner.seconds_of(count)
        self._wire += spent
        self._spent[Part.OWN] -= spent

    def step(self, name: str) -> None:
        """A command went to the module."""
        if len(self._steps) < STEPS_MOST:
            self._steps.append(name)
        else:
            self._more_steps += 1

    def waiting(self, part: Part) -> _Waiting:
        """A context: what is in it waits for somebody else than us.  One task at a time; the innermost counts."""
        return _Waiting(self, part)

    def refused(self, condition: Condition, reason: str = "") -> None:
        """Its final result is an error.  ``reason`` as for the trace: never a secret."""
        self._refused = condition, reason

    def end(self, answer: bytes) -> None:
        """The answer with its final result goes to the port now."""
        self._out += len(answer)
        self._wire += self._owner.seconds_of(len(answer))
        self._close(self._owner.final(answer))

    def abandon(self, reason: str) -> None:
        """There will be no final result."""
        self._refused = Condition.ABORTED, reason
        self._close("")

    def turn(self, part: Part) -> Part:
        """For `waiting`: another part's time begins; whose it was until now."""
        now = trio.current_time()
        self._spent[self._part] += now - self._since
        self._since = now
        before, self._part = self._part, part
        return before

    def _close(self, final: str) -> None:
        if self._over:
            return
        self._over = True
        self.turn(Part.OWN)
        facts: dict[str, object] = dict(self._about)
        if self._steps:
            facts["steps"] = self._steps
        if self._more_steps:
            facts["more_steps"] = self._more_steps
        facts |= {
            "bytes_in": self._in,
            "bytes_out": self._out,
            "wire": round(self._wire + self._spent[Part.WIRE], 4),
            "module": round(self._spent[Part.MODULE], 4),
            "own": round(max(0.0, self._spent[Part.OWN]), 4),
            "final": final,
        }
        condition = None
        if self._refused is not None:
            condition, reason = self._refused
            facts["condition"] = str(condition)
            if reason:
                facts["reason"] = reason
        self._owner.closed(self, facts, condition)
