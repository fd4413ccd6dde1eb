"""The bridge's own acknowledgement: what SEND OK means then, and what becomes of what it was said for."""

from __future__ import annotations

import contextlib
import random

import pytest
import structlog
import trio
from fake_network import FakeLink, FakeNetwork, FakeSending
from test_esp_at import ERROR, OK, PROMPT, bridge
from test_local_links import clog, make_pair
from trio.testing import check_half_closeable_stream, check_one_way_stream, wait_all_tasks_blocked

from bridge.emulation.ack import LAST_FLUSH, AckNetwork
from bridge.emulation.ack_link import AGAIN, FLUSH, PATIENCE, QUEUE
from bridge.emulation.around import NetworkAround
from bridge.model import Capability, Condition, Delivered, Endpoint, Limits, Login, Peers, Phase
from bridge.network import LinkLost, NetworkError
from bridge.trace import Trace

pytestmark = pytest.mark.deadline(2000)


class SlowSending(FakeSending):
    """Notes the size and the task of each send."""

    def __init__(self, link, total):
        super().__init__(link, total)
        assert 1 <= total <= link.network.limits.send_size
        link.network.chunks.append(total)

    async def write(self, piece):
        self.link.network.tasks.add(trio.lowlevel.current_task())
        await super().write(piece)


class Below(FakeNetwork):
    """A module that takes a chunk in ``delay["commit"]`` seconds; its limits can be changed."""

    def __init__(self, *, send_size=2048, half_close=False):
        super().__init__()
        capabilities = frozenset(Capability) - (set() if half_close else {Capability.HALF_CLOSE})
        self.limits = Limits(5, 5, send_size, capabilities, datagram_size=1472)
        self.chunks = []
        self.tasks = set()
        self.eofs = 0

    async def open_stream(self, host, port, *, keepalive=0):
        link = await super().open_stream(host, port, keepalive=keepalive)
        link.__class__ = BelowLink
        return link


class BelowLink(FakeLink):
    def sending(self, total):
        super().sending(total)
        return SlowSending(self, total)

    async def send_eof(self):
        await self.network.operation("send_eof")
        self.network.eofs += 1


class Rig:
    def __init__(self, below, network, notes):
        self.below, self.network, self.notes = below, network, notes

    async def open(self):
        link = await self.network.open_stream("1.2.3.4", 80)
        return link, self.below.links[-1]

    @property
    def lost(self):
        return self.network.counters["undelivered-bytes"]


@contextlib.asynccontextmanager
async def running(below=None):
    below = below or Below()
    notes = []
    network = AckNetwork(below, Trace(lambda record: notes.append((record.rule, record.data))))
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield Rig(below, network, notes)
        nursery.cancel_scope.cancel()


async def send(link, data, pieces=1):
    with link.sending(len(data)) as sending:
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            await sending.write(data[start : start + step])
        await sending.commit()


# ---------------------------------------------------------------- what a commit is


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


# ---------------------------------------------------------------- failures after the commit


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


# ---------------------------------------------------------------- the end of a link


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


# ---------------------------------------------------------------- the Network


async def test_everything_else_passes(autojump_clock):
    async with running() as rig:
        network, below = rig.network, rig.below
        await network.attach(Login("net", "secret-word"))
        await network.detach()
        assert await network.resolve("example.com") == "93.184.216.34"
        assert await network.ping("1.2.3.4", 1.0) == below.echo
        assert await network.signal() == below.strength
        assert await network.name_servers() == below.servers
        assert await network.identity() == await below.identity()
        assert network.state is below.state
        below.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        assert (await network.wait_state(below.state.seq - 1)).cause is Condition.BEARER_LOST
        assert below.calls["attach"] == below.calls["detach"] == 1
        datagrams = await network.open_datagram(Endpoint("1.2.3.4", 5), local_port=7, peers=Peers.LAST)
        assert datagrams is below.datagrams[0]
        assert (datagrams.local.port, datagrams.peers) == (7, Peers.LAST)
        link, far = await rig.open()
        assert (link.local, link.peer) == (far.local, far.peer)
        assert await link.find_endpoints() == (far.local, far.peer)
        far.feed(b"hello")
        assert (await link.wait_readable(), link.waiting(), await link.fetch(), link.take(2)) == (5, 5, 5, b"he")
        assert below.opened == [("1.2.3.4", 80, 0)]
        assert issubclass(AckNetwork, NetworkAround)


async def test_links_that_a_server_accepts_are_wrapped(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        server = await rig.network.listen(80, room=3)
        assert (server.local.port, rig.below.listeners[0].room) == (80, 3)
        with trio.move_on_after(1):
            await server.accept()
        far = rig.below.listeners[0].knock()
        link = await server.accept()
        before = trio.current_time()
        await send(link, b"hello")
        assert trio.current_time() == before
        await link.aclose()
        assert (bytes(far.sent), far.closed) == (b"hello", True)
        rig.below.listeners[0].lose(Condition.MODULE_RESET)
        assert server.condition is Condition.MODULE_RESET
        with pytest.raises(LinkLost):
            await server.accept()
        await server.aclose()
        assert rig.below.listeners[0].closed


async def test_a_reset_drops_what_waits(autojump_clock):
    async with running() as rig:
        rig.below.delay["commit"] = 5.0
        link, far = await rig.open()
        idle, far_idle = await rig.open()
        await send(link, b"hello")
        await trio.sleep(1)
        before = trio.current_time()
        await rig.network.reset()
        assert trio.current_time() == before
        assert rig.below.calls["reset"] == 1
        assert (rig.lost, link.condition) == (5, Condition.LINK_CLOSED)
        await trio.sleep(10)
        assert far.commits == 0
        assert far.condition is Condition.ABORTED  # the peer must not take the part for the whole
        assert far.closed
        assert not far_idle.closed  # what had nothing under way is the Network's to end
        await link.aclose()
        await idle.aclose()
        assert rig.lost == 5


async def test_the_bridges_end_flushes_for_a_moment(autojump_clock):
    for delay, commits in ((LAST_FLUSH - 0.5, 1), (LAST_FLUSH + 0.5, 0)):
        async with running() as rig:
            rig.below.delay["commit"] = delay
            link, far = await rig.open()
            await send(link, b"hello")
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(min(delay, LAST_FLUSH))
        assert (far.commits, rig.lost) == (commits, 0 if commits else 5)
        with pytest.raises((LinkLost, trio.ClosedResourceError)):
            link.sending(1)
        with trio.fail_after(1):
            await link.aclose()


async def test_the_bridges_end_takes_no_time_where_nothing_waits(autojump_clock):
    async with running() as rig:
        await rig.open()
        began = trio.current_time()
    assert trio.current_time() == began
    assert rig.network.shutdown_grace == LAST_FLUSH
    rig.below.shutdown_grace = 5.0
    assert rig.network.shutdown_grace == LAST_FLUSH + 5.0


async def test_a_lost_port_ends_it_as_below(autojump_clock):
    class Losing(Below):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            await trio.sleep(5)
            raise NetworkError(Condition.PORT_LOST, "gone")

    below = Losing()
    network = AckNetwork(below, Trace())
    below.delay["commit"] = 100.0
    failed = []

    async def run(*, task_status):
        try:
            await network.run(task_status=task_status)
        except NetworkError as error:
            failed.append(error.condition)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        link = await network.open_stream("1.2.3.4", 80)
        await send(link, b"hello")
    assert failed == [Condition.PORT_LOST]
    assert trio.current_time() < 6
    assert network.counters["undelivered-bytes"] == 5
    assert link.condition is not None
    with pytest.raises(NetworkError):
        await network.open_stream("1.2.3.4", 80)


# ---------------------------------------------------------------- a host on top


@contextlib.asynccontextmanager
async def hosted(below):
    network = AckNetwork(below, Trace())
    async with bridge(network) as host:
        host.network = below
        yield host, network


async def test_a_host_sends_faster_than_its_module(autojump_clock):
    async with hosted(Below()) as (host, _):
        host.network.delay["commit"] = 5.0
        (far,) = await host.join(links=[0])
        assert await host.ask("AT+CIPSEND=0,5") == PROMPT
        assert await host.ask(b"hello") == b"\r\nRecv 5 bytes\r\n\r\nSEND OK\r\n"
        assert far.commits == 0
        assert await host.ask("AT+CIPSEND=0,5") == PROMPT
        assert await host.ask(b"again") == b"\r\nRecv 5 bytes\r\n\r\nSEND OK\r\n"
        assert await host.ask("AT+CIPCLOSE=0") == b"0,CLOSED\r\n" + OK
        await trio.sleep(20)
        assert (bytes(far.sent), far.closed) == (b"helloagain", True)


async def test_a_loss_after_send_ok_is_one_closed(autojump_clock):
    async with hosted(Below()) as (host, network):
        host.network.delay["commit"] = 5.0
        await host.join(links=[0])
        host.network.error["commit"] = LinkLost(Condition.LINK_RESET)
        await host.ask("AT+CIPSEND=0,5")
        assert await host.ask(b"hello") == b"\r\nRecv 5 bytes\r\n\r\nSEND OK\r\n"
        assert await host.read(20) == b"0,CLOSED\r\n"
        assert network.counters["undelivered-bytes"] == 5
        assert await host.ask("AT+CIPCLOSE=0") == ERROR
        assert await host.read(60) == b""


async def test_a_host_reset_forgets_what_waits(autojump_clock):
    async with hosted(Below()) as (host, network):
        host.network.delay["commit"] = 5.0
        (far,) = await host.join(links=[0])
        await host.ask("AT+CIPSEND=0,5")
        await host.ask(b"hello")
        await host.ask("AT+RST", seconds=30)
        assert far.commits == 0
        assert network.counters["undelivered-bytes"] == 5
        assert far.closed


# ---------------------------------------------------------------- as a stream of trio's, on real sockets


@contextlib.asynccontextmanager
async def streams():
    """Makers of (link, peer) and (peer, link), with a link of the gateway's own below."""
    network = AckNetwork(FakeNetwork(), Trace())

    async def pair():
        link, peer = await make_pair()
        return network.stream_around(link), peer

    async def reverse():
        link, peer = await pair()
        return peer, link

    async def clogged():
        link, peer = await make_pair()
        await clog(link)
        around = network.stream_around(link)
        with around.sending(QUEUE) as sending:
            await sending.write(bytes(QUEUE))
            await sending.commit()
        await wait_all_tasks_blocked()
        return around, peer

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield pair, reverse, clogged
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(20)
async def test_trio_checks_it_as_a_sender():
    async with streams() as (pair, _, clogged):
        await check_one_way_stream(pair, clogged)


@pytest.mark.deadline(20)
async def test_trio_checks_it_as_a_receiver():
    async with streams() as (_, reverse, _):
        await check_one_way_stream(reverse, None)


@pytest.mark.deadline(20)
async def test_trio_checks_half_close():
    async with streams() as (pair, _, _):
        await check_half_closeable_stream(pair, None)
