r"""The ``net`` lane for a downstream alone: calls on the Network as the script says, with no upstream.

``>`` is a call, ``<`` is what came of it::

    net    > attach [name [password]]     net    < attached       | failed CONDITION
    net    > open 192.0.2.1 80            net    < link 1         | failed CONDITION
    net    > datagram 192.0.2.1 53 [port=5000]
                                          net    < link 1         | failed CONDITION
    net    > listen 80 room 5             net    < listening 80   | failed CONDITION
    net    > unlisten 80                  net    < unlistened 80
    net    > send 1 hello                 net    < sent 1         | send-failed 1 CONDITION | failed CONDITION
    net    > resolve name                 net    < address IP     | failed CONDITION
    net    > ping 192.0.2.1 [limit=30]    net    < echo MILLISECONDS | failed CONDITION
    net    > close 1                      net    < closed 1
    net    > cancel                       (gives up the oldest call under way)
    net    > detach | reset               net    < detached | reset
                                          net    < data 1 hello, peer-closed 1, ended 1 CONDITION,
                                                 < datagram-in 1 192.0.2.1 53 hello,
                                                 < datagram-cut 1 192.0.2.1 53 hel,
                                                 < accepted 2, server-ended 80 CONDITION,
                                                 < state up ADDRESS, state down CAUSE ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from bridge.model import Condition, Endpoint, Login
from bridge.network import DatagramLink, LinkLost, Listener, Network, NetworkError, StreamLink

Tell = Callable[[bytes], None]

PING_LIMIT = 30.0  # seconds, where a script names none


class NetDriver:
    """Makes calls on a Network as the script says, and tells what came of them."""

    def __init__(self, network: Network, tell: Tell) -> None:
        self._network = network
        self._first = network.state  # before it runs: every change after this is told
        self._tell = tell
        self._links: dict[int, StreamLink | DatagramLink] = {}
        self._listeners: dict[int, Listener] = {}
        self._nursery: trio.Nursery | None = None
        self._calls: deque[trio.CancelScope] = deque()

    async def run(self) -> None:
        """Run the Network; calls may be made before it takes them and wait for it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await nursery.start(self._network.run)
            self._nursery = nursery

    async def _watch(self) -> None:
        state, told = self._first, ""
        while True:
            state = await self._network.wait_state(state.seq)
            words = f"state {state.phase} {state.address or state.cause or ''}".rstrip()
            if words != told:
                self._tell(words.encode())
            told = words

    def say(self, text: bytes) -> None:
        """One ``>`` line.  Raises ValueError, LookupError."""
        if self._nursery is None:
            raise ValueError("the Network does not take calls yet")
        verb, _, rest = text.partition(b" ")
        word = rest.decode("latin-1")
        match verb:
            case b"attach":
                name, _, password = word.partition(" ")
                call = self._attach(Login(name, password) if name else None)
            case b"detach":
                call = self._plain(self._network.detach, "detached")
            case b"reset":
                call = self._plain(self._network.reset, "reset")
            case b"open":
                host, _, port = word.rpartition(" ")
                call = self._open(host, int(port))
            case b"datagram":
                host, port, *local = word.split(" ")
                call = self._datagram(Endpoint(host, int(port)), int(local[0].removeprefix("port=")) if local else 0)
            case b"listen":
                port, _, room = word.partition(" room ")
                call = self._listen(int(port), int(room))
            case b"unlisten":
                call = self._unlisten(int(word), self._listeners.pop(int(word)))
            case b"resolve":
                call = self._resolve(word)
            case b"ping":
                host, *limit = word.split(" ")
                call = self._ping(host, float(limit[0].removeprefix("limit=")) if limit else PING_LIMIT)
            case b"send":
                number, _, data = rest.partition(b" ")
                call = self._send(int(number), self._links[int(number)], data)
            case b"close":
                call = self._close(int(word), self._links[int(word)])
            case b"cancel":
                self._calls[0].cancel()
                return
            case _:
                raise ValueError(f"unknown call {verb.decode('latin-1')!r}")
        self._nursery.start_soon(self._call, call)

    async def _call(self, call: Awaitable[None]) -> None:
        with trio.CancelScope() as scope:
            self._calls.append(scope)
            try:
                await call
            except NetworkError as error:
                self._tell(f"failed {error.condition}".encode())
            finally:
                self._calls.remove(scope)

    async def _attach(self, login: Login | None) -> None:
        await self._network.attach(login)
        self._tell(b"attached")

    async def _plain(self, call: Callable[[], Awaitable[None]], done: str) -> None:
        await call()
        self._tell(done.encode())

    async def _open(self, host: str, port: int) -> None:
        self._new(await self._network.open_stream(host, port), "link")

    async def _datagram(self, peer: Endpoint, local_port: int) -> None:
        self._new(await self._network.open_datagram(peer, local_port=local_port), "link")

    def _new(self, link: StreamLink | DatagramLink, what: str) -> None:
        number = len(self._links) + 1
        self._links[number] = link
        self._tell(f"{what} {number}".encode())
        if self._nursery is None:
            return
        if isinstance(link, StreamLink):
            self._nursery.start_soon(self._pump, number, link)
        else:
            self._nursery.start_soon(self._pump_datagrams, number, link)

    async def _listen(self, port: int, room: int) -> None:
        listener = await self._network.listen(port, room=room)
        self._listeners[listener.local.port] = listener
        self._tell(f"listening {listener.local.port}".encode())
        if self._nursery is not None:
            self._nursery.start_soon(self._accept, listener)

    async def _accept(self, listener: Listener) -> None:
        try:
            while True:
                self._new(await listener.accept(), "accepted")
        except LinkLost as lost:
            self._tell(f"server-ended {listener.local.port} {lost.condition}".encode())
        except trio.ClosedResourceError:
            pass

    async def _unlisten(self, port: int, listener: Listener) -> None:
        await listener.aclose()
        self._tell(f"unlistened {port}".encode())

    async def _resolve(self, name: str) -> None:
        self._tell(f"address {await self._network.resolve(name)}".encode())

    async def _ping(self, host: str, limit: float) -> None:
        self._tell(b"echo %d" % round(await self._network.ping(host, limit) * 1000))

    async def _send(self, number: int, link: StreamLink | DatagramLink, data: bytes) -> None:
        try:
            if isinstance(link, StreamLink):
                with link.sending(len(data)) as sending:
                    await sending.write(data)
                    await sending.commit()
            else:
                await link.send(data)
        except (LinkLost, trio.ClosedResourceError) as error:
            self._tell(f"send-failed {number} {getattr(error, 'condition', Condition.LINK_CLOSED)}".encode())
        else:
            self._tell(f"sent {number}".encode())

    async def _close(self, number: int, link: StreamLink | DatagramLink) -> None:
        await link.aclose()
        self._tell(f"closed {number}".encode())

    async def _pump(self, number: int, link: StreamLink) -> None:
        try:
            while await link.wait_readable():
                await link.fetch()
                if data := link.take(65536):
                    self._tell(b"data %d %s" % (number, data))
        except (LinkLost, trio.ClosedResourceError):
            pass
        self._ended(number, link.condition or Condition.ABORTED)

    async def _pump_datagrams(self, number: int, link: DatagramLink) -> None:
        try:
            while await link.wait_readable():
                await link.fetch()
                while (datagram := link.take()) is not None:
                    what = "datagram-cut" if datagram.cut else "datagram-in"
                    source = datagram.source or Endpoint("none", 0)
                    self._tell(f"{what} {number} {source.host} {source.port} ".encode() + datagram.data)
        except (LinkLost, trio.ClosedResourceError):
            pass
        self._ended(number, link.condition or Condition.ABORTED)

    def _ended(self, number: int, condition: Condition) -> None:
        if condition is not Condition.LINK_CLOSED:
            self._tell(
                f"{condition} {number}".encode() if condition is Condition.PEER_CLOSED else f"ended {number} {condition}".encode()
            )
