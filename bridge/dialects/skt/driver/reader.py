r"""What a module prints, as events: lines, counted payload, the raw prompt, and losses.  Sans I/O.

A payload is taken by its count, however the bytes are cut.  The module prints it as a C string: it stops at a NUL, and
a long one may not be printed at all (ameba-rtos, ``at_printf``).  The count still tells the truth, so a loss is seen:
fewer bytes than counted and then silence, or no CR LF where the payload should end.  What stood in between is then of
nobody (a peer chose those bytes), and everything is discarded until `resume`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.model import Endpoint
from bridge.wire.patterns import Pattern

HEAD_MOST = 48  # bytes: the longest head of a payload is 41
LINE_MOST = 1100  # bytes: one print of the module has at most 1023
DISCARD_MOST = 4096  # bytes kept of what is discarded, to see whose payload was among it
PROMPT = b">>>"
CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, without its ends and blanks round it."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """One payload, whole."""

    id: int
    data: bytes
    source: Endpoint | None
    head: bytes = field(default=b"", compare=False)
    tail: bytes = field(default=b"", compare=False)  # CR LF; b"": it is still to come, as an `End`


@dataclass(frozen=True, slots=True)
class End:
    """What ends a payload, behind what another task printed or later than it."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Loss:
    """A payload that did not come whole."""

    id: int  # 0: the head itself was broken
    length: int  # bytes that it should have had
    came: int  # bytes that came in its place
    doubt: bool  # where the module's text goes on is not known
    cut: bool = False  # so many bytes came as were counted, but not where they should end
    head: bytes = field(default=b"", compare=False)  # as far as it was one
    data: bytes = field(default=b"", compare=False)  # what came up to now and is discarded
    tail: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The module waits for raw bytes."""


Event = Line | Data | End | Loss | Prompt


class Heads:
    """The two heads of a payload (with and without its sender), as a table has them."""

    def __init__(self, plain: str, sourced: str) -> None:
        self.prefix = plain[: plain.index("{")].encode("ascii")
        self._patterns = (Pattern(plain), Pattern(sourced))
        self._anywhere = re.compile(re.escape(self.prefix) + rb"[^:]{1,%d}:" % HEAD_MOST)

    def match(self, head: bytes) -> dict[str, int | str] | None:
        """The fields of a whole head."""
        return next((fields for pattern in self._patterns if (fields := pattern.match(head)) is not None), None)

    def ids_in(self, data: bytes) -> set[int]:
        """Whose payloads stand somewhere in bytes that are discarded."""
        heads = (self.match(found[0]) for found in self._anywhere.finditer(data))
        return {int(fields["id"]) for fields in heads if fields is not None}


class Reader:
    """Feed bytes, take events until there is none."""

    def __init__(self, heads: Heads, *, tail: bool, print_most: int, urcs: Sequence[str] = ()) -> None:
        self._heads = heads
        self._urcs = [(text.partition("{")[0].encode("ascii"), Pattern(text)) for text in urcs]
        self._tail = len(CRLF) if tail else 0
        self._print_most = print_most  # bytes; a longer payload is not printed at all; 0: it is
        self._buffer = bytearray()
        self._fields: dict[str, int | str] | None = None  # of the payload that is coming
        self._head = b""
        self._discarded: bytearray | None = None
        self._echo = b""
        self.prompting = False  # a prompt would be an answer now
        self.owing = False  # the CR LF behind the last payload has not come: its handler has not returned
        self.overlong = 0  # lines given up, for whoever counts them

    @property
    def in_payload(self) -> bool:
        """Bytes of a payload are missing."""
        return self._fields is not None

    @property
    def discarding(self) -> bool:
        """Nothing is read before `resume`."""
        return self._discarded is not None

    def feed(self, data: bytes) -> None:
        """More bytes of the module."""
        if self._discarded is not None:
            self._discarded += data[: DISCARD_MOST - len(self._discarded)]
        else:
            self._buffer += data

    def expect_echo(self, line: bytes) -> None:
        """What we are about to send comes back, and is nobody's text."""
        self._echo = line

    def resume(self) -> set[int]:
        """The module is silent: read on.  Returns the ids whose payload was among what was discarded."""
        gone, self._discarded = bytes(self._discarded or b""), None
        self._buffer.clear()
        self._fields = None
        return self._heads.ids_in(gone)

    def silent(self) -> Loss | None:
        """No byte came for the idle time: a payload that is not whole never will be."""
        if self._fields is None:
            return None
        if self._dropped() and self._buffer.startswith(CRLF):
            return self._lose(doubt=False)
        return self._lose(doubt=True)

    def next(self) -> Event | None:
        """The next event, or None where more bytes are needed."""
        while self._discarded is None:
            if self._fields is not None:
                return self._payload()
            if self.owing and self._buffer == CRLF[:1]:
                return None
            if blank := len(self._buffer) - len(self._buffer.lstrip(CRLF)):
                text = bytes(self._buffer[:blank])
                del self._buffer[:blank]
                if self.owing:
                    self.owing = False
                    return End(text)
            if self._echo and self._buffer:
                if self._buffer.startswith(self._echo):
                    del self._buffer[: len(self._echo)]
                    self._echo = b""
                    continue
                if self._echo.startswith(self._buffer):
                    return None
            if self.prompting and self._buffer.startswith(PROMPT):
                del self._buffer[: len(PROMPT)]
                self.prompting = False
                return Prompt()
            if self._buffer.startswith(self._heads.prefix):
                colon = self._buffer.find(b":", len(self._heads.prefix), HEAD_MOST)
                if colon >= 0 and (fields := self._heads.match(bytes(self._buffer[: colon + 1]))) is not None:
                    self._fields, self._head = fields, bytes(self._buffer[: colon + 1])
                    del self._buffer[: colon + 1]
                    continue
                if b"\n" not in self._buffer and len(self._buffer) >= HEAD_MOST:
                    self._fields, self._head = {"id": 0, "length": 0}, b""
                    return self._lose(doubt=True)
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_MOST:
                    self._buffer.clear()
                    self.overlong += 1
                return None
            line = bytes(self._buffer[:end]).strip(b" \t\r")
            del self._buffer[: end + 1]
            if line:
                return Line(line)
        return None

    def _payload(self) -> Event | None:
        assert self._fields is not None
        length = int(self._fields["length"])
        if self._dropped() and self._buffer.startswith(CRLF):
            # Not printed, and the next print follows, if it does.
            after = bytes(self._buffer[len(CRLF) :]).lstrip(CRLF)
            if len(after) >= len(self._heads.prefix) and after.startswith(b"+SKT"):
                return self._lose(doubt=False)
        # Another task of the module may print between head, payload and end.  Of nothing, nothing can be lost, so its
        # end is not waited for: it is an empty line.
        end = length + (self._tail if length else 0)
        if len(self._buffer) < end:
            return None
        if self._buffer[length:end] not in (CRLF, b""):
            between = self._urc_at(length)
            if between is None:
                return None
            if not between:
                return self._lose(doubt=True, cut=True)
        data = bytes(self._buffer[:length])
        tail = CRLF if self._buffer.startswith(CRLF, length) else b""
        del self._buffer[: length + len(tail)]
        self.owing = not tail
        fields, self._fields = self._fields, None
        source = Endpoint(str(fields["host"]), int(fields["port"])) if fields.get("host") else None
        return Data(int(fields["id"]), data, source, self._head, tail)

    def _urc_at(self, length: int) -> bool | None:
        """Whether a URC stands where the end of the payload should be; None: it may become one.

        Not behind a CR LF: there text of the module's may have filled up a payload that it did not print whole.  Nor is one
        looked for between the head and its payload: there a peer's own bytes, cut by a NUL, could pass for a URC.
        """
        line, end, _ = bytes(self._buffer[length:]).partition(CRLF)
        if self._buffer[:length].endswith(CRLF) or len(line) > LINE_MOST:
            return False
        if end:
            return any(pattern.match(line) is not None for _, pattern in self._urcs)
        return None if any(line.startswith(head[: len(line)]) for head, _ in self._urcs) else False

    def _dropped(self) -> bool:
        return self._fields is not None and 0 < self._print_most < int(self._fields["length"])

    def _lose(self, *, doubt: bool, cut: bool = False) -> Loss:
        assert self._fields is not None
        fields, self._fields = self._fields, None
        data, tail = bytes(self._buffer), b""
        if doubt:
            self._discarded = bytearray(self._buffer[:DISCARD_MOST])
            self._buffer.clear()
        else:
            data, tail = b"", CRLF
            del self._buffer[: len(CRLF)]
        return Loss(int(fields["id"]), int(fields["length"]), len(data), doubt, cut, self._head, data, tail)
