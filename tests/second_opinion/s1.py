"""S1, the seed generation: the module chooses the con_id and tells it a second later; sends are lines."""

from __future__ import annotations

from .loop import Pause
from .module import MOST_ARGUMENTS, atoi
from .s1_open import Open

CONSOLE = 127  # bytes of the console's buffer


class SendSyntaxError(Exception):
    """The line is no send: error 1."""


def unescape(text):
    """Split at bare commas; ``\\,`` and ``\\\\`` are bytes, a backslash before anything else spoils the line."""
    parts, at = [""], 0
    while at < len(text):
        if text[at] == "\\":
            if text[at + 1 : at + 2] not in {",", "\\"}:
                raise SendSyntaxError
            parts[-1] += text[at + 1]
            at += 2
        elif text[at] == ",":
            parts.append("")
            at += 1
        else:
            parts[-1] += text[at]
            at += 1
    return parts


class S1(Open):
    """The seed's own commands."""

    def succeed(self, name):
        yield from self.reply(f"\r\n+{name}:OK\r\n".encode())

    def fail(self, name, number):
        self.findings.note(f"+{name}:ERROR:{number}")
        yield from self.reply(self.failure(name, number))

    def failure(self, name, number):
        return f"\r\n+{name}:ERROR:{number}\r\n".encode()

    # Ends, rows

    def at__sktdel(self, rest):
        if rest is None:
            yield from self.fail("SKTDEL", 1)
            return
        number = atoi(rest)
        if number == 0:
            self.findings.breach(f"AT+SKTDEL={rest} closes everything")
            for one in list(self.pool.all):
                self.numbers.gone(one)
            self.pool.clear()
            self.auto = False
        else:
            self.numbers.addressed(number, "SKTDEL")
            for one in self.pool.delete(number):
                self.numbers.gone(one)
        yield from self.succeed("SKTDEL")

    def at__sktstate(self, rest):
        if rest is not None:
            return
        for one in list(self.pool.rows()):
            self.numbers.told(one.number)
            yield from self.reply(self.row(one))
        yield from self.succeed("SKTSTATE")

    def row(self, one):
        start = "+SKTSTATE:" if one.role == "seed" else ""
        return (start + self.plain_row(one, "socket")).encode()

    def plain_row(self, one, descriptor):
        where = f"address:{one.host},port:{one.port}"
        return f"con_id:{one.number},{one.role},{one.kind},{where},{descriptor}:{one.describe()}\r\n"

    # Sends

    def at__sktsend(self, rest):
        try:
            size, number, target, data = self._parse_send(rest)
        except SendSyntaxError:
            yield from self.fail("SKTSEND", 1)
            return
        if size > CONSOLE:
            yield from self.fail("SKTSEND", 2)
            return
        yield from self._send(number, target, data)

    def _parse_send(self, rest):
        parts = unescape(rest or "")
        if len(parts) > MOST_ARGUMENTS or len(parts) not in {2, 4}:
            raise SendSyntaxError
        last, colon, data = parts[-1].partition(":")
        size, number = atoi(parts[0]), atoi(last if len(parts) == 2 else parts[1])
        if size <= CONSOLE and (not colon or len(data) != size):
            raise SendSyntaxError
        return size, number, (parts[2], atoi(last)) if len(parts) == 4 else None, data.encode("latin-1")

    def _send(self, number, target, data):
        self.numbers.addressed(number, "SKTSEND")
        one = self.pool.all.get(number)
        if one is None:
            yield from self.fail("SKTSEND", 3)
            return
        if one.silent_send:
            self.findings.breach(f"a send on con_id {number} after one without an answer: {one.silent_send!r}")
        if one.role == "server" and one.kind == "tcp":
            yield from self.fail("SKTSEND", 7)
        elif one.role == "server" and target is None:
            yield from self.fail("SKTSEND", 1)
        elif (yield from self.put(one, data, target if one.role == "server" else None)):
            yield from self.succeed("SKTSEND")
        else:
            yield from self.fail("SKTSEND", 8 if one.kind == "tcp" else 5 if one.role == "server" else 6)

    def put(self, one, data, target):
        """Into the socket, whole; False where it does not take them."""
        if one.dead:
            return False
        try:
            if one.kind == "udp":
                one.sock.sendto(data, target) if target else one.sock.send(data)
                return True
            while data:
                try:
                    data = data[one.sock.send(data) :]
                except BlockingIOError:
                    yield Pause(writes=one.sock)
                if one.dead:
                    return False
        except OSError:
            return False
        return True
