"""What the modem says unasked, and what it means for whom.

A line is a socket's only if the modem has taken that socket's create: what was said of a predecessor under the same
index, and what the modem made up, belongs to nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bridge.dialects.wip.arbiter import Arbiter
from bridge.dialects.wip.modem import Modem
from bridge.dialects.wip.registry import Registry
from bridge.dialects.wip.sockets import TCP, Socket
from bridge.dialects.wip.trouble import ModemLost
from bridge.model import Condition, Endpoint
from bridge.tables import Profile
from bridge.trace import Trace

Fields = dict[str, int | str]

_BOOTED = {3, 4, 8}  # +WIND events after which everything is forgotten (3 and 4 on GSM, 8 on CDMA)


class Urcs:
    """Called by the reader, line by line; never waits."""

    def __init__(self, profile: Profile, trace: Trace, counters: Counter[str], sockets: Registry) -> None:
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._sockets = sockets
        self.bearer = False  # the modem said that it is up
        self._handlers: dict[str, Callable[[Fields], None]] = {
            "ready": self._ready,
            "failed": self._failed,
            "accept": self._accept,
            "data": self._data,
            "datagram": self._datagram,
            "peer_close": self._peer_close,
            "bearer": self._bearer,
            "boot": self._boot,
            "echo": self._echo,
            "unexplained": self._unexplained,
        }

    def serve(self, modem: Modem, arbiter: Arbiter, accepted: Callable[[int, int], None]) -> None:
        """Whom to tell."""
        self._accepted = accepted
        self._modem = modem
        self._arbiter = arbiter

    def __call__(self, name: str, fields: Fields) -> None:
        """One line that is named so in the table, or by the modem's own rules."""
        self._handlers[name](fields)
        self._modem.wake.set()

    def _socket(self, fields: Fields) -> Socket | None:
        socket = self._sockets.get((int(fields["protocol"]), int(fields["index"])))
        if socket is not None and socket.created:
            return socket
        self._counters["nobodys-urcs"] += 1
        self._trace.note("nobodys", f"{fields}")
        return None

    def _ready(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None:
            socket.got_ready()

    def _failed(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is None:
            return
        code = int(fields["code"])
        if socket.ready:
            socket.end(self._profile.condition_of(code, "link"))
        else:
            socket.refuse(self._profile.condition_of(code, "WIPCREATE"), f"+WIPERROR {code}")

    def _accept(self, fields: Fields) -> None:
        self._accepted(int(fields["server"]), int(fields["index"]))

    def _data(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live:
            socket.announce(int(fields["count"]), None)

    def _datagram(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live:
            socket.announce(int(fields["count"]), Endpoint(str(fields["peer"]), int(fields["port"])))

    def _peer_close(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live and socket.protocol == TCP:
            socket.fin = socket.unpolled = True

    def _bearer(self, fields: Fields) -> None:
        self.bearer = fields["state"] == 1
        if not self.bearer and self._modem.up:
            self._arbiter.trouble = ModemLost(Condition.BEARER_LOST, "the modem said so")

    def _boot(self, fields: Fields) -> None:
        self.bearer = False
        if self._modem.up and fields["event"] in _BOOTED:
            self._arbiter.trouble = ModemLost(Condition.MODULE_RESET, "it announced a boot")

    def _echo(self, _fields: Fields) -> None:
        self.bearer = False
        self._arbiter.trouble = ModemLost(Condition.MODULE_RESET, "its echo is on again")

    def _unexplained(self, fields: Fields) -> None:
        self._counters["unexplained-results"] += 1
        self._trace.note("unexplained", str(fields["line"]))
        self._arbiter.doubt = self._modem.up
