"""What a host hears of its sends, of both commands that send."""

from __future__ import annotations

FAIL = b"\r\nSEND FAIL\r\n"


def sent(count):
    return b"\r\nRecv %d bytes\r\n\r\nSEND OK\r\n" % count
