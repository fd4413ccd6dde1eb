import os

import pytest
import trio
import trio.testing

from bridge.ports import PortLost
from bridge.ports.memory import line
from bridge.ports.pacing import FIFO, PacedPort, TimedPort
from bridge.ports.pty import PtyPort

BAUD = 115200
BYTE = 10 / BAUD


async def collect(port, count, marks):
    data = b""
    while len(data) < count:
        data += await port.receive()
        marks.append((trio.current_time(), len(data)))
    return data


async def test_sends_at_the_rate_and_never_faster(autojump_clock):
    a, b = line()
    paced, marks, data = PacedPort(a, BAUD), [], os.urandom(20_000)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            for at in range(0, len(data), 100):  # many sends, one schedule
                await paced.send(data[at : at + 100])

        assert await collect(b, len(data), marks) == data
    for when, count in marks:
        assert count <= (when - start) / BYTE + 1
    assert (marks[-1][0] - start) == pytest.approx(len(data) * BYTE, rel=0.01)
    assert paced.sent == len(data)


async def test_receives_at_the_rate_and_never_faster(autojump_clock):
    a, b = line()
    paced, marks, data = PacedPort(b, BAUD), [], os.urandom(20_000)
    start = trio.current_time()
    await a.send(data)
    assert await collect(paced, len(data), marks) == data
    for when, count in marks:
        assert count <= (when - start) / BYTE + 1
    assert (marks[-1][0] - start) == pytest.approx(len(data) * BYTE, rel=0.01)


async def test_silence_earns_no_burst(autojump_clock):
    a, b = line()
    out, into = PacedPort(a, 9600), PacedPort(b, 9600)
    await out.send(b"x")
    await into.receive()
    await trio.sleep(5)
    start = trio.current_time()
    await out.send(b"y" * 96)
    assert trio.current_time() - start == pytest.approx(0.1, rel=0.01)
    got = b""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def late():
            await trio.sleep(5)
            await a.send(b"z" * 96)

        while len(got) < 96:  # what waited
            got += await into.receive()
        start, got = trio.current_time() + 5, b""
        while len(got) < 96:
            got += await into.receive()
    assert trio.current_time() - start >= 0.099 - FIFO


async def test_lateness_is_caught_up_to_the_fifo_only(autojump_clock):
    a, b = line()
    paced = PacedPort(b, 9600)
    await a.send(b"x" * 960)
    await paced.receive()
    await trio.sleep(0.5)
    first = 0
    with trio.move_on_after(0.0001):
        while True:
            first += len(await paced.receive())
    assert 40 <= first <= 50


async def test_cancelled_send_knows_what_left(autojump_clock):
    a, b = line()
    paced, data = PacedPort(a, 9600), bytes(range(200))
    with trio.move_on_after(0.0605):
        await paced.send(data)
    gone = paced.sent
    assert gone in {57, 58}  # 60.5 ms at 1.04 ms a byte
    assert await b.receive() == data[:gone]
    await paced.send(data[gone:])
    assert await b.receive() == data[gone:]
    assert paced.sent == len(data)


async def test_cancelled_receive_loses_nothing(autojump_clock):
    a, b = line()
    paced, data, got, cancelled = PacedPort(b, 9600), os.urandom(500), b"", 0
    await a.send(data)
    while len(got) < len(data):
        with trio.move_on_after(0.0003) as scope:
            got += await paced.receive(7)
        cancelled += scope.cancelled_caught
    assert got == data
    assert cancelled > 100


async def test_drain_is_the_schedule_and_loss_is_passed_on(autojump_clock):
    a, b = line()
    paced = PacedPort(a, 9600)
    start = trio.current_time()
    await paced.send(b"x" * 48)
    await paced.drain()
    assert trio.current_time() - start == pytest.approx(0.05, rel=0.01)
    await b.aclose()
    with pytest.raises(PortLost):
        await paced.send(b"x")
    with pytest.raises(PortLost):
        await paced.receive()


def test_no_speed_is_refused():
    with pytest.raises(ValueError):
        PacedPort(line()[0], 0)


async def test_through_a_pty_byte_for_byte(tmp_path):
    pty = PtyPort(tmp_path / "p")
    paced, data = PacedPort(pty, BAUD), os.urandom(4000)
    peer = trio.lowlevel.FdStream(os.open(pty.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(paced.send, data)
        while len(got) < len(data):
            got += await peer.receive_some(4096)
    await peer.aclose()
    await paced.aclose()
    assert got == data


async def test_a_line_that_came_back_has_its_first_speed_again(autojump_clock):
    a, b = line()
    paced, receive = PacedPort(a, 9600), a.receive

    async def gone(most=4096):
        raise PortLost("gone")

    async def back():
        a.receive = receive

    await paced.set_speed(300)
    a.receive, a.reopen = gone, back
    with pytest.raises(PortLost):
        await paced.receive()
    await paced.reopen()
    start = trio.current_time()
    await paced.send(b"x" * 96)
    assert trio.current_time() - start == pytest.approx(0.1, rel=0.01)
    assert await b.receive() == b"x" * 96


async def test_a_timed_line_hands_over_at_once_and_drains_by_the_clock(autojump_clock):
    a, b = line()
    timed, start = TimedPort(a, 9600), trio.current_time()
    await timed.send(b"first")
    assert trio.current_time() == start
    assert await b.receive() == b"first"
    await timed.drain()
    assert trio.current_time() - start == pytest.approx(5 * 10 / 9600)


async def test_a_timed_line_is_never_more_than_its_fifo_ahead(autojump_clock):
    a, b = line()
    timed, marks, data = TimedPort(a, BAUD), [], os.urandom(20_000)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed.send, data)
        assert await collect(b, len(data), marks) == data
    for when, count in marks:
        assert count <= (when - start + FIFO) / BYTE + 1
    await timed.drain()
    assert trio.current_time() - start == pytest.approx(len(data) * BYTE, rel=0.01)


async def test_a_timed_send_that_is_cancelled_tells_how_far_it_came(autojump_clock):
    a, b = line()
    timed, marks = TimedPort(a, BAUD), []
    with trio.move_on_after(0.5):
        await timed.send(bytes(50_000))
    await collect(b, timed.sent, marks)
    assert timed.sent == pytest.approx((0.5 + FIFO) / BYTE, rel=0.06)
    with trio.move_on_after(1):
        assert not await b.receive()


async def test_an_answer_makes_up_for_a_late_timer(mock_clock):
    a, b = line()
    paced, byte = PacedPort(b, 10_000), 0.001
    await a.send(b"?")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def answer():
            assert await paced.receive() == b"?"
            await paced.send(b"!!")

        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1.8 * byte)  # woken 0.8 of a byte late
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1.3 * byte)
        # On the line the question ended after one byte time, and the answer after three.
        with trio.fail_after(0.5 * byte):
            assert await a.receive() == b"!!"


async def test_time_spent_on_an_answer_is_not_made_up(autojump_clock):
    a, b = line()
    paced, byte = PacedPort(b, 10_000), 0.001
    await a.send(b"??")
    assert await paced.receive(1) == b"?"
    await trio.sleep(0.040)  # busy with something, and then something waits already
    assert await paced.receive(1) == b"?"
    begun = trio.current_time()
    await paced.send(b"!!")
    assert trio.current_time() - begun == pytest.approx(2 * byte)
