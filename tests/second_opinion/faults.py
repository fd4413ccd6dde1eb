"""What goes wrong, by seed: each a chance per occasion, all off unless asked for."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

NOISE = (
    b"[WLAN-A] ratelimited\r\n",
    b"[MEM] After do cmd, available heap 101234\r\n",
    b"\r\n#\r\n",
    b"Connect to Server successful!\r\n",
    b"Interface 0 IP address : 127.0.0.1\r\n",
    b"[atcmd_lwip] ok\r\n",
)


@dataclass
class Faults:
    """Chances from 0 to 1, and seconds."""

    seed: int = 0
    lose_command: float = 0.0  # per command: it never happened
    lose_reply: float = 0.0  # per command: it happened, nothing is printed
    slow: float = 0.0  # per command: it takes up to `slowest` seconds more
    slowest: float = 1.5
    gap: float = 0.0  # per two prints of one reply: others may print between them
    noise: float = 0.0  # per reply: a line of the log before or after it
    late: float = 0.0  # per open: its second line comes up to `latest` seconds late
    latest: float = 3.0
    closes: float = 0.0  # per command: the module drops one of its connections
    reset: float = 0.0  # per command: a reset in the middle of it
    silent: float = 0.5  # of the resets: no banner
    watermark: float = 0.0  # per look at a raw send: it is told to slow down, and to go on
    mute: float = 0.0  # per command: nothing is heard or said for up to `mutest` seconds
    mutest: float = 3.0
    spare: tuple[str, ...] = ()  # commands that are left alone
    rng: random.Random = field(init=False)

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        self.quiet = True  # until `begin`: a bring-up without trouble

    def begin(self):
        self.quiet = False

    def end(self):
        self.quiet = True

    def strikes(self, name, command=""):
        """Whether this fault happens now."""
        chance = getattr(self, name)
        if self.quiet or not chance or command in self.spare:
            return False
        return self.rng.random() < chance

    def pick(self, most):
        return self.rng.uniform(0, most)

    def noise_line(self):
        return self.rng.choice(NOISE)
