"""``ack = "bridge"``: a send is acknowledged when the bridge has it, not when the module took it.

Between a host's command and its final result there is then no turn of the module's line (a visit with its guards, a
settle time, an answer): the host sends on while what it sent before is carried below in chunks as large as they come,
one visit or one command for each.  The price is what the host's SEND OK means: **the bridge has it**.  A module that
fails, a peer that vanishes, or a bridge that is killed loses bytes of which the host was told SEND OK, at most `QUEUE`
for each link.  Where the bridge sees it, this is never silent: the link ends with the failure's condition (its host
is told CLOSED), and the bytes are counted, logged and in the trace.

A send is held here until it is committed, and only committed bytes go below.  So an aborted send never leaves a part
of itself anywhere, costs the link nothing, and `LinkLost` from a send says that nothing of it was delivered.  Hence
also the greatest send: what the queue holds, whether the Network below takes more at a time or less.

Datagrams are as they are below.  Each is whole by itself and waits for no other, so there is no stream to keep flowing;
and what is wrong with one (too long, nobody to send to) its host can only be told as the final result of its send.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import structlog
import trio

from bridge.emulation.ack_link import QUEUE, AckLink
from bridge.emulation.around import NetworkAround
from bridge.model import Condition, Limits
from bridge.network import Network, NetworkError, StreamLink
from bridge.trace import Trace

__all__ = ["AckNetwork"]

log = structlog.get_logger("bridge.ack")

LAST_FLUSH = 2.0  # seconds at the bridge's own end for what is still here; then the Network below ends


class AckNetwork(NetworkAround):
    """A Network whose sends are acknowledged by the bridge.  Its `run` has a task for each link, and that one sends."""

    def __init__(self, below: Network, trace: Trace) -> None:
        super().__init__(below)
        self.counters: Counter[str] = Counter()
        self._trace = trace
        self._links: dict[AckLink, None] = {}
        self._tasks: trio.Nursery | None = None

    @property
    def limits(self) -> Limits:  # type: ignore[override]  # worked out, not stored
        """Those below, but a send is as long as a queue."""
        return replace(self.below.limits, send_size=QUEUE)

    @property
    def shutdown_grace(self) -> float:
        """See NetworkAround; and our own last flush before it."""
        return super().shutdown_grace + LAST_FLUSH

    def stream_around(self, link: StreamLink) -> AckLink:
        """See NetworkAround.  Raises NetworkError where nobody would carry its bytes."""
        if self._tasks is None:
            raise NetworkError(Condition.WRONG_STATE, "the bridge's acknowledgement does not run")
        around = AckLink(link, self.below, self._ended)
        self._links[around] = None
        self._tasks.start_soon(around.carry)
        return around

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network.  Cancelled, it first gives the links `LAST_FLUSH` for what their hosts were told is sent."""
        failure: NetworkError | None = None
        async with trio.open_nursery() as watch:
            with trio.CancelScope(shield=True) as until_flushed:
                watch.start_soon(self._flush_at_end, until_flushed)
                try:
                    async with trio.open_nursery() as self._tasks:
                        try:
                            await self.below.run(task_status=task_status)
                        except NetworkError as error:
                            failure = error
                        self._tasks.cancel_scope.cancel()
                finally:
                    self._tasks = None
            watch.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _flush_at_end(self, until_flushed: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_FLUSH):
                for link in list(self._links):
                    await link.flushed()
            until_flushed.cancel()

    async def reset(self) -> None:
        """See Network.  A module forgets what it holds, and so do we; what was on its way is broken off."""
        for link in list(self._links):
            if link.queued:
                link.give_up(Condition.LINK_CLOSED, cut=True)
        await self.below.reset()

    def _ended(self, link: AckLink, lost: int, in_flight: int) -> None:
        """A link is over, or has lost bytes (or both, one after the other)."""
        if link.over.is_set():
            self._links.pop(link, None)
        if not lost:
            return
        self.counters["undelivered-links"] += 1
        self.counters["undelivered-bytes"] += lost
        said = f"{link.condition}: {lost} bytes that the host was told are sent, {in_flight} of them on their way"
        self._trace.note("undelivered", f"{link.peer}: {said}")
        log.warning(
            "bytes that the host was told are sent did not reach the module for certain",
            peer=str(link.peer),
            bytes=lost,
            on_their_way=in_flight,
            condition=str(link.condition),
        )
