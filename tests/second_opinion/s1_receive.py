"""S1's two ways to receive: SKTREAD asks, with a select of 20 ms; SKTRECVCFG=1 has a task print what comes."""

from __future__ import annotations

from .loop import Pause
from .module import Module, atoi, printable

SELECT = 0.020  # seconds
AUTO_CHUNK = 1500  # bytes
READ_LIMIT = 127  # the console's buffer, as it bounds a read


class Receive(Module):
    _auto_task = None

    def pull(self, one, most):
        """Up to ``most`` bytes within a select's time: (error, data, sender); the errors are told once."""
        if one.dead or one.reported:
            if one.reported:
                return 0, b"", None
            one.reported = True
            return 8, b"", None  # the module itself dropped it
        ready = yield Pause(SELECT, reads=one.sock)
        if one.dead:
            one.reported = True
            return 8, b"", None
        if not ready:
            return 0, b"", None
        try:
            data, sender = one.sock.recvfrom(most)
        except BlockingIOError:
            return 0, b"", None
        except OSError:
            one.close()
            one.reported = True
            return (8 if one.kind == "tcp" else 4 if one.role == "server" else 5), b"", None
        if not data and one.kind == "tcp":
            one.close()
            one.reported = True
            return 7, b"", None
        return 0, data, sender

    def header(self, one, data, sender):
        if one.kind == "udp" and one.role == "server":
            host, port = sender or ("", 0)
            return f"+SKTREAD:OK,{len(data)},{one.number},{host},{port}:".encode()
        return f"+SKTREAD:OK,{len(data)},{one.number}:".encode()

    def at__sktread(self, rest):
        parts = (rest or "").split(",")
        if rest is None or len(parts) != 2:
            yield from self.fail("SKTREAD", 1)
            return
        number, size = atoi(parts[0]), atoi(parts[1])
        if not 0 < size <= READ_LIMIT:
            yield from self.fail("SKTREAD", 2)
            return
        if self.auto:
            yield from self.fail("SKTREAD", 11)
            return
        self.numbers.addressed(number, "SKTREAD")
        one = self.pool.all.get(number)
        if one is None:
            yield from self.fail("SKTREAD", 3)
            return
        if one.role == "server" and one.kind == "tcp":
            yield from self.fail("SKTREAD", 6)
            return
        if one.reported and not self.faults.lose_reply:
            self.findings.breach(f"SKTREAD on con_id {number} after its end was told")
        error, data, sender = yield from self.pull(one, size)
        if error:
            yield from self.fail("SKTREAD", error)
        else:
            if b"\0" in data:
                self.findings.note(f"a NUL cut {len(data)} bytes of con_id {number}")
            yield from self.reply(self.header(one, data, sender), printable(data), b"\r\n")

    def at__sktrecvcfg(self, rest):
        if rest is None:
            yield from self.fail("SKTRECVCFG", 1)
            return
        value = atoi(rest)
        if value not in {0, 1}:
            yield from self.fail("SKTRECVCFG", 1)
            return
        self.auto = bool(value)
        if self.auto and (self._auto_task is None or self._auto_task.done):
            self._auto_task = self.background(self._receive_all())
        yield from self.succeed("SKTRECVCFG")

    def _receive_all(self):
        """A select of 20 ms for each connection in turn."""
        while self.auto:
            some = [
                one for one in self.pool.all.values() if not (one.role == "server" and one.kind == "tcp") and not one.reported
            ]
            if not some:
                yield Pause(SELECT)
            for one in some:
                if not self.auto or self.pool.all.get(one.number) is not one:
                    continue
                error, data, sender = yield from self.pull(one, AUTO_CHUNK)
                if error:
                    yield from self.say(f"+SKTREAD:ERROR:{error},{one.number}\r\n".encode())
                elif data:
                    yield from self.say(self.header(one, data, sender), printable(data), b"\r\n")
