"""The second way out of data mode: our DTR, for a fifth of a second (``&D1``; Multi-Tech S000478 p.30 and p.106).

Nobody can see whether the cable has that wire.  So it is *proved* once, at the first visit: the modem says OK to the
pulse, and then nothing to an escape, which a modem that is still mapped would answer.  Until then, and where the proof
fails, visits end by the escape.  A modem that leaves data mode without an OK counts as one without DTR: its silence
would have to be broken by a command, which a mapped socket would send to its peer.

Nothing is tried before the modem has taken ``&D1``: by the default of some, a pulse closes every socket.
"""

from __future__ import annotations

from enum import Enum

import trio

from bridge.ports import Port, Wire
from bridge.tables import Profile
from bridge.trace import Trace

TRIES = 3  # pulses that had no effect, after which the wire counts as absent


class Proof(Enum):
    """What is known of the wire."""

    NONE = "not tried"
    WORKS = "works"
    ABSENT = "absent"


class Dtr:
    """Our DTR on one port."""

    def __init__(self, port: Port, profile: Profile, trace: Trace) -> None:
        self._port = port
        self._profile = profile
        self._trace = trace
        self._failures = 0
        self.allowed = False  # the modem keeps its sockets when DTR drops
        # A port that shows the other side's wires has wires of its own.
        self.proof = Proof.NONE if port.wires - {Wire.BREAK} else Proof.ABSENT

    @property
    def usable(self) -> bool:
        """Whether a pulse is worth a try."""
        return self.allowed and self.proof is not Proof.ABSENT

    @property
    def works(self) -> bool:
        """Whether no guard is due before a pulse."""
        return self.allowed and self.proof is Proof.WORKS

    async def drop(self) -> None:
        """Off and on again, whatever happens in between.  Raises PortLost."""
        self._trace.note("dtr", f"pulse, {self.proof.value}")
        try:
            await self._port.set_lines(dtr=False)
            await trio.sleep(self._profile.seconds("dtr_pulse"))
        finally:
            with trio.CancelScope(shield=True):
                await self._port.set_lines(dtr=True)

    def worked(self) -> None:
        """The modem said OK to it, and was in command state."""
        self._failures = 0
        self.proof = Proof.WORKS

    def failed(self) -> None:
        """It had no effect.  One that worked before is proved anew."""
        self._failures += 1
        gone = self.proof is Proof.NONE or self._failures >= TRIES
        self.proof = Proof.ABSENT if gone else Proof.NONE
        self._trace.note("dtr", f"no effect: {self.proof.value}")
