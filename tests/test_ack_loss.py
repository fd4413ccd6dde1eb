"""`ack=bridge`: what becomes of bytes that the host was told were taken."""

from __future__ import annotations

import pytest
import structlog
import trio
from ack_rig import Below, running, send
from trio.testing import wait_all_tasks_blocked

from bridge.emulation.ack_link import AGAIN, PATIENCE, QUEUE
from bridge.model import Condition, Delivered
from bridge.network import LinkLost, NetworkError

pytestmark = pytest.mark.deadline(2000)


@pytest.mark.parametrize("operation", ["write", "commit", "sending"])
@pytest.mark.parametrize("condition", [Condition.MODULE_RESET, Condition.LINK_RESET])
async def test_a_later_loss_is_the_links_condition(autojump_clock, operation, condition):
    async with running() as rig:
        rig.below.delay["write"] = 1.0
        link, far = await rig.open()
        rig.below.error[operation] = LinkLost(condition, Delivered.UNKNOWN)
        await send(link, b"hello")
        assert link.condition is None
        with structlog.testing.capture_logs() as logged:
            assert await link.wait_readable() == 0
            await trio.sleep(1)
        assert link.condition is condition
        assert rig.lost == 5
        assert rig.network.counters["undelivered-links"] == 1
        (told,) = [entry for entry in logged if entry["log_level"] == "warning"]
        assert (told["bytes"], told["condition"], told["peer"]) == (5, str(condition), "1.2.3.4:80")
        assert [rule for rule, _ in rig.notes] == ["undelivered"]
        with pytest.raises(LinkLost) as lost:
            await send(link, b"more")
        assert (lost.value.condition, lost.value.delivered) == (condition, Delivered.NONE)
        await link.aclose()
        assert far.closed
        assert rig.lost == 5  # once


async def test_what_the_link_says_is_read_after_its_loss(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        await send(link, b"hello")
        await trio.sleep(1)
        far.feed(b"last words")
        far.lose(Condition.LINK_RESET)
        await trio.sleep(10)
        assert (link.condition, rig.lost) == (Condition.LINK_RESET, 5)
        assert await link.wait_readable() == 10
        await link.fetch()
        assert link.take(100) == b"last words"
        assert await link.wait_readable() == 0


async def test_a_loss_while_nothing_waits_is_the_links_own_affair(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        await send(link, b"hello")
        await trio.sleep(1)
        far.lose(Condition.BEARER_LOST)
        assert link.condition is Condition.BEARER_LOST
        with pytest.raises(LinkLost):
            link.sending(3)
        assert await link.wait_readable() == 0
        await link.aclose()
        assert (rig.lost, rig.notes, far.closed) == (0, [], True)


async def test_a_send_under_way_when_the_link_is_lost_has_delivered_nothing(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        with link.sending(4) as sending:
            await sending.write(b"12")
            far.lose(Condition.LINK_RESET)
            with pytest.raises(LinkLost) as lost:
                await sending.write(b"34")
        assert lost.value.delivered is Delivered.NONE
        assert rig.lost == 0


async def test_a_writer_that_waits_for_room_learns_of_the_loss(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        await send(link, bytes(QUEUE))
        failed = []

        async def write():
            with pytest.raises(LinkLost) as lost:
                await send(link, b"more")
            failed.append((lost.value.condition, lost.value.delivered))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(1)
            assert failed == []
            far.lose(Condition.LINK_RESET)
        assert failed == [(Condition.LINK_RESET, Delivered.NONE)]
        assert trio.current_time() < 6
        assert rig.lost == QUEUE


async def test_a_refusal_below_comes_too_late_and_ends_the_link(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        rig.below.error["commit"] = NetworkError(Condition.BAD_ARGUMENT, "a byte")
        rig.below.delay["commit"] = 1.0
        readable = []

        async def read():
            readable.append(await link.wait_readable())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await send(link, b"hello")
        assert readable == [0]
        assert (link.condition, rig.lost, far.sent) == (Condition.BAD_ARGUMENT, 5, b"")
        await wait_all_tasks_blocked()
        assert far.closed  # the link below would have lived on
        assert (link.waiting(), link.take(10)) == (0, b"")
        await link.aclose()
        assert link.condition is Condition.BAD_ARGUMENT


async def test_a_crash_below_ends_one_link(autojump_clock):
    async with running() as rig:
        link, _ = await rig.open()
        rig.below.error["write"] = ZeroDivisionError("a bug")
        with structlog.testing.capture_logs() as logged:
            await send(link, b"hello")
            assert await link.wait_readable() == 0
        assert (link.condition, rig.lost) == (Condition.ABORTED, 5)
        assert any(entry.get("exc_info") for entry in logged)
        rig.below.error.clear()
        other, far = await rig.open()
        await send(other, b"lives")
        await other.flushed()
        assert far.sent == b"lives"


async def test_no_room_for_what_a_send_pulls_in_is_waited_for(autojump_clock):
    async with running() as rig:
        rig.below.error["commit"] = NetworkError(Condition.RECEIVE_BUFFER_FULL)
        link, far = await rig.open()
        await send(link, b"hello")
        await trio.sleep(PATIENCE - 5)
        assert link.condition is None
        rig.below.error.clear()
        await trio.sleep(2 * AGAIN)
        assert (bytes(far.sent), link.condition, rig.lost) == (b"hello", None, 0)
        rig.below.error["commit"] = NetworkError(Condition.RECEIVE_BUFFER_FULL)
        await send(link, b"again")
        await trio.sleep(PATIENCE + 2)
        assert (link.condition, rig.lost) == (Condition.RECEIVE_BUFFER_FULL, 5)


@pytest.mark.parametrize(("delivered", "on_their_way"), [(Delivered.NONE, 0), (Delivered.SOME, 3), (Delivered.UNKNOWN, 3)])
async def test_how_much_may_have_left_is_said(autojump_clock, delivered, on_their_way):
    async with running(Below(send_size=3)) as rig:
        link, _ = await rig.open()
        await send(link, b"fine")
        await link.flushed()
        rig.below.error["commit"] = LinkLost(Condition.LINK_RESET, delivered)
        with structlog.testing.capture_logs() as logged:
            await send(link, b"hello")
            await trio.sleep(1)
        assert [(entry["bytes"], entry["on_their_way"]) for entry in logged] == [(5, on_their_way)]


async def test_nothing_is_on_its_way_once_it_was_taken(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        await send(link, b"taken")
        await link.flushed()

        def crash(total):
            raise LinkLost(Condition.LINK_RESET, Delivered.UNKNOWN)

        far.sending = crash
        with structlog.testing.capture_logs() as logged:
            await send(link, b"hello")
            await trio.sleep(1)
        assert [(entry["bytes"], entry["on_their_way"]) for entry in logged] == [(5, 0)]


async def test_a_reader_learns_of_our_own_end_before_the_link_below_is_closed(autojump_clock):
    async with running() as rig:
        rig.below.delay["aclose"] = 10.0
        link, _ = await rig.open()
        rig.below.error["commit"] = NetworkError(Condition.TOO_LONG)
        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.wait_readable)
            await wait_all_tasks_blocked()
            await send(link, b"hello")
        assert trio.current_time() == before
