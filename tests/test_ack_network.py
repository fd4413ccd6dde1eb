"""`ack=bridge`: all of a Network passes through it, and a host on top sees nothing but its SEND OK."""

from __future__ import annotations

import contextlib

import pytest
import trio
from ack_rig import Below, running, send
from test_esp_at import ERROR, OK, PROMPT, bridge

from bridge.emulation.ack import LAST_FLUSH, AckNetwork
from bridge.emulation.around import NetworkAround
from bridge.model import Condition, Endpoint, Login, Peers, Phase
from bridge.network import LinkLost, NetworkError
from bridge.trace import Trace

pytestmark = pytest.mark.deadline(2000)


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
