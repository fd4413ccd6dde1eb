"""How S1 opens: OK at once, the con_id or an error a second later; clients of a server are announced."""

from __future__ import annotations

import errno
import re
import socket

from .loop import Pause
from .module import atoi
from .pool import Connection
from .s1_receive import Receive
from .station import NAMES

CONNECTS = 20.0  # seconds until a connect is given up
BACKLOG = 5


def resolve(host):
    """As lwIP: number forms, else a name."""
    if re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)(\.(0x[0-9a-fA-F]+|\d+)){0,3}", host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return None
    return NAMES.get(host)


def tcp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def udp(port):
    """A datagram socket at this port (0: any)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


class Open(Receive):
    def failure(self, name, number):
        raise NotImplementedError

    def _begin_open(self, name, work):
        """One at a time: the second line of an open does not say whose it is."""
        task = self.opening.get(name)
        if task is not None and not task.done:
            self.findings.breach(f"a second {name} while one is under way")
        self.opening[name] = self.loop.spawn(work)

    def _wait_open(self):
        late = self.faults.pick(self.faults.latest) if self.faults.strikes("late") else 0.0
        if late:
            self.findings.note(f"the second line comes {late:.2f} s late")
        yield Pause(self.pause + late)

    def at__sktclient(self, rest):
        parts = (rest or "").split(",")
        if rest is None or len(parts) not in {3, 4}:
            yield from self.fail("SKTCLIENT", 1)
            return
        mode, host, port = parts[0], parts[1], atoi(parts[2])
        if mode not in {"0", "1"}:
            yield from self.fail("SKTCLIENT", 17)
        elif (address := resolve(host)) is None:
            yield from self.fail("SKTCLIENT", 2)
        elif not parts[2] or not 0 <= port <= 65535:
            yield from self.fail("SKTCLIENT", 3)
        elif len(parts) == 4 and not 1 <= atoi(parts[3]) <= 65535:
            yield from self.fail("SKTCLIENT", 11)
        elif (number := self.pool.hold()) is None:
            yield from self.fail("SKTCLIENT", 4)
        else:
            local = atoi(parts[3]) if len(parts) == 4 else 0
            yield from self.succeed("SKTCLIENT")
            self._begin_open("SKTCLIENT", self._connect(number, "tcp" if mode == "0" else "udp", address, port, local))

    def _connect(self, number, kind, host, port, local):
        done = False
        try:
            yield from self._wait_open()
            connection = Connection(number, "client", kind, None, host, port)
            error = yield from (self._connect_tcp(connection) if kind == "tcp" else self._connect_udp(connection, local))
            done = not error
        finally:
            self.pool.release(number)
        if not done:
            yield from self.say(self.failure("SKTCLIENT", error))
            return
        self.pool.add(connection)
        self.numbers.told(number)
        yield from self.say(self.client_opened(number))

    def client_opened(self, number):
        return b"+SKTCLIENT:con_id=%d\r\n" % number

    def server_opened(self, number):
        return b"\r\n+SKTSERVER:con_id=%d\r\n" % number

    def _connect_tcp(self, connection):
        sock = tcp()
        try:
            if sock.connect_ex((connection.host, connection.port)) not in {0, errno.EINPROGRESS}:
                sock.close()
                return 9
            ready = yield Pause(CONNECTS, writes=sock)
        except GeneratorExit:
            sock.close()
            raise
        if not ready or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
            return 9
        connection.sock = sock
        return 0

    def _connect_udp(self, connection, local):
        try:
            connection.sock = udp(local)
        except OSError:
            return 12
        connection.sock.connect((connection.host, connection.port))
        return 0
        yield  # a generator, as its twin

    def at__sktserver(self, rest):
        parts = (rest or "").split(",")
        if rest is None or len(parts) != 2 or not parts[0]:
            yield from self.fail("SKTSERVER", 1)
        elif not 1 <= atoi(parts[1]) <= 65535:
            yield from self.fail("SKTSERVER", 2)
        elif parts[0] not in {"0", "1"}:
            yield from self.fail("SKTSERVER", 14)
        elif (number := self.pool.hold()) is None:
            yield from self.fail("SKTSERVER", 3)
        else:
            yield from self.succeed("SKTSERVER")
            self._begin_open("SKTSERVER", self._serve(number, "tcp" if parts[0] == "0" else "udp", atoi(parts[1])))

    def _serve(self, number, kind, port):
        error = 0
        connection = Connection(number, "server", kind, None, "127.0.0.1", port)
        try:
            yield from self._wait_open()
            if any((one.role, one.kind, one.port) == ("server", kind, port) for one in self.pool.all.values()):
                error = 9 if kind == "tcp" else 12
            else:
                try:
                    connection.sock = self._listening(kind, port)
                except OSError:
                    error = 7
        finally:
            self.pool.release(number)
        if error:
            yield from self.say(self.failure("SKTSERVER", error))
            return
        self.pool.add(connection)
        self.numbers.told(number)
        if kind == "tcp":
            connection.task = self.loop.spawn(self._accept(connection))
        yield from self.say(self.server_opened(number))

    def _listening(self, kind, port):
        if kind == "udp":
            return udp(port)
        sock = tcp()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock

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
                sock.close()
                self.findings.breach("a connection too many killed a server (error 11)")
                self.background(self._die(server))
                return
            self.pool.add(Connection(number, "seed", "tcp", sock, host, port, server.number))
            self.numbers.told(number)
            self.background(self.say(*self.arrival(server.number, number, host, port, sock.fileno())))

    def arrival(self, server, number, host, port, descriptor):
        return (
            b"\r\n+SKTSERVER: A client connected to server[%d]\r\n" % server,
            f"con_id:{number}, seed, tcp, address:{host}, port:{port}, socket:{descriptor}\r\n".encode(),
        )

    def _die(self, server):
        """Error 11: the server and all its seeds are gone."""
        freed = self.pool.delete(server.number)
        yield from self.say(self.failure("SKTSERVER", 11))
        for number in freed:
            self.numbers.gone(number)
