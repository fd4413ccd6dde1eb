"""`ack=bridge`: what a commit is, and the queue behind it."""

from __future__ import annotations

import random

import pytest
import trio
from ack_rig import Below, SlowSending, running, send
from trio.testing import wait_all_tasks_blocked

from bridge.emulation.ack_link import QUEUE
from bridge.model import Capability, Condition, Limits
from bridge.network import NetworkError

pytestmark = pytest.mark.deadline(2000)


async def test_a_commit_does_not_wait_for_the_module(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 3.0
        link, far = await rig.open()
        await send(link, b"hello")
        assert trio.current_time() == pytest.approx(autojump_clock.current_time())
        assert (far.commits, link.queued) == (0, 5)
        before = trio.current_time()
        await link.flushed()
        assert trio.current_time() - before == pytest.approx(3.0)
        assert (bytes(far.sent), far.commits, link.queued) == (b"hello", 1, 0)


async def test_no_time_passes_in_a_commit(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = rig.below.delay["write"] = 1.0
        link, _ = await rig.open()
        before = trio.current_time()
        for _ in range(QUEUE // 1024):
            await send(link, bytes(1024))
        assert trio.current_time() == before


async def test_nothing_goes_below_before_its_commit(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        with link.sending(10) as sending:
            await sending.write(b"12345")
            await trio.sleep(5)
            assert far.sent == b""
            await sending.write(b"67890")
            await trio.sleep(5)
            assert far.sent == b""
            await sending.commit()
        await trio.sleep(1)
        assert far.sent == b"1234567890"


@pytest.mark.parametrize("written", [0, 1, 5, 10])
async def test_an_aborted_send_leaves_nothing_and_costs_nothing(autojump_clock, written):
    async with running() as rig:
        link, far = await rig.open()
        await send(link, b"before")
        with link.sending(10) as sending:
            await sending.write(b"X" * written)
        sending.abort()
        with pytest.raises(trio.ClosedResourceError):
            await sending.write(b"Y")
        with pytest.raises(trio.ClosedResourceError):
            await sending.commit()
        await send(link, b"after")
        await trio.sleep(1)
        assert far.sent == b"beforeafter"
        assert (link.condition, far.condition, rig.lost) == (None, None, 0)


async def test_a_send_cancelled_while_it_waits_for_room_leaves_nothing(autojump_clock):
    async with running(Below(send_size=QUEUE)) as rig:
        rig.below.delay["commit"] = 10.0
        link, far = await rig.open()
        await send(link, b"a" * (QUEUE - 3))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1.0) as scope:
            await send(link, b"b" * 10)
        assert scope.cancelled_caught
        await send(link, b"ccc")
        await trio.sleep(30)
        assert far.sent == b"a" * (QUEUE - 3) + b"ccc"
        assert link.condition is None


async def test_what_a_send_refuses(autojump_clock):
    async with running() as rig:
        link, _ = await rig.open()
        with pytest.raises(ValueError, match="at least one"):
            link.sending(0)
        with pytest.raises(NetworkError) as refused:
            link.sending(QUEUE + 1)
        assert refused.value.condition is Condition.TOO_LONG
        with link.sending(4) as sending:
            with pytest.raises(trio.BusyResourceError):
                link.sending(1)
            with pytest.raises(trio.BusyResourceError):
                await link.send_eof()
            with pytest.raises(ValueError, match="announced"):
                await sending.write(b"12345")
            with pytest.raises(ValueError, match="announced"):
                await sending.commit()
            await sending.write(b"1234")
            await sending.commit()
        await trio.sleep(1)
        assert rig.below.links[0].sent == b"1234"


async def test_two_tasks_do_not_write_to_one_send(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        await send(link, b"x" * QUEUE)
        with link.sending(4) as sending:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sending.write, b"12")
                await wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await sending.write(b"34")
            await sending.write(b"34")
            await sending.commit()
        await link.flushed()
        assert far.sent == b"x" * QUEUE + b"1234"


async def test_limits_are_those_below_but_for_the_send(autojump_clock):
    async with running(Below(send_size=100)) as rig:
        assert rig.network.limits == Limits(5, 5, QUEUE, rig.below.limits.capabilities, datagram_size=1472)
        link, far = await rig.open()
        await send(link, bytes(range(256)) * 4)  # more than a send below takes
        await link.flushed()
        assert far.sent == bytes(range(256)) * 4
        assert rig.below.chunks == [100] * 10 + [24]
        rig.below.limits = Limits(4, 0, 7, frozenset({Capability.TCP}))  # the driver found another profile
        assert (rig.network.limits.stream_links, rig.network.limits.send_size) == (4, QUEUE)
        await send(link, b"12345678")
        await link.flushed()
        assert rig.below.chunks[-2:] == [7, 1]


async def test_a_byte_that_the_module_cannot_carry_is_refused_before_any(autojump_clock):
    async with running() as rig:
        rig.below.limits = Limits(5, 5, 2048, frozenset(Capability), frozenset(range(32, 127)))
        link, far = await rig.open()
        with pytest.raises(NetworkError) as refused:
            await send(link, b"fine\x00fine", pieces=3)
        assert refused.value.condition is Condition.BAD_ARGUMENT
        await send(link, b"fine")
        await trio.sleep(1)
        assert (bytes(far.sent), link.condition) == (b"fine", None)


# ---------------------------------------------------------------- the queue


async def test_chunks_are_as_large_as_they_come_and_in_order(autojump_clock):
    async with running(Below(send_size=8192)) as rig:
        rig.below.delay["commit"] = 1.0
        link, far = await rig.open()
        said = random.Random(1).randbytes(12 * 1024)
        for start in range(0, len(said), 1024):
            await send(link, said[start : start + 1024])
        await link.flushed()
        assert far.sent == said
        assert sum(rig.below.chunks) == len(said)
        assert len(rig.below.chunks) <= 3
        assert max(rig.below.chunks) == 8192


async def test_a_full_queue_holds_the_host_back_and_is_never_more_than_full(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 1.0
        link, far = await rig.open()
        said = random.Random(2).randbytes(QUEUE * 3)
        with trio.fail_after(QUEUE * 3 / 2048 + 2):
            for start in range(0, len(said), 4096):
                await send(link, said[start : start + 4096], pieces=7)
                assert link.queued <= QUEUE
        assert trio.current_time() > 10  # it waited for the module
        assert QUEUE - 4096 < link.peak <= QUEUE
        await link.flushed()
        assert far.sent == said
        assert link.room() == QUEUE


@pytest.mark.parametrize("seed", range(20))
async def test_no_byte_lost_added_or_reordered(autojump_clock, seed):
    chance = random.Random(seed)
    async with running(Below(send_size=chance.choice([1, 13, 512, 2048, 65536]))) as rig:
        link, far = await rig.open()
        want = bytearray()
        for _ in range(40):
            rig.below.delay["commit"] = chance.choice([0, 0.001, 0.2])
            rig.below.delay["write"] = chance.choice([0, 0, 0.001])
            data = chance.randbytes(chance.choice([1, 2, 100, 2048]))
            if chance.random() < 0.2:
                with link.sending(len(data)) as sending:
                    await sending.write(data[: chance.randrange(len(data) + 1)])
            else:
                await send(link, data, pieces=chance.randrange(1, 9))
                want += data
            await trio.sleep(chance.choice([0, 0, 0.1]))
        rig.below.delay.clear()
        await link.aclose()
        assert far.sent == want
        assert far.closed
        assert rig.lost == 0


async def test_the_networks_own_task_sends(autojump_clock):
    async with running() as rig:
        link, _ = await rig.open()
        await send(link, b"hello")
        await trio.sleep(1)
        assert rig.below.tasks
        assert trio.lowlevel.current_task() not in rig.below.tasks


async def test_a_peer_that_stops_reading_holds_up_nobody_else(autojump_clock):
    async with running() as rig:
        link, far = await rig.open()
        other, far_other = await rig.open()

        class Stuck(SlowSending):
            async def commit(self):
                await trio.sleep_forever()

        far.sending = lambda total: Stuck(far, total)
        with trio.move_on_after(50) as scope:
            while True:
                await send(link, bytes(1000))
        assert scope.cancelled_caught
        assert link.queued == QUEUE // 1000 * 1000
        assert link.peak <= QUEUE
        assert link.condition is None
        await send(other, b"goes on")
        await trio.sleep(1)
        assert far_other.sent == b"goes on"
