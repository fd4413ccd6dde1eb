"""Serial devices, as far as a pty can show them; and what it cannot, behind a driver of paper."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest
import structlog
import trio
from adapter import Adapter

from bridge.endpoint import parse
from bridge.model import Wire
from bridge.ports import PortLost, inventory, tty
from bridge.ports.opening import open_port
from bridge.ports.pacing import PacedPort
from bridge.ports.pty import PortError
from bridge.ports.reopening import MOST
from bridge.ports.serial import SerialPort
from bridge.ports.wires import Look, entered


def spec(path, options="", side="downstream"):
    return parse(f"wip@{path}{options}", side=side)


@pytest.fixture
def adapter(tmp_path):
    adapter = Adapter(tmp_path / "usb-Maker_Adapter_1234-if00")
    yield adapter
    adapter.unplug()


async def drink(port):
    while True:
        await port.receive()


async def lose(port):
    with pytest.raises(PortLost):
        await port.receive()


async def test_it_comes_back_by_its_name_as_another_device(adapter):
    port = await SerialPort.open(spec(adapter.link, ",baud=57600"), baud=57600)
    assert port.reopens
    await port.set_speed(9600)
    held = []
    for _ in range(3):
        before = adapter.link.readlink()
        adapter.unplug()
        await lose(port)
        held.append(os.openpty())  # takes its number, as a stale descriptor of ours would keep it
        assert port._stream.fileno() == -1
        with pytest.raises(PortLost):
            await port.send(b"x")
        with structlog.testing.capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.reopen)
                nursery.start_soon(port.reopen)  # both directions may ask
                await trio.sleep(0.35)
                adapter.plug()
        assert [entry["event"] for entry in logs] == ["port lost", "port back"]
        assert adapter.link.readlink() != before
        assert port.baud == 57600
        flags = tty.attributes(port._stream.fileno())
        assert flags[7] == 57600
        assert flags[5][termios.VMIN] == 1
        assert await port.send(b"hello") == 5
        assert await adapter.hear(5) == b"hello"
        os.write(adapter.master, b"\xffworld\0")
        assert await port.receive() == b"\xffworld\0"
        with pytest.raises(PortError, match="in use"):  # locked again
            await SerialPort.open(spec(adapter.link), baud=9600)
    assert port.sent == 15
    await port.aclose()
    for pair in held:
        for descriptor in pair:
            os.close(descriptor)


async def test_a_usb_name_follows_its_adapter(tmp_path, monkeypatch):
    there = [Adapter(tmp_path / "one")]
    monkeypatch.setattr(
        inventory, "listed", lambda: [inventory.Found(str(adapter.link), vid=0x403, pid=0x6001) for adapter in there]
    )
    port = await SerialPort.open(spec("usb:0403:6001"), baud=9600)
    there.pop().unplug()
    await lose(port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.reopen)
        await trio.sleep(0.15)
        there.append(Adapter(tmp_path / "other"))
    await port.send(b"hello")
    assert await there[0].hear(5) == b"hello"
    await port.aclose()
    there.pop().unplug()
    for name, remedy in (("usb:0403:6001", "at-bridge ports"), ("usb:x", "usb:VID:PID")):
        with pytest.raises(PortError, match=remedy):
            await SerialPort.open(spec(name), baud=9600)


async def test_a_port_that_is_open_again_is_not_lost_twice(adapter):
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    with structlog.testing.capture_logs() as logs:
        await port.reopen()
    assert logs == []
    await port.send(b"same")
    assert await adapter.hear(4) == b"same"
    await port.aclose()


async def test_closing_ends_the_waiting_for_it(adapter):
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    adapter.unplug()
    await lose(port)

    async def ends():
        with pytest.raises(PortLost):
            await port.reopen()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends)
        await trio.sleep(0.05)
        await port.aclose()
        adapter.plug()
    with pytest.raises(PortLost):
        await port.reopen()


async def test_a_reopening_that_is_given_up_leaves_it_lost(adapter):
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    adapter.unplug()
    await lose(port)
    with trio.move_on_after(0.05):
        await port.reopen()
    await lose(port)
    adapter.plug()
    await port.reopen()
    await port.send(b"back")
    assert await adapter.hear(4) == b"back"
    await port.aclose()


async def test_why_it_cannot_be_opened_though_it_is_there_is_told_once(adapter):
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    adapter.unplug()
    await lose(port)
    adapter.plug()
    other = await SerialPort.open(spec(adapter.link), baud=9600)  # was faster
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.reopen)
            await trio.sleep(0.9)
            await other.aclose()
    assert [entry["event"] for entry in logs] == ["port lost", "port cannot be opened yet", "port back"]
    assert "in use by this bridge itself" in logs[1]["reason"]
    await port.aclose()


@pytest.mark.deadline(700)
async def test_waiting_backs_off(adapter, monkeypatch, autojump_clock):
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    port._stream.close()
    tries = []

    async def nothing(*_, **__):
        tries.append(trio.current_time())
        raise PortError("x", "gone", "plug it in", absent=True)

    monkeypatch.setattr(tty, "open_tty", nothing)
    start = trio.current_time()
    with structlog.testing.capture_logs() as logs, trio.move_on_after(600):
        await port.reopen()
    waits = [after - before for before, after in zip([start, *tries], tries, strict=False)]
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(waits) == pytest.approx(MOST)
    assert len(tries) > 500
    assert len(logs) == 1
    await port.aclose()


async def test_pacing_passes_everything_through_and_starts_anew(adapter):
    port = await open_port(spec(adapter.link), baud=9600)
    assert isinstance(port, PacedPort)
    assert port.reopens
    assert port.wires == frozenset()
    await port.set_lines(dtr=True)
    with pytest.raises(ValueError):
        await port.wait_wire(Wire.DSR, True)
    await port.set_speed(19200)
    assert port.baud == 19200
    assert tty.attributes(port.inner._stream.fileno())[7] == 19200
    os.write(adapter.master, b"x" * 200)
    await port.receive(1)  # the others are read ahead
    adapter.unplug()
    with pytest.raises(PortLost):
        await drink(port)
    adapter.plug()
    await port.reopen()
    assert port.baud == 9600
    assert tty.attributes(port.inner._stream.fileno())[7] == 9600
    os.write(adapter.master, b"new")
    got = await port.receive(1)
    await port.reopen()  # the other direction noticed late: nothing of the new life may be dropped
    while len(got) < 3:
        got += await port.receive(1)
    assert got == b"new"
    await port.send(b"x" * 48)
    assert await adapter.hear(48) == b"x" * 48
    await port.aclose()


async def test_a_send_does_not_go_on_into_the_next_life(adapter):
    port = await open_port(spec(adapter.link), baud=300)

    async def send():
        with pytest.raises(PortLost):
            await port.send(b"old" * 20)  # takes 2 s

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(0.1)
        adapter.unplug()
        await lose(port)
        adapter.plug()
        await port.reopen()
    await port.send(b"N")
    await trio.sleep(0.05)
    assert await adapter.hear(1) == b"N"
    await port.aclose()


@pytest.mark.parametrize(
    ("options", "iflag", "cflag"),
    [
        ("", 0, 0),
        (",flow=xonxoff", termios.IXON | termios.IXOFF, 0),
        (",flow=rtscts", 0, termios.CRTSCTS),
        (",stop=2", 0, termios.CSTOPB),
        (",parity=even", 0, termios.PARENB),
        (",parity=odd,stop=2", 0, termios.PARENB | termios.PARODD | termios.CSTOPB),
    ],
)
async def test_flags(adapter, options, iflag, cflag):
    port = await SerialPort.open(spec(adapter.link, options), baud=9600)
    got = tty.attributes(port._stream.fileno())
    # A break is dropped and never a NUL among the data; nothing else is changed on its way.
    assert got[0] == iflag | termios.IGNBRK
    assert got[1] & (termios.OPOST | termios.ONLCR) == 0
    frame = termios.PARENB | termios.PARODD  # a pty takes these, but for parity
    wanted = cflag & ~frame
    assert got[2] & (termios.CSTOPB | termios.CRTSCTS | termios.HUPCL) == wanted
    assert got[2] & termios.CLOCAL
    assert got[3] & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN) == 0
    assert (got[5][termios.VMIN], got[5][termios.VTIME]) == (1, 0)
    assert port.flow == PacedPort(port, 9600).flow == ("rtscts" in options)
    assert port._bits == 10 + (",parity" in options) + ("stop=2" in options)
    await port.aclose()


async def test_speed_changes_and_is_refused(adapter, monkeypatch):
    port = await SerialPort.open(spec(adapter.link), baud=115200)
    before = tty.attributes(port._stream.fileno())
    for baud in (9600, 74880, 4_000_000):
        await port.set_speed(baud)
        after = tty.attributes(port._stream.fileno())
        assert after[7] == port.baud == baud
        assert after[6] == baud
        assert after[:2] == before[:2]
        assert after[3:6] == before[3:6]
    for wrong in (0, 49, 4_000_001, -9600):
        with pytest.raises(ValueError):
            await port.set_speed(wrong)
    real = fcntl.ioctl

    def stubborn(descriptor, request, argument):
        """A driver that keeps to what it can do."""
        if request == tty._TCSETS2 and struct.unpack_from(tty._TERMIOS2, argument)[7] == 31250:
            return argument
        return real(descriptor, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", stubborn)
    with pytest.raises(ValueError):
        await port.set_speed(31250)
    assert tty.attributes(port._stream.fileno())[7] == port.baud == 4_000_000
    with pytest.raises(PortError, match="choose a speed"):
        await SerialPort.open(spec(port_of_another(), ",baud=31250"), baud=31250)
    await port.aclose()
    with pytest.raises(PortLost):
        await port.set_speed(9600)


def port_of_another():
    test = os.openpty()
    OPEN.extend(test)
    return os.ttyname(test[1])


OPEN = []


@pytest.fixture(autouse=True)
def _close_ptys():
    yield
    while OPEN:
        os.close(OPEN.pop())


async def test_lines_that_are_not_there_are_told(adapter):
    with structlog.testing.capture_logs() as logs:
        port = await SerialPort.open(spec(adapter.link, ",dtr=drop"), baud=9600)
    assert ["no modem lines" in entry["event"] for entry in logs] == [True]
    await port.set_lines(dtr=True, rts=True)
    await port.aclose()
    with structlog.testing.capture_logs() as logs:
        await (await SerialPort.open(spec(adapter.link), baud=9600)).aclose()
    assert logs == []


async def test_a_reset_wire_that_is_not_there_is_refused(adapter):
    with pytest.raises(PortError, match=r"dsr cannot be seen.*leave out reset_on="):
        await open_port(spec(adapter.link, ",reset_on=!dsr", side="upstream"), baud=9600)
    await (await SerialPort.open(spec(adapter.link), baud=9600)).aclose()  # and it was closed


async def test_who_holds_the_port(adapter):
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'rb+', buffering=0); fcntl.flock(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - takes no time to start
        [sys.executable, "-c", hold, str(adapter.link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        await trio.to_thread.run_sync(holder.stdout.readline)
        try:
            with pytest.raises(PortError, match=rf"in use by .*\(process {holder.pid}\)"):
                await SerialPort.open(spec(adapter.link), baud=9600)
        finally:
            holder.stdin.close()
            await trio.to_thread.run_sync(holder.wait)


class Driver:
    """TIOCMGET and TIOCGICOUNT of a real UART, for a pty."""

    def __init__(self, *, counts=True):
        self.levels = 0
        self.counts = [0] * 20 if counts else None
        self.set = []
        self.gone = False
        self.real = fcntl.ioctl

    def __call__(self, descriptor, request, argument):
        if request in {termios.TIOCMGET, tty._TIOCGICOUNT, termios.TIOCMBIS, termios.TIOCMBIC}:
            if self.gone:
                raise OSError(5, "unplugged")
            if request == termios.TIOCMGET:
                return struct.pack("I", self.levels)
            if request == tty._TIOCGICOUNT:
                if self.counts is None:
                    raise OSError(25, "not a typewriter")
                return struct.pack("20i", *self.counts)
            self.set.append((request == termios.TIOCMBIS, *struct.unpack("I", argument)))
            return argument
        return self.real(descriptor, request, argument)

    def move(self, bit, place, asserted):
        self.levels = self.levels | bit if asserted else self.levels & ~bit
        if self.counts:
            self.counts[place] += 1


BITS = {Wire.CTS: (termios.TIOCM_CTS, 0), Wire.DSR: (termios.TIOCM_DSR, 1), Wire.DCD: (termios.TIOCM_CAR, 3)}


@pytest.fixture
async def wired(adapter, monkeypatch):
    driver = Driver()
    monkeypatch.setattr(fcntl, "ioctl", driver)
    port = await SerialPort.open(spec(adapter.link, ",dtr=assert,rts=drop"), baud=9600)
    yield port, driver
    await port.aclose()


async def nothing_more(port, wire, asserted):
    with trio.move_on_after(0.1) as scope:
        await port.wait_wire(wire, asserted)
    assert scope.cancelled_caught


async def test_lines_by_policy_and_by_call(wired):
    port, driver = wired
    assert driver.set == [(True, termios.TIOCM_DTR), (False, termios.TIOCM_RTS)]
    await port.set_lines(dtr=False)
    await port.set_lines(rts=True)
    await port.set_lines()
    assert driver.set[2:] == [(False, termios.TIOCM_DTR), (True, termios.TIOCM_RTS)]


@pytest.mark.parametrize("wire", BITS)
async def test_levels_pulses_and_what_was_told_before(wired, wire):
    port, driver = wired
    bit, place = BITS[wire]
    assert port.wires == frozenset(Wire)
    await port.wait_wire(wire, False)
    await nothing_more(port, wire, True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.wait_wire, wire, True)
        await trio.sleep(0.03)
        driver.move(bit, place, True)
    await port.wait_wire(wire, True)  # it still is
    driver.move(bit, place, False)
    driver.move(bit, place, True)
    await port.wait_wire(wire, False)  # it was, between two looks
    await nothing_more(port, wire, False)
    driver.move(bit, place, False)
    await nothing_more(port, Wire.DSR if wire is Wire.CTS else Wire.CTS, True)
    await port.wait_wire(wire, False)
    await nothing_more(port, wire, True)
    driver.move(bit, place, True)
    driver.move(bit, place, False)
    await port.wait_wire(wire, True)
    await port.wait_wire(wire, False)
    await nothing_more(port, wire, True)


async def test_a_break_is_told_once(wired):
    port, driver = wired
    await port.wait_wire(Wire.BREAK, False)
    await nothing_more(port, Wire.BREAK, True)
    driver.counts[9] += 2
    await port.wait_wire(Wire.BREAK, True)
    await port.wait_wire(Wire.BREAK, False)
    await nothing_more(port, Wire.BREAK, True)


async def test_ringing_counts_its_end_only(wired):
    port, driver = wired
    driver.counts[2] += 1
    await port.wait_wire(Wire.RI, True)
    await nothing_more(port, Wire.RI, True)


async def test_a_driver_that_does_not_count_has_no_break(adapter, monkeypatch):
    driver = Driver(counts=False)
    monkeypatch.setattr(fcntl, "ioctl", driver)
    port = await SerialPort.open(spec(adapter.link), baud=9600)
    assert port.wires == frozenset(Wire) - {Wire.BREAK}
    with pytest.raises(ValueError):
        await port.wait_wire(Wire.BREAK, True)
    driver.move(termios.TIOCM_CTS, 0, True)
    await port.wait_wire(Wire.CTS, True)
    await port.aclose()


async def test_unplugged_while_somebody_waits_for_a_wire(wired):
    port, driver = wired

    async def ends():
        with pytest.raises(PortLost):
            await port.wait_wire(Wire.CTS, True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends)
        await trio.sleep(0.03)
        driver.gone = True
    assert port._stream.fileno() == -1
    with pytest.raises(PortLost):
        await port.set_lines(dtr=True)
    driver.gone = False


@pytest.mark.parametrize(
    ("before", "now", "asserted", "want"),
    [
        ((False, 0), (False, 0), True, False),
        ((False, 0), (True, 1), True, True),
        ((False, 0), (False, 2), True, True),
        ((True, 0), (False, 1), True, False),  # it has only left
        ((True, 0), (False, 3), True, True),
        ((True, 0), (True, 2), False, True),
        ((False, 0), (True, 1), False, False),
        ((False, 0), (True, 3), False, True),
        ((True, 5), (True, 5), True, True),
    ],
)
def test_entered(before, now, asserted, want):
    assert entered(Look(*before), Look(*now), asserted) is want
