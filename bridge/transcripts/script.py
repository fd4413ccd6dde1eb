r"""The transcript format: a conversation in plain text, read into steps.  Pure: no I/O, no clock.

::

    # Title: a send
    # Source: Espressif ESP-AT, TCP/IP AT commands, AT+CIPSEND
    # Profiles: esp-at:espat-2.3 wip:c1
    # After: joined.txt
    # Announce: yes
    host   > AT+CIPSEND=0,5\r\n
    host   < \r\nOK\r\n\r\n>
    +60ms
    ...
    host   < \r\nSEND OK\r\n

``Announce``: the bridge says at its start what a module says at power-up (`ready`); without, it does not.

Lanes, seen from the bridge in the middle: ``>`` is what the script says, ``<`` is what it expects to hear; ``host``
is the upstream's wire, ``module`` the downstream's, ``net`` the seam between them where only one side is under test
(see `driver_lane` and `net_lane` beside this file).  Exactly one space follows the arrow; everything after it counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

_LINE = re.compile(r"(host|module|net)\s*([<>])(?: (.*))?")
_WAIT = re.compile(r"\+(\d+(?:\.\d+)?)(ms|s)")
_HEADER = re.compile(r"#\s*(Title|Source|Profiles|After|Announce):\s*(.*?)\s*(?=#\s*(?:Title|Source|Profiles|After|Announce):|$)")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([rnt\\])|(.?))")
_SHORT = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


class TranscriptError(Exception):
    """A transcript that cannot be read.  The text names file and line, reason and remedy."""


class Kind(StrEnum):
    """What one step does."""

    SAY = "say"
    HEAR = "hear"
    WAIT = "wait"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a transcript."""

    where: str  # file:line
    kind: Kind
    lane: str = ""
    data: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """A transcript, read.  ``after`` names another file whose steps come first."""

    name: str
    title: str
    source: str
    profiles: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    after: str = ""
    announce: bool = False

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes it speaks or listens on."""
        return frozenset(step.lane for step in self.steps if step.lane)


def parse(text: str, name: str) -> Script:
    """A script from its text.  Raises TranscriptError."""
    heads: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}:{number}"
        if line.startswith("#"):
            heads |= dict(_HEADER.findall(line))
        elif line.strip():
            steps.append(_step(line, where))
    for first, second in pairwise([*steps, Step(name, Kind.WAIT)]):
        if first.kind is Kind.SKIP and second.kind is not Kind.HEAR:
            raise TranscriptError(f"{first.where}: '...' must be followed by a line with '<', which ends it")
    if not heads.get("Title"):
        raise TranscriptError(f"{name}: has no '# Title:'; add one line that says what it shows")
    profiles = tuple(_profile(word, name) for word in heads.get("Profiles", "").split())
    if (announce := heads.get("Announce", "no")) not in {"yes", "no"}:
        raise TranscriptError(f"{name}: '# Announce: {announce}': write yes or no")
    return Script(
        name, heads["Title"], heads.get("Source", ""), profiles, tuple(steps), heads.get("After", ""), announce == "yes"
    )


def _step(line: str, where: str) -> Step:
    if line.strip() == "...":
        return Step(where, Kind.SKIP)
    if wait := _WAIT.fullmatch(line.strip()):
        return Step(where, Kind.WAIT, seconds=float(wait[1]) * (0.001 if wait[2] == "ms" else 1))
    said = _LINE.fullmatch(line)
    if said is None:
        raise TranscriptError(f"{where}: not understood; a line is a comment, '+250ms', '...' or 'host   > text'")
    data = unescape(said[3] or "", where)
    if said[1] == "net":
        data += b"\n"  # the seam speaks in whole lines
    return Step(where, Kind.SAY if said[2] == ">" else Kind.HEAR, said[1], data)


def _profile(word: str, name: str) -> tuple[str, str]:
    dialect, colon, profile = word.partition(":")
    if not (dialect and colon and profile):
        raise TranscriptError(f"{name}: '# Profiles: {word}': write DIALECT:PROFILE")
    return dialect, profile


def unescape(text: str, where: str = "text") -> bytes:
    r"""The bytes of ``\r \n \t \\ \xNN`` and plain text."""

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2]:
            return _SHORT[match[2]]
        raise TranscriptError(rf"{where}: unknown escape '{match[0]}'; there are \r \n \t \\ and \xNN")

    plain = _ESCAPE.sub(one, text)
    try:
        return plain.encode("latin-1")
    except UnicodeEncodeError:
        raise TranscriptError(rf"{where}: not a byte; write the bytes of other characters as \xNN") from None
