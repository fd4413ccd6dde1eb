"""What the module has to say against its host: one line for each rule that was broken."""

from __future__ import annotations

import time

MOST = 50  # breaches that are told: one mistake may be made with every command


class Findings:
    """Facts of one run, each with its moment.  ``notes`` are what happened; ``broken`` is what must not happen."""

    def __init__(self):
        self._began = time.monotonic()
        self.broken = []
        self.notes = []

    def _now(self):
        return f"{time.monotonic() - self._began:8.3f}"

    def note(self, text):
        self.notes.append(f"{self._now()}  {text}")

    def breach(self, text):
        if len(self.broken) < MOST:
            self.broken.append(f"{self._now()}  {text}")
        self.notes.append(f"{self._now()}  BREACH {text}")


class Numbers:
    """What the host may know of the con_ids: it must never address one it was not told of, or was told is gone."""

    RACE = 0.15  # seconds after an unsolicited end in which a command may have been on its way

    def __init__(self, findings):
        self._findings = findings
        self._told = set()
        self._gone = {}  # number: when its end was told
        self._silent = set()  # numbers that a silent reset took: the host learns it by addressing one
        self._learns_until = 0.0

    def told(self, number):
        """The host knows this number now."""
        self._told.add(number)
        self._gone.pop(number, None)
        self._silent.discard(number)

    def gone(self, number):
        """The host deleted it, or was told of its end."""
        if number in self._told:
            self._told.discard(number)
            self._gone[number] = time.monotonic()

    def forgotten(self, *, announced):
        """The module was reset: everything is gone, whether the host can know it or not."""
        if announced:
            for number in list(self._told):
                self.gone(number)
        else:
            self._silent |= self._told
            self._told.clear()

    def addressed(self, number, command):
        if number in self._told:
            return
        if number in self._silent:  # each once: the answer tells it
            self._silent.discard(number)
            self._gone[number] = time.monotonic()
            return
        if time.monotonic() - self._gone.get(number, 0.0) > self.RACE:
            why = "after its end" if number in self._gone else "never told"
            self._findings.breach(f"{command} addresses con_id {number} {why}")
