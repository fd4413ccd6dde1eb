"""An ESP-AT host of five links, strict: every line must be one it knows, at a moment at which it may come."""

from __future__ import annotations

import os
import re
import select
import threading
import time
import tty

LINKS = 5
LIMIT = 30.0  # seconds in which every command must have its final result, whatever the module does
PATIENCE = 120.0  # seconds until one without is a hang
FINALS = {"OK", "ERROR", "SEND OK", "SEND FAIL", "FAIL"}
NEWS = {
    "WIFI CONNECTED",
    "WIFI GOT IP",
    "WIFI DISCONNECT",
    "ready",
    "busy p...",
    "busy s...",
    "link is not valid",
    "ALREADY CONNECTED",
}
INFORMATION = re.compile(r"\+(CWJAP|CIPRECVLEN|CIFSR|CIPSTATUS|CIPSTATE|CWMODE|CIPDOMAIN):.*|STATUS:\d|Recv \d+ bytes|AT.*|")


class BrokenError(Exception):
    """The module that the host knows does not do that."""


class End:
    """One life of a link, as its host sees it."""

    def __init__(self, link, kind):
        self.link = link
        self.kind = kind
        self.received = bytearray()
        self.datagrams = []
        self.waits = False  # passive mode: something was announced
        self.closed = False


class Host:
    _PIECES = (
        ("ipd", re.compile(rb"\+IPD,(\d),(\d+):")),
        ("announced", re.compile(rb"\+IPD,(\d),(\d+)\r\n")),
        ("data", re.compile(rb'\+CIPRECVDATA:(\d+),(?:"[\d.]*",\d+,)?')),
    )

    def __init__(self, path, findings):
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._fd)
        self._findings = findings
        self._buffer = b""
        self._news = threading.Condition()
        self.ends = [None] * LINKS
        self.arrived = []  # ends of the server's clients
        self._opens = None  # (link, kind) of a CIPSTART under way
        self._reads = None  # the end whose bytes CIPRECVDATA answers
        self._command = None
        self._final = None
        self._prompted = False
        self._stopped = False
        self.said = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self):
        self._stopped = True
        self._thread.join(5)
        os.close(self._fd)

    # What comes in

    def _listen(self):
        while not self._stopped:
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 4096)
            except OSError:
                self._breach("its line is gone")
                return
            with self._news:
                self._buffer += data
                while self._step():
                    pass
                self._news.notify_all()

    def _step(self):
        text = self._buffer.lstrip(b"\r\n")
        for what, pattern in self._PIECES:
            if found := pattern.match(text):
                return self._counted(what, found, text)
        if text[:1] == b">":
            if not self._prompted and (self._command or "").startswith("AT+CIPSEND"):
                self._prompted = True
            else:
                self._breach("a prompt that nobody waits for")
            self._buffer = text[1:]
            return True
        line, mark, rest = text.partition(b"\r\n")
        if not mark or (line.startswith(b"+IPD") and len(text) < 16) or (line.startswith(b"+CIPRECVDATA") and len(text) < 40):
            return False
        self._buffer = rest
        self._line(line.decode("latin-1"))
        return True

    def _counted(self, what, found, text):
        length = int(found[1 if what == "data" else 2])
        after = found.end() + (0 if what == "announced" else length)
        if len(text) < after:
            return False
        end = self._reads if what == "data" else self.ends[int(found[1])]
        data = text[found.end() : after]
        self._buffer = text[after:]
        if end is None or end.closed:
            self._breach(f"{found[0]!r} of no open link")
        elif what == "announced":
            end.waits = True
        else:
            if what == "data" and self._command is None:
                self._breach(f"{found[0]!r}, not asked for")
            end.received += data
            end.datagrams.append(data)
        return True

    def _line(self, line):
        self.said.append(line)
        if found := re.fullmatch(r"(\d),(CONNECT|CLOSED)", line):
            self._link(int(found[1]), found[2])
        elif line in FINALS:
            if self._command is None or self._final is not None:
                self._breach(f"{line}, the command was {self._command}, its result {self._final}")
            elif line == "OK" and self._command.startswith("AT+CIPSEND") and not self._prompted:
                self.said.append("(go on)")
            else:
                self._final = line
        elif line not in NEWS and not INFORMATION.fullmatch(line):
            self._breach(f"no line of its dialect: {line!r}")

    def _link(self, link, what):
        end = self.ends[link]
        if what == "CONNECT":
            if end is not None:
                self._breach(f"{link},CONNECT twice")
            kind = "tcp"
            if self._opens and self._opens[0] == link:
                kind = self._opens[1]
            else:
                self.arrived.append(link)
            self.ends[link] = End(link, kind)
        elif end is None:
            if not (self._opens and self._opens[0] == link):
                self._breach(f"{link},CLOSED of a link that was not open")
        else:
            end.closed = True
            self.ends[link] = None

    def _breach(self, text):
        self._findings.breach(f"host: {text}; last {self.said[-6:]}")

    # What it does

    def until(self, ready, seconds):
        """Wait for something; False where it did not come."""
        with self._news:
            return self._news.wait_for(ready, seconds)

    def command(self, text):
        """The final result."""
        with self._news:
            self._command, self._final, self._prompted = text, None, False
        os.write(self._fd, text.encode() + b"\r\n")
        return self._finish()

    def _finish(self):
        began = time.monotonic()
        if not self.until(lambda: self._final is not None, PATIENCE):
            self._breach(f"no final result of {self._command}")
            raise BrokenError(self._command)
        if time.monotonic() - began > LIMIT:
            self._breach(f"{self._command} took {time.monotonic() - began:.0f} s")
        with self._news:
            final, self._command, self._final = self._final, None, None
            self.said.append(f"-- {final}")
            return final

    def start(self, link, kind, port, local=0, mode=0):
        """Open; the end, or None.  ``mode`` of a UDP link: 2 follows whoever sent last."""
        self._opens = (link, kind)
        more = f",{local},{mode}" if kind == "udp" and local else ""
        final = self.command(f'AT+CIPSTART={link},"{kind.upper()}","127.0.0.1",{port}{more}')
        end = self.ends[link]
        self._opens = None
        if final == "OK" and end is None and f"{link},CONNECT" not in self.said[-12:]:
            self._breach(f"OK without {link},CONNECT")
        return end if final == "OK" else None

    def send(self, link, data):
        with self._news:
            self._command, self._final, self._prompted = f"AT+CIPSEND={link},{len(data)}", None, False
        os.write(self._fd, f"AT+CIPSEND={link},{len(data)}\r\n".encode())
        self.until(lambda: self._prompted or self._final, PATIENCE)
        if not self._prompted:
            return self._finish()
        for at in range(0, len(data), 512):
            os.write(self._fd, data[at : at + 512])
        return self._finish()

    def read(self, end, most):
        """Passive mode: ask for what was announced."""
        end.waits, had = False, len(end.received)
        self._reads = end
        final = self.command(f"AT+CIPRECVDATA={end.link},{most}")
        end.waits = end.waits or len(end.received) - had >= most  # there may be more, and no news comes before it is read
        return final

    def read_all(self, end, most):
        """Until there is nothing."""
        while not end.closed:
            had = len(end.received)
            if self.read(end, most) != "OK" or len(end.received) == had:
                return
            time.sleep(0)
