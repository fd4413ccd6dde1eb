"""What the modem holds under one (protocol, index), as the driver sees it.

A socket never touches the wire.  It says what it wants (bytes to go out, room for what comes in, to be closed) and the
driver's task sees to it.  Streams and datagrams differ in what they do with the bytes of a visit, not in how they are
visited; name lookups and servers are never visited, but they hold an index too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from bridge.driving.handles import Handle
from bridge.model import Condition, Endpoint
from bridge.wire.dle import encode, whole

PIECE = 2048  # bytes of a send between two looks at who else wants the wire
UDP, TCP, SERVER = 1, 2, 3  # WIP's protocol numbers
Key = tuple[int, int]  # (protocol, index) is the identity: 1,7 and 2,7 are two sockets


class Outgoing:
    """The bytes of one send on their way to the wire."""

    def __init__(self, total: int, *, coded: bool = False) -> None:
        self.total = total  # bytes of payload, as all counts but `out`
        self.given = 0  # by the caller
        self.out = 0  # bytes on the wire, as the data mode writes them
        self._coded = coded  # ETX and DLE are escaped
        self.touched = False  # the wire has begun with it: some bytes may have left, however few are counted yet
        self.finished = False  # drained and settled
        self.failed: Condition | None = None  # refused before any byte; the link lives
        self.starved = False  # the wire has waited for its bytes: the host writes more slowly
        self.wanted = True  # somebody waits for its outcome
        self.begun = trio.current_time()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._held = 0
        self._changed = trio.Event()

    @property
    def pending(self) -> int:
        """Bytes that wait to go out, as the data mode writes them, without those that wait for what follows them."""
        return self._waiting - self._held

    @property
    def waiting(self) -> int:
        """Bytes given and not on the wire."""
        return self._waiting

    @property
    def whole(self) -> bool:
        """Everything announced is on the wire."""
        return self.given == self.total and not self._waiting

    def give(self, piece: bytes) -> None:
        """More bytes."""
        self.given += len(piece)
        wire = encode(piece) if self._coded else piece
        self._pieces.append(wire)
        self._waiting += len(wire)
        self._held = 0

    def next_piece(self, most: int = PIECE) -> bytes:
        """What waits, up to ``most`` bytes (at least 2); a DLE and what it escapes stay together."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.touched = True
        if len(data) > most:
            cut = whole(data[:most]) if self._coded else most
            self._pieces.append(data[cut:])
            data = data[:cut]
        return data

    def put_back(self, data: bytes, *, held: bool) -> None:
        """What the wire did not take.  ``held``: it must not be offered again before more bytes follow."""
        if data:
            self._pieces.appendleft(data)
        self._held = len(data) if held and len(self._pieces) <= 1 else 0

    def went_out(self, count: int) -> None:
        """So many of them are on the wire."""
        self.out += count
        self._waiting -= count
        self.starved = self.starved or (self.given < self.total and not self._waiting)
        self.wake()

    def finish(self) -> None:
        """The modem took it all."""
        self.finished = True
        self.wake()

    def drop(self) -> None:
        """What has not gone out never will."""
        self._pieces.clear()
        self._waiting = self._held = 0

    async def changed(self) -> None:
        """Until something about it is different."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()
        self._changed = trio.Event()


class Socket(Handle):
    """The driver's view of one socket."""

    protocol = 0
    mode = ""  # the table's value with its data mode
    own_words: tuple[str, ...] = ()  # what the modem may say in its data mode without the socket having ended

    def __init__(self, index: int, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.index = index
        self.span = range(0)  # of a server: the indexes of what it spawns
        self.server: Socket | None = None  # the one that spawned it: its range stays reserved while this is open
        self.asked = False  # a create went out: the modem may hold something under this index
        self.created = False  # the modem took the create: its URCs belong to this socket, no predecessor's do
        self.ready = False  # the modem said that it can be used
        self.answered = trio.Event()  # the create has an outcome: ready, or `failure`
        self.failure: Condition | None = None
        self.detail = ""
        self.aborted = False  # the modem ended the data mode itself, in a way that no payload can imitate
        self.eof_sent = False  # our side is closed, the peer may go on
        self.unsure = False  # the modem does not tell what it holds: a visit would show
        self.searched = False  # such a visit was due after the FIN
        self.visited_at = self.last_out = float("-inf")  # when a visit ended; when the last byte of a send went out
        self.fin = False  # the modem said the peer closed; its last bytes may still be in the modem
        self.unpolled = False  # fin seen, and nobody has asked since what is left
        self.again = False  # the modem gave its index away before it said OK to the close: it is closed once more
        self.current: Outgoing | None = None

    @property
    def key(self) -> Key:
        """Its identity."""
        return self.protocol, self.index

    @property
    def live(self) -> bool:
        """It can be used, as far as anybody knows."""
        return self.ready and self.condition is None

    @property
    def pending_create(self) -> bool:
        """A create whose outcome is only heard in command state."""
        return self.created and not self.ready and self.condition is None

    @property
    def owes_outcome(self) -> bool:
        """The modem has not said what came of the create, whether or not somebody still waits for it."""
        given_up = self.condition is not None and self.failure is self.condition
        return self.created and not self.ready and (given_up or not self.answered.is_set())

    # --- what the modem says ---

    def was_created(self) -> None:
        """The modem took the create.  Called while its OK is read: what follows in the same read is ours."""
        self.created = True

    def got_ready(self) -> None:
        """The modem said that it can be used."""
        self.ready = True
        self.answered.set()

    def refuse(self, condition: Condition, detail: str) -> None:
        """The modem said that it cannot be had."""
        if not self.answered.is_set():
            self.failure, self.detail = condition, detail
            self.answered.set()

    def announce(self, count: int, source: Endpoint | None) -> None:
        """The modem holds bytes for it."""

    def forget_announced(self) -> None:
        """The modem is about to be asked what it holds."""

    def end(self, condition: Condition) -> None:
        """See Handle."""
        if self.condition is None:
            super().end(condition)
            self.refuse(condition, "")
            if self.current is not None:
                self.current.wake()

    # --- visits ---

    @property
    def announced(self) -> int:
        """Bytes the modem is known to hold."""
        return 0

    @property
    def buffered(self) -> int:
        """Bytes in our buffer."""
        return 0

    @property
    def wants_in(self) -> bool:
        """The modem holds something for it, and there is room here."""
        return False

    @property
    def wants_out(self) -> bool:
        """A send has something for the wire."""
        return self.current is not None and bool(self.current.pending)

    @property
    def no_room(self) -> bool:
        """A visit could pull in more than there is room for, so not even a send may begin one."""
        return False

    @property
    def full(self) -> bool:
        """A visit must end, because it pulls in what there is no room for."""
        return False

    @property
    def work(self) -> bool:
        """A visit would be of use."""
        return self.live and not self.no_room and (self.wants_out or self.wants_in or self.unsure)

    def deliver(self, data: bytes) -> None:
        """Bytes of a visit."""

    def taken(self) -> None:
        """The modem took the send that went out."""
        if self.current is not None:
            self.current.finish()

    def idle(self) -> None:
        """Nothing came for a while in a visit: what has an end of its own is whole."""

    def left(self) -> None:
        """The visit is over, and the modem was in data mode to its end."""

    def shut_down(self) -> None:
        """The modem said so while it was mapped: no more will come from the peer, and nothing is left in the modem."""
