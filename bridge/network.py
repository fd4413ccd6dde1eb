"""THE SEAM: what a module offers its host.

An upstream turns a host's bytes into calls on a `Network`; a downstream *is* a `Network` made of a module's
bytes; so is `local`, the gateway's own sockets.  An upstream never knows which of them is below.

The rules that hold here, each because something broke without it:

1. A module's wire is spoken by the driver's own task, never by the caller's.  A cancelled call costs nothing if no
   byte of it went out; otherwise the link is lost and the driver brings the module back to command state itself.
2. Sends are counted: announced, written in pieces, committed.  Leaving a `Sending` without commit aborts it.
3. `commit` returns when the module took the bytes (its table says what "took" means); a later loss is the link's end.
4. Data are pulled (`fetch`), never pushed into unbounded buffers.
5. State changes before links fail; every failure carries its `Condition`.
6. Only `NetworkError`, `LinkLost`, trio's Closed/BusyResourceError and Cancelled cross this line.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import trio

from bridge.model import Condition, Datagram, Delivered, Endpoint, Identity, Limits, Login, Peers, Phase, State

if TYPE_CHECKING:
    from types import TracebackType


class NetworkError(Exception):
    """An operation failed.  ``detail`` is for logs and may name a dialect's number; ``condition`` never does."""

    def __init__(self, condition: Condition, detail: str = "") -> None:
        super().__init__(condition, detail)
        self.condition = condition
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.condition} ({self.detail})" if self.detail else str(self.condition)


class LinkLost(trio.BrokenResourceError):
    """The link is gone.  For a send, ``delivered`` says how much of it may have left."""

    def __init__(self, condition: Condition, delivered: Delivered = Delivered.UNKNOWN) -> None:
        super().__init__(condition, delivered)
        self.condition = condition
        self.delivered = delivered

    def __str__(self) -> str:
        return f"{self.condition}, delivered: {self.delivered}"


class Sending(ABC):
    """ONE counted send.  Use as a context manager: leaving without `commit` aborts.

    NetworkError from `write` or `commit`: no byte of it went out, and the link lives (a payload that the module cannot
    carry, no room for what the send would pull in).
    """

    _done = False

    @abstractmethod
    async def write(self, piece: bytes) -> None:
        """Hand over the next bytes; may wait (back-pressure).  Raises LinkLost; never takes more than announced."""

    @abstractmethod
    async def commit(self) -> None:
        """Return once the module took all announced bytes.  Raises LinkLost with ``delivered``."""

    @abstractmethod
    def abort(self) -> None:
        """Never waits.  Nothing out yet: no effect.  Otherwise the link is lost with ``aborted``.  Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abort()


class StreamLink(trio.abc.Stream):
    """One TCP connection.  A trio Stream, so that trio.SSLStream works on a socket inside a modem."""

    local: Endpoint | None = None
    peer: Endpoint | None = None
    condition: Condition | None = None  # why it ended; None while it lives

    @abstractmethod
    def sending(self, total: int) -> Sending:
        """Announce a send of exactly ``total`` bytes (1..limits.send_size).  One at a time: BusyResourceError."""

    @abstractmethod
    def waiting(self) -> int:
        """Bytes known to wait, in our buffer and in the module."""

    @abstractmethod
    async def wait_readable(self) -> int:
        """Wait until `waiting` > 0 and return it; 0 means: the link ended and everything was taken."""

    @abstractmethod
    async def fetch(self) -> int:
        """The read demand: have the module's bytes pulled into our buffer; returns what `take` can give now."""

    @abstractmethod
    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes out of our buffer, without waiting.  ``b''`` where there are none."""

    async def find_endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """(local, peer), asked of the module where it did not say."""
        return self.local, self.peer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in one counted piece."""
        if not data:
            await trio.lowlevel.checkpoint()
            return
        with self.sending(len(data)) as sending:
            await sending.write(bytes(data))
            await sending.commit()

    async def wait_send_all_might_not_block(self) -> None:
        """Trio's contract; a counted send waits in `Sending.write` instead."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte, or ``b''`` at the end.  Raises LinkLost where the link did not end in order."""
        most = 65536 if max_bytes is None else operator.index(max_bytes)  # a wrong type at once, not when data come
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        while True:
            if await self.wait_readable() == 0:
                if self.condition not in {None, Condition.PEER_CLOSED, Condition.LINK_CLOSED}:
                    raise LinkLost(self.condition or Condition.ABORTED)
                return b""
            await self.fetch()
            if data := self.take(most):
                return data

    @abstractmethod
    async def aclose(self) -> None:
        """Flush what was committed, close, and return when the module's id is free again.

        The upstream's own id is free at once: it does not wait for this.
        """


class DatagramLink(ABC):
    """One UDP socket.  Datagrams keep their borders; the oldest are never pushed out by newer ones (the newest is lost)."""

    local: Endpoint | None = None
    peer: Endpoint | None = None  # where a datagram without a target goes; it may change, see `Peers`
    condition: Condition | None = None  # why it ended; None while it lives
    targets: bool = False  # whether a datagram may go to somebody else than the peer; the peer may always be named

    @abstractmethod
    async def send(self, data: bytes, target: Endpoint | None = None) -> None:
        """Send one datagram (0..limits.datagram_size bytes), whole or not at all; return when the module took it.

        NetworkError: nothing went out and the link lives (``too-long``, ``not-supported`` for a target where there are
        no ``targets``, ``wrong-state`` without any peer, ``address-refused``).  LinkLost: it is gone.  One at a time:
        BusyResourceError.
        """

    @abstractmethod
    def waiting(self) -> int:
        """Payload bytes known to wait, in our queue and in the module."""

    @abstractmethod
    async def wait_readable(self) -> bool:
        """Wait until something waits (an empty datagram counts); False: the link ended and everything was taken."""

    @abstractmethod
    async def fetch(self) -> int:
        """Have the module's datagrams pulled into our bounded queue; returns how many `take` can give now."""

    @abstractmethod
    def take(self) -> Datagram | None:
        """The oldest datagram, without waiting; None where there is none here."""

    async def find_endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """(local, peer), asked of the module where it did not say."""
        return self.local, self.peer

    @abstractmethod
    async def aclose(self) -> None:
        """Close, and return when the module's id is free again.  Waiting datagrams are gone."""


class Listener(ABC):
    """A TCP server.  It survives module resets: the driver listens again.  Refusing a peer is ``link.aclose()``."""

    local: Endpoint  # the port that peers reach; the host as far as it is known, else "0.0.0.0"
    condition: Condition | None = None  # why it ended; None while it lives

    @abstractmethod
    async def accept(self) -> StreamLink:
        """The next peer's link.  Raises LinkLost when the listener ended, ClosedResourceError after `aclose`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening; links that were accepted live on, those that nobody took are closed."""


class Network(ABC):
    """What a module offers.

    What not every module has raises NetworkError ``not-supported`` here; ``limits.capabilities`` says so beforehand.
    """

    limits: Limits

    @property
    @abstractmethod
    def state(self) -> State:
        """The state now."""

    @abstractmethod
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the wire: bring-up, recovery, clean end.  Started when it takes calls (not when the bearer is up).

        Ends by cancellation, or raises `NetworkError` with ``port-lost``.
        """

    @abstractmethod
    async def wait_state(self, after: int) -> State:
        """The first state whose ``seq`` is greater than ``after``."""

    @abstractmethod
    async def attach(self, login: Login | None = None) -> None:
        """Return when the bearer is up; raise NetworkError when it cannot be brought up now."""

    @abstractmethod
    async def detach(self) -> None:
        """The host left.  The bearer may stay up for the next attach."""

    @abstractmethod
    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> StreamLink:
        """Connect.  ``keepalive`` in seconds, 0 = off; ignored where the module has none.  Raises NetworkError.

        ``host`` is a name or an address, here and everywhere: four decimal octets without leading zeros.  What ends in
        a number and is not that is refused ``bad-argument``, because two modules read two addresses in it.

        Cancelled: nothing is left behind; a late success is closed by the driver.
        """

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> DatagramLink:
        """A UDP socket.  ``peer`` may be a name, or None where ``peers`` is not FIXED; ``local_port`` 0: any free one.

        Raises NetworkError (``port-in-use``, ``no-free-link``, ``not-supported`` ...).  Cancelled: nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        raise NetworkError(Condition.NOT_SUPPORTED, f"datagrams: {peer}, port {local_port}, peers {peers}")

    async def listen(self, port: int, *, room: int) -> Listener:
        """A TCP server for at most ``room`` peers at a time (1..limits.stream_links), as the module counts them.

        A peer above that is refused by the module in its own way.  Raises NetworkError.
        """
        await trio.lowlevel.checkpoint()
        raise NetworkError(Condition.NOT_SUPPORTED, f"listening on port {port} for {room}")

    async def ping(self, host: str, limit: float) -> float:
        """Seconds of one echo round trip, or NetworkError: ``connect-timeout`` after ``limit`` seconds, ``not-supported``."""
        await trio.lowlevel.checkpoint()
        raise NetworkError(Condition.NOT_SUPPORTED, f"ping {host} within {limit} s")

    async def signal(self) -> int | None:
        """The strength of the bearer's signal in dBm (-30 near, -110 far); None where there is no radio or no answer."""
        await trio.lowlevel.checkpoint()
        return None

    async def name_servers(self) -> list[str]:
        """The dotted addresses of the name servers in use; none where the module does not tell.  Raises NetworkError."""
        await trio.lowlevel.checkpoint()
        return []

    @abstractmethod
    async def resolve(self, name: str) -> str:
        """The IPv4 address of a name, dotted.  Raises NetworkError."""

    async def reset(self) -> None:
        """The host reset its module: every link of its is gone, the bearer may stay."""
        await trio.lowlevel.checkpoint()

    async def identity(self) -> Identity:
        """Who the module is."""
        await trio.lowlevel.checkpoint()
        return Identity()


class StateBox:
    """A State that can be waited for.  For Networks: keep one, `change` it, and answer state/wait_state from it."""

    def __init__(self) -> None:
        self.now = State()
        self._changed = trio.Event()

    def change(
        self,
        phase: Phase | None = None,
        *,
        address: str | None = None,
        cause: Condition | None = None,
        new_generation: bool = False,
    ) -> None:
        """Move to another state: an address lives only while the phase is up."""
        old = self.now
        phase = old.phase if phase is None else phase
        new = State(old.seq + 1, old.generation + new_generation, phase, address if phase is Phase.UP else None, cause)
        if (new.generation, new.phase, new.address, new.cause) == (old.generation, old.phase, old.address, old.cause):
            return
        self.now = new
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, after: int) -> State:
        """The first state newer than ``after``."""
        while self.now.seq <= after:
            await self._changed.wait()
        return self.now
