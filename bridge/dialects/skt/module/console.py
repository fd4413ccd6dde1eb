r"""The console of the module: bytes of a host to lines, as its line editor makes them.  Pure.

Everything a host sends goes through one line editor, payload too.  Two of them are in the field (the table says which):

======================  ============================  =========================
byte                    editor ``a``                  editor ``b``
======================  ============================  =========================
CR LF                   ends the line                 CR ends it, LF is dropped
CR alone, LF alone      stored                        CR ends it, LF is dropped
NUL                     ends the line                 ends the line
0x08, 0x7F              the last byte goes            the last byte goes
TAB                     a space                       a space
0xFF                    dropped                       stored
======================  ============================  =========================

``any`` serves hosts of both: CR ends a line unless a send of it still lacks announced bytes, and what such a send holds
is stored as it is, as is a line of the transparent mode.  With ``counted`` the payload of a send is not the editor's: it
is counted, from the colon on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TAB, LF, CR = 0x09, 0x0A, 0x0D

_SEND = re.compile(rb"AT\+ ?SKTSEND=([0-9]{1,9}),[^:]*:")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# A send so far, by the order of its fields: the announced length, and what is there of its payload.
_SENDS = {
    "size,id:": re.compile(rb"AT\+SKTSEND=(?P<size>[0-9]{1,9}),[^:]*:(?P<data>.*)", re.DOTALL),
    "id,size:": re.compile(rb"AT\+SKTSEND=[0-9]+,(?P<size>[0-9]{1,9})[^:]*:(?P<data>.*)", re.DOTALL),
    "id,size,ip,port,": re.compile(rb"AT\+SKTSEND=[0-9]+,(?P<size>[0-9]{1,9}),[^,]*,[^,]*,(?P<data>.*)", re.DOTALL),
}

Editor = Literal["a", "b", "any"]
Order = Literal["size,id:", "id,size:", "id,size,ip,port,"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How this console edits."""

    editor: Editor
    room: int  # bytes of its line buffer, for a and b; any: of the longest line that is looked at
    keeps_escape: bool  # whether 0x1B is stored: the log port eats it
    counted: bool  # the payload of a send is counted
    order: Order = "size,id:"  # of a send's fields
    payload_room: int = 0  # bytes of a counted payload that are kept


@dataclass(frozen=True, slots=True)
class Heard:
    """What `Console.feed` made of some bytes."""

    echo: bytes  # to be echoed, where the port echoes
    line: bytes | None  # a whole line without its end; None: not yet
    payload: bytes | None  # a counted payload that belongs to the line; None: it has none
    too_long: bool  # more than fits: a and b run what they kept, and `any` runs nothing
    rest: bytes  # not looked at
    end: bytes = b""  # what ended the line
    late: bytes = b""  # the line feed of the line before, whose CR ended it already


class Console:
    """Bytes to lines, one at a time."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self.relays = False  # transparent mode: a line is just a line, whatever it looks like
        self._line = bytearray()
        self._after_cr = False  # of an end that an LF may belong to
        self._too_long = False
        self._payload = bytearray()
        self._missing = -1  # bytes of a counted payload still to come; -1: none is counted
        self._dropped = 0

    @property
    def counting(self) -> bool:
        """Whether a payload is being counted."""
        return self._missing >= 0

    @property
    def half_ended(self) -> bool:
        """Whether the line feed of the last line's end may still come."""
        return self._after_cr

    @property
    def begun(self) -> bool:
        """Whether a line is half typed."""
        return bool(self._line)

    def reset(self) -> None:
        """Forget what was typed."""
        self._line.clear()
        self._payload.clear()
        self._missing = -1
        self._dropped = 0
        self._after_cr = self._too_long = False

    def give_up(self) -> bytes:
        """The rest of a counted payload will not come: the line that announced it."""
        line = bytes(self._line)
        self.reset()
        return line

    def feed(self, data: bytes) -> Heard:
        """Look at bytes up to the end of the first whole line."""
        echo = bytearray()
        late = b"\n" if self._after_cr and data.startswith(b"\n") else b""
        at = 0
        while at < len(data):
            if self._missing >= 0:
                piece = data[at : at + self._missing]
                self._count(piece)
                echo += piece
                at += len(piece)
                if self._missing:
                    break
                return self._whole(echo, data[at:], late, counted=True)
            byte = data[at]
            at += 1
            if self._edit(byte, echo):
                end = self._ended_by(byte)
                if self._after_cr and data.startswith(b"\n", at):
                    end, at, self._after_cr = b"\r\n", at + 1, False
                return self._whole(echo, data[at:], late, counted=False, end=end)
            if byte == ord(":") and self._manner.counted and not self.relays and (found := _SEND.fullmatch(self._line)):
                self._missing = int(found[1])
                if not self._missing:
                    return self._whole(echo, data[at:], late, counted=True)
        return Heard(bytes(echo), None, None, too_long=False, rest=b"", late=late)

    def _count(self, piece: bytes) -> None:
        kept = piece[: max(0, self._manner.payload_room - len(self._payload))]
        self._payload += kept
        self._dropped += len(piece) - len(kept)
        self._missing -= len(piece)

    def _ended_by(self, byte: int) -> bytes:
        if self._manner.editor == "a" and self._too_long:
            return b""  # an overflow runs the line without one
        return b"\r\n" if byte == LF else bytes([byte])

    def _whole(self, echo: bytearray, rest: bytes, late: bytes, *, counted: bool, end: bytes = b"") -> Heard:
        line, payload = bytes(self._line), bytes(self._payload) if counted else None
        too_long, after_cr = self._too_long or bool(self._dropped), self._after_cr
        self.reset()
        self._after_cr = after_cr
        return Heard(bytes(echo), line, payload, too_long, rest, end, late)

    def _edit(self, byte: int, echo: bytearray) -> bool:
        """Take one byte; True where the line is whole."""
        after_cr, self._after_cr = self._after_cr, False
        match byte:
            case _ if byte == LF and after_cr:  # its CR ended the line
                return False
            case 0x00 | 0x08 | 0x09 | 0x20 | 0x7F if self._manner.editor == "any" and (self.relays or not self._sent_whole()):
                return self._store(byte, echo)
            case 0x00:
                echo += b"\r\n"
                return True
            case 0x0D if self._cr_ends():
                echo += b"\r\n"
                self._after_cr = True
                return True
            case 0x0A if self._manner.editor != "b" and self._line.endswith(b"\r"):
                del self._line[-1:]
                echo += b"\r\n"
                return True
            case 0x0A if self._manner.editor == "b":
                return False
            case 0x08 | 0x7F:
                del self._line[-1:]
            case 0x1B if not self._manner.keeps_escape:
                return False
            case 0xFF if self._manner.editor == "a":
                return False
            case _ if byte == ord(" ") and not self._line:
                return False
            case _:
                return self._store(ord(" ") if byte == TAB else byte, echo)
        echo.append(byte)
        return False

    def _store(self, byte: int, echo: bytearray) -> bool:
        echo.append(byte)
        room, line = self._manner.room, self._line
        if self._manner.editor == "any":
            if len(line) < room:
                line.append(byte)
            else:
                self._too_long = True
                if line.endswith(b"\r") or byte == CR:  # where its end is must still be seen
                    line[-1] = byte
            return False
        if self._manner.editor == "b" and len(line) >= room - 1:
            self._too_long = True
            return False
        line.append(byte)
        if self._manner.editor == "b":
            return False
        # An overflow runs what is there; the CR of an end may be the last byte that fits.
        self._too_long = len(line) >= room - (byte != CR)
        return self._too_long

    def _cr_ends(self) -> bool:
        if self._manner.editor == "a":
            return False
        return self._manner.editor == "b" or self._sent_whole()

    def _sent_whole(self) -> bool:
        """Whether no send of this line lacks bytes that it announced."""
        if self.relays:
            return True
        found = _SENDS[self._manner.order].fullmatch(self._line)
        return found is None or len(_ESCAPED.sub(rb"\1", found["data"])) >= int(found["size"])
