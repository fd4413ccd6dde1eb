"""(a) A translated command: from the last host byte to the first module byte.

*The promise*: the p50 of ``bridge: translated`` is at most 2.5 times that of ``socat relay: round trip`` in the same run.
Each row begins before the write of a whole command and ends with the read that brings the first byte of what follows:
the kernel's ways through the ptys and the waking of this process are in all of them, once or (round trip) twice.

The module is scripted, on a pty, always in command state, and refuses every connection, so that no guard is ever due;
no time of its own is in the measure.  Host and module are this one process: one clock, no second scheduler between the
stamps.  Rounds are interleaved (bridge, socat, trio relay, bridge, ...), so that whatever else the machine does hits all
of them alike, and every program was idle for `SETTLE` or more before its turn, as with a host: code that has just slept
takes up to twice as long as in a busy loop.

*How to read it.*  The trio relay does nothing but copy: what it takes one way is the least for this language and library.
What a gateway with a UART does not have is in the measure, too: a pty opened as a device is timed (`TimedPort`).  Socat's
own times differ by a factor of two from run to run on a machine of few cores, so the ratio does: look at several runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.wires import Wire, at_bridge, program

COMMAND = b'AT+CIPSTART="TCP","192.0.2.1",80\r\n'
SETTLE = 0.002  # seconds between a round's end and the next, for what the driver still has to say


class Module:
    """A C1 in command state that refuses every connection (842: destination unreachable)."""

    REPLIES = (
        (b"AT+CPIN?", b"\r\n+CPIN: READY\r\n"),
        (b"AT+CREG?", b"\r\n+CREG: 0,1\r\n"),
        (b"AT+CSQ", b"\r\n+CSQ: 21,0\r\n"),
        (b"AT+WIPBR?", b"\r\n+WIPBR: 6,1\r\n"),
        (b"AT+WIPBR=3,6,15", b'\r\n+WIPBR: 6,15,"10.64.0.7"\r\n'),
    )

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.unread = b""
        self.heard: list[bytes] = []  # the commands of this round
        self.echo = True

    def pump(self, seconds: float = 0.0) -> None:
        """Answer what came within `seconds`."""
        self.hear(self.wire.read(seconds))

    def hear(self, data: bytes) -> None:
        """Answer every whole command line in it."""
        self.unread = (self.unread + data).replace(b"+++", b"").replace(b"\n", b"")
        while b"\r" in self.unread:
            line, _, self.unread = self.unread.partition(b"\r")
            if self.echo:
                self.wire.write(line + b"\r")
            if line:
                self.wire.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        self.heard.append(line)
        if line.upper().startswith(b"ATE"):
            self.echo = line.endswith(b"1")
        if line.startswith(b"AT+WIPCREATE="):
            index = line.split(b"=")[1].split(b",")[1]
            return b"\r\nOK\r\n\r\n+WIPERROR: 2,%b,842\r\n" % index
        if line.startswith(b"AT+WIPBR=4"):
            return b"\r\nOK\r\n\r\n+WIPBR: 6,1\r\n"
        for command, text in self.REPLIES:
            if line == command:
                return text + b"\r\nOK\r\n"
        return b"\r\nOK\r\n"


def microseconds(samples: list[int]) -> dict[str, float]:
    """p50 and p99 of nanoseconds, in microseconds."""
    ordered = sorted(samples)
    return {
        "p50_us": round(ordered[len(ordered) // 2] / 1000, 1),
        "p99_us": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1000, 1),
        "rounds": len(ordered),
    }


class Bridge:
    """The bridge between a host's wire and a scripted module."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        master, slave = os.openpty()
        stack.callback(os.close, slave)
        self.module = Module(Wire(master))
        stack.callback(self.module.wire.close)
        (folder / "modem").symlink_to(os.ttyname(slave))
        host = folder / "host"
        up = threading.Event()
        pump = threading.Thread(target=self._bring_up, args=(up,), daemon=True)
        stack.callback(up.set)  # before the wire is closed, whatever fails
        pump.start()
        stack.enter_context(program(at_bridge("run", f"esp-at@pty:{host}", f"wip:c1@{folder / 'modem'}"), host))
        self.host = Wire.at(host)
        stack.callback(self.host.close)
        for line in (b"ATE0\r\n", b'AT+CWJAP="bench","bench"\r\n'):
            self.host.write(line)
            self.host.until(b"\r\nOK\r\n")
        up.set()
        pump.join()

    def _bring_up(self, up: threading.Event) -> None:
        while not up.is_set():
            self.module.pump(0.05)

    def translated(self) -> int:
        """Nanoseconds from CIPSTART's last byte to WIPCREATE's first."""
        for _ in range(10):
            took = self._translated()
            if self.module.heard[0].startswith(b"AT+WIPCREATE="):
                return took
        raise RuntimeError(f"CIPSTART does not begin with WIPCREATE: {self.module.heard}")

    def _translated(self) -> int:
        self.module.pump(SETTLE)
        self.module.heard.clear()
        begun = time.perf_counter_ns()
        self.host.write(COMMAND)
        data = self.module.wire.read()
        took = time.perf_counter_ns() - begun
        self.module.hear(data)
        answer = b""
        deadline = time.monotonic() + 25
        while not answer.endswith((b"ERROR\r\n", b"OK\r\n")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no final result for CIPSTART; so far {answer!r}")
            self.module.pump(0.0002)
            answer += self.host.read(0.0002)
        if not self.module.heard:
            raise RuntimeError(f"{COMMAND!r} was answered without the module: {answer!r}")
        return took

    def local(self) -> int:
        """Nanoseconds from the last byte of a locally answered command to the first of its answer."""
        self.module.pump(SETTLE)
        begun = time.perf_counter_ns()
        self.host.write(b"AT\r\n")
        data = self.host.read()
        took = time.perf_counter_ns() - begun
        while not data.endswith(b"OK\r\n"):
            data += self.host.read()
        return took


class Relay:
    """A program that only copies bytes."""

    def __init__(self, stack: ExitStack, folder: Path, name: str) -> None:
        a, b = folder / f"{name}-a", folder / f"{name}-b"
        if name == "socat":
            command = [shutil.which("socat") or "", f"PTY,link={a},raw,echo=0", f"PTY,link={b},raw,echo=0"]
        else:
            command = [sys.executable, "-m", "bench.relay", str(a), str(b)]
        stack.enter_context(program(command, a, b))
        self.a, self.b = Wire.at(a), Wire.at(b)
        stack.callback(self.a.close)
        stack.callback(self.b.close)

    def round(self) -> tuple[int, int]:
        """Nanoseconds one way for the command, and there and back with a 6-byte answer."""
        time.sleep(SETTLE)
        begun = time.perf_counter_ns()
        self.a.write(COMMAND)
        data = self.b.read()
        one_way = time.perf_counter_ns() - begun
        self.b.count(len(COMMAND), data)
        self.b.write(b"\r\nOK\r\n")
        data = self.a.read()
        both = time.perf_counter_ns() - begun
        self.a.count(6, data)
        return one_way, both


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """All of it, interleaved."""
    samples: dict[str, list[int]] = {"bridge: translated": [], "bridge: answered locally": []}
    with ExitStack() as stack:
        bridge = Bridge(stack, folder)
        relays = {name: Relay(stack, folder, name) for name in ("socat", "trio") if name != "socat" or shutil.which("socat")}
        for name in relays:
            samples |= {f"{name} relay: one way": [], f"{name} relay: round trip": []}
        for _ in range(rounds):
            samples["bridge: translated"].append(bridge.translated())
            samples["bridge: answered locally"].append(bridge.local())
            for name, relay in relays.items():
                one_way, both = relay.round()
                samples[f"{name} relay: one way"].append(one_way)
                samples[f"{name} relay: round trip"].append(both)
    result: dict[str, Any] = {name: microseconds(values) for name, values in samples.items()}
    p50 = result["bridge: translated"]["p50_us"]
    for name in relays:
        for way in ("one way", "round trip"):
            row = result[f"{name} relay: {way}"]
            row["bridge_p50_is_times"] = round(p50 / row["p50_us"], 2)
    return result
