r"""DLE/ETX: datagrams in a byte stream (WIP's mode 1; Multi-Tech S000437C p.25 and p.29).

A payload's ETX and DLE are each preceded by a DLE; an ETX without one ends a datagram.  A DLE before any other byte is
dropped and that byte kept, which is what the modems do with it.  Pure.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Literal

ETX: Final = b"\x03"
DLE: Final = b"\x10"


class Mark(Enum):
    """What a decoder finds between payload."""

    END = "end"


END: Literal[Mark.END] = Mark.END  # an ETX without a DLE: the datagram is complete

Piece = bytes | Literal[Mark.END]

_SPECIAL = re.compile(rb"\x10.|\x03", re.DOTALL)


def encode(data: bytes) -> bytes:
    """The payload, escaped; without the ETX that ends it."""
    return data.replace(DLE, DLE + DLE).replace(ETX, DLE + ETX)


def whole(data: bytes) -> int:
    """How much of the beginning of something encoded has no DLE at its end whose partner is cut off."""
    return len(data) - (len(data) - len(data.rstrip(DLE))) % 2


class Decoder:
    """Bytes to payload and ends.  A DLE may be the last byte of one read and its partner the first of the next."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> list[Piece]:
        """What the bytes mean, in order: payload (never empty) and `END`."""
        if self._escaped:
            data = DLE + data
        found: list[Piece] = []
        payload = bytearray()
        at = 0
        for special in _SPECIAL.finditer(data):
            payload += data[at : special.start()]
            at = special.end()
            if special[0] != ETX:
                payload += special[0][1:]
                continue
            if payload:
                found.append(bytes(payload))
                payload.clear()
            found.append(END)
        payload += data[at:]
        self._escaped = payload.endswith(DLE) and at < len(data)
        if self._escaped:
            del payload[-1:]
        if payload:
            found.append(bytes(payload))
        return found
