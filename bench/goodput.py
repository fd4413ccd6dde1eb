"""(b) 2 KiB sends and receives, as a fraction of what the lines allow.

Both lines run at 115200 baud, 8N1: the host's pty and, where there is one, the simulated modem's (real 1 s guards).  The
bound is worked out by formula; what it takes from the dialect's table is printed with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.wires import Wire, at_bridge, program
from bridge import tables

BAUD = 115200
BYTE = 10 / BAUD  # seconds of a byte, 8N1
SIZE = 2048
ONE_LINK = 65536
MAPPING = 0.05  # seconds: from AT+WIPDATA to CONNECT, on a modem
JOIN = (b"ATE0", b'AT+CWJAP="bench","bench"')


@contextmanager
def peer() -> Iterator[tuple[int, list[socket.socket], list[int]]]:
    """A TCP server on 127.0.0.1 that swallows: its port, its connections, and how many bytes came."""
    server = socket.create_server(("127.0.0.1", 0))
    links: list[socket.socket] = []
    swallowed = [0]

    def serve() -> None:
        with contextlib.suppress(OSError):
            link, _ = server.accept()
            links.append(link)
            while data := link.recv(65536):
                swallowed[0] += len(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], links, swallowed
    finally:
        server.close()
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        thread.join(5)


def up(stack: ExitStack, folder: Path, module: str, ack: str = "module") -> Wire:
    """A bridge with both lines paced; the host's wire, joined.  ``ack``: who has a send's bytes at its SEND OK."""
    host, modem = folder / f"{module[:3]}-host", folder / f"{module[:3]}-modem"
    allow = ("--allow", "127.0.0.0/8")
    upstream = f"esp-at@pty:{host},baud={BAUD}"
    if module == "local":
        stack.enter_context(program(at_bridge("run", upstream, f"local,ack={ack}", *allow), host))
    else:
        stack.enter_context(program(at_bridge("simulate", f"{module}@pty:{modem},baud={BAUD}", *allow), modem))
        stack.enter_context(program(at_bridge("run", upstream, f"{module}@{modem},ack={ack}"), host))
    wire = Wire.at(host)
    stack.callback(wire.close)
    for line in JOIN:
        wire.write(line + b"\r\n")
        wire.until(b"\r\nOK\r\n")
    return wire


def send(wire: Wire, payload: bytes) -> int:
    """One counted send; the number of bytes that crossed the host's line for it, both ways."""
    command = b"AT+CIPSEND=%d\r\n" % len(payload)
    wire.write(command)
    answers = wire.until(b">")
    wire.write(payload)
    answers += wire.until(b"SEND OK\r\n", b"SEND FAIL\r\n", b"ERROR\r\n")
    if not answers.endswith(b"SEND OK\r\n"):
        raise RuntimeError(f"a send failed: {answers!r}")
    return len(command) + len(payload) + len(answers)


def receive(wire: Wire, total: int) -> int:
    """Take `total` bytes of payload out of +IPD messages; the bytes that crossed the host's line for them."""
    got, taken, crossed = b"", 0, 0
    while taken < total:
        if found := re.match(rb"(?:\r\n)*\+IPD,(\d+):", got):
            end = found.end() + int(found[1])
            if len(got) >= end:
                got, taken, crossed = got[end:], taken + int(found[1]), crossed + end
                continue
        piece = wire.read()
        if not piece:
            raise TimeoutError(f"{taken} of {total} bytes came; unread {got[:60]!r}")
        got += piece
    return crossed


def downstream_terms(module: str, ack: str = "module") -> tuple[dict[str, float], float]:
    """What the module adds to one send: the terms by name (seconds), and their sum.  Nothing where nobody waits for it."""
    if module == "local" or ack == "bridge":
        return {}, 0.0
    table = tables.load(*module.split(":"))
    # Payload goes on as it comes, so only the last byte's time on the second line cannot overlap with the first.
    terms = {"last byte on the module's line": BYTE, "settle": table.seconds("settle")}
    return terms, sum(terms.values())


def measure(folder: Path, module: str, sends: int, ack: str = "module") -> dict[str, Any]:
    """Sends, then receives, on one module."""
    payload = os.urandom(SIZE).replace(b"+", b"-")  # no escape run: nothing is held back, the plain case
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        port, links, swallowed = stack.enter_context(peer())
        wire = up(stack, folder, module, ack)
        wire.write(b'AT+CIPSTART="TCP","127.0.0.1",%d\r\n' % port)
        wire.until(b"\r\nOK\r\n")
        send(wire, payload)  # the first maps the socket on a modem: not what is measured
        begun = time.perf_counter()
        crossed = sum(send(wire, payload) for _ in range(sends))
        took = time.perf_counter() - begun
        terms, extra = downstream_terms(module, ack)
        bound = crossed * BYTE + sends * extra
        result["send"] = _row(sends * SIZE, took, bound, crossed, {k: round(sends * v, 4) for k, v in terms.items()})
        deadline = time.monotonic() + 10
        while swallowed[0] < (sends + 1) * SIZE and time.monotonic() < deadline:
            time.sleep(0.01)
        result["send"]["all arrived"] = swallowed[0] == (sends + 1) * SIZE
        result["send"]["last_arrived_after"] = round(time.perf_counter() - begun - took, 4)  # seconds from the last SEND OK
        begun = time.perf_counter()
        links[0].sendall(payload * sends)
        crossed = receive(wire, sends * SIZE)
        took = time.perf_counter() - begun
        bound = crossed * BYTE
        result["receive"] = _row(sends * SIZE, took, bound, crossed, {})
    return result


def one_link(folder: Path) -> dict[str, Any]:
    """64 KiB up and down on one link of a modem, from command state on: the mapping is part of it."""
    payload = os.urandom(SIZE).replace(b"+", b"-")
    sends = ONE_LINK // SIZE
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        port, links, _ = stack.enter_context(peer())
        wire = up(stack, folder, "wip:c1")
        wire.write(b'AT+CIPSTART="TCP","127.0.0.1",%d\r\n' % port)
        wire.until(b"\r\nOK\r\n")
        _, settle = downstream_terms("wip:c1")
        begun = time.perf_counter()
        crossed = sum(send(wire, payload) for _ in range(sends))
        took = time.perf_counter() - begun
        terms = {"mapping": MAPPING, "last bytes and settle": round(sends * settle, 4)}
        result["up"] = _row(ONE_LINK, took, crossed * BYTE + sum(terms.values()), crossed, terms)
        begun = time.perf_counter()
        links[0].sendall(payload * sends)
        crossed = receive(wire, ONE_LINK)
        took = time.perf_counter() - begun
        result["down"] = _row(ONE_LINK, took, crossed * BYTE + MAPPING, crossed, {"mapping": MAPPING})
    return result


def _row(total: int, took: float, bound: float, crossed: int, terms: dict[str, float]) -> dict[str, Any]:
    return {
        "payload_bytes": total,
        "host_line_bytes": crossed,
        "seconds": round(took, 4),
        "bound_seconds": round(bound, 4),
        "bound_adds_seconds": terms,
        "fraction_of_bound": round(bound / took, 4),
        "bytes_per_second": round(total / took),
    }
