"""pyserial's RFC 2217 client, made fit for a bridge.

pyserial reads the connection in a thread of its own and puts each byte into a queue without bound.  Here

* that queue is bounded (then the connection's own back-pressure holds) and tells the event loop of news, so nobody
  waits in a second thread, and a read that is given up has taken nothing;
* a thread that ends, for whatever reason, ends the queue too: pyserial's own dies in silence of a malformed message;
* bytes are sent from the event loop as far as the connection takes them, so it is known how many went;
* notices of modem lines and breaks are counted as they come: one that is over before anybody looks is not missed.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from serial import rfc2217

from bridge.model import Wire
from bridge.ports.wires import BREAK_CHANGES, Look

__all__ = ["INBOX", "JOIN", "Client", "Inbox"]

log = structlog.get_logger("bridge.ports")

INBOX = 65536  # bytes read ahead
JOIN = 1.0  # seconds for pyserial's thread to end
_IAC, _IAC_DOUBLED = b"\xff", b"\xff\xff"
_Serial: Any = rfc2217.Serial  # the types that there are for pyserial leave out what is used here
# RFC 2217: the state of each wire in NOTIFY-MODEMSTATE; four bits below stands whether it changed.
_STATES = {Wire.CTS: 0x10, Wire.DSR: 0x20, Wire.RI: 0x40, Wire.DCD: 0x80}
_BREAK = 0x10  # in NOTIFY-LINESTATE


class Inbox:
    """Stands where pyserial has its queue: its thread puts single bytes, the event loop takes what there is."""

    def __init__(self, news: Callable[[], None]) -> None:
        self._news = news
        self._room = threading.Condition()
        self._data = bytearray()
        self.ended = False  # nothing more will come
        self.peak = 0  # the most bytes that waited

    def put(self, item: bytes | None) -> None:
        """One byte, or the end; waits while full.  Called by pyserial."""
        with self._room:
            while item and len(self._data) >= INBOX and not self.ended:
                self._room.wait()
            tell = not self._data or not item
            if item is None:
                self.ended = True
            elif not self.ended:
                self._data += item
                self.peak = max(self.peak, len(self._data))
        if tell:
            self._news()

    def take(self, most: int) -> bytes:
        """What there is, at most ``most`` bytes; never waits."""
        with self._room:
            data = bytes(self._data[:most])
            del self._data[:most]
            self._room.notify()
        return data

    def end(self) -> None:
        """Let nobody wait for room any more."""
        with self._room:
            self.ended = True
            self._room.notify()

    def qsize(self) -> int:
        """For pyserial, which empties its queue when it opens."""
        return len(self._data)

    def get(self, block: bool) -> bytes:
        """As `qsize`."""
        return self.take(1)


class Client(_Serial):  # type: ignore[misc]
    """One connection to an RFC 2217 server.  `open` and what changes settings may wait: call them in a thread."""

    _socket: Any
    _thread: Any

    def __init__(self, url: str, news: Callable[[], None], *, dtr: bool | None, rts: bool | None, **settings: Any) -> None:
        self.inbox = Inbox(news)
        self.looks = dict.fromkeys((*_STATES, Wire.BREAK), Look(level=False))
        self._news = news
        self._policy: dict[str, bool | None] = {"dtr": dtr, "rts": rts}
        self._owed = b""  # the second half of an escaped byte whose first half is out
        self._told = False  # the first notice of modem lines came: it says how they are, not what happened
        super().__init__(None, **settings)
        self.port = url
        for line, asserted in self._policy.items():
            setattr(self, line, bool(asserted))  # not open: this is what `open` will set, where there is a policy

    @property
    def _read_buffer(self) -> Inbox:
        return self.inbox

    @_read_buffer.setter
    def _read_buffer(self, queue: object) -> None:
        """Pyserial brings its own; ours stays."""

    def open(self) -> None:
        """Connect, negotiate, set.  Raises SerialException, ValueError."""
        super().open()
        # pyserial leaves a limit of seconds on every send: a slow line would be taken for a broken one.
        self._socket.settimeout(None)
        self.rfc2217_send_subnegotiation(rfc2217.SET_LINESTATE_MASK, bytes([_BREAK]))

    def offer(self, data: bytes) -> int:
        """Send what goes out at once; how many of the bytes did.  Raises OSError, BlockingIOError where none can."""
        if not self._write_lock.acquire(blocking=False):
            raise BlockingIOError  # pyserial's thread is answering the server
        try:
            escaped = self._owed + data.replace(_IAC, _IAC_DOUBLED)
            gone = self._socket.send(escaped, socket.MSG_DONTWAIT)
            out = escaped[len(self._owed) : gone]
            half = (len(out) - len(out.rstrip(_IAC))) % 2
            if gone:
                self._owed = _IAC if half else b""
            return out.count(_IAC_DOUBLED) + half + len(out.replace(_IAC, b""))
        finally:
            self._write_lock.release()

    @property
    def owes(self) -> bool:
        """Whether the last byte is only half out: `offer` once more, with nothing."""
        return bool(self._owed)

    def _internal_raw_write(self, data: bytes) -> None:
        with self._write_lock:
            self._socket.sendall(self._owed + data)
            self._owed = b""

    def _update_dtr_state(self) -> None:
        if self._policy["dtr"] is not None:
            super()._update_dtr_state()

    def _update_rts_state(self) -> None:
        if self._policy["rts"] is not None:
            super()._update_rts_state()

    def set_line(self, line: str, *, asserted: bool) -> None:
        """Set "dtr" or "rts".  Raises SerialException, ValueError."""
        self._policy[line] = asserted
        setattr(self, line, asserted)

    def hang_up(self) -> None:
        """End the connection at once, from any thread; `close` must follow."""
        self.is_open = False
        self.inbox.end()
        connection = self._socket
        if connection is not None:
            with suppress(OSError):  # it was not connected any more
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, wait for pyserial's thread, and give everything back.  Call it in a thread, once at a time.

        In place of pyserial's own, which forgets the socket where the server has hung up, and always sleeps.
        """
        self.hang_up()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(JOIN)
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    @property
    def connection(self) -> socket.socket | None:
        """The socket, to wait on."""
        found: socket.socket | None = self._socket
        return found

    def _telnet_read_loop(self) -> None:
        try:
            super()._telnet_read_loop()
        except Exception as crashed:
            log.warning("malformed message from the RFC 2217 server", port=self.port, reason=repr(crashed))
        finally:
            self.inbox.put(None)

    def _telnet_process_subnegotiation(self, suboption: bytes) -> None:
        super()._telnet_process_subnegotiation(suboption)
        if suboption[:1] != rfc2217.COM_PORT_OPTION or len(suboption) < 3:
            return
        if suboption[1:2] == rfc2217.SERVER_NOTIFY_MODEMSTATE:
            for wire, bit in _STATES.items():
                self._see(wire, level=bool(suboption[2] & bit), changed=bool(suboption[2] & bit >> 4))
            self._told = True
        elif suboption[1:2] == rfc2217.SERVER_NOTIFY_LINESTATE and suboption[2] & _BREAK:
            self.looks[Wire.BREAK] = Look(level=False, changes=self.looks[Wire.BREAK].changes + BREAK_CHANGES)
        else:
            return
        self._news()

    def _see(self, wire: Wire, *, level: bool, changed: bool) -> None:
        before = self.looks[wire]
        steps = 1 if level != before.level else 2 if changed else 0  # there and back: a pulse
        self.looks[wire] = Look(level, before.changes + (steps if self._told else 0))
