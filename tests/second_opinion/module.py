"""One module: its power, its resets, and how a line becomes a command.  `s1.S1`, `s1b.S1b` and `s2.S2` are whole ones."""

from __future__ import annotations

import re
import time

from .console import Console
from .faults import Faults
from .findings import Findings, Numbers
from .loop import Loop, Pause
from .pool import Pool
from .station import Station
from .uart import Uart

BIG_PRINT = 1024  # bytes: a print of so many or more vanishes
MOST_ARGUMENTS = 22
FORGETS = 1.0  # seconds in which the Wi-Fi of a module that was reset comes back by itself


def atoi(text):
    """C's: leading blanks, a sign, digits; 0 where there are none."""
    found = re.match(r"\s*([+-]?\d+)", text)
    return int(found[1]) if found else 0


def printable(data):
    """What a print of a C string gives of these bytes."""
    return data.partition(b"\0")[0]


class Module(Station):
    """What all generations share.  ``commands``: name to a generator method that takes the text after `=`, or None."""

    FIRST = 1  # the lowest con_id
    BANNER = b"atio_uart_init @38400bps\n"
    SENDS = re.compile(rb"AT\+SKTSEND=\d+,(\d+)")  # the con_id of a send

    def __init__(self, path, *, editor="A", baud=460800, faults=None, joined=True, pause=1.0, size=10):
        self.faults = faults or Faults()
        self.findings = Findings()
        self.numbers = Numbers(self.findings)
        self.loop = Loop()
        self.pool = Pool(self.loop, self.FIRST, size)
        self.pause = pause  # seconds from an accepted open to its connect
        self.auto = False
        self.opening = {}  # what is being opened: its task
        self.resets = 0
        self._down = False
        self._lost = False
        self._muted = bytearray()
        self._tasks = []
        Station.__init__(self, joined)
        self.commands = {f"AT+{name[4:].upper()}": getattr(self, name) for name in dir(self) if name.startswith("at__")}
        self.console = Console(self.loop, self.findings, editor, self._run)
        self.uart = Uart(self.loop, path, baud, self.faults.rng)
        self.uart.receive = self._receive

    def __enter__(self):
        self.loop.start()
        return self

    def __exit__(self, *_):
        self.loop.stop()
        self.pool.clear()
        self.uart.close()
        assert self.loop.error is None, self.loop.error

    # Bytes and prints

    def _receive(self, data):
        if self._down:
            return
        if self.uart.mute:
            self._muted += data
            return
        self.console.feed(data)

    def say(self, *prints):
        """Prints of a task: others may print between them."""
        for at, text in enumerate(prints):
            if at and self.faults.strikes("gap"):
                yield Pause(self.faults.pick(0.015))
            if len(text) >= BIG_PRINT:
                self.findings.note(f"a print of {len(text)} bytes vanished")
                continue
            yield from self.uart.print(text)

    def reply(self, *prints):
        """Prints of the running command."""
        if not self._lost:
            yield from self.say(*prints)

    def background(self, work):
        self._tasks = [task for task in self._tasks if not task.done]
        self._tasks.append(self.loop.spawn(work))
        return self._tasks[-1]

    # Commands and what befalls them

    def _run(self, line):
        name, mark, rest = line.decode("latin-1").partition("=")
        handler = self.commands.get(name)
        self._lost = False
        if handler is None:
            self.findings.note(f"unknown: {line!r}")
            return
        if self.faults.strikes("mute", name):
            self._silent(line)
            self.background(self._be_mute(self.faults.pick(self.faults.mutest)))
            return
        if self.faults.strikes("lose_command", name):
            self.findings.note(f"lost: {line!r}")
            self._silent(line)
            return
        if self.faults.strikes("lose_reply", name):
            self.findings.note(f"no reply to {line!r}")
            self._lost = True
        if self.faults.strikes("slow", name):
            yield Pause(self.faults.pick(self.faults.slowest))
        if self.faults.strikes("reset", name):
            self.reset(self.faults.pick(0.05), silent=self.faults.strikes("silent"))
        if self.faults.strikes("closes", name):
            self.background(self._close_one(self.faults.pick(0.05)))
        if self.faults.strikes("noise"):
            yield from self.say(self.faults.noise_line())
        yield from handler(rest if mark else None)
        if self._lost:
            self._silent(line)
        if self.faults.strikes("noise"):
            yield from self.say(self.faults.noise_line())

    def _silent(self, line):
        """This line gets no answer: its host must not say the same again where that does harm."""
        self.console.excused = True
        if (found := self.SENDS.match(line)) and (connection := self.pool.all.get(int(found[1]))):
            connection.silent_send = line

    def _be_mute(self, seconds):
        self.findings.note(f"mute for {seconds:.2f} s")
        self.uart.mute = True
        yield Pause(seconds)
        self.uart.mute = False
        for line in bytes(self._muted).split(b"\r\n"):
            self._silent(line)
        self._muted.clear()
        self.findings.note("no longer mute")

    def mute(self, seconds):
        """From any thread."""
        self.loop.call(lambda: self.background(self._be_mute(seconds)))

    def _close_one(self, after):
        yield Pause(after)
        alive = [one for one in self.pool.all.values() if one.kind == "tcp" and one.role != "server" and not one.dead]
        if alive:
            one = self.faults.rng.choice(alive)
            self.findings.note(f"the module drops con_id {one.number}")
            one.close(hard=True)

    # Resets

    def reset(self, after=0.0, *, silent=False, boot=0.4):
        self.loop.spawn(self._reset(after, silent, boot))

    def _reset(self, after, silent, boot):
        yield Pause(after)
        if self._down:
            return
        self.findings.note(f"reset, {'silent' if silent else 'with a banner'}")
        self.resets += 1
        self._down = True
        for task in [*self._tasks, *self.opening.values()]:
            self.loop.kill(task)
        self.uart.mute = False
        self._muted.clear()
        self._tasks.clear()
        self.opening.clear()
        self.console.reset()
        self.pool.clear()
        self.auto = False
        if silent:
            self.numbers.forgotten(announced=False)
        yield Pause(boot)
        if not silent:
            yield from self.uart.print(self.BANNER)
            self.numbers.forgotten(announced=True)
        self._down = False
        if self.joined:
            self.background(self._rejoin(self.faults.pick(FORGETS)))

    # What the host owes at the end

    def left_over(self):
        """Connections that are dead and that the host has not deleted, and sockets that it still has."""
        return {one.number: ("dead" if one.dead else one.role) for one in self.pool.all.values()}

    def clean(self, seconds=20.0):
        """Wait until the host deleted all connections; breaches are what stays."""
        until = time.monotonic() + seconds
        while self.pool.all and time.monotonic() < until:
            time.sleep(0.05)
        for number, what in self.left_over().items():
            self.findings.breach(f"con_id {number} ({what}) stays")
