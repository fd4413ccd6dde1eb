"""The other ends: a listener for each link, so that every byte is known to be of this link."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from .findings import Findings


class Peer:
    """One TCP peer.  It keeps what it got and what it sent, and knows who ended it."""

    def __init__(self, sock=None):
        self.sock = sock
        self.received = bytearray()
        self.sent = bytearray()
        self.closed = False  # by us
        self.aborted = False  # by us, with a reset
        self.ended = False  # by them
        self._listener = None
        self.port = 0
        if sock is not None:
            threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    def listening(cls):
        peer = cls()
        peer._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        peer.port = peer._listener.getsockname()[1]
        threading.Thread(target=peer._accept, daemon=True).start()
        return peer

    @classmethod
    def connecting(cls, port):
        return cls(socket.create_connection(("127.0.0.1", port), timeout=10))

    def _accept(self):
        with contextlib.suppress(OSError):
            self.sock, _ = self._listener.accept()
            self._read()

    def _read(self):
        self.sock.settimeout(None)
        try:
            while data := self.sock.recv(4096):
                self.received += data
        except OSError:
            pass
        self.ended = True

    def stop_listening(self):
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def send(self, data):
        if self.sock is None or self.closed:
            return
        try:
            self.sock.sendall(data)
            self.sent += data
        except OSError:
            self.ended = True

    def close(self, *, abort=False):
        """End it in order, or by a reset."""
        self.stop_listening()
        if self.sock is None or self.closed:
            return
        self.closed, self.aborted = True, abort
        with contextlib.suppress(OSError):
            if abort:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.sock.shutdown(socket.SHUT_RD)
                self.sock.close()
            else:
                self.sock.shutdown(socket.SHUT_WR)


class UdpPeer:
    """A datagram peer at a port of its own; it answers to whoever sent last."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.received = []
        self.sent = []
        self._to = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            while True:
                data, self._to = self.sock.recvfrom(2048)
                if not data and self._to == self.sock.getsockname():
                    return
                self.received.append(data)

    def send(self, data):
        if self._to is not None:
            self.sent.append(data)
            with contextlib.suppress(OSError):
                self.sock.sendto(data, self._to)

    def close(self):
        with contextlib.suppress(OSError):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
                wake.sendto(b"", ("127.0.0.1", self.port))
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Ledger:
    """What one link must have carried, and whether it did."""

    def __init__(self, end, peer, name):
        self.end = end
        self.peer = peer
        self.name = name
        self.taken = bytearray()  # SEND OK
        self.maybe = b""  # the payload of the last send that failed: a start of it may have left
        self.host_closed = False
        self.lossy = False  # its peer sent what the module cannot carry

    def arrived(self):
        return len(self.peer.received) >= len(self.taken)

    def told(self):
        return self.end.closed or len(self.end.received) >= len(self.peer.sent)

    def check(self, findings: Findings, *, faulty):
        """Prefixes always; whole where nothing and nobody ended it early."""
        said = bytes(self.taken) + self.maybe
        if not said.startswith(bytes(self.peer.received)):
            findings.breach(f"{self.name}: its peer got {differ(said, self.peer.received)}")
        if not bytes(self.peer.sent).startswith(bytes(self.end.received)):
            findings.breach(f"{self.name}: its host got {differ(self.peer.sent, self.end.received)}")
        early = faulty or self.peer.aborted or (self.peer.closed and self.end.closed)
        if not early and len(self.peer.received) < len(self.taken):
            findings.breach(f"{self.name}: {len(self.peer.received)} of {len(self.taken)} bytes that were SEND OK")
        whole = len(self.end.received) >= len(self.peer.sent)
        if not whole and not (faulty or self.host_closed or self.peer.aborted or self.lossy):
            findings.breach(
                f"{self.name}: the host got {len(self.end.received)} of {len(self.peer.sent)} bytes, closed: {self.end.closed}"
            )
        if not whole and not self.end.closed:
            findings.breach(f"{self.name}: {len(self.end.received)} of {len(self.peer.sent)} bytes, and the link still open")
        if self.end.closed and not (faulty or self.host_closed or self.peer.closed or self.lossy):
            findings.breach(f"{self.name}: closed, and nobody closed it")


def differ(expected, got):
    """Where two byte strings part."""
    at = next((n for n, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    return f"{bytes(got[max(0, at - 20) : at + 40])!r} at {at} for {bytes(expected[max(0, at - 20) : at + 40])!r}"
