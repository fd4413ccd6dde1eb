"""A stream link with a bounded queue in front of it: what is committed here is carried below by the link's own task.

    committed, queue not empty   a chunk below: all that is here, at most what a send below takes; then the next
    end of our side asked for    behind the queue
    closed by its owner          the queue is flushed within FLUSH, then the link below is closed
    a chunk fails                what is in the queue is lost, told and counted; the link has that condition

How it is read is in `bridge.emulation.ack_reading`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog
import trio

from bridge.emulation.ack_reading import AckReading
from bridge.emulation.ack_sending import AckSending
from bridge.model import Capability, Condition, Delivered
from bridge.network import LinkLost, NetworkError

if TYPE_CHECKING:
    from bridge.network import Network, StreamLink

__all__ = ["QUEUE", "AckLink"]

log = structlog.get_logger("bridge.ack")

# Bytes of one link that wait for the module, committed or not: one send of the longest kind (8192) on its way, one
# coming in.  Also the most that a host was told is sent and that may be lost.
QUEUE = 16384
PIECE = 1024  # bytes of one `write` below
FLUSH = 30.0  # seconds that a closed link's queue may take: all of it at 9600 bit/s, with some guards
AGAIN = 0.5  # seconds before a chunk is tried again that would pull in more than its host has left room for
PATIENCE = 60.0  # seconds of that, without a byte carried


class Eof(Enum):
    """Where the end of our side is."""

    NONE = auto()
    WANTED = auto()
    SENT = auto()


class AckLink(AckReading):
    """See the module.  ``ended(link, lost, in_flight)`` is called when committed bytes are lost, and when it is over."""

    def __init__(self, below: StreamLink, network: Network, ended: Callable[[AckLink, int, int], None]) -> None:
        super().__init__(below)
        self.over = trio.Event()  # the link below is closed
        self.peak = 0  # the most bytes that ever waited here
        self._network = network  # the one below: its limits may change
        self._ended = ended
        self._queue = bytearray()
        self._in_flight = 0  # bytes of the queue that the module may have
        self._sending: AckSending | None = None
        self._condition: Condition | None = None
        self._lost = False  # no byte will be carried any more
        self._eof = Eof.NONE
        self._eof_refused: NetworkError | None = None
        self._carrying = trio.CancelScope()
        self._waits_for_room = False
        self._changed = trio.Event()

    # --- sending ---

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]  # worked out, not stored
        """Why it ended: our own reason where we have one."""
        return self._condition or self.below.condition

    @property
    def queued(self) -> int:
        """Committed bytes that the module has not taken."""
        return len(self._queue)

    def sending(self, total: int) -> AckSending:
        """See StreamLink.  NetworkError ``too-long`` above QUEUE, whatever the Network below takes."""
        if total < 1:
            raise ValueError("a send has at least one byte")
        self.check_writable()
        if self._sending is not None:
            raise trio.BusyResourceError("another send is under way")
        if total > QUEUE:
            raise NetworkError(Condition.TOO_LONG, f"{total} bytes, at most {QUEUE}")
        self._sending = AckSending(self, total)
        return self._sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Trio's contract knows no greatest size: more than QUEUE goes as several counted sends."""
        if self._sending is not None or self._waits_for_room:
            raise trio.BusyResourceError("another send is under way")
        self.check_writable()
        if not data:
            await trio.lowlevel.checkpoint()
        with memoryview(data) as view:
            for start in range(0, len(view), QUEUE):
                await super().send_all(view[start : start + QUEUE])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the queue has room."""
        if self._sending is not None or self._waits_for_room:
            raise trio.BusyResourceError("another task is sending")
        self._waits_for_room = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self.check_writable()
                if self.room():
                    return
                await self.changed()
        finally:
            self._waits_for_room = False

    async def send_eof(self) -> None:
        """Behind what was committed; returns when it was done.  Idempotent.  Cancelled, it is done all the same."""
        if self._sending is not None or self._waits_for_room:
            raise trio.BusyResourceError("a send is under way")
        await trio.lowlevel.checkpoint()
        if self._eof is Eof.NONE:
            self.check_writable()
            self._eof = Eof.WANTED
            self._wake()
        while self._eof is Eof.WANTED:
            if self._closed:
                raise trio.ClosedResourceError("this link was closed")
            if self._lost:
                raise LinkLost(self.condition or Condition.ABORTED)
            await self.changed()
        if self._eof_refused is not None:
            raise self._eof_refused

    def check_writable(self) -> None:
        """Whether more can be committed.  After the peer's FIN it can where the Network below has half-closed links."""
        if self._closed:
            raise trio.ClosedResourceError("this link was closed")
        if self._condition is not None:
            raise LinkLost(self._condition, Delivered.NONE)
        if self._eof is not Eof.NONE:
            raise trio.ClosedResourceError("our side is closed")
        halves = Capability.HALF_CLOSE in self._network.limits.capabilities
        if self.below.condition not in {None, Condition.PEER_CLOSED if halves else None}:
            raise LinkLost(self.below.condition or Condition.ABORTED, Delivered.NONE)

    def room(self) -> int:
        """Bytes that may still come in."""
        held = 0 if self._sending is None else len(self._sending.held)
        self.peak = max(self.peak, len(self._queue) + held)
        return QUEUE - len(self._queue) - held

    def commit(self, data: bytes) -> None:
        """For AckSending: all of it was held, so there is room."""
        alphabet = self._network.limits.alphabet
        unfit = None if alphabet is None else next((byte for byte in data if byte not in alphabet), None)
        if unfit is not None:
            raise NetworkError(Condition.BAD_ARGUMENT, f"this module cannot carry a byte of value {unfit}")
        self._queue += data
        self._wake()

    def settled(self, sending: AckSending) -> None:
        """The next send may begin; who still writes to this one learns that it is over."""
        if self._sending is sending:
            self._sending = None
            self._wake()

    # --- the end ---

    async def aclose(self) -> None:
        """Flush within FLUSH, close, and return when that is done.  Cancelled, it goes on behind."""
        if not self._closed:
            if self._sending is not None:
                self._sending.abort()
            self._close_reading()
            self._condition = self.condition or Condition.LINK_CLOSED
            self._carrying.deadline = trio.current_time() + FLUSH
            self._wake()
        await self.over.wait()
        await trio.lowlevel.checkpoint()

    async def flushed(self) -> None:
        """Until nothing waits here."""
        while self._queue and not self.over.is_set():
            await self.changed()

    def give_up(self, why: Condition, *, cut: bool) -> None:
        """No more is carried; ``cut``: nor read, and the link below is closed."""
        lost, in_flight = len(self._queue), self._in_flight
        self._queue.clear()
        self._in_flight = 0
        self._lost = True
        self._condition = why  # also where the peer had closed in order: this is what its host has to know
        self._carrying.cancel()
        if cut:
            self._cut_reading()
        self._wake()
        self._ended(self, lost, in_flight)

    async def changed(self) -> None:
        """Until something about it is different."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # --- the link's own task ---

    async def carry(self) -> None:
        """Carry what is committed until the link is closed, and close the one below."""
        try:
            with self._carrying:
                await self._carry()
            if self._queue:
                self.give_up(Condition.ABORTED, cut=True)  # closed, and it took too long
            while not (self._closed or self._cut):
                await self.changed()
            await self._close_below()
        finally:
            self.over.set()
            if self._queue or self.condition is None:  # the bridge ends, and nobody would carry what is still committed
                self.give_up(Condition.LINK_CLOSED, cut=True)
            self._ended(self, 0, 0)
            self._lost = True
            self._wake()

    async def _carry(self) -> None:
        while not self._lost:
            try:
                if self._queue:
                    await self._carry_chunk()
                elif self._eof is Eof.WANTED:
                    await self._carry_eof()
                elif self._closed:
                    return
                else:
                    await self.changed()
            except LinkLost as lost:
                if lost.delivered is Delivered.NONE:
                    self._in_flight = 0
                self.give_up(lost.condition, cut=self.below.condition is None)
            except NetworkError as error:
                log.warning("refused below", peer=str(self.peer), error=str(error))
                self.give_up(error.condition, cut=True)
            except (trio.ClosedResourceError, trio.BusyResourceError):
                self.give_up(Condition.ABORTED, cut=True)
            except Exception:  # of one link, never of the bridge
                log.exception("carrying", peer=str(self.peer))
                self.give_up(Condition.ABORTED, cut=True)

    async def _carry_chunk(self) -> None:
        """As much as there is: the larger, the fewer turns of the module's line."""
        until = trio.current_time() + PATIENCE
        while True:
            count = min(len(self._queue), self._network.limits.send_size)
            chunk = bytes(self._queue[:count])
            try:
                with self.below.sending(count) as sending:
                    self._in_flight = count
                    for start in range(0, count, PIECE):
                        await sending.write(chunk[start : start + PIECE])
                    await sending.commit()
            except NetworkError as error:
                self._in_flight = 0  # nothing of it went out
                if error.condition is not Condition.RECEIVE_BUFFER_FULL or trio.current_time() >= until:
                    raise
                if self._closed:  # its host will not read it any more
                    self.below.take(self.below.waiting())
                await trio.sleep(AGAIN)
                continue
            self._in_flight = 0
            del self._queue[:count]
            self._wake()
            return

    async def _carry_eof(self) -> None:
        try:
            await super().send_eof()
        except NetworkError as error:  # nothing happened, and the link lives
            self._eof, self._eof_refused = Eof.NONE, error
        else:
            self._eof, self._eof_refused = Eof.SENT, None
        self._wake()

    async def _close_below(self) -> None:
        try:
            await self.below.aclose()
        except (NetworkError, LinkLost, trio.ClosedResourceError, trio.BusyResourceError) as error:
            log.debug("close", peer=str(self.peer), error=str(error))
        except Exception:
            log.exception("close", peer=str(self.peer))
