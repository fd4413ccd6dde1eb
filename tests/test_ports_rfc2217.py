import os
import random
import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import serial
import structlog
import trio
from serial import rfc2217

from bridge.endpoint import parse
from bridge.model import Wire
from bridge.ports import PortLost
from bridge.ports.opening import open_port
from bridge.ports.pty import PortError
from bridge.ports.telnet import INBOX, Client, Inbox

# pyserial 3.5 starts its thread the old way
pytestmark = pytest.mark.filterwarnings("ignore:set:DeprecationWarning")

MUCH = 100_000


class FakeLine:
    """The serial port behind the server: what PortManager reads and sets."""

    def __init__(self):
        self.bytesize, self.parity, self.stopbits = 8, "N", 1
        self.xonxoff = self.rtscts = self.break_condition = False
        self.cts = self.dsr = self.ri = self.cd = False
        self.lines = []
        self.speeds = []
        self.refused = set()

    def reset_input_buffer(self):
        pass

    reset_output_buffer = reset_input_buffer

    @property
    def baudrate(self):
        return self.speeds[-1] if self.speeds else 9600

    @baudrate.setter
    def baudrate(self, value):
        if value in self.refused:
            raise ValueError(value)
        self.speeds.append(value)

    dtr = property(None, lambda self, value: self.lines.append(("dtr", value)))
    rts = property(None, lambda self, value: self.lines.append(("rts", value)))


class Server:
    """An RFC 2217 server in threads, one connection at a time; its line's other end is `heard` and `say`."""

    def __init__(self):
        self.line = FakeLine()
        self.heard = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.url = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"
        self.manager = self.connection = None
        self.pause = 0.0  # seconds before each read: a slow line
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def write(self, data):
        with self._lock:
            self.connection.sendall(data)

    def _serve(self):
        while True:
            try:
                self.connection, _ = self.listener.accept()
            except OSError:
                return
            with self.connection, suppress(OSError):
                self.manager = rfc2217.PortManager(self.line, self)  # greets the client, which may be gone already
                while data := self.connection.recv(1000):
                    self.heard += b"".join(self.manager.filter(data))
                    time.sleep(self.pause)

    def say(self, data):
        self.write(b"".join(self.manager.escape(data)))

    def wires(self, **levels):
        for wire, level in levels.items():
            setattr(self.line, wire, level)
        self.manager.check_modem_lines()

    def notify(self, option, value):
        self.manager.rfc2217_send_subnegotiation(option, bytes([value]))

    def hang_up(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture(autouse=True)
def _brisk(monkeypatch):
    """pyserial looks for the server's answers every 50 ms; here more often, so that no test has to wait."""
    monkeypatch.setattr(rfc2217, "time", SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 20)))


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def spec(server, options=""):
    return parse(f"esp-at@{server.url}{options}", side="upstream")


@pytest.fixture
async def port(server):
    port = await open_port(spec(server), baud=115200)
    yield port
    await port.aclose()


def threads():
    return [thread for thread in threading.enumerate() if "RFC 2217" in thread.name]


async def exactly(port, count):
    data = b""
    while len(data) < count:
        data += await port.receive()
    return data


async def until(true):
    with trio.fail_after(15):
        while not true():  # noqa: ASYNC110 - threads give no event
            await trio.sleep(0.002)


async def test_every_byte_both_ways_under_cancellation(server, port):
    chance = random.Random(3)
    down, up = os.urandom(MUCH) + b"\xff" * 3, b"\xff\xff\0\r\n" + os.urandom(MUCH)
    got, cancelled, given_up = bytearray(), 0, 0
    server.pause = 0.0005
    port._client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)

    async def hear():
        nonlocal cancelled
        while len(got) < len(up):
            with trio.move_on_after(chance.random() * 0.003) as scope:
                while len(got) < len(up):
                    got.extend(await port.receive(chance.randint(1, 3000)))
            cancelled += scope.cancelled_caught

    async def say():
        for start in range(0, len(up), 7001):
            await trio.to_thread.run_sync(server.say, up[start : start + 7001])
            await trio.sleep(chance.random() * 0.004)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        nursery.start_soon(say)
        base = port.sent
        while (at := port.sent - base) < len(down):
            with trio.move_on_after(chance.random() * 0.002) as scope:
                await port.send(down[at : at + chance.randint(1, 9000)])
            given_up += scope.cancelled_caught
        await port.send(b"")  # the second half of a last FF, where the send before was given up between the halves
    assert bytes(got) == up
    await until(lambda: len(server.heard) >= len(down))
    assert bytes(server.heard) == down
    assert cancelled > 10
    assert given_up > 10


async def test_back_pressure_reaches_the_sender(server, port):
    """FF doubled everywhere, a full connection, sends given up in the middle of a pair."""
    server.pause = 0.001
    port._client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    data = b"\xff" * 300_000
    blocked = 0
    while port.sent < len(data):
        with trio.move_on_after(0.01) as scope:
            await port.send(data[port.sent :])
        blocked += scope.cancelled_caught
        server.pause = 0.0 if blocked > 2 else 0.001
    await port.send(b"")
    await until(lambda: len(server.heard) >= len(data))
    assert bytes(server.heard) == data
    assert blocked > 2


async def test_what_nobody_takes_stays_bounded(server, port):
    flood = os.urandom(4 * INBOX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, server.say, flood)
        await until(lambda: port._client.inbox.qsize() == INBOX)
        await trio.sleep(0.05)
        assert port._client.inbox.peak == INBOX
        assert await exactly(port, len(flood)) == flood


async def test_speed(server, port):
    assert port.baud == 115200 == server.line.baudrate
    await port.set_speed(9600)
    assert port.baud == 9600 == server.line.baudrate
    server.line.refused.add(31250)
    with pytest.raises(ValueError):
        await port.set_speed(31250)
    assert port.baud == 9600 == server.line.baudrate == port._client.baudrate
    for wrong in (0, -1, 10**9):
        with pytest.raises(ValueError):
            await port.set_speed(wrong)
    await port.send(b"still there")
    await until(lambda: server.heard == b"still there")
    start = trio.current_time()
    await port.send(b"x" * 96)
    assert port._left_at >= start + 96 * 10 / 9600
    await port.drain()
    assert trio.current_time() >= port._left_at
    server.hang_up()
    with pytest.raises(PortLost):
        await port.receive()
    await port.reopen()
    assert port.baud == 115200 == server.line.baudrate


async def test_refused_settings_are_an_error_with_a_remedy(server):
    server.line.refused.add(31250)
    with pytest.raises(PortError, match="another speed"):
        await open_port(spec(server, ",baud=31250"), baud=9600)
    await until(lambda: not threads())


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("", []),
        (",dtr=assert,rts=drop", [("dtr", True), ("rts", False)]),
        (",dtr=drop", [("dtr", False)]),
        (",rts=assert", [("rts", True)]),
    ],
)
async def test_our_lines(server, options, lines):
    port = await open_port(spec(server, options), baud=9600)
    assert server.line.lines == lines
    await port.set_lines(dtr=True, rts=False)
    assert server.line.lines == [*lines, ("dtr", True), ("rts", False)]
    await port.set_lines(rts=True)
    assert server.line.lines[-1] == ("rts", True)
    await port.aclose()
    assert not threads()


async def test_frame_and_flow(server):
    port = await open_port(spec(server, ",parity=even,stop=2,flow=rtscts"), baud=9600)
    assert (server.line.parity, server.line.stopbits, server.line.rtscts) == (serial.PARITY_EVEN, 2, True)
    assert port.flow
    await port.aclose()


async def test_wires(server, port):
    assert port.wires == frozenset(Wire)
    for wire, name in ((Wire.CTS, "cts"), (Wire.DSR, "dsr"), (Wire.DCD, "cd"), (Wire.RI, "ri")):
        await port.wait_wire(wire, False)
        for level in (True, False):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.wait_wire, wire, level)
                await trio.sleep(0.02)
                assert nursery.child_tasks
                server.wires(**{name: level})
    with trio.move_on_after(0.05) as scope:
        await port.wait_wire(Wire.DSR, True)  # that pulse has been told
    assert scope.cancelled_caught


async def test_a_pulse_while_nobody_looks_is_not_missed(server, port):
    server.wires(dsr=True)
    server.wires(dsr=False)
    server.notify(rfc2217.SERVER_NOTIFY_MODEMSTATE, 0x01)  # CTS changed, and is again as it was
    await until(lambda: port._client.looks[Wire.CTS].changes)
    with trio.fail_after(1):
        await port.wait_wire(Wire.DSR, True)
        await port.wait_wire(Wire.DSR, False)
        await port.wait_wire(Wire.CTS, True)
    with trio.move_on_after(0.05) as scope:
        await port.wait_wire(Wire.DSR, True)
    assert scope.cancelled_caught


async def test_how_the_wires_are_at_open_is_no_pulse(server):
    server.line.dsr = True
    port = await open_port(spec(server), baud=9600)
    with trio.move_on_after(0.1) as scope:
        await port.wait_wire(Wire.DSR, False)
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await port.wait_wire(Wire.DSR, True)
    await port.aclose()


async def test_a_break_is_seen_once_and_is_no_data(server, port):
    server.notify(rfc2217.SERVER_NOTIFY_LINESTATE, 0x60)  # the transmitter is empty: no break
    server.notify(rfc2217.SERVER_NOTIFY_LINESTATE, 0x70)
    server.say(b"data")
    with trio.fail_after(1):
        await port.wait_wire(Wire.BREAK, True)
        await port.wait_wire(Wire.BREAK, False)
    assert await exactly(port, 4) == b"data"
    with trio.move_on_after(0.05) as scope:
        await port.wait_wire(Wire.BREAK, True)
    assert scope.cancelled_caught


async def test_loss_reaches_everybody_and_comes_back(server, port):
    lost = []

    async def expect(call, *arguments):
        try:
            while True:
                await call(*arguments)
                await trio.sleep(0.001)
        except PortLost:
            lost.append(call)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, port.receive)
        nursery.start_soon(expect, port.send, b"x")
        nursery.start_soon(expect, port.wait_wire, Wire.DSR, True)
        await trio.sleep(0.02)
        server.say(b"last words")
        server.hang_up()
    assert len(lost) == 3
    for call in (port.receive, port.drain, lambda: port.send(b"x"), lambda: port.set_lines(dtr=True)):
        with pytest.raises(PortLost):
            await call()
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.reopen)
            nursery.start_soon(port.reopen)
    assert [entry["event"] for entry in logs] == ["port lost", "port back"]
    server.say(b"hello")
    assert await exactly(port, 5) == b"hello"


async def test_data_before_the_loss_come_first(server, port):
    server.say(b"last words")
    server.hang_up()
    await until(lambda: port._client.inbox.ended)
    assert await exactly(port, 10) == b"last words"
    with pytest.raises(PortLost):
        await port.receive()


async def test_closing_ends_the_thread_and_the_waits(server):
    for full in (False, True):
        port = await open_port(spec(server), baud=9600)
        async with trio.open_nursery() as nursery:
            if full:
                nursery.start_soon(_ends, trio.to_thread.run_sync, server.write, bytes(600 * INBOX))
                await until(lambda port=port: port._client.inbox.qsize() == INBOX)
            else:
                nursery.start_soon(_ends, port.receive)
            await trio.sleep(0.02)
            await port.aclose()
            assert not threads()
        with pytest.raises(PortLost):
            await port.reopen()


async def _ends(call, *arguments):
    with pytest.raises((PortLost, OSError)):
        await call(*arguments)


async def test_an_open_that_is_given_up_leaves_nothing(server):
    for patience in (0.0, 0.002, 0.005, 0.01, 0.02, 0.05):
        with trio.move_on_after(patience):
            await (await open_port(spec(server), baud=9600)).aclose()
    await until(lambda: not threads())


async def test_a_change_of_speed_that_is_given_up_loses_the_port(server, port):
    server.pause = 0.1
    with trio.move_on_after(0.02) as scope:
        await port.set_speed(9600)
    assert scope.cancelled_caught
    with pytest.raises(PortLost):
        await port.receive()
    await port.reopen()
    assert server.line.baudrate == 115200


async def test_a_malformed_message_is_a_loss_and_no_silence(server, port):
    with structlog.testing.capture_logs() as logs:
        server.write(rfc2217.IAC + rfc2217.SE)
        with pytest.raises(PortLost):
            await port.receive()
    assert "malformed" in logs[0]["event"]


async def test_what_is_no_server():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        name = f"rfc2217://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(PortError, match="socket://"):
            await open_port(parse(f"a@{name}?timeout=0.2", side="upstream"), baud=9600)
    with pytest.raises(PortError, match="start the server"):
        await open_port(parse(f"a@{name}", side="upstream"), baud=9600)


def test_the_inbox_wakes_once_for_what_comes_together():
    woken = []
    inbox = Inbox(lambda: woken.append(1))
    for byte in b"abc":
        inbox.put(bytes([byte]))
    assert len(woken) == 1
    assert inbox.take(2) == b"ab"
    inbox.put(b"d")
    assert inbox.take(9) == b"cd"
    inbox.put(b"e")
    inbox.put(None)
    assert len(woken) == 3
    assert inbox.take(9) == b"e"
    assert inbox.ended


def test_a_pair_cut_in_half_is_finished_before_anything_else():
    class Slow:
        """Takes a given number of bytes each time."""

        def __init__(self, *room):
            self.room, self.out = list(room), b""

        def send(self, data, flags):
            if not self.room:
                raise BlockingIOError
            piece = data[: self.room.pop(0)]
            self.out += piece
            return len(piece)

        def sendall(self, data):
            self.out += data

    client = Client("rfc2217://h:1", lambda: None, dtr=None, rts=None, baudrate=9600)
    client._write_lock = threading.Lock()
    client._socket = Slow(2, 1, 9)
    assert client.offer(b"a\xffb\xff") == 2  # a, and half of FF
    assert client.owes
    assert client.offer(b"b\xff") == 0  # the other half
    assert not client.owes
    assert client.offer(b"b\xff") == 2
    client._socket.room = [4]
    assert client.offer(b"\xff\xff\xff") == 2
    assert not client.owes
    client._socket.room = [1]
    assert client.offer(b"\xff") == 1
    client._internal_raw_write(b"<command>")
    assert not client.owes
    assert client._socket.out == b"a\xff\xffb\xff\xff" + b"\xff" * 4 + b"\xff\xff<command>"
    with pytest.raises(BlockingIOError):
        client.offer(b"x")
    client._socket = None


async def test_a_byte_that_is_half_out_is_finished_by_the_next_send(server, port):
    port._client.connection.send(b"\xff")
    port._client._owed = b"\xff"
    await port.send(b"")
    await until(lambda: server.heard == b"\xff")


def test_the_first_notice_of_the_wires_says_how_they_are():
    client = Client("rfc2217://h:1", lambda: None, dtr=None, rts=None, baudrate=9600)
    notice = rfc2217.COM_PORT_OPTION + rfc2217.SERVER_NOTIFY_MODEMSTATE
    client._telnet_process_subnegotiation(notice + b"\x3f")  # CTS and DSR, all said to have changed
    assert {wire: look.level for wire, look in client.looks.items() if look.level} == {Wire.CTS: True, Wire.DSR: True}
    assert not any(look.changes for look in client.looks.values())
    client._telnet_process_subnegotiation(notice + b"\x22")  # CTS gone; DSR has pulsed
    assert client.looks[Wire.CTS].changes == 1
    assert client.looks[Wire.DSR].changes == 2
