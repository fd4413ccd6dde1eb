"""What the drivers share: links and servers between the seam and the driver's task, and the driver's life on its port."""

import pytest
import trio
import trio.testing

from bridge.driving.datagrams import DrivenDatagrams
from bridge.driving.handles import Handle
from bridge.driving.life import DrivenNetwork
from bridge.driving.listener import DrivenListener, DrivenListeners
from bridge.driving.streams import DrivenStream
from bridge.model import Condition, Datagram, Endpoint, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports import Port, PortLost


class Stream(DrivenStream):
    """Receives only."""

    def sending(self, total):
        raise NotImplementedError

    async def fetch(self):
        await trio.lowlevel.checkpoint()
        return len(self._buffer)


class Datagrams(DrivenDatagrams):
    """Receives only."""

    def __init__(self, want, room):
        super().__init__(want)
        self.room = room

    async def send(self, data, target=None):
        raise NotImplementedError


class Wanted:
    """Counts how often the driver is woken."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1


# --- streams ---


async def test_what_came_before_the_end_can_be_taken_after_it(autojump_clock):
    want = Wanted()
    link = Stream(want)
    assert link.keep(b"abc", 4)
    link.end(Condition.PEER_CLOSED)
    assert not link.keep(b"d", 4)
    assert await link.wait_readable() == 3
    assert (link.take(2), link.take(2), link.take(2)) == (b"ab", b"c", b"")
    assert want.times == 2  # there is room again; nothing taken is no news
    assert await link.wait_readable() == 0
    assert link.condition is Condition.PEER_CLOSED


async def test_a_stream_that_overruns_its_bound_keeps_what_it_has_and_ends(autojump_clock):
    link = Stream(Wanted())
    assert link.keep(b"abcd", 4)
    assert link.condition is None
    assert not link.keep(b"e", 4)
    assert link.condition is Condition.RECEIVE_OVERRUN
    assert (link.take(9), link.peak) == (b"abcd", 4)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "ended"])
async def test_whoever_waits_for_bytes_learns_of_the_end(autojump_clock, close):
    link = Stream(Wanted())
    told = []

    async def reader():
        try:
            told.append(await link.wait_readable())
        except trio.ClosedResourceError as error:
            told.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        if close:
            nursery.start_soon(link.aclose)
        else:
            link.end(Condition.MODULE_RESET)
        await trio.testing.wait_all_tasks_blocked()
        link.freed.set()
    assert told == [trio.ClosedResourceError if close else 0]


async def test_a_close_wakes_the_driver_and_returns_when_the_id_is_free(autojump_clock):
    want = Wanted()
    link = Stream(want)
    link.end(Condition.PEER_CLOSED)
    before = want.times

    async def free():
        await trio.sleep(3)
        assert link.closing
        assert want.times == before + 1
        link.freed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(free)
        await link.aclose()
        assert trio.current_time() == 3
    assert link.condition is Condition.PEER_CLOSED  # the first reason stays


# --- datagrams ---


async def test_the_newest_datagram_is_lost_where_no_more_may_wait(autojump_clock):
    want = Wanted()
    link = Datagrams(want, 2)
    first, empty, late = (Datagram(data, None, False) for data in (b"one", b"", b"late"))
    assert link.keep(first)
    assert link.keep(empty)
    assert not link.keep(late)
    assert (link.waiting(), link.peak, await link.fetch()) == (3, 2, 2)
    assert link.take() is first
    assert await link.wait_readable()  # an empty one counts
    assert link.take() is empty
    assert link.take() is None
    assert want.times == 2
    link.end(Condition.BEARER_LOST)
    assert not await link.wait_readable()


async def test_a_closed_socket_forgets_what_waits(autojump_clock):
    link = Datagrams(Wanted(), 2)
    link.keep(Datagram(b"one", None, False))
    link.freed.set()
    await link.aclose()
    assert link.take() is None
    with pytest.raises(trio.ClosedResourceError):
        await link.wait_readable()


# --- servers ---


class Server(DrivenListener[Stream, Handle]):
    """What the module holds for it just goes."""

    def _give_up_server(self):
        self.server = None


class Servers(DrivenListeners[Server]):
    def listen(self, backlog):
        server = Server(Endpoint("10.0.0.1", 80), 4, backlog, self._forget)
        server.server = Handle(Wanted())
        self._listeners.append(server)
        return server

    @property
    def known(self):
        return self._listeners


async def test_peers_are_accepted_in_order_and_only_so_many_wait(autojump_clock):
    listener = Servers().listen(2)
    links = [Stream(Wanted()) for _ in range(3)]
    assert [listener.offer(link) for link in links] == [True, True, False]
    assert await listener.accept() is links[0]
    assert listener.offer(links[2])
    assert await listener.accept() is links[1]
    assert await listener.accept() is links[2]
    assert listener.peak == 2


async def test_a_server_that_the_module_lost_drops_its_peers_and_is_still_listened_for(autojump_clock):
    servers = Servers()
    listener = servers.listen(2)
    link, server = Stream(Wanted()), listener.server
    listener.offer(link)
    listener.server_ended(server)
    assert (link.condition, listener.server, listener.condition) == (Condition.LINK_CLOSED, None, None)
    again = listener.server = Handle(Wanted())
    listener.server_ended(server)  # one of a former life
    assert listener.server is again
    servers.end(Condition.PORT_LOST)
    assert listener.condition is Condition.PORT_LOST


@pytest.mark.parametrize("listening", [True, False])
async def test_a_closed_listener_closes_whom_nobody_took(autojump_clock, listening):
    """Also where the module does not listen just then, and the peer came all the same."""
    servers = Servers()
    listener = servers.listen(2)
    if not listening:
        listener.server = None
    link = Stream(Wanted())
    listener.offer(link)
    await listener.aclose()
    assert link.condition is Condition.LINK_CLOSED
    assert not listener.offer(Stream(Wanted()))
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    assert servers.known == []
    servers.end(Condition.PORT_LOST)
    assert listener.condition is Condition.LINK_CLOSED  # the first reason stays


async def test_whoever_waits_for_a_peer_learns_that_the_listener_ended(autojump_clock):
    servers = Servers()
    listeners = [servers.listen(1), servers.listen(1)]
    told = []

    async def accept(listener):
        with pytest.raises(LinkLost) as lost:
            await listener.accept()
        told.append(lost.value.condition)

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept, listener)
        await trio.testing.wait_all_tasks_blocked()
        servers.end(Condition.MODULE_MUTE)
    assert told == [Condition.MODULE_MUTE] * 2


# --- a driver's life ---


class Line(Port):
    """A port that says nothing, until it is lost; it comes back once."""

    name = "line"
    sent = 0

    def __init__(self, reopens, *, hears=True):
        self.reopens = reopens
        self.hears = hears  # its reader learns of the loss, too
        self.lost = trio.Event()
        self.opened = 1

    async def receive(self, most=4096):
        if not self.hears:
            await trio.sleep_forever()
        await self.lost.wait()
        raise PortLost(self.name)

    async def send(self, data):
        await self.lost.wait()
        raise PortLost(self.name)

    async def drain(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()

    async def reopen(self):
        await trio.sleep(5)
        if self.opened == 2:
            raise PortLost(self.name)
        self.opened += 1
        self.lost = trio.Event()


class Driven(DrivenNetwork):
    """Writes down what it is told to do."""

    shutdown_grace = 2.0
    limits = None
    attach = detach = open_stream = resolve = None

    def __init__(self, port, *, writes=False, leaving=1.0):
        super().__init__(port)
        self.did = []
        self._writes = writes
        self._leaving = leaving
        self._read_on = True

    def note(self, what):
        self.did.append((trio.current_time(), what))

    async def _read(self):
        try:
            await self._port.receive()
        finally:
            self._read_on = False

    async def _beside(self):
        try:
            await trio.sleep_forever()
        finally:
            self.note("beside ends")

    async def _drive(self, line):
        self.note("drive")
        self._read_on = True
        line.start_soon(self._beside)
        if self._writes:
            await self._port.send(b"x")
        await trio.sleep_forever()

    def _fail(self, phase, condition):
        self._box.change(phase, cause=condition)
        self.note(f"fail {phase} {condition}")

    async def _leave(self):
        self.note("leave")
        await trio.sleep(self._leaving)
        self.note(f"left, reads: {self._read_on}")

    def _end_listeners(self, condition):
        self.note(f"listeners {condition}")


@pytest.mark.parametrize(("writes", "hears"), [(True, True), (True, False), (False, True)], ids=["both", "writer", "reader"])
async def test_a_port_that_cannot_come_back_ends_the_run(autojump_clock, writes, hears):
    net = Driven(line := Line(reopens=False, hears=hears), writes=writes)

    async def lose():
        await trio.sleep(1)
        line.lost.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with pytest.raises(NetworkError) as ended:
            await net.run()
    assert ended.value.condition is Condition.PORT_LOST
    # Once, whoever of reader and driver meets it first; and nobody takes leave of a line that is gone.
    assert net.did == [(0, "drive"), (1, "fail failed port-lost"), (1, "beside ends"), (1, "listeners port-lost")]
    assert net.state.phase is Phase.FAILED


async def test_a_port_that_comes_back_is_another_line(autojump_clock):
    net = Driven(line := Line(reopens=True))

    async def lose():
        for _ in range(2):
            await trio.sleep(1)
            line.lost.set()
            await trio.sleep(5.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with pytest.raises(NetworkError, match="port-lost"):
            await net.run()
    assert net.did == [
        (0, "drive"),
        (1, "fail failed port-lost"),
        (1, "beside ends"),
        (6, "drive"),
        (7.5, "fail failed port-lost"),
        (7.5, "beside ends"),
        (12.5, "listeners port-lost"),
    ]


@pytest.mark.parametrize(("leaving", "left"), [(1.0, [(4, "left, reads: True")]), (9.0, [])], ids=["in time", "too slow"])
async def test_a_cancelled_driver_leaves_with_its_reader_alive_within_its_grace(autojump_clock, leaving, left):
    net = Driven(Line(reopens=True), leaving=leaving)
    with trio.move_on_after(3):
        await net.run()
    assert trio.current_time() == 3 + min(leaving, net.shutdown_grace)
    did = [row for row in net.did if row[1] != "beside ends"]  # it ends by the cancellation, before or after the leave begins
    assert did == [(0, "drive"), (3, "leave"), *left, (trio.current_time(), "listeners aborted")]


async def test_what_is_asked_while_the_module_is_not_up_is_refused_with_the_cause():
    net = Driven(Line(reopens=True))
    with pytest.raises(NetworkError, match="starting"):
        net._check_up()
    net._fail(Phase.DOWN, Condition.MODULE_MUTE)
    with pytest.raises(NetworkError, match="module-mute") as refused:
        net._check_up()
    assert refused.value.condition is Condition.BEARER_UNAVAILABLE
    net._box.change(Phase.UP, address="10.0.0.1")
    net._check_up()
    assert (await net.wait_state(0)).phase is Phase.UP
