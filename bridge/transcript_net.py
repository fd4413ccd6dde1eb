r"""The ``net`` lane for an upstream alone: a Network whose every answer stands in the script.

``<`` is a call of the upstream, ``>`` the script's answer to the oldest one it fits::

    net    < attach name                  net    > done           | failed CONDITION
    net    < open 192.0.2.1 80            net    > link 1         | failed CONDITION
    net    < send 1 hello                 net    > sent 1         | send-failed 1 CONDITION
    net    < resolve name                 net    > address IP     | failed CONDITION
    net    < close 1                      net    > closed 1
    net    < detach | reset               net    > done
                                          net    > data 1 hello, peer-closed 1, ended 1 CONDITION,
                                                 > up ADDRESS, down CAUSE, restarted
    net    < cancelled open, abort 1      (nothing to answer)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from bridge.model import Capability, Condition, Delivered, Endpoint, Limits, Login, Phase, State
from bridge.network import LinkLost, Network, NetworkError, Sending, StateBox, StreamLink

Tell = Callable[[bytes], None]


class ScriptedNetwork(Network):
    """A Network whose every answer stands in the script.  It is up from the start, at 192.0.2.100."""

    limits = Limits(5, 0, 8192, frozenset({Capability.TCP, Capability.RESOLVE, Capability.KEEPALIVE}))

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._box = StateBox()
        self._box.change(Phase.UP, address="192.0.2.100")
        self._links: dict[int, ScriptedLink] = {}
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
            case b"peer-closed":
                self._links[int(word)].end(Condition.PEER_CLOSED)
            case b"ended":
                number, _, cause = rest.partition(b" ")
                self._links[int(number)].end(Condition(cause.decode()))
            case b"done" | b"link" | b"address" | b"failed" | b"sent" | b"send-failed" | b"closed":
                self._answer(verb.decode(), word)
            case _:
                raise ValueError(f"unknown answer {verb.decode('latin-1')!r}")

    def _answer(self, verb: str, word: str) -> None:
        wants = {"link": "open", "address": "resolve", "sent": "send", "send-failed": "send", "closed": "close"}.get(verb)
        number = word.split(" ", maxsplit=1)[0] if wants in {"send", "close"} else ""
        for call in self._asked:
            name = call[0].split(" ")
            if (wants is None or name[0] == wants) and (not number or name[1:2] == [number]):
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


class ScriptedLink(StreamLink):
    """A link of a ScriptedNetwork."""

    def __init__(self, network: ScriptedNetwork, number: int) -> None:
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
