"""LocalStreamLink: order, bounds, half-close, aborts, cancellation.  On real loopback sockets."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import check_half_closeable_stream, check_one_way_stream, check_two_way_stream, wait_all_tasks_blocked

from bridge.local.links import RECEIVE_BOUND, SEND_SIZE, LocalStreamLink
from bridge.local.opening import connect
from bridge.model import Condition, Delivered, Endpoint
from bridge.network import LinkLost, NetworkError


async def make_pair():
    with trio.socket.socket() as server:
        await server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        link = LocalStreamLink(await connect("127.0.0.1", port, 0), Endpoint("127.0.0.1", port), lambda _: None)
        accepted, _ = await server.accept()
    return link, trio.SocketStream(accepted)


@asynccontextmanager
async def pair():
    link, peer = await make_pair()
    async with peer, link:
        yield link, peer


def hard_close(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


async def make_reversed_pair():
    link, peer = await make_pair()
    return peer, link


async def clog(link):
    """Fill the whole way to the peer, without a send that would then be aborted."""
    with trio.move_on_after(0.05):
        while True:
            if not link.push(memoryview(bytes(65536))):  # epoll says "full" long before there is no room for 4 bytes
                await trio.sleep(0.001)


async def make_clogged_pair():
    link, peer = await make_pair()
    await clog(link)
    return link, peer


async def test_trio_checks_it_as_a_sender():
    await check_one_way_stream(make_pair, make_clogged_pair)


async def test_trio_checks_it_as_a_receiver():
    await check_one_way_stream(make_reversed_pair, None)


async def test_trio_checks_both_ways():
    await check_two_way_stream(make_pair, None)


async def test_trio_checks_half_close():
    await check_half_closeable_stream(make_pair, None)


async def test_data_then_eof_in_order():
    async with pair() as (link, peer):
        assert link.waiting() == 0
        await peer.send_all(b"abcdef")
        await peer.send_eof()
        assert await link.wait_readable() == 6
        assert link.take(9) == b""  # not pulled yet
        assert await link.fetch() == 6
        assert await link.fetch() == 6  # this one sees the FIN
        assert link.condition is Condition.PEER_CLOSED
        assert link.take(4) == b"abcd"
        assert await link.wait_readable() == link.waiting() == 2
        assert link.take(4) == b"ef"
        assert await link.wait_readable() == 0
        assert await link.wait_readable() == 0


async def test_the_peer_sent_its_end_and_still_reads():
    async with pair() as (link, peer):
        await peer.send_eof()
        assert await link.receive_some() == b""
        await link.send_all(b"answer")
        assert await peer.receive_some() == b"answer"
        await link.send_eof()
        assert await peer.receive_some() == b""
        with pytest.raises(trio.ClosedResourceError):
            link.sending(1)


async def test_we_sent_our_end_and_still_read():
    async with pair() as (link, peer):
        await link.send_eof()
        await link.send_eof()
        assert await peer.receive_some() == b""
        await peer.send_all(b"rest")
        assert await link.receive_some() == b"rest"
        assert link.condition is None


async def test_reset_with_data_before_it():
    async with pair() as (link, peer):
        await peer.send_all(b"last words")
        hard_close(peer)
        assert await link.wait_readable() == 10
        assert await link.fetch() == 10
        assert await link.fetch() == 10
        assert link.condition is Condition.LINK_RESET
        assert link.take(99) == b"last words"
        assert await link.wait_readable() == 0
        with pytest.raises(LinkLost) as caught:
            await link.receive_some()
        assert caught.value.condition is Condition.LINK_RESET
        with pytest.raises(LinkLost) as caught:
            link.sending(1)
        assert (caught.value.condition, caught.value.delivered) == (Condition.LINK_RESET, Delivered.NONE)


async def test_a_send_that_finds_the_reset_loses_no_received_byte():
    async with pair() as (link, peer):
        await peer.send_all(b"last words")
        assert await link.wait_readable() == 10
        hard_close(peer)
        sending = link.sending(5)
        with pytest.raises(LinkLost) as caught:
            await sending.write(b"hello")
        assert (caught.value.condition, caught.value.delivered) == (Condition.LINK_RESET, Delivered.NONE)
        assert await link.wait_readable() == 10
        await link.fetch()
        assert link.take(99) == b"last words"
        assert await link.wait_readable() == 0
        assert link.condition is Condition.LINK_RESET


async def send_until_lost(link):
    while True:
        await link.send_all(b"two")


async def test_a_peer_that_closed_and_refuses_our_bytes():
    async with pair() as (link, peer):
        await peer.send_all(b"bye")
        await peer.aclose()
        await link.send_all(b"one")  # the kernel takes it; the peer answers RST
        with pytest.raises(LinkLost, match="peer-closed"):
            await send_until_lost(link)
        assert await link.receive_some() == b"bye"
        assert await link.receive_some() == b""


async def test_a_slow_reader_holds_the_peer_back():
    data = random.Random(1).randbytes(2_000_000)
    async with pair() as (link, peer):
        link_sent, sent = bytearray(), False

        async def flood():
            nonlocal sent
            await peer.send_all(data)
            sent = True
            await peer.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            for _ in range(50):  # a host that demands and never takes
                await link.wait_readable()
                assert await link.fetch() <= RECEIVE_BOUND
                await trio.sleep(0.002)
            assert not sent
            assert link.peak == RECEIVE_BOUND
            assert RECEIVE_BOUND < link.waiting() < 500_000  # the kernel's share is bounded as well
            while await link.wait_readable():
                assert await link.fetch() > 0
                link_sent += link.take(1000)
        assert link_sent == data
        assert link.peak == RECEIVE_BOUND


async def test_a_counted_send():
    async with pair() as (link, peer):
        with link.sending(6) as sending:
            await sending.write(b"abc")
            assert await peer.receive_some() == b"abc"  # straight through
            with pytest.raises(trio.BusyResourceError):
                link.sending(1)
            with pytest.raises(ValueError, match="3 bytes written, 6 announced"):
                await sending.commit()
            with pytest.raises(ValueError, match="7 bytes written, 6 announced"):
                await sending.write(b"defg")
            await sending.write(b"def")
            with trio.CancelScope() as scope:
                scope.cancel()
                await sending.commit()  # all of it is out: no cancellation can change that
        sending.abort()
        assert await peer.receive_some() == b"def"
        assert link.condition is None
        for over in (sending.write(b"x"), sending.commit()):
            with pytest.raises(trio.ClosedResourceError):
                await over
        await link.send_all(b"next")
        assert await peer.receive_some() == b"next"


async def test_sizes():
    async with pair() as (link, _):
        for total in (0, -1):
            with pytest.raises(ValueError):
                link.sending(total)
        with pytest.raises(NetworkError, match="too-long"):
            link.sending(SEND_SIZE + 1)
        link.sending(SEND_SIZE).abort()
        with pytest.raises(ValueError):
            link.take(-1)


async def test_send_all_takes_any_size():
    data = random.Random(2).randbytes(SEND_SIZE * 2 + 7)
    async with pair() as (link, peer):
        got = bytearray()
        async with trio.open_nursery() as nursery:

            async def send():
                await link.send_all(data)
                await link.send_eof()

            nursery.start_soon(send)
            async for piece in peer:
                got += piece
        assert got == data


async def test_an_abort_before_the_first_byte_costs_nothing():
    async with pair() as (link, peer):
        with link.sending(6):
            pass
        with contextlib.suppress(KeyError), link.sending(6):
            raise KeyError
        await link.send_all(b"alive")
        assert await peer.receive_some() == b"alive"


async def read_on(peer):
    while await peer.receive_some():
        pass


async def test_an_abort_half_way_is_a_reset_for_the_peer():
    async with pair() as (link, peer):
        await peer.send_all(b"data")
        await link.wait_readable()
        await link.fetch()
        with link.sending(6) as sending:
            await sending.write(b"abc")
        assert link.condition is Condition.ABORTED
        sending.abort()
        with pytest.raises(trio.BrokenResourceError):  # never an end in order after half a message
            await read_on(peer)
        with pytest.raises(LinkLost) as caught:
            await sending.write(b"def")
        assert (caught.value.condition, caught.value.delivered) == (Condition.ABORTED, Delivered.SOME)
        with pytest.raises(LinkLost, match="aborted, delivered: none"):
            link.sending(1)
        assert await link.wait_readable() == 4
        assert link.take(4) == b"data"
        assert await link.wait_readable() == 0


async def test_a_blocked_write_can_be_cancelled_and_the_link_is_lost():
    async with pair() as (link, _):
        with trio.move_on_after(0.05) as scope, link.sending(SEND_SIZE) as sending:
            await sending.write(bytes(SEND_SIZE))
        assert scope.cancelled_caught
        assert link.condition is Condition.ABORTED


async def test_a_write_cancelled_before_its_first_byte_costs_nothing():
    async with pair() as (link, peer):
        with trio.CancelScope() as scope, link.sending(5) as sending:
            scope.cancel()
            await sending.write(b"never")
        assert scope.cancelled_caught
        await link.send_all(b"alive")
        assert await peer.receive_some() == b"alive"


async def test_a_blocked_write_meets_the_reset():
    async with pair() as (link, peer), trio.open_nursery() as nursery:

        async def send():
            with pytest.raises(LinkLost) as caught, link.sending(SEND_SIZE) as sending:
                await sending.write(bytes(SEND_SIZE))
            assert (caught.value.condition, caught.value.delivered) == (Condition.LINK_RESET, Delivered.SOME)

        nursery.start_soon(send)
        await trio.sleep(0.02)
        hard_close(peer)


@pytest.mark.parametrize("end", ["aclose", "end", "abort"])
async def test_a_blocked_write_when_another_task_ends_it(end):
    async with pair() as (link, _), trio.open_nursery() as nursery:
        sending = link.sending(SEND_SIZE)

        async def send():
            expected = trio.ClosedResourceError if end == "aclose" else LinkLost
            with pytest.raises(expected):
                await sending.write(bytes(SEND_SIZE))

        nursery.start_soon(send)
        await trio.sleep(0.02)
        with pytest.raises(trio.BusyResourceError):
            await sending.write(b"x")
        with pytest.raises(trio.BusyResourceError):
            await link.send_eof()
        if end == "abort":
            sending.abort()
        else:
            await getattr(link, end)()
        assert link.condition is Condition.ABORTED


async def test_nothing_goes_out_after_an_abort_by_another_task():
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        await clog(link)
        sending = link.sending(4)

        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await sending.write(b"late")

        nursery.start_soon(send)
        await wait_all_tasks_blocked(0.01)
        sending.abort()
        assert link.condition is None
        with trio.move_on_after(0.2):
            while True:
                assert b"l" not in await peer.receive_some()


async def test_aclose_with_unread_data_is_no_reset():
    async with pair() as (link, peer):
        await peer.send_all(b"never read")
        assert await link.wait_readable() == 10
        await link.send_all(b"committed")
        await link.aclose()
        assert link.condition is Condition.LINK_CLOSED
        assert link.waiting() == 0
        assert link.take(5) == b""
        assert await peer.receive_some() == b"committed"
        assert await peer.receive_some() == b""


async def test_aclose_delivers_what_was_committed_to_a_slow_peer():
    data = random.Random(3).randbytes(100_000)
    async with pair() as (link, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        got = bytearray()
        async with trio.open_nursery() as nursery:

            async def read_slowly():
                await peer.send_all(b"x" * 1000)
                while piece := await peer.receive_some(1000):
                    got.extend(piece)
                    await trio.sleep(0.001)

            nursery.start_soon(read_slowly)
            await link.send_all(data)
            await link.aclose()
        assert got == data


async def test_aclose_gives_up_on_a_peer_that_does_not_read(autojump_clock):
    async with pair() as (link, _):
        await clog(link)
        start = trio.current_time()
        await link.aclose()
        assert trio.current_time() - start == pytest.approx(1.0, abs=0.02)
        assert link._socket.fileno() == -1


async def test_a_cancelled_aclose_closes_at_once():
    async with pair() as (link, _):
        await clog(link)
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.aclose()
        assert scope.cancelled_caught
        assert link._socket.fileno() == -1


async def test_two_readers_are_one_too_many():
    async with pair() as (link, _), trio.open_nursery() as nursery:
        nursery.start_soon(link.wait_readable)
        await wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError):
            await link.wait_readable()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_reader_takes_nothing():
    async with pair() as (link, peer):
        with trio.move_on_after(0.02):
            await link.receive_some()
        await peer.send_all(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive_some()
        assert await link.receive_some() == b"kept"
