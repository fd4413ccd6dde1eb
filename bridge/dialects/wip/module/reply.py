"""What the module answers: results, their rendering under V, Q and CMEE, and the numbers it refuses with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from bridge.model import Condition

if TYPE_CHECKING:
    from bridge.dialects.wip.module.socket import ModuleSocket

Settings = dict[str, tuple[int | str, ...]]


class Cme(IntEnum):
    """Numbers of ``+CME ERROR`` that the module's own rules need (Multi-Tech S000437C, error code table)."""

    NOT_ALLOWED = 3  # 3GPP TS 27.007 section 9.2
    CARD_BUSY = 515  # POS terminal firmware for Wavecom modems: it starts, ask again
    INVALID_OPTION = 800
    INVALID_VALUE = 801
    WRONG_STACK_STATE = 803
    DEVICE_OPEN = 804
    NO_INTERFACE = 805
    PING_CHANNEL = 819
    BAD_INDEX = 830
    BAD_STATE = 831
    BAD_PORT = 832
    NOT_IMPLEMENTED = 834
    OPTION_NOT_SUPPORTED = 835
    BAD_PROTOCOL = 837
    NO_FREE_SOCKET = 838
    ALREADY_ACTIVE = 840
    STACK_STARTED = 844
    INDEX_RESERVED = 845


class Refused(Exception):
    """A command with valid syntax that cannot be done now."""

    def __init__(self, number: int, condition: Condition = Condition.WRONG_STATE) -> None:
        super().__init__(number)
        self.number = number
        self.condition = condition  # for the log


@dataclass(slots=True)
class Outcome:
    """What a command leads to: information lines, and what happens once its final result is on its way."""

    lines: list[str] = field(default_factory=list)
    then: Callable[[], None] | None = None  # such as starting what a URC will report: it must follow the OK
    last: Callable[[], Awaitable[None]] | None = None  # when the final result has left, before anything else is read
    connect: ModuleSocket | None = None  # CONNECT instead of OK; its data mode is already set
    secret: bool = False  # the lines are not for the trace


_NUMERIC = {"OK": "0", "CONNECT": "1", "NO CARRIER": "3", "ERROR": "4"}
FINALS = (*_NUMERIC, *_NUMERIC.values())  # as the log of commands finds them


def line(text: str) -> bytes:
    """A line of its own: URCs, information text and ``+CME ERROR``, verbose whatever V says."""
    return f"\r\n{text}\r\n".encode("latin-1", "replace")


def information(text: str, settings: Settings) -> bytes:
    """An information line of an answer."""
    return line(text) if settings["V"] == (1,) else f"{text}\r\n".encode("latin-1", "replace")


def result(word: str, settings: Settings) -> bytes:
    """OK, ERROR, CONNECT, NO CARRIER."""
    if settings["Q"] == (1,):
        return b""
    return line(word) if settings["V"] == (1,) else f"{_NUMERIC[word]}\r".encode("ascii")


def refusal(number: int, settings: Settings) -> bytes:
    """``+CME ERROR: n``, or ERROR where the host did not ask for numbers."""
    if settings["CMEE"] == (0,):
        return result("ERROR", settings)
    return b"" if settings["Q"] == (1,) else line(f"+CME ERROR: {number}")


def defaults(text: str) -> Settings:
    """Factory settings from the table: ``E:1 IFC:2,2``."""
    found: Settings = {}
    for entry in text.split():
        name, _, values = entry.rpartition(":")
        found[name] = tuple(int(v) for v in values.split(","))
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """One numbered option: its range, its default, whether a host may write it."""

    low: int
    high: int
    default: int
    writable: bool


def options(text: str) -> Mapping[int, Option]:
    """Options from the table: ``0:0-255:64:rw`` (number, range, default, access), parted by spaces."""
    found = {}
    for entry in text.split():
        number, bounds, default, access = entry.split(":")
        low, _, high = bounds.partition("-")
        found[int(number)] = Option(int(low), int(high), int(default), "w" in access)
    return found


def values(text: str) -> dict[int, int]:
    """The defaults of `options`, by number."""
    return {number: option.default for number, option in options(text).items()}


def numbers(text: str) -> dict[int, int]:
    """Pairs of numbers from the table: ``0:64 1:64``, parted by spaces."""
    pairs = (entry.split(":") for entry in text.split())
    return {int(first): int(second) for first, second in pairs}
