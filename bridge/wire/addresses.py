"""IPv4 addresses as texts.  Pure.

At the seam an address has one form, four decimal octets without leading zeros (`dotted`).  All else that looks like one
(`numeric`) goes no further: modules and C libraries read ``192.168.010.1`` in two ways, so it could reach two machines.
An upstream whose dialect takes more forms turns them into that one, as its own module reads them.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DOTTED = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PART = re.compile(r"0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*)")
_FOUR = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_PADDING = re.compile(r"\b0+(?=[0-7]\b)", re.ASCII)


def dotted(text: str) -> bool:
    """Whether it is an IPv4 address in its one strict form."""
    return _DOTTED.fullmatch(text) is not None


def numeric(text: str) -> bool:
    """Whether it ends in a number: an address in whatever form, and no name, as no top-level domain looks like this.

    The C library reads 2130706433, 127.1, 0177.0.0.1 and 0x7f.1 as addresses (the "ends in a number" rule of the WHATWG
    URL standard).
    """
    return _LABEL.fullmatch(text.removesuffix(".").rpartition(".")[2]) is not None


def aton(text: str) -> str | None:
    """The address that lwIP (``ip4addr_aton``) and C's ``inet_aton`` read, dotted; None: they read none.

    1 to 4 parts, each decimal, ``0x`` hexadecimal or ``0`` octal.  An 8 or 9 in an octal part is none: older lwIP takes it.
    """
    parts = []
    for part in text.split("."):
        found = _PART.fullmatch(part[:16])
        if found is None or len(part) > 16:
            return None
        parts.append(int(found[1], 16) if found[1] else int(found[2], 8) if found[2] else int(found[3]))
    *front, last = parts
    if len(front) > 3 or any(part > 255 for part in front) or last >= 256 ** (4 - len(front)):
        return None
    number = last + sum(part << (24 - 8 * index) for index, part in enumerate(front))
    return str(IPv4Address(number))


def unpadded(text: str) -> str:
    """An address without zeros that say nothing, as 001 is 1 in octal and in decimal; all else as it is."""
    return _PADDING.sub("", text) if _FOUR.fullmatch(text) else text
