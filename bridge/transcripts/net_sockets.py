"""The links and listeners of a `ScriptedNetwork`: what the script feeds them, and what they tell it."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

import trio

from bridge.model import Condition, Datagram, Delivered, Endpoint
from bridge.network import DatagramLink, LinkLost, Listener, Sending, StreamLink

T = TypeVar("T")


class Script(Protocol):
    """Where calls are told, and answers come from."""

    async def ask(self, call: str, data: bytes = b"") -> tuple[str, str]:
        """A call that the script answers."""

    def tell(self, text: str) -> None:
        """A call that needs no answer."""


class ScriptedLink(StreamLink):
    """A link of a ScriptedNetwork."""

    def __init__(self, network: Script, number: int) -> None:
        self.network = network
        self.number = number
        self._data = bytearray()
        self._ended = False
        self._change = trio.Event()

    def arrive(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._data += data
        self._changed()

    def end(self, condition: Condition) -> None:
        """The link ends, after what has arrived."""
        self.condition = self.condition or condition
        self._ended = True
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()

    def sending(self, total: int) -> Sending:
        """See StreamLink."""
        return _ScriptedSending(self, total)

    def waiting(self) -> int:
        """See StreamLink."""
        return len(self._data)

    async def wait_readable(self) -> int:
        """See StreamLink."""
        await trio.lowlevel.checkpoint()
        while not self._data and not self._ended:
            await self._change.wait()
        return len(self._data)

    async def fetch(self) -> int:
        """See StreamLink."""
        await trio.lowlevel.checkpoint()
        return len(self._data)

    def take(self, most: int) -> bytes:
        """See StreamLink."""
        data = bytes(self._data[:most])
        del self._data[:most]
        return data

    async def aclose(self) -> None:
        """See StreamLink."""
        if self.condition is not Condition.LINK_CLOSED:
            self.end(Condition.LINK_CLOSED)
            await self.network.ask(f"close {self.number}")


class _ScriptedSending(Sending):
    def __init__(self, link: ScriptedLink, total: int) -> None:
        self._link = link
        self._total = total
        self._data = bytearray()

    async def write(self, piece: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._link.condition is not None:
            raise LinkLost(self._link.condition, Delivered.NONE)
        self._data += piece
        if len(self._data) > self._total:
            raise ValueError("more than was announced")

    async def commit(self) -> None:
        if len(self._data) != self._total:
            raise ValueError("less than was announced")
        verb, word = await self._link.network.ask(f"send {self._link.number}", bytes(self._data))
        self._done = True
        if verb == "send-failed":
            condition = Condition(word.split(" ")[-1])
            self._link.end(condition)
            raise LinkLost(condition, Delivered.UNKNOWN)

    def abort(self) -> None:
        if not self._done and self._data:
            self._done = True
            self._link.network.tell(f"abort {self._link.number}")
            self._link.end(Condition.ABORTED)


class _Inbox(Generic[T]):
    """What the script has let arrive, whole things one after the other; and why there will be no more."""

    condition: Condition | None = None

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._change = trio.Event()

    def arrive(self, thing: T) -> None:
        """One from the network."""
        self._waiting.append(thing)
        self._changed()

    def end(self, condition: Condition) -> None:
        """It ends, after what has arrived."""
        self.condition = self.condition or condition
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()


class ScriptedDatagramLink(_Inbox[Datagram], DatagramLink):
    """A UDP socket of a ScriptedNetwork.  Its peer is where the script says it is."""

    targets = True

    def __init__(self, network: Script, number: int) -> None:
        super().__init__()
        self.network = network
        self.number = number

    async def send(self, data: bytes, target: Endpoint | None = None) -> None:
        """See DatagramLink."""
        if self.condition is not None:
            raise LinkLost(self.condition, Delivered.NONE)
        where = f" to {target.host} {target.port}" if target is not None else ""
        verb, word = await self.network.ask(f"send {self.number}{where}", data)
        if verb == "send-failed":
            condition = Condition(word.split(" ")[-1])
            self.end(condition)
            raise LinkLost(condition, Delivered.UNKNOWN)

    def waiting(self) -> int:
        """See DatagramLink."""
        return sum(len(datagram.data) for datagram in self._waiting)

    async def wait_readable(self) -> bool:
        """See DatagramLink."""
        await trio.lowlevel.checkpoint()
        while not self._waiting and self.condition is None:
            await self._change.wait()
        return bool(self._waiting)

    async def fetch(self) -> int:
        """See DatagramLink."""
        await trio.lowlevel.checkpoint()
        return len(self._waiting)

    def take(self) -> Datagram | None:
        """See DatagramLink."""
        return self._waiting.popleft() if self._waiting else None

    async def aclose(self) -> None:
        """See DatagramLink."""
        if self.condition is not Condition.LINK_CLOSED:
            self.end(Condition.LINK_CLOSED)
            await self.network.ask(f"close {self.number}")


class ScriptedListener(_Inbox[StreamLink], Listener):
    """A TCP server of a ScriptedNetwork."""

    def __init__(self, network: Script, port: int) -> None:
        super().__init__()
        self.network = network
        self.local = Endpoint("192.0.2.100", port)

    async def accept(self) -> StreamLink:
        """See Listener."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self.condition is Condition.LINK_CLOSED:
                raise trio.ClosedResourceError
            if self.condition is not None:
                raise LinkLost(self.condition)
            await self._change.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """See Listener."""
        if self.condition is not Condition.LINK_CLOSED:
            self.end(Condition.LINK_CLOSED)
            await self.network.ask(f"unlisten {self.local.port}")
