# ruff: noqa: ASYNC240, PTH115 - looking at a symlink takes no time
import fcntl
import os
import stat

import pytest
import trio
import trio.testing

from bridge.endpoint import parse
from bridge.ports import PortLost
from bridge.ports.opening import open_port, publish
from bridge.ports.pacing import PacedPort, TimedPort
from bridge.ports.pty import PortError, PtyPort
from bridge.ports.serial import SerialPort, is_pty
from bridge.ports.tty import attributes

EVERY = bytes(range(256)) + b"\x03\x04\x11\x13\x1a\r\n\r\n\x7f\x00\xff\xff\x00"


def spec(path, options=""):
    return parse(f"wip@{path}{options}", side="downstream")


async def exactly(port, count):
    data = b""
    while len(data) < count:
        data += await port.receive()
    return data


@pytest.fixture
async def pair(tmp_path):
    pty = PtyPort(tmp_path / "host")
    await pty.publish()
    serial = await SerialPort.open(spec(tmp_path / "host"), baud=115200)
    yield pty, serial
    await serial.aclose()
    await pty.aclose()


async def test_every_byte_both_ways(pair):
    for out, into in (pair, pair[::-1]):
        assert await out.send(EVERY) == len(EVERY) == out.sent
        await out.drain()
        assert await exactly(into, len(EVERY)) == EVERY
    assert not pair[1].wires


async def test_hangup_reaches_a_waiting_reader_and_writer(pair):
    pty, serial = pair
    lost = []

    async def expect(call, *args):
        try:
            while True:
                await call(*args)
        except PortLost:
            lost.append(call)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, serial.receive)
        nursery.start_soon(expect, serial.send, b"x" * 65536)
        await trio.sleep(0.05)
        await pty.aclose()
    assert len(lost) == 2
    assert serial._stream.fileno() == -1  # closed at once
    for port in pair:
        with pytest.raises(PortLost, match="closed"):
            await port.receive()
        with pytest.raises(PortLost, match="closed"):
            await port.send(b"x")


async def test_cancelled_send_is_counted_exactly(pair):
    pty, serial = pair
    data = os.urandom(100_000)
    with trio.move_on_after(0.05) as scope:
        await pty.send(data)
    assert scope.cancelled_caught
    assert 0 < pty.sent < len(data)
    assert await exactly(serial, pty.sent) == data[: pty.sent]
    with trio.move_on_after(0.05) as scope:
        await serial.receive()
    assert scope.cancelled_caught


async def test_a_send_that_went_out_is_not_called_cancelled(pair):
    async def cancel(scope):
        scope.cancel()

    for port, other in (pair, pair[::-1]):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, scope)
                assert await port.send(b"out") == 3
        assert await exactly(other, 3) == b"out"
        with trio.CancelScope() as scope:
            scope.cancel()
            await port.send(b"never")
        assert scope.cancelled_caught
        assert port.sent == 3


async def test_a_read_for_nothing_is_no_loss(pair, monkeypatch):
    wait, looked = trio.lowlevel.wait_readable, []

    async def wait_readable(descriptor):
        looked.append(descriptor)
        await trio.lowlevel.checkpoint()
        if len(looked) > 1:
            await wait(descriptor)

    pty, serial = pair
    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _read():
            assert await exactly(pty, 4) == b"late"

        await trio.testing.wait_all_tasks_blocked()
        assert len(looked) == 2
        await serial.send(b"late")


async def test_outlives_its_peers(tmp_path):
    pty = PtyPort(tmp_path / "host")
    await pty.publish()
    for _ in range(2):
        serial = await SerialPort.open(spec(tmp_path / "host"), baud=9600)
        await serial.send(b"hello")
        assert await exactly(pty, 5) == b"hello"
        await serial.aclose()
        with trio.move_on_after(0.02) as scope:
            await pty.receive()
        assert scope.cancelled_caught
    await pty.aclose()


async def test_taken_waits_for_the_peer(pair):
    pty, serial = pair
    await pty.send(b"bye")
    with trio.move_on_after(0.05) as scope:
        await pty.taken()
    assert scope.cancelled_caught
    await exactly(serial, 3)
    await pty.taken()


async def test_second_opener_is_refused_until_the_first_is_gone(pair, tmp_path):
    _, serial = pair
    with pytest.raises(PortError, match=r"in use by .*\(process \d+\)"):
        await SerialPort.open(spec(tmp_path / "host"), baud=9600)
    # TIOCEXCL would outlive a killed bridge here
    assert fcntl.ioctl(serial._stream.fileno(), 0x80045440, bytes(4)) == bytes(4)
    await serial.aclose()
    await (await SerialPort.open(spec(tmp_path / "host"), baud=9600)).aclose()


async def test_odd_speed_survives_the_repair(tmp_path):
    pty = PtyPort(tmp_path / "p")
    serial = await SerialPort.open(spec(pty.device), baud=123456)
    flags = attributes(serial._stream.fileno())
    assert flags[7] == 123456
    assert flags[5][6] == 1  # VMIN
    await serial.aclose()
    await pty.aclose()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing", "no such device"),
        (".", "directory"),
        ("file", "not a serial device"),
        ("dangling", "which is gone"),
        ("null", "serial line"),
    ],
)
async def test_what_cannot_be_opened(tmp_path, path, says):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("/dev/pts/99999")
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(PortError, match=says) as refused:
        await open_port(spec(tmp_path / path), baud=9600)
    assert str(tmp_path) in str(refused.value)
    assert refused.value.remedy


async def test_symlink_comes_and_goes(tmp_path):
    link = tmp_path / "host"
    pty = PtyPort(link)
    assert not os.path.lexists(link)
    await pty.publish()
    assert stat.S_ISLNK(link.lstat().st_mode)
    assert os.path.realpath(link) == pty.device
    assert is_pty(str(link))
    await pty.aclose()
    await pty.aclose()
    assert not os.path.lexists(link)


async def test_leaves_a_link_that_is_no_longer_ours(tmp_path):
    link = tmp_path / "host"
    pty = PtyPort(link)
    await pty.publish()
    link.unlink()
    link.symlink_to("/dev/null")
    await pty.aclose()
    assert os.readlink(link) == "/dev/null"


async def test_replaces_only_stale_links_of_bridges(tmp_path):
    link, master_slave = tmp_path / "host", os.openpty()
    foreign = os.ttyname(master_slave[1])
    reused = foreign.replace("/dev/pts/", "/dev/pts/./")
    for stale in ("/dev/pts/99999", "/dev/pts/./99999", reused):
        link.symlink_to(stale)
        pty = PtyPort(link)
        await pty.publish()
        assert os.path.realpath(link) == pty.device
        await pty.aclose()
    link.symlink_to(foreign)
    pty = PtyPort(link)
    with pytest.raises(PortError, match="another program"):
        await pty.publish()
    link.unlink()
    for make in (link.mkdir, link.touch, lambda: link.symlink_to("/etc/passwd"), lambda: link.symlink_to("/dev/pts/../null")):
        make()
        with pytest.raises(PortError, match="not ours to replace"):
            await pty.publish()
        link.rmdir() if link.is_dir() else link.unlink()
    await pty.aclose()
    for descriptor in master_slave:
        os.close(descriptor)


async def test_a_live_bridge_keeps_its_link(tmp_path):
    first, second = PtyPort(tmp_path / "host"), PtyPort(tmp_path / "host")
    await first.publish()
    with pytest.raises(PortError, match="another bridge"):
        await second.publish()
    await second.aclose()
    assert os.path.realpath(tmp_path / "host") == first.device
    await first.aclose()


async def test_no_directory_to_publish_in(tmp_path):
    pty = PtyPort(tmp_path / "no" / "host")
    with pytest.raises(PortError, match="create it"):
        await pty.publish()
    await pty.aclose()


async def test_what_is_paced(tmp_path):
    plain = await open_port(parse(f"a@pty:{tmp_path}/a", side="upstream"), baud=9600)
    paced = await open_port(parse(f"a@pty:{tmp_path}/b,baud=19200", side="upstream"), baud=9600)
    assert isinstance(plain, PtyPort)
    assert type(paced) is PacedPort
    assert paced.baud == 19200
    await publish(plain)
    await publish(paced)
    device = await open_port(spec(f"{tmp_path}/a"), baud=9600)
    assert isinstance(device, TimedPort)
    assert device.baud == 9600
    for port in (device, plain, paced):
        await port.aclose()


async def test_a_leftover_link_to_the_number_we_were_given_ourselves_is_replaced(tmp_path):
    port = PtyPort(tmp_path / "host")
    (tmp_path / "host").symlink_to(port.device.replace("/dev/pts/", "/dev/pts/./"))
    await port.publish()
    assert (tmp_path / "host").samefile(port.device)
    port.close()


async def test_a_leftover_link_to_a_number_that_another_bridge_has_now_is_replaced(tmp_path):
    other, port = PtyPort(tmp_path / "other"), PtyPort(tmp_path / "host")
    (tmp_path / "host").symlink_to(other.device.replace("/dev/pts/", "/dev/pts/./"))
    await port.publish()
    assert (tmp_path / "host").samefile(port.device)
    other.close()
    port.close()
