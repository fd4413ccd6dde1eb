"""S1b, between the generations: S1's con_ids with generic results, another order of arguments, and raw sends."""

from __future__ import annotations

from .loop import Pause
from .module import MOST_ARGUMENTS, atoi, printable
from .raw import Raw
from .s1 import CONSOLE, S1, SendSyntaxError, unescape
from .s1_receive import AUTO_CHUNK, READ_LIMIT, SELECT


class S1b(Raw, S1):
    """Its peers' orderly closes are never told."""

    BANNER = b"ATCMD READY\r\n"

    def __init__(self, path, *, pause=0.1, **more):
        super().__init__(path, pause=pause, **more)

    def addressed(self, number, command):
        """The connection of a number that the host must have learnt."""
        self.numbers.addressed(number, command)
        return self.pool.all.get(number)

    def succeed(self, name):
        yield from self.reply(b"\r\nOK\r\n")

    def failure(self, name, number):
        return f"\r\nERROR: {number}\r\n".encode()

    def at__gmr(self, rest):
        yield from super().at__gmr(rest)
        yield from self.succeed("GMR")

    def at__sktclient(self, rest):
        parts = (rest or "").split(",")
        if parts[0] == "1" and len(parts) == 3:
            yield from self.fail("SKTCLIENT", 11)  # a local port is mandatory for datagrams
        else:
            yield from super().at__sktclient(rest)

    def arrival(self, server, number, host, port, descriptor):
        return (
            b"\r\n+SKTSERVER: A client connected to server[con_id:%d]\r\n" % server,
            f"con_id:{number}, seed, tcp, address:{host}, port:{port}, socket_fd:{descriptor}\r\n".encode(),
        )

    def row(self, one):
        return self.plain_row(one, "socket_fd").encode()

    def at__sktdel(self, rest):
        number = atoi(rest or "")
        if rest and number < 0:
            yield from self.fail("SKTDEL", 2)
        elif number and number not in self.pool.all:
            self.numbers.addressed(number, "SKTDEL")
            yield from self.fail("SKTDEL", 3)
        else:
            yield from super().at__sktdel(rest)

    def _parse_send(self, rest):
        """``<con_id>,<size>[,<ip>,<port>]:<data>``"""
        parts = unescape(rest or "")
        if len(parts) > MOST_ARGUMENTS or len(parts) not in {2, 4}:
            raise SendSyntaxError
        last, colon, data = parts[-1].partition(":")
        number, size = atoi(parts[0]), atoi(last if len(parts) == 2 else parts[1])
        if not 0 < size < CONSOLE or not colon or len(data) != size:
            raise SendSyntaxError
        return size, number, (parts[2], atoi(last)) if len(parts) == 4 else None, data.encode("latin-1")

    # Receiving: an orderly end looks like silence

    def pull(self, one, most):
        if one.dead:
            return 11, b"", None
        ready = yield Pause(SELECT, reads=one.sock)
        if not ready or one.dead:
            return 0, b"", None
        try:
            data, sender = one.sock.recvfrom(most)
        except BlockingIOError:
            return 0, b"", None
        except OSError:
            one.close()
            return (11 if one.kind == "tcp" else 9), b"", None
        if not data and one.kind == "tcp":
            yield Pause(SELECT)
        return 0, data, sender

    def header(self, one, data, sender):
        if one.kind == "udp" and one.role == "server":
            host, port = sender or ("", 0)
            return f"+SKTREAD:{len(data)},{one.number},{host},{port}:".encode()
        return f"+SKTREAD:{len(data)},{one.number}:".encode()

    def at__sktread(self, rest):
        parts = (rest or "").split(",")
        if rest is None or len(parts) != 2:
            yield from self.fail("SKTREAD", 1)
            return
        number, size = atoi(parts[0]), atoi(parts[1])
        if not 0 < size <= READ_LIMIT:
            yield from self.fail("SKTREAD", 3)
            return
        one = self.addressed(number, "SKTREAD")
        error = 4 if one is None else 5 if one.role == "server" and one.kind == "tcp" else 6 if self.auto else 0
        if error:
            yield from self.fail("SKTREAD", error)
            return
        error, data, sender = yield from self.pull(one, size)
        if error:
            yield from self.fail("SKTREAD", error)
        else:
            yield from self.reply(self.header(one, data, sender), printable(data), b"\r\nOK\r\n")

    def _receive_all(self):
        while self.auto:
            some = [one for one in self.pool.all.values() if not (one.role == "server" and one.kind == "tcp") and not one.dead]
            if not some:
                yield Pause(SELECT)
            for one in some:
                if not self.auto or self.pool.all.get(one.number) is not one:
                    continue
                error, data, sender = yield from self.pull(one, AUTO_CHUNK)
                if error:
                    yield from self.say(f"+SKTREAD:{one.number}\r\n".encode(), self.failure("SKTREAD", error))
                elif data:
                    yield from self.say(self.header(one, data, sender), printable(data))
