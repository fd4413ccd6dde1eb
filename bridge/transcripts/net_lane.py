r"""The ``net`` lane for an upstream alone: a Network whose every answer stands in the script.

``<`` is a call of the upstream, ``>`` the script's answer to the oldest one it fits::

    net    < attach name                  net    > done           | failed CONDITION
    net    < open 192.0.2.1 80            net    > link 1         | failed CONDITION
    net    < datagram 192.0.2.1 53 port=5000 peers=last       (a peer nobody named: none 0)
                                          net    > link 1         | failed CONDITION
    net    < listen 80 room 5             net    > done           | failed CONDITION
    net    < unlisten 80                  net    > done
    net    < send 1 hello                 net    > sent 1         | send-failed 1 CONDITION | failed CONDITION
    net    < send 1 to 192.0.2.1 53 hello
    net    < resolve name                 net    > address IP     | failed CONDITION
    net    < ping name                    net    > echo MILLISECONDS | failed CONDITION
    net    < close 1                      net    > closed 1
    net    < detach | reset               net    > done
                                          net    > data 1 hello, peer-closed 1, ended 1 CONDITION,
                                                 > datagram-in 1 192.0.2.1 53 hello (it is the peer from now on),
                                                 > datagram-cut 1 192.0.2.1 53 hel,
                                                 > accept 2 10.0.0.9 40000, server-ended CONDITION,
                                                 > up ADDRESS, down CAUSE, restarted
    net    < cancelled open, abort 1      (nothing to answer)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from bridge.model import Capability, Condition, Datagram, Endpoint, Limits, Login, Peers, Phase, State
from bridge.network import DatagramLink, Listener, Network, NetworkError, StateBox, StreamLink
from bridge.transcripts.net_sockets import ScriptedDatagramLink, ScriptedLink, ScriptedListener

Tell = Callable[[bytes], None]

# The calls that an answer may be for; where none is named: any.
_ANSWERS = {
    "link": {"open", "datagram"},
    "address": {"resolve"},
    "echo": {"ping"},
    "sent": {"send"},
    "send-failed": {"send"},
    "closed": {"close"},
}


class ScriptedNetwork(Network):
    """A Network whose every answer stands in the script.  It is up from the start, at 192.0.2.100."""

    limits = Limits(5, 5, 8192, frozenset(Capability) - {Capability.TLS, Capability.HALF_CLOSE}, datagram_size=1472)

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._box = StateBox()
        self._box.change(Phase.UP, address="192.0.2.100")
        self._links: dict[int, ScriptedLink] = {}
        self._sockets: dict[int, ScriptedDatagramLink] = {}
        self._listener: ScriptedListener | None = None
        self._asked: deque[tuple[str, _Answer]] = deque()

    def say(self, text: bytes) -> None:
        """One ``>`` line.  Raises ValueError, LookupError."""
        verb, _, rest = text.partition(b" ")
        word = rest.decode("latin-1")
        match verb:
            case b"up":
                self._box.change(Phase.UP, address=word)
            case b"down":
                self._box.change(Phase.DOWN, cause=Condition(word))
            case b"restarted":
                self._box.change(Phase.STARTING, cause=Condition.MODULE_RESET, new_generation=True)
            case b"data":
                number, _, data = rest.partition(b" ")
                self._links[int(number)].arrive(data)
            case b"datagram-in" | b"datagram-cut":
                number, host, port, data = rest.split(b" ", 3)
                socket = self._sockets[int(number)]
                source = Endpoint(host.decode(), int(port))
                if verb == b"datagram-in":
                    socket.peer = source
                socket.arrive(Datagram(data, source, cut=verb == b"datagram-cut"))
            case b"accept":
                self._accept(*word.split(" "))
            case b"server-ended" if self._listener is not None:
                self._listener.end(Condition(word))
            case b"peer-closed":
                self._links[int(word)].end(Condition.PEER_CLOSED)
            case b"ended":
                number, _, cause = rest.partition(b" ")
                links: dict[int, ScriptedLink | ScriptedDatagramLink] = {**self._links, **self._sockets}
                links[int(number)].end(Condition(cause.decode()))
            case b"done" | b"link" | b"address" | b"echo" | b"failed" | b"sent" | b"send-failed" | b"closed":
                self._answer(verb.decode(), word)
            case _:
                raise ValueError(f"unknown answer {verb.decode('latin-1')!r}")

    def _accept(self, number: str, host: str, port: str) -> None:
        if self._listener is None:
            raise LookupError("there is no server")
        link = self._links[int(number)] = ScriptedLink(self, int(number))
        link.peer, link.local = Endpoint(host, int(port)), self._listener.local
        self._listener.arrive(link)

    def _answer(self, verb: str, word: str) -> None:
        wants = _ANSWERS.get(verb)
        number = word.split(" ", maxsplit=1)[0] if verb in {"sent", "send-failed", "closed"} else ""
        for call in self._asked:
            name = call[0].split(" ")
            if (wants is None or name[0] in wants) and (not number or name[1:2] == [number]):
                self._asked.remove(call)
                call[1].give(verb, word)
                return
        raise LookupError("no call waits for it")

    async def ask(self, call: str, data: bytes = b"") -> tuple[str, str]:
        """Tell a call and wait for the script's answer: its verb and words.  Raises NetworkError for ``failed``."""
        self._tell(call.encode("latin-1", "backslashreplace") + (b" " + data if data else b""))
        entry = (call, _Answer())
        self._asked.append(entry)
        try:
            verb, word = await entry[1].wait()
        except trio.Cancelled:
            self._asked.remove(entry)
            self._tell(f"cancelled {call.split(' ', maxsplit=1)[0]}".encode())
            raise
        if verb == "failed":
            raise NetworkError(Condition(word))
        return verb, word

    def tell(self, text: str) -> None:
        """A call that needs no answer."""
        self._tell(text.encode())

    @property
    def state(self) -> State:
        """See Network."""
        return self._box.now

    async def wait_state(self, after: int) -> State:
        """See Network."""
        return await self._box.wait(after)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        task_status.started()
        await trio.sleep_forever()

    async def attach(self, login: Login | None = None) -> None:
        """See Network."""
        await self.ask(f"attach {login.name}" if login else "attach")

    async def detach(self) -> None:
        """See Network."""
        await self.ask("detach")

    async def reset(self) -> None:
        """See Network."""
        await self.ask("reset")

    async def open_stream(self, host: str, port: int, *, keepalive: int = 0) -> StreamLink:
        """See Network."""
        _, number = await self.ask(f"open {host} {port}" + (f" keepalive={keepalive}" if keepalive else ""))
        link = self._links[int(number)] = ScriptedLink(self, int(number))
        link.peer = Endpoint(host, port)
        link.local = Endpoint("192.0.2.100", 50000 + int(number))
        return link

    async def open_datagram(self, peer: Endpoint | None, *, local_port: int = 0, peers: Peers = Peers.FIXED) -> DatagramLink:
        """See Network."""
        call = f"datagram {peer.host} {peer.port}" if peer is not None else "datagram none 0"
        options = (f" port={local_port}" if local_port else "") + (f" peers={peers}" if peers is not Peers.FIXED else "")
        _, number = await self.ask(call + options)
        link = self._sockets[int(number)] = ScriptedDatagramLink(self, int(number))
        link.peer = peer
        link.local = Endpoint("192.0.2.100", local_port or 50000 + int(number))
        return link

    async def listen(self, port: int, *, room: int) -> Listener:
        """See Network."""
        await self.ask(f"listen {port} room {room}")
        self._listener = ScriptedListener(self, port)
        return self._listener

    async def ping(self, host: str, limit: float) -> float:
        """See Network."""
        with trio.move_on_after(limit):
            return int((await self.ask(f"ping {host}"))[1]) / 1000
        raise NetworkError(Condition.CONNECT_TIMEOUT, host)

    async def resolve(self, name: str) -> str:
        """See Network."""
        return (await self.ask(f"resolve {name}"))[1]


class _Answer:
    """One call's answer, when it comes."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._value = ("", "")

    def give(self, verb: str, word: str) -> None:
        self._value = (verb, word)
        self._event.set()

    async def wait(self) -> tuple[str, str]:
        await self._event.wait()
        return self._value
