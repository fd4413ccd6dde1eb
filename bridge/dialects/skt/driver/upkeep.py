"""What keeps our picture of the module true: deletions, SKTSTATE, and the way back from a doubt.

After a doubt (an answer that did not come, a payload that did not come whole, an id that the module does not know):
wait until it is quiet, see that it answers, then compare what it holds with what we think it holds.
"""

from __future__ import annotations

from collections import Counter

import trio

from bridge.dialects.skt.driver.asking import Asked
from bridge.dialects.skt.driver.finals import GARBLED
from bridge.dialects.skt.driver.held import Held, Nobodys, Registry
from bridge.dialects.skt.driver.listener import Listeners, Server
from bridge.dialects.skt.driver.opening import Opener
from bridge.dialects.skt.driver.rows import Row
from bridge.dialects.skt.driver.urcs import Urcs
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition, Endpoint
from bridge.tables import Profile
from bridge.trace import Trace

DELETE_TRIES = 5  # SKTDELs of one id in vain before the state of the module counts as unknown
ASK_TRIES = 3  # questions whose answer a payload broke that did not come whole


class Upkeep:
    """Does it, in the driver's task."""

    def __init__(
        self, wire: Wire, profile: Profile, trace: Trace, counters: Counter[str], *, registry: Registry, urcs: Urcs
    ) -> None:
        self._wire = wire
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._registry = registry
        self._urcs = urcs
        self._pushed = str(profile.value["receive"].value) != "read"
        self._looked_at = 0.0

    def serve(self, opener: Opener, listeners: Listeners) -> None:
        """Whom to tell."""
        self._opener = opener
        self._listeners = listeners

    # --- deletions ---

    def to_delete(self) -> Held | None:
        """An id that is to be deleted now."""
        for held in self._registry:
            if isinstance(held, Server) and held.condition is None and self._listeners.to_delete(held):
                held.end(Condition.LINK_CLOSED)
            if held.condition is not None and not (isinstance(held, Server) and self._registry.seeds(held)):
                return held
        return None

    async def delete(self, held: Held) -> None:
        """Raises ModuleLost."""
        try:
            await self.delete_id(held.id)
        except ModuleError as error:
            held.tries += 1
            self._trace.note("delete-refused", f"id {held.id}: {error.code}")
            if held.tries >= DELETE_TRIES:
                raise ModuleLost(Condition.MODULE_ERROR, f"id {held.id} cannot be deleted") from None
            # It is addressed again only where SKTSTATE lists it.
            self._wire.doubt = self._wire.doubt or f"id {held.id} was not deleted"

    async def delete_id(self, number: int) -> None:
        """Raises ModuleError, ModuleLost.  Where the module chooses its ids, 0 would delete everything."""
        if number < self._registry.lowest:
            raise ModuleLost(Condition.MODULE_ERROR, f"id {number} is none that may be deleted")
        held = self._registry.get(number)
        if held is None:
            await self._wire.command("delete", id=number)
            return
        held.deleting = True
        try:
            await self._wire.command("delete", id=number)
        except ModuleError:
            held.deleting = False
            raise
        self._registry.free(held)

    # --- looking ---

    @property
    def look_at(self) -> float:
        """When SKTSTATE is to be asked for what is neither announced nor read: seldom where that is a reset alone."""
        servers = any(isinstance(held, Server) and held.live for held in self._registry)
        unread = self._pushed and len(self._registry) > 0
        if not servers and not unread:
            return float("inf")
        unseen_close = unread and not self._profile.value["tells_close"].value
        often = unseen_close or (servers and not self._urcs.tells_arrivals)
        return self._looked_at + self._profile.seconds("look" if often else "look_reset")

    def look_later(self) -> None:
        """There is something to look for from now on, and no hurry."""
        self._looked_at = trio.current_time()

    async def look(self) -> None:
        """Arrivals that were not announced, and closes."""
        self.look_later()
        await self.compare()

    async def rows(self) -> list[Row]:
        """SKTSTATE.  Raises ModuleLost where it is not answered."""
        await self._ask("state")
        return list(self._urcs.rows)

    async def _ask(self, template: str) -> None:
        for _ in range(ASK_TRIES):
            self._urcs.rows.clear()
            try:
                await self._wire.ask(template)
            except ModuleError as error:
                code = error.code
            else:
                return
            if code != GARBLED:
                break
            await self._settle()
        raise ModuleLost(Condition.MODULE_MUTE, f"no answer to {template}: {code}")

    async def resync(self) -> None:
        """Out of a doubt.  Raises ModuleLost."""
        self._counters["doubts"] += 1
        await self._settle()
        await self._ask("test")
        if not self._wire.finals.named:
            await self._quiet()  # a late OK of before is nobody's
        await self.compare()

    async def _settle(self) -> None:
        """Wait until nothing of before can still come, and read on from there."""
        self._trace.note("doubt", self._wire.doubt)
        await self._quiet()
        spoiled = self._wire.reader.resume()
        if self._pushed:
            for number in spoiled:
                if (held := self._registry.get(number)) is not None:
                    held.end(Condition.DATA_LOST)  # its data were among what nobody could read
        self._wire.doubt = ""

    async def _quiet(self) -> None:
        if not await self._wire.quiet(self._profile.seconds("settle"), self._profile.seconds("settle_most")):
            self._trace.note("not-quiet", "the module goes on; what it pushes meanwhile is lost")

    async def compare(self) -> None:
        """Make our picture that of SKTSTATE.  Raises ModuleLost where the module has forgotten us."""
        before = list(self._registry)
        rows = await self.rows()
        if self._doubtful():
            return
        if any(self._missing(held, rows) for held in before):
            rows = await self.rows()  # a line may have been broken: nobody is given up for one
            if self._doubtful():
                return
        missing = [held for held in before if self._missing(held, rows)]
        self._opener.adopt(rows)
        self._take(rows)
        if missing:
            self._forget(missing)

    def _doubtful(self) -> bool:
        return bool(self._wire.doubt)

    def _missing(self, held: Held, rows: list[Row]) -> bool:
        return self._registry.holds(held) and all(row.id != held.id for row in rows)

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            held = self._registry.get(row.id)
            if held is not None:
                if not row.alive and isinstance(held, Asked):
                    held.end(Condition.PEER_CLOSED)
                elif not row.alive or held.doubted:
                    held.end(Condition.LINK_RESET)
            elif row.role == "seed" and row.alive and (server := self._server_of(row)) is not None:
                self._listeners.arrived(server.id, row.id, Endpoint(row.host, row.port))
            else:
                self._trace.note("left-over", f"id {row.id} ({row.role}) is nobody's; it is deleted")
                self._registry.add(Nobodys(self._wire.wake.set, row.id), row.id)

    def _server_of(self, row: Row) -> Held | None:
        """Whose seed it is: S1 lists it behind its server, S2 by its own id and with its server's port."""
        listening = (held for held in self._registry if isinstance(held, Server) and held.local_port == row.own_port)
        return next(listening, None) or self._registry.get(row.server)

    def _forget(self, missing: list[Held]) -> None:
        """Ids vanish only when they are deleted, when their server dies, or with everything."""
        servers = {held for held in missing if isinstance(held, Server)}
        everything = len(missing) == len(self._registry)
        for held in missing:
            by_itself = held.condition is None and held not in servers and held.server not in servers
            if by_itself and everything:
                raise ModuleLost(Condition.MODULE_RESET, f"it knows nothing of id {held.id} any more")
            self._trace.note("vanished", f"id {held.id}")
            held.end(Condition.LINK_RESET)
            self._registry.free(held)
