"""What the module says unasked, and what it means for whom.  Called by the reader, line by line; never waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from bridge.dialects.skt.driver.held import Registry
from bridge.dialects.skt.driver.listener import Listeners
from bridge.dialects.skt.driver.opening import Opener
from bridge.dialects.skt.driver.reader import Data, Loss
from bridge.dialects.skt.driver.rows import Row, row_of
from bridge.dialects.skt.driver.traffic import Traffic
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleLost
from bridge.model import Condition, Endpoint
from bridge.trace import Trace

Fields = dict[str, int | str]


class Urcs:
    """Unsolicited lines."""

    def __init__(self, trace: Trace, counters: Counter[str], registry: Registry) -> None:
        self._trace = trace
        self._counters = counters
        self._registry = registry
        self._arrival = 0  # the server of an arrival whose second line is still to come
        self.rows: list[Row] = []  # of the SKTSTATE that is being answered
        self.tells_arrivals = False  # this build does: nobody need look for them often
        self.look_at_bearer = False  # something was said of it
        self._handlers: dict[str, Callable[[Fields], None]] = {
            "opened": self._opened,
            "opened_guide": self._opened,
            "opened_atp": self._opened,
            "listening": self._listening,
            "listening_guide": self._listening,
            "listening_atp": self._listening,
            "open_failed": self._open_failed,
            "listen_failed": self._listen_failed,
            "failed": self._failed,
            "arrival": self._arrival_begins,
            "arrival_s1b": self._arrival_begins,
            "arrival_s2": self._arrival_whole,
            "arrival_s2_old": self._arrival_whole,
            "row": self._row,
            "row_fd": self._row,
            "row_seed": self._row,
            "ended": self._ended,
            "banner": self._boot,
            "banner_early": self._boot,
            "banner_atp": self._boot,
            "high_water": self._high_water,
            "low_water": self._low_water,
            "wifi_lost": self._bearer,
            "wifi_address": self._bearer,
        }

    def serve(self, wire: Wire, opener: Opener, listeners: Listeners, traffic: Traffic) -> None:
        """Whom to tell."""
        self._wire = wire
        self._opener = opener
        self._listeners = listeners
        self._traffic = traffic
        wire.serve(self, self._data, self._loss)

    def __call__(self, name: str, fields: Fields) -> None:
        """One line that is named so in the table."""
        self._handlers[name](fields)
        self._wire.wake.set()

    def _nobodys(self, why: str) -> None:
        self._counters["nobodys-urcs"] += 1
        self._trace.note("nobodys", why)

    def _opened(self, fields: Fields) -> None:
        self._opener.opened("SKTCLIENT", int(fields["id"]))

    def _listening(self, fields: Fields) -> None:
        self._opener.opened("SKTSERVER", int(fields["id"]))

    def _open_failed(self, fields: Fields) -> None:
        if not self._opener.failed("SKTCLIENT", int(fields["code"])):
            self._nobodys(f"SKTCLIENT failed: {fields['code']}")

    def _listen_failed(self, fields: Fields) -> None:
        current, code = self._opener.current, int(fields["code"])
        mine = current is not None and current.command == "SKTSERVER"
        if self._wire.serving and (not mine or code in self._wire.deaths):
            # A server died, and all its seeds with it: which one, only SKTSTATE tells.
            self._wire.doubt = self._wire.doubt or f"SKTSERVER: {code}"
            self._trace.note("server-died", f"error {code}")
        elif not self._opener.failed("SKTSERVER", code):
            self._nobodys(f"SKTSERVER failed: {code}")

    def _failed(self, fields: Fields) -> None:
        code = int(fields["code"])
        if self._opener.failed("", code):
            return
        if self._wire.serving:
            self._wire.doubt = self._wire.doubt or f"ERROR: {code}"  # the death of a server is as bare as that
        self._nobodys(f"an error that nobody waits for: {code}")

    def _arrival_begins(self, fields: Fields) -> None:
        self.tells_arrivals = True
        self._arrival = int(fields["server"])

    def _arrival_whole(self, fields: Fields) -> None:
        self.tells_arrivals = True
        self._arrived(int(fields["server"]), int(fields["id"]), Endpoint(str(fields["host"]), int(fields["port"])))

    def _row(self, fields: Fields) -> None:
        """A row of SKTSTATE, or the second line of an arrival: an arrival may come between two rows."""
        row = row_of(fields)
        if self._wire.asking == "state":
            server = next((other.id for other in reversed(self.rows) if other.role == "server"), 0)
            self.rows.append(replace(row, server=server))
        held = self._registry.get(row.id)
        if self._arrival and row.role == "seed" and (held is None or held.deleting):
            server_id, self._arrival = self._arrival, 0
            if row.alive:
                self._arrived(server_id, row.id, Endpoint(row.host, row.port))

    def _arrived(self, server_id: int, number: int, peer: Endpoint) -> None:
        if not self._wire.up:
            return
        held = self._registry.get(number)
        if held is not None and held.deleting:
            self._registry.free(held)  # it was free, and had by this peer, before the module said so
        self._listeners.arrived(server_id, number, peer)

    def _ended(self, fields: Fields) -> None:
        if not self._traffic.ended(int(fields["id"]), int(fields["code"])):
            self._nobodys(f"id {fields['id']} ended: {fields['code']}")

    def _boot(self, fields: Fields) -> None:
        if self._wire.up:
            self._wire.trouble = ModuleLost(Condition.MODULE_RESET, "the module said that it has started")

    def _high_water(self, fields: Fields) -> None:
        self._wire.high_water = True

    def _low_water(self, fields: Fields) -> None:
        self._wire.high_water = False

    def _bearer(self, fields: Fields) -> None:
        self.look_at_bearer = True

    def _data(self, data: Data) -> None:
        if self._wire.up:
            self._traffic.pushed(data)

    def _loss(self, loss: Loss) -> None:
        if self._wire.up:
            self._traffic.lost(loss)
