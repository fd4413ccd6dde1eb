"""Bring up bridges and simulated modems as a user would: `python -m bridge` processes on ptys."""

import os
import re
import signal
import subprocess
import sys
import termios
import tty
from contextlib import asynccontextmanager
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parent.parent.parent
APPEARS = 20.0  # seconds in which a pty must be there: an interpreter's start on a loaded machine
ENDS = 8.0  # seconds after SIGTERM: 5 s are promised where a mapped socket must be left
MODULES = ("local", "wip:c1")


@asynccontextmanager
async def process(link, *arguments):
    """One `python -m bridge ARGUMENTS` that shows the pty `link` when it is ready; ended by SIGTERM."""
    log = link.with_suffix(".log")
    command = [sys.executable, "-bb", "-W", "error", "-m", "bridge", *arguments]
    with log.open("wb") as out:
        child = await trio.lowlevel.open_process(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        with trio.move_on_after(APPEARS):
            while not link.is_symlink() and child.poll() is None:  # noqa: ASYNC110 (it is another process's file)
                await trio.sleep(0.02)
        assert link.is_symlink(), f"no {link.name} from {arguments}:\n{log.read_text()}"
        yield child
        assert child.poll() is None, f"ended by itself with {child.returncode}: {arguments}\n{log.read_text()}"
    except BaseException:
        sys.stderr.write(f"--- {arguments}\n{log.read_text()}\n")
        raise
    finally:
        with trio.CancelScope(shield=True):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            with trio.move_on_after(ENDS) as patience:
                await child.wait()
            if patience.cancelled_caught:
                child.kill()
                await child.wait()
    assert not patience.cancelled_caught, f"did not end within {ENDS} s of SIGTERM: {arguments}\n{log.read_text()}"
    assert child.returncode == 0, f"ended with {child.returncode}: {arguments}\n{log.read_text()}"
    assert not link.is_symlink(), f"{link} was left behind"
    assert "ResourceWarning" not in log.read_text(), f"something was not closed: {arguments}\n{log.read_text()}"


@asynccontextmanager
async def bridge(directory, module, trace=None, *, host="esp-at", keys="", network=("--allow", "127.0.0.0/8")):
    """The pty on which an ESP-AT host finds its module: `local`, or a simulated modem with 1 s guards at 115200.

    ``network`` are the options of whatever owns the gateway's sockets; ``keys`` follow the host's port.
    """
    path, modem = Path(directory) / "host", Path(directory) / "modem"
    upstream = f"{host}@pty:{path}{keys}"
    tracing = ("--trace", str(trace)) if trace else ()
    if module == "local":
        async with process(path, "run", upstream, "local", *network, *tracing):
            yield path
    else:
        async with (
            process(modem, "simulate", f"{module}@pty:{modem},baud=115200", *network),
            process(path, "run", upstream, f"{module}@{modem}", *tracing),
        ):
            yield path


def open_tty(path):
    """A raw terminal as a trio stream."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(descriptor, termios.TCSANOW)
    return trio.lowlevel.FdStream(descriptor)


class Host:
    """A scripted ESP-AT host with several links.  Payload is counted; everything else is lines, kept in order."""

    _IPD = re.compile(rb"\+IPD,(\d),(\d+):")

    def __init__(self, stream):
        self._stream = stream
        self._buffer = b""
        self._news = trio.Event()
        self.said = []  # every line and prompt since the last `forget`
        self._read = 0
        self.received = {}

    async def listen(self, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        while True:
            try:
                data = await self._stream.receive_some(4096)
            except trio.ClosedResourceError:
                return  # the test is over, or has failed for a reason that must not be hidden by this one
            if not data:
                return
            self._buffer += data
            while self._step():
                pass
            self._news.set()
            self._news = trio.Event()

    def _step(self):
        text = self._buffer.lstrip(b"\r\n ")  # the prompt of older firmware has a space behind it
        if found := self._IPD.match(text):
            end = found.end() + int(found[2])
            if len(text) < end:
                self._buffer = text
                return False
            self.received.setdefault(int(found[1]), bytearray()).extend(text[found.end() : end])
            self._buffer = text[end:]
        elif text[:1] == b">":
            self.said.append(">")
            self._buffer = text[1:]
        else:
            line, mark, rest = text.partition(b"\r\n")
            if not mark:
                return False
            self.said.append(line.decode("latin-1"))
            self._buffer = rest
        return True

    async def until(self, ready, seconds, what):
        with trio.move_on_after(seconds):
            while not ready():
                await self._news.wait()
            return
        raise AssertionError(f"{what}: not within {seconds} s; last said {self.said[-8:]}, unread {self._buffer[-80:]!r}")

    async def wait_for(self, *finals, seconds=25.0):
        """The next line that is one of `finals`."""

        def seen():
            while self._read < len(self.said):
                self._read += 1
                if self.said[self._read - 1] in finals:
                    return True
            return False

        await self.until(seen, seconds, f"waiting for {finals}")
        return self.said[self._read - 1]

    def forget(self):
        self.said.clear()
        self._read = 0

    async def command(self, text, seconds=25.0):
        await self._stream.send_all(text.encode() + b"\r\n")
        final = await self.wait_for("OK", "ERROR", seconds=seconds)
        assert final == "OK", f"{text}: {self.said[-12:]}"

    async def send(self, link, data, seconds=25.0):
        await self.command(f"AT+CIPSEND={link},{len(data)}")
        await self.wait_for(">")
        await self._stream.send_all(data)
        final = await self.wait_for("SEND OK", "SEND FAIL", "ERROR", seconds=seconds)
        assert final == "SEND OK", self.said[-6:]
