"""SKT: an ESP-AT host on a simulated Realtek Ameba, its line paced; what the line, its replies and its guards allow.

The host's own pty is not paced, so the module's line alone is measured.  The simulated module has the real one's
weaknesses: a line buffer of 127 bytes, and it is deaf while it works.
"""

from __future__ import annotations

import math
import socket
import statistics
import string
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import goodput
from bench.wires import Wire, at_bridge, program
from bridge import tables

SPEEDS = (38400, 115200)
TOTAL = 16384  # bytes each way
RAW_TOTAL = 65536
SIZE = 2048  # bytes of one send of the host
IDLE = 1.3  # seconds: after so long without anything a link is asked as seldom as ever
TIMES = 4  # of each reaction
READ_MOST = 127  # bytes that the default build gives at a time
SELECT = 0.02  # seconds that the module waits where nothing is there
_SEND_OK, _NOTHING = b"\r\n+SKTSEND:OK\r\n", b"+SKTREAD:OK,0,1:\r\n"


def measure(folder: Path) -> dict[str, Any]:
    """All of it."""
    result: dict[str, Any] = {f"s1-uart {baud}": _both_ways(folder, "skt:s1-uart", baud, TOTAL) for baud in SPEEDS}
    for ack in ("module", "bridge"):
        result[f"s2 raw {SPEEDS[-1]} ack={ack}"] = _both_ways(folder, "skt:s2", SPEEDS[-1], RAW_TOTAL, ack)
    for links in (1, 5):
        result[f"reaction {links}"] = _reaction(folder, links)
    return result


def _up(stack: ExitStack, folder: Path, module: str, baud: int, ack: str = "module") -> Wire:
    host, modem = folder / "skt-host", folder / "skt-modem"
    simulated = at_bridge("simulate", f"{module}@pty:{modem},baud={baud}", "--allow", "127.0.0.0/8")
    stack.enter_context(program(simulated, modem))
    stack.enter_context(program(at_bridge("run", f"esp-at@pty:{host}", f"{module}@{modem},baud={baud},ack={ack}"), host))
    wire = Wire.at(host)
    stack.callback(wire.close)
    for line in goodput.JOIN:
        wire.write(line + b"\r\n")
        wire.until(b"\r\nOK\r\n")
    return wire


def _payload(total: int) -> bytes:
    """Letters: none of them is escaped."""
    return (string.ascii_letters * (total // len(string.ascii_letters) + 1))[:total].encode()


def _both_ways(folder: Path, module: str, baud: int, total: int, ack: str = "module") -> dict[str, Any]:
    payload = _payload(total)
    with ExitStack() as stack:
        port, links, swallowed = stack.enter_context(goodput.peer())
        wire = _up(stack, folder, module, baud, ack)
        wire.write(b'AT+CIPSTART="TCP","127.0.0.1",%d\r\n' % port)
        wire.until(b"\r\nOK\r\n")
        begun = time.perf_counter()
        for start in range(0, total, SIZE):
            goodput.send(wire, payload[start : start + SIZE])
        while swallowed[0] < total and time.perf_counter() - begun < 60:
            time.sleep(0.001)
        sent = time.perf_counter() - begun
        begun = time.perf_counter()
        links[0].sendall(payload)
        goodput.receive(wire, total)
        received = time.perf_counter() - begun
    up, down = _bounds(module, baud, total, ack)
    line = total * 10 / baud
    return {
        "send": _row(total, sent, up, line) | {"all arrived": swallowed[0] == total},
        "receive": _row(total, received, down, line),
    }


def _row(total: int, took: float, bound: float, line: float) -> dict[str, Any]:
    return {
        "payload_bytes": total,
        "seconds": round(took, 3),
        "bound_seconds": round(bound, 3),
        "fraction_of_bound": round(bound / took, 3),
        "fraction_of_line": round(line / took, 3),
        "bytes_per_second": round(total / took),
    }


def raw_send(ack: str) -> int:
    """Bytes of one AT+SKTSENDRAW: a host waits for its SEND OK, so no more than its send; else what the table sends at a time."""
    chunk = int(tables.load("skt", "s2").number("chunk"))
    return chunk if ack == "bridge" else min(SIZE, chunk)


def _bounds(module: str, baud: int, total: int, ack: str) -> tuple[float, float]:
    """Seconds that the line, the replies and the guards need, out and in.  The formulas are printed."""
    table = tables.load(*module.split(":"))
    byte, guard = 10 / baud, table.seconds("guard")
    if module == "skt:s1-uart":
        chunk = table.number("chunk")
        lines = math.ceil(SIZE / chunk)
        head = len(f"AT+SKTSEND={chunk},1:\r\n") + len(_SEND_OK)
        sends = total // SIZE
        up = total * byte + sends * lines * (head * byte + guard)
        reads = math.ceil(total / READ_MOST)
        asked = len(f"AT+SKTREAD=1,{READ_MOST}\r\n") + len(f"+SKTREAD:OK,{READ_MOST},1:\r\n")
        return up, total * byte + reads * (asked * byte + guard)
    size = raw_send(ack)
    sends = math.ceil(total / size)
    head = len(f"AT+SKTSENDRAW=9,{size}\r\n>>>\r\n") + len(b"\r\nOK\r\n")
    chunk = table.number("push_most")
    return total * byte + sends * (head * byte + guard), (
        total + math.ceil(total / chunk) * len(b"[$][SKT][DATA][9][1500]:\r\n")
    ) * byte


def _reaction(folder: Path, count: int) -> dict[str, Any]:
    """From the peer's close, and from its byte, to the host's line; ``count`` links are open and idle."""
    baud = SPEEDS[0]
    table = tables.load("skt", "s1-uart")
    poll = (len(f"AT+SKTREAD=1,{READ_MOST}\r\n") + len(_NOTHING)) * 10 / baud + SELECT + table.seconds("guard")
    arrivals, closes = [], []
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        wire = _up(stack, folder, "skt:s1-uart", baud)
        wire.write(b"AT+CIPMUX=1\r\n")
        wire.until(b"\r\nOK\r\n")

        def connect(number: int) -> socket.socket:
            wire.write(b'AT+CIPSTART=%d,"TCP","127.0.0.1",%d\r\n' % (number, server.getsockname()[1]))
            wire.until(b"\r\nOK\r\n")
            return server.accept()[0]

        peers = [connect(number) for number in range(count)]
        for peer in peers:
            stack.callback(peer.close)
        for turn in range(TIMES):
            number = turn % count
            time.sleep(IDLE + turn * 0.07)
            begun = time.perf_counter()
            peers[number].sendall(b"!")
            wire.until(b":!")
            arrivals.append(time.perf_counter() - begun)
            time.sleep(IDLE + turn * 0.07)
            begun = time.perf_counter()
            peers[number].close()
            wire.until(b"%d,CLOSED\r\n" % number)
            closes.append(time.perf_counter() - begun)
            peers[number] = connect(number)
            stack.callback(peers[number].close)
    return {
        "poll_seconds": round(poll, 4),
        "bound_seconds": round(table.seconds("ask_idle") + count * poll, 3),
        "arrival_median": round(statistics.median(arrivals), 3),
        "arrival_worst": round(max(arrivals), 3),
        "close_median": round(statistics.median(closes), 3),
        "close_worst": round(max(closes), 3),
    }
