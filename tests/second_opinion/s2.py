"""S2: the host chooses the link_id, opens are synchronous, each link may receive by itself, URCs begin with ``[$]``."""

from __future__ import annotations

from .loop import Pause
from .module import BIG_PRINT, atoi, printable
from .pool import Connection
from .s1 import CONSOLE, SendSyntaxError, unescape
from .s1_open import resolve
from .s1_receive import AUTO_CHUNK, READ_LIMIT, SELECT
from .s1b import S1b


class S2(S1b):
    FIRST = 0
    at__sktrecvcfg = None  # unknown: silence

    def __init__(self, path, *, pause=0.0, **more):
        super().__init__(path, pause=pause, **more)
        self.commands = {name: handler for name, handler in self.commands.items() if handler is not None}

    def say(self, *prints):
        """Under a lock: one print."""
        text = b"".join(prints)
        for start in range(0, len(text), BIG_PRINT - 1):
            yield from self.uart.print(text[start : start + BIG_PRINT - 1])

    def addressed(self, number, command):
        return self.pool.all.get(number)  # an unknown one is an error here, and no crash

    def at__sktcfg(self, rest):
        if rest is None or rest.count(",") != 6:
            yield from self.fail("SKTCFG", 1)
        else:
            yield from self.succeed("SKTCFG")

    # Opens

    def at__sktserver(self, rest):
        parts = (rest or "").split(",")
        if len(parts) != 5 or parts[4] not in {"0", "1"} or not 1 <= atoi(parts[3]) <= 65535 or not self._is_free(parts[0]):
            yield from self.fail("SKTSERVER", 1)
            return
        kind = {"0": "udp", "1": "tcp"}.get(parts[1])
        if kind is None:
            yield from self.fail("SKTSERVER", 6)
            return
        one = Connection(int(parts[0]), "server", kind, None, "127.0.0.1", atoi(parts[3]), auto=parts[4] == "1")
        try:
            one.sock = self._listening(kind, one.port)
        except OSError:
            yield from self.fail("SKTSERVER", 2 if kind == "tcp" else 4)
            return
        yield from self._opened("SKTSERVER", one)
        if kind == "tcp":
            one.task = self.loop.spawn(self._accept(one))

    def at__sktclient(self, rest):
        parts = (rest or "").split(",")
        if len(parts) != 7 or parts[6] not in {"0", "1"} or not 1 <= atoi(parts[4]) <= 65535 or not self._is_free(parts[0]):
            yield from self.fail("SKTCLIENT", 1)
            return
        kind = {"0": "udp", "1": "tcp"}.get(parts[1])
        address = resolve(parts[3])
        if address is None or (kind == "udp" and not parts[5]):
            yield from self.fail("SKTCLIENT", 1)
            return
        if kind is None:
            yield from self.fail("SKTCLIENT", 8)
            return
        one = Connection(int(parts[0]), "client", kind, None, address, atoi(parts[4]), auto=parts[6] == "1")
        if self.faults.strikes("late"):
            yield Pause(self.faults.pick(self.faults.latest))
        error = yield from (self._connect_tcp(one) if kind == "tcp" else self._connect_udp(one, atoi(parts[5])))
        if error:
            yield from self.fail("SKTCLIENT", 2 if kind == "tcp" else 4)
        else:
            yield from self._opened("SKTCLIENT", one)

    def _is_free(self, text):
        return text.isdigit() and int(text) in self.pool._numbers and int(text) not in self.pool.all

    def _opened(self, name, one):
        self.pool.add(one)
        yield from self.succeed(name)
        self._start(one)

    def _start(self, one):
        if one.auto and not (one.role == "server" and one.kind == "tcp"):
            self.background(self._receive_one(one))

    def _accept(self, server):
        while True:
            yield Pause(reads=server.sock)
            try:
                sock, (host, port) = server.sock.accept()
            except BlockingIOError:
                continue
            sock.setblocking(False)
            number = self.pool.hold()
            if number is None:
                self.findings.note("a connection too many is closed")
                sock.close()
                continue
            seed = Connection(number, "seed", "tcp", sock, host, port, server.number, auto=server.auto)
            self.pool.add(seed)
            self.background(self._announce(server, seed))

    def _announce(self, server, seed):
        yield from self.say(
            f"[$][SKT][EVENT]: A client[link_id:{seed.number},seed,tcp,dst_address:{seed.host},dst_port:{seed.port}] "
            f"connected to server[link_id:{server.number}]\r\n".encode()
        )
        self._start(seed)

    # Ends, rows

    def at__sktdel(self, rest):
        number = atoi(rest) if rest and rest.isdigit() else -1
        if number not in self.pool.all:
            yield from self.fail("SKTDEL", 1)
        else:
            self.pool.delete(number)
            yield from self.succeed("SKTDEL")

    def row(self, one):
        local, far = ("127.0.0.1", one.port), ("0.0.0.0", 0)
        if one.role != "server":
            local, far = (one.sock.getsockname() if one.sock else ("0.0.0.0", 0)), (one.host, one.port)
        return (
            f"link_id:{one.number},{one.role},{one.kind},src_address:{local[0]},src_port:{local[1]},"
            f"dst_address:{far[0]},dst_port:{far[1]},socket_fd:{one.describe()}\r\n"
        ).encode()

    # Data

    def _parse_send(self, rest):
        """``<link_id>,<size>,[ip],[port],<data>``"""
        parts = unescape(rest or "")
        if len(parts) != 5 or not 0 < atoi(parts[1]) < CONSOLE or len(parts[4]) != atoi(parts[1]):
            raise SendSyntaxError
        target = (parts[2], atoi(parts[3])) if parts[2] else None
        return atoi(parts[1]), atoi(parts[0]), target, parts[4].encode("latin-1")

    def _send(self, number, target, data):
        one = self.pool.all.get(number)
        if one is None or one.dead or (one.role == "server" and (one.kind == "tcp" or target is None)):
            yield from self.fail("SKTSEND", 1)
            return
        if one.silent_send:
            self.findings.breach(f"a send on link_id {number} after one without an answer: {one.silent_send!r}")
        if (yield from self.put(one, data, target if one.role == "server" else None)):
            yield from self.succeed("SKTSEND")
        else:
            yield from self.fail("SKTSEND", 2)

    def pull(self, one, most):
        """As S1's, with error 4 once."""
        if one.dead:
            return 1, b"", None
        ready = yield Pause(SELECT, reads=one.sock)
        if one.dead:
            return 1, b"", None
        if not ready:
            return 0, b"", None
        try:
            data, sender = one.sock.recvfrom(most)
        except BlockingIOError:
            return 0, b"", None
        except OSError:
            data, sender = b"", None
            if one.kind == "udp":
                return 0, b"", None
        if not data and one.kind == "tcp":
            one.close()
            return 4, b"", None
        return 0, data, sender

    def at__sktread(self, rest):
        parts = (rest or "").split(",")
        if len(parts) != 2 or not 0 < atoi(parts[1]) <= READ_LIMIT:
            yield from self.fail("SKTREAD", 1)
            return
        one = self.pool.all.get(atoi(parts[0]))
        if one is None or one.auto or (one.role == "server" and one.kind == "tcp"):
            yield from self.fail("SKTREAD", 1)
            return
        error, data, sender = yield from self.pull(one, atoi(parts[1]))
        if error:
            yield from self.fail("SKTREAD", error)
            return
        source = f"{sender[0]},{sender[1]}," if sender and one.kind == "udp" else ""
        yield from self.reply(f"+SKTREAD:{one.number},{len(data)},{source}".encode(), printable(data), b"\r\nOK\r\n")

    def _receive_one(self, one):
        while not one.dead and self.pool.all.get(one.number) is one:
            error, data, sender = yield from self.pull(one, AUTO_CHUNK)
            if self.pool.all.get(one.number) is one and not error and (data or sender):
                source = f"[{sender[0]}][{sender[1]}]" if one.kind == "udp" else ""
                yield from self.say(f"[$][SKT][DATA][{one.number}][{len(data)}]{source}:".encode(), data, b"\r\n")
