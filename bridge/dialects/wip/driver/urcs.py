"""What the modem says unasked, and what it means for whom.

A line is a socket's only if the modem has taken that socket's create: what was said of a predecessor under the same
index, and what the modem made up, belongs to nobody.  A bare error with no command pending has no index: it belongs to
the one create that is pending; without one, the sockets are asked which of them is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bridge.dialects.wip.driver.arbiter import Arbiter
from bridge.dialects.wip.driver.modem import Modem
from bridge.dialects.wip.driver.pinging import Pinger
from bridge.dialects.wip.driver.registry import Registry
from bridge.dialects.wip.driver.sockets import TCP, Socket
from bridge.dialects.wip.driver.watch import Watch, Who
from bridge.driving.trouble import ModuleLost
from bridge.model import Condition, Endpoint
from bridge.tables import Profile
from bridge.trace import Trace
from bridge.wire.addresses import dotted

Fields = dict[str, int | str]

_LOST = {Condition.PEER_CLOSED, Condition.LINK_RESET, Condition.CONNECT_TIMEOUT}  # what a bare error may say of a link


class Urcs:
    """Called by the reader, line by line; never waits."""

    def __init__(self, profile: Profile, trace: Trace, counters: Counter[str], sockets: Registry) -> None:
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._sockets = sockets
        self._booted = {int(event) for event in profile.words("boot_events").split()}
        self._bare_failure = bool(profile.number("bare_failure"))
        self.bearer = False  # the modem said that it is up
        self.bearer_fell = False  # and after that, that it is not
        self._handlers: dict[str, Callable[[Fields], None]] = {
            "ready": self._ready,
            "failed": self._failed,
            "accept": self._accept,
            "data": self._data,
            "datagram": self._datagram,
            "peer_close": self._peer_close,
            "bearer": self._bearer,
            "boot": self._boot,
            "carrier": self._carrier,
            "ping": self._ping,
            "echo": self._echo,
            "bare": self._bare,
            "unexplained": self._unexplained,
        }

    def serve(
        self, modem: Modem, arbiter: Arbiter, accepted: Callable[[int, int], None], pinger: Pinger, *, who: Who, watch: Watch
    ) -> None:
        """Whom to tell."""
        self._accepted = accepted
        self._modem = modem
        self._arbiter = arbiter
        self._pinger = pinger
        self._who = who
        self._watch = watch

    def creating(self) -> bool:
        """Whether an error may be the outcome of a create."""
        return self._bare_failure and any(socket.owes_outcome for socket in self._sockets)

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
        if not self._modem.up:  # by a server that the bring-up closes, or has closed
            self._trace.note("accept-refused", f"{fields}: nobody listens")
            self._sockets.stray(int(fields["index"]))
            return
        self._accepted(int(fields["server"]), int(fields["index"]))

    def _data(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live:
            socket.announce(int(fields["count"]), None)

    def _datagram(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live:
            port = str(fields["port"])  # some firmware puts it in quotes
            source = Endpoint(str(fields["peer"]), int(port)) if port.isdecimal() and dotted(str(fields["peer"])) else None
            socket.announce(int(fields["count"]), source)

    def _peer_close(self, fields: Fields) -> None:
        if (socket := self._socket(fields)) is not None and socket.live and socket.protocol == TCP:
            socket.fin = socket.unpolled = True

    def _ping(self, fields: Fields) -> None:
        self._pinger.answered(expired=bool(fields["expired"]), milliseconds=int(fields["time"]))

    def _bearer(self, fields: Fields) -> None:
        was, self.bearer = self.bearer, fields["state"] == 1
        self.bearer_fell = not self.bearer and (was or self.bearer_fell)
        if not self.bearer and self._modem.up:
            self._arbiter.trouble = ModuleLost(Condition.BEARER_LOST, "the modem said so")

    def _carrier(self, fields: Fields) -> None:
        """A text that ends a socket, and may do so because the bearer is gone: where no URC tells, it is looked at."""
        self._counters["carrier-texts"] += 1
        self._trace.note("carrier", str(fields["line"]))
        if self._modem.up:
            self._watch.doubt()

    def _boot(self, fields: Fields) -> None:
        self.bearer = False
        if self._modem.up and fields["event"] in self._booted:
            self._arbiter.trouble = ModuleLost(Condition.MODULE_RESET, "it announced a boot")

    def _echo(self, _fields: Fields) -> None:
        self.bearer = False
        self._arbiter.trouble = ModuleLost(Condition.MODULE_RESET, "its echo is on again")

    def _bare(self, fields: Fields) -> None:
        """An error that no command of ours explains."""
        code = int(fields["code"])
        creates = [socket for socket in self._sockets if socket.owes_outcome]
        if self._bare_failure and len(creates) == 1:
            creates[0].refuse(self._profile.condition_of(code, "WIPCREATE"), f"{fields['line']}")
        elif self._pinger.waiting:
            self._pinger.failed(code)
        elif self._bare_failure and self._profile.condition_of(code, "link") is Condition.BEARER_LOST:
            self._carrier(fields)
        elif self._bare_failure and self._profile.condition_of(code, "link") in _LOST and self._modem.up:
            self._trace.note("bare", f"{fields['line']}: which link is gone?")
            self._arbiter.jobs.post(self._who.is_gone)
        else:
            self._unexplained(fields)

    def _unexplained(self, fields: Fields) -> None:
        self._counters["unexplained-results"] += 1
        self._trace.note("unexplained", str(fields["line"]))
        self._arbiter.doubt = self._modem.up
