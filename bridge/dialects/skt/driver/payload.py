r"""What of a payload fits into one command line, and how it is written there.  Pure.

The module reads payload with its console's line editor (ameba-rtos, ``shell_rom.c``): some bytes end, edit or vanish
from the line, a comma and a backslash are escaped, and a line has a bound.  Which bytes is the table's affair.
"""

from __future__ import annotations

from bridge.tables import Profile

CR, LF = 0x0D, 0x0A


class Alphabet:
    """The byte values that a line can carry."""

    def __init__(self, profile: Profile) -> None:
        self._forbidden = bytes.fromhex(profile.words("forbidden"))
        self._escaped = bytes.fromhex(profile.words("escaped"))
        self._room = profile.number("line_most")
        self._line_ends = str(profile.value["line_ends"].value)

    @property
    def values(self) -> frozenset[int] | None:
        """Those that can be carried; None: all."""
        forbidden = {*self._forbidden, *({CR, LF} if self._line_ends == "none" else ())}
        return frozenset(range(256)) - forbidden if forbidden else None

    def refuse_line_ends(self) -> None:
        """The console of this module ends a line at a lone CR after all."""
        self._line_ends = "none"

    def unfit(self, data: bytes | bytearray) -> int | None:
        """The first byte value that cannot be carried."""
        values = self.values
        return None if values is None else next((byte for byte in data if byte not in values), None)

    def escape(self, data: bytes) -> bytes:
        """The payload as it stands in the line."""
        return b"".join(b"\\" + bytes([byte]) if byte in self._escaped else bytes([byte]) for byte in data)

    def chunk(self, data: bytes, most: int) -> int:
        """How many bytes of ``data`` one line of a stream carries where ``most`` escaped ones fit.

        A CR is always the last: what follows it could be a line of its own to the console, and CR LF always is.
        """
        cost = 0
        for count, byte in enumerate(data):
            cost += 2 if byte in self._escaped else 1
            if cost > most:
                return count
            if byte == CR:
                return count + 1
        return len(data)

    def whole(self, data: bytes, most: int) -> bool:
        """Whether one line carries it all, which a datagram needs."""
        return self.chunk(data, most) == len(data)

    def room(self, head: int) -> int:
        """Escaped bytes that fit behind a head of so many bytes."""
        return self._room - head
