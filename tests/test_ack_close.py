"""`ack=bridge`: the end of a link, ours and the peer's, with bytes that still wait."""

from __future__ import annotations

import pytest
import trio
from ack_rig import Below, SlowSending, running, send
from trio.testing import wait_all_tasks_blocked

from bridge.emulation.ack_link import FLUSH, QUEUE
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError

pytestmark = pytest.mark.deadline(2000)


async def test_a_close_flushes(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = FLUSH - 1
        link, far = await rig.open()
        await send(link, b"hello")
        await link.aclose()
        assert trio.current_time() >= FLUSH - 1
        assert (bytes(far.sent), far.commits, far.closed) == (b"hello", 1, True)
        assert (link.condition, rig.lost) == (Condition.LINK_CLOSED, 0)
        await link.aclose()
        assert rig.below.calls["aclose"] == 1


async def test_a_close_that_cannot_flush_ends_and_says_so(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = FLUSH + 1
        link, far = await rig.open()
        await send(link, b"hello")
        before = trio.current_time()
        await link.aclose()
        assert trio.current_time() - before == pytest.approx(FLUSH)
        assert (far.condition, far.closed, rig.lost) == (Condition.ABORTED, True, 5)
        assert link.condition is Condition.ABORTED


async def test_a_cancelled_close_goes_on_behind(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        await send(link, b"hello")
        with trio.move_on_after(1.0) as scope:
            await link.aclose()
        assert scope.cancelled_caught
        with pytest.raises(trio.ClosedResourceError):
            link.sending(1)
        await trio.sleep(10)
        assert (far.commits, far.closed, rig.lost) == (1, True, 0)


async def test_a_reader_leaves_at_once_when_the_link_is_closed(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, _ = await rig.open()
        await send(link, b"hello")
        left = []

        async def read():
            with pytest.raises(trio.ClosedResourceError):
                await link.receive_some()
            left.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            before = trio.current_time()
            nursery.start_soon(link.aclose)
        assert left == [before]


async def test_a_close_takes_an_open_send_with_it(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        sending = link.sending(4)
        await sending.write(b"1234")
        await link.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await sending.commit()
        assert (far.sent, far.closed) == (b"", True)
        with pytest.raises(trio.ClosedResourceError):
            await link.send_eof()


async def test_an_abort_wakes_who_waits_for_room_and_a_cancelled_write_ends_its_send(autojump_clock):
    async with running(Below(send_size=QUEUE)) as rig:
        rig.below.delay["commit"] = 10.0
        link, far = await rig.open()
        await send(link, bytes(QUEUE))
        ended = []

        async def write(sending):
            with pytest.raises(trio.ClosedResourceError):
                await sending.write(b"abc")
            ended.append(trio.current_time())

        sending = link.sending(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, sending)
            await wait_all_tasks_blocked()
            before = trio.current_time()
            sending.abort()
        assert ended == [before]
        sending = link.sending(3)
        with trio.move_on_after(1):
            await sending.write(b"abc")
        with pytest.raises(trio.ClosedResourceError):
            await sending.write(b"abc")
        assert len(far.sent) == QUEUE


async def test_a_closed_link_gives_nothing_and_is_forgotten(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        far.feed(b"unread")
        await link.fetch()
        await link.aclose()
        assert link.take(10) == b""
        assert not rig.network._links  # else a bridge would grow for as long as it runs


async def test_an_end_of_our_side_that_was_asked_for_comes_before_the_close(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        await send(link, b"hello")
        with trio.move_on_after(1):
            await link.send_eof()
        await link.aclose()
        assert (bytes(far.sent), rig.below.eofs, far.closed) == (b"hello", 1, True)


async def test_what_waits_unread_cannot_block_the_flush_of_a_closed_link(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        far.feed(bytes(5000))

        class Picky(SlowSending):
            async def commit(self):
                if far.waiting():
                    del far.sent[:]
                    self.out = 0
                    raise NetworkError(Condition.RECEIVE_BUFFER_FULL)
                await super().commit()

        far.sending = lambda total: Picky(far, total)
        await send(link, b"hello")
        await trio.sleep(3)
        assert far.commits == 0
        await link.aclose()
        assert (far.commits, rig.lost) == (1, 0)


async def test_the_peers_end_leaves_our_side_where_half_closed_links_are(autojump_clock):
    async with running(Below(half_close=True)) as rig:
        rig.below.delay["commit"] = 1.0
        link, far = await rig.open()
        far.check = lambda: None
        far.peer_close()
        await send(link, b"answer")
        await link.flushed()
        assert (bytes(far.sent), link.condition) == (b"answer", Condition.PEER_CLOSED)
    async with running() as rig:
        link, far = await rig.open()
        far.peer_close()
        with pytest.raises(LinkLost):
            link.sending(1)


async def test_the_end_of_our_side_comes_behind_our_bytes(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 2.0
        link, far = await rig.open()
        await send(link, b"hello")
        before = trio.current_time()
        await link.send_eof()
        assert trio.current_time() - before == pytest.approx(2.0)
        assert (bytes(far.sent), rig.below.eofs) == (b"hello", 1)
        await link.send_eof()
        assert rig.below.eofs == 1
        with pytest.raises(trio.ClosedResourceError):
            link.sending(1)
        far.feed(b"answer")
        assert await link.receive_some() == b"answer"


async def test_a_module_without_half_close_says_so_and_the_link_lives(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        rig.below.error["send_eof"] = NetworkError(Condition.NOT_SUPPORTED)
        with pytest.raises(NetworkError):
            await link.send_eof()
        await send(link, b"still here")
        await link.flushed()
        assert far.sent == b"still here"
        assert link.condition is None


async def test_the_end_of_our_side_fails_with_the_bytes_before_it(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 2.0
        link, _ = await rig.open()
        rig.below.error["commit"] = LinkLost(Condition.LINK_RESET)
        await send(link, b"hello")
        with pytest.raises(LinkLost):
            await link.send_eof()
        assert rig.below.eofs == 0
