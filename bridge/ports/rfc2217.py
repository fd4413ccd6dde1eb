"""A serial line behind a terminal server: ``rfc2217://HOST:PORT[?options]``, with its speed and its wires."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn, Self

import serial
import trio

from bridge.endpoint import BAUD_RANGE, EndpointSpec
from bridge.model import Wire
from bridge.ports import Port, PortLost
from bridge.ports.descriptor import PortError
from bridge.ports.reopening import until_back
from bridge.ports.sockets import host_and_port, soon_noticed
from bridge.ports.telnet import JOIN, Client
from bridge.ports.wires import Look, entered

__all__ = ["Rfc2217Port"]

_PIECE = 4096  # bytes offered to the connection at once
_BREATH = 0.001  # seconds, where pyserial's thread is writing too
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
_POLICY = {"keep": None, "assert": True, "drop": False}


class Rfc2217Port(Port):
    """One connection to an RFC 2217 server.  Make it with `open`.

    The server decides how often it looks at its wires; changes that it reports are never missed here.  Servers that do
    not report the state of the line never show a break.  While nobody receives and what is read ahead is full, the
    server's answers wait behind the data: a change of speed then fails.
    """

    reopens = True
    wires = frozenset(Wire)

    def __init__(self, spec: EndpointSpec, baud: int) -> None:
        host_and_port(spec.port, options=True)
        self.name = spec.port
        self._spec = spec
        self._default = baud
        self.flow = spec.flow == "rtscts"
        self._bits = 9 + (spec.parity != "none") + spec.stop
        self._set_baud(baud)
        self._client: Client | None = None
        self._burial: threading.Thread | None = None  # the last one
        self._looks: dict[Wire, Look] = {}
        self._news = trio.lowlevel.ParkingLot()
        self._loop = trio.lowlevel.current_trio_token()
        self._sent = 0
        self._left_at = 0.0  # when the last byte left, had nothing held it up
        self._ended = False  # closed by us
        self._turn = trio.Lock()

    @classmethod
    async def open(cls, spec: EndpointSpec, *, baud: int) -> Self:
        """Connect and set the line as the spec says; raises PortError."""
        port = cls(spec, baud)
        await port._connect()
        return port

    async def _connect(self) -> None:
        self._check_wanted()
        client = Client(
            self._spec.port,
            self._tell,
            dtr=_POLICY[self._spec.dtr],
            rts=_POLICY[self._spec.rts],
            baudrate=self._default,
            parity=_PARITY[self._spec.parity],
            stopbits=self._spec.stop,
            rtscts=self._spec.flow == "rtscts",
            xonxoff=self._spec.flow == "xonxoff",
        )
        try:
            await self._apart(client, client.open)
        except ValueError as refused:
            self._bury(client)
            remedy = "choose another speed, parity, stop or flow"
            raise PortError(self.name, f"the server refuses the line's settings ({refused})", remedy) from refused
        except (serial.SerialException, OSError) as failed:
            self._bury(client)
            absent = "open port" in str(failed)
            remedy = "start the server, or check the address" if absent else "is it an RFC 2217 server?  If not: socket://"
            raise PortError(self.name, str(failed), remedy, absent=absent) from failed
        if self._ended:
            self._bury(client)
            self._check_wanted()
        if client.connection is not None:
            soon_noticed(client.connection)
        self._client = client
        self._set_baud(self._default)
        self._looks = dict(client.looks)

    async def _apart(self, client: Client, work: Callable[[], None]) -> None:
        """Do what may wait in a thread.  Cancelled, the connection ends: nobody knows what was set."""
        handover = threading.Lock()
        done = unwanted = False

        def job() -> None:
            nonlocal done
            try:
                work()
            finally:
                with handover:
                    done = True
                if unwanted:
                    client.close()

        try:
            await trio.to_thread.run_sync(job, abandon_on_cancel=True)
        except trio.Cancelled:
            if self._client is client:
                self._client = None
                self._news.unpark_all()
            # Exactly one side buries: while the work goes on, it is the thread.
            with handover:
                unwanted = True
            if done:
                self._bury(client)
            else:
                self._hang_up(client)
            raise

    def _hang_up(self, client: Client) -> None:
        connection = client.connection
        if connection is not None and connection.fileno() >= 0:
            trio.lowlevel.notify_closing(connection)
        client.hang_up()

    def _bury(self, client: Client) -> None:
        self._hang_up(client)
        self._burial = threading.Thread(target=client.close, daemon=True)
        self._burial.start()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._bury(client)
        self._news.unpark_all()

    def _lost(self, cause: BaseException | None) -> NoReturn:
        self._drop()
        raise PortLost(f"{self.name}: {cause or 'the server closed'}") from cause

    def _tell(self) -> None:
        """From pyserial's thread: there is news."""
        try:
            self._loop.run_sync_soon(self._news.unpark_all, idempotent=True)
        except trio.RunFinishedError:
            return

    def _check_wanted(self) -> None:
        if self._ended:
            raise PortLost(f"{self.name}: closed")

    def _set_baud(self, baud: int) -> None:
        self.baud = baud
        self._byte = self._bits / baud  # seconds

    async def _living(self) -> Client:
        await trio.lowlevel.checkpoint()
        if self._client is None:
            raise PortLost(f"{self.name}: closed")
        return self._client

    async def _wait_news(self, client: Client) -> None:
        # Nothing runs between the caller's look and this, so no news is missed.
        await self._news.park()
        if self._client is not client:
            raise PortLost(f"{self.name}: closed")

    async def receive(self, most: int = 4096) -> bytes:
        """See Port."""
        client = await self._living()
        while True:
            data = client.inbox.take(most)
            if data:
                return data
            if client.inbox.ended:
                self._lost(None)
            await self._wait_news(client)

    async def send(self, data: bytes) -> int:
        """See Port.  Given up between the two halves of an escaped byte, that byte counts: the next call ends it."""
        client = await self._living()
        self._left_at = max(self._left_at, trio.current_time())
        start = 0
        while start < len(data) or client.owes:
            try:
                gone = client.offer(data[start : start + _PIECE])
            except BlockingIOError:
                await self._wait_room(client)
            except OSError as failed:
                self._lost(failed)
            else:
                start += gone
                self._sent += gone
                self._left_at += gone * self._byte
        return len(data)

    async def _wait_room(self, client: Client) -> None:
        connection = client.connection
        try:
            if connection is not None:
                await trio.lowlevel.wait_writable(connection)
        except trio.ClosedResourceError:
            raise PortLost(f"{self.name}: closed") from None
        await trio.sleep(_BREATH)
        if self._client is not client:
            raise PortLost(f"{self.name}: closed")

    @property
    def sent(self) -> int:
        """See Port."""
        return self._sent

    async def drain(self) -> None:
        """See Port.  By the line's speed: the server does not tell."""
        await self._living()
        await trio.sleep_until(max(self._left_at, trio.current_time()))

    async def aclose(self) -> None:
        """See Port.  Waits for the thread, for JOIN seconds at most."""
        self._ended = True
        self._drop()
        if self._burial is not None:
            with trio.move_on_after(JOIN):
                await trio.to_thread.run_sync(self._burial.join, abandon_on_cancel=True)
        await trio.lowlevel.checkpoint()

    async def reopen(self) -> None:
        """See Port."""
        async with self._turn:
            if self._client is None:
                self._check_wanted()
                await until_back(self.name, self._connect)

    async def set_speed(self, baud: int) -> None:
        """See Port.  Takes 0.1 s and more: the server answers."""
        if baud not in BAUD_RANGE:
            await trio.lowlevel.checkpoint()
            raise ValueError(f"{baud} is no speed")
        await self.drain()
        async with self._turn:
            client = await self._living()
            try:
                await self._apart(client, partial(setattr, client, "baudrate", baud))
            except ValueError:
                await self._settled(client, partial(setattr, client, "baudrate", self.baud))
                raise
            except (serial.SerialException, OSError) as failed:
                self._lost(failed)
            self._set_baud(baud)

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """See Port."""
        async with self._turn:
            client = await self._living()
            for line, asserted in (("dtr", dtr), ("rts", rts)):
                if asserted is not None:
                    await self._settled(client, partial(client.set_line, line, asserted=asserted))

    async def _settled(self, client: Client, work: Callable[[], None]) -> None:
        """What the server must not refuse: where it does, nobody knows how the line stands."""
        try:
            await self._apart(client, work)
        except (ValueError, serial.SerialException, OSError) as failed:
            self._lost(failed)

    async def wait_wire(self, wire: Wire, asserted: bool) -> None:
        """See Port."""
        client = await self._living()
        before = self._looks[wire]
        while not entered(before, client.looks[wire], asserted):
            if client.inbox.ended:
                raise PortLost(f"{self.name}: the server closed")
            await self._wait_news(client)
        self._looks[wire] = client.looks[wire]
