"""Raw mode (SKTSENDRAW): `>>>`, then exactly the announced bytes, whatever they are."""

from __future__ import annotations

import time

from .loop import Pause
from .module import Module, atoi

ABORT = 0.030  # seconds of silence after three lone `<`
FOREVER = 60.0  # seconds in which a host must have written what it announced, or this tool calls it a hang
LARGEST = 4096  # bytes at a time that are safe on every build


class Raw(Module):
    def at__sktsendraw(self, rest):
        parts = (rest or "").split(",")
        if rest is None or len(parts) not in {2, 4} or not atoi(parts[1]) > 0:
            yield from self.fail("SKTSENDRAW", 1)
            return
        number, size = atoi(parts[0]), atoi(parts[1])
        target = (parts[2], atoi(parts[3])) if len(parts) == 4 else None
        if size > LARGEST:
            self.findings.breach(f"{size} bytes at a time in raw mode")
        one = self.addressed(number, "SKTSENDRAW")
        if one is None or one.dead or (one.role == "server" and (one.kind == "tcp" or target is None)):
            yield from self.fail("SKTSENDRAW", 1)
            return
        if one.silent_send:
            self.findings.breach(f"a send on con_id {number} after one without an answer: {one.silent_send!r}")
        data, aborted = yield from self._collect(size)
        if aborted:
            self.findings.note(f"raw mode given up after {len(data)} of {size}")
        if data and not (yield from self.put(one, data, target if one.role == "server" else None)):
            yield from self.fail("SKTSENDRAW", 2)
        else:
            yield from self.succeed("SKTSENDRAW")

    def _collect(self, size):
        got, lone, last = bytearray(), 0, time.monotonic()

        def take(data):
            nonlocal lone, last
            lone = lone + 1 if data == b"<" else 0
            last = time.monotonic()
            got.extend(data)
            if len(got) >= size:
                self.console.raw = None
                rest = bytes(got[size:])
                del got[size:]
                self.console.feed(rest)

        self.console.raw = take
        if self._lost:  # the host never sees the prompt
            self.console.excused = True
        yield from self.reply(b">>>\r\n")
        began = time.monotonic()
        while len(got) < size:
            yield Pause(0.002)
            if lone >= 3 and time.monotonic() - last > ABORT:
                self.console.raw = None
                return bytes(got[:-3]), True
            if time.monotonic() - began > FOREVER:
                self.findings.breach(f"{len(got)} of {size} bytes in raw mode, and no more")
                self.console.raw = None
                return bytes(got), True
            if self.faults.strikes("watermark") and len(got) > size // 2:
                yield from self.say(b"[$][TT]:High Watermark\r\n", b"[$][TT]:Low Watermark\r\n")
        return bytes(got), False
