r"""What a host is told when something does not work: the words of its generation, and where it asked for it, their number.

After ``AT+SYSLOG=1`` a line ``ERR CODE:0x...`` stands before every ``\r\nERROR\r\n`` and every busy reply: module 0x01,
a class, and what the class says more.  (Espressif ESP-AT, basic AT commands, AT+SYSLOG.)
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from bridge.model import Condition
from bridge.wire.grammar import ArgumentError

if TYPE_CHECKING:
    from bridge.dialects.esp_at.command import Command
    from bridge.dialects.esp_at.upstream import EspAtUpstream


class Code(IntEnum):
    """The classes of ERR CODE, in their place."""

    TERMINATOR = 0x01020000
    PREFIX = 0x01030000
    LENGTH = 0x01040000  # and the parameter's index; so for type, value and parse
    TYPE = 0x01050000
    COUNT = 0x01060000  # and needed << 8 | given
    VALUE = 0x01070000
    PARSE = 0x01080000
    UNKNOWN = 0x01090000
    FAILED = 0x010A0000
    BUSY = 0x010B0000
    FORM = 0x010C0000


def of_line(raw: bytes) -> int:
    """The code of a line that is no command at all; an empty one was longer than the buffer."""
    if not raw:
        return Code.LENGTH
    if not raw.endswith(b"\r\n"):
        return Code.TERMINATOR
    return Code.UNKNOWN if raw[:2].upper() == b"AT" else Code.PREFIX


def of_argument(error: ArgumentError) -> int:
    """The code of arguments that do not fit."""
    kinds = {"count": Code.COUNT, "type": Code.TYPE, "value": Code.VALUE, "parse": Code.PARSE}
    kind = Code.LENGTH if error.too == "long" else kinds[error.kind]
    return kind | error.index


def refuse_arguments(command: Command, error: ArgumentError) -> None:
    """The refusal of arguments that do not fit; a text that is more than fits, or a length, is too long."""
    condition = Condition.TOO_LONG if error.too == "long" or (error.too and error.name == "length") else Condition.BAD_ARGUMENT
    command.refuse(condition, str(error), about=error.name or error.kind, code=of_argument(error))


def text(unit: EspAtUpstream, command: Command, condition: Condition, about: str, code: int) -> bytes:
    """The refusal of a command as its host sees it."""
    before = "" if command.during else command.base
    words = unit.profile.refusal_of(condition, command.during, before, about)
    said = words.format(id=command.prefix, mux=int(unit.mux)).encode("latin-1")
    error = unit.say("error")
    if not unit.kept.on("SYSLOG") or not said.endswith(error):
        return said
    return said.removesuffix(error) + unit.say("err_code", code=code) + error


def busy(unit: EspAtUpstream, running: Command | None) -> bytes:
    """The reply to a line that comes while a command runs, or while the host does not read."""
    sending = running is not None and running.row is not None and running.row.gate == "payload"
    reply = unit.say("busy_sending" if sending else "busy")
    return unit.say("err_code", code=int(Code.BUSY)) + reply if unit.kept.on("SYSLOG") else reply
