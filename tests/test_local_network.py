"""LocalNetwork: lookups, refusals, limits, cancellation, its own end.  On real loopback sockets."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
from local_net import LOOPBACK, listening, local_dns, running
from trio.testing import wait_all_tasks_blocked

from bridge.local import icmp, opening
from bridge.local import network as local_network
from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.model import Capability, Condition, Endpoint, Login, Phase
from bridge.network import NetworkError
from bridge.trace import Trace


@pytest.fixture
async def dns():
    return local_dns()


async def refused(network, host, port=9, **options):
    with pytest.raises(NetworkError) as caught:
        await network.open_stream(host, port, **options)
    return caught.value.condition


async def test_up_at_once_and_down_at_the_end():
    network = LocalNetwork(LOOPBACK, Trace())
    assert network.state.phase is Phase.DOWN
    for call in (network.attach(), network.resolve("127.0.0.1"), network.open_stream("127.0.0.1", 9)):
        with pytest.raises(NetworkError, match="bearer-unavailable"):
            await call
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        up = await network.wait_state(0)
        assert up == network.state
        assert (up.phase, socket.inet_aton(up.address) != bytes(4)) == (Phase.UP, True)
        await network.attach(Login("any", "thing"))
        await network.detach()
        nursery.cancel_scope.cancel()
    assert network.state.phase is Phase.DOWN


@pytest.mark.parametrize("may_ping", [False, True])
async def test_capabilities(may_ping, monkeypatch):
    monkeypatch.setattr(icmp, "available", lambda: may_ping)
    lacking = {Capability.TLS} if may_ping else {Capability.TLS, Capability.PING}
    assert LocalNetwork(LOOPBACK, Trace()).limits.capabilities == set(Capability) - lacking


async def test_a_session():
    async with running() as network, listening() as (server, port):
        link = await network.open_stream("127.0.0.1", port, keepalive=7)
        accepted, address = await server.accept()
        with accepted:
            assert link.peer == Endpoint("127.0.0.1", port)
            assert link.local == Endpoint(*address)
            assert await link.find_endpoints() == (link.local, link.peer)
            assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert link._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
            await link.send_all(b"GET")
            assert await accepted.recv(9) == b"GET"
            await accepted.send(b"page")
            accepted.shutdown(socket.SHUT_WR)
            assert await link.receive_some() == b"page"
            assert await link.receive_some() == b""
            assert link.condition is Condition.PEER_CLOSED
            await link.aclose()


@pytest.mark.parametrize(
    ("host", "condition"),
    [
        ("127.0.0.1", Condition.ADDRESS_REFUSED),
        ("0.0.0.0", Condition.ADDRESS_REFUSED),
        ("169.254.169.254", Condition.ADDRESS_REFUSED),
        ("::ffff:127.0.0.1", Condition.ADDRESS_REFUSED),
        ("fd00:ec2::254", Condition.ADDRESS_REFUSED),
        ("2001:db8::1", Condition.NOT_SUPPORTED),
        ("2130706433", Condition.BAD_ARGUMENT),
        ("0x7f.1", Condition.BAD_ARGUMENT),
        ('a"\r\nAT+RST', Condition.BAD_ARGUMENT),
        ("a" * 300, Condition.BAD_ARGUMENT),
    ],
)
async def test_refused_before_anything_is_looked_up_or_connected(host, condition, dns):
    async with running(Policy()) as network, listening() as (server, port):
        assert await refused(network, host, port) is condition
        with pytest.raises(NetworkError) as caught:
            await network.resolve(host)
        assert caught.value.condition is condition
        assert dns.asked == []
        await nobody_came(server)


async def nobody_came(server):
    with trio.move_on_after(0.02):
        await server.accept()
        pytest.fail("something connected")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["203.0.113.1", "127.0.0.1"], ["127.0.0.1", "203.0.113.1"]])
async def test_every_resolved_address_is_checked(addresses, dns):
    dns.names["rebinder"] = addresses
    async with running(Policy()) as network, listening() as (server, port):
        assert await refused(network, "rebinder.example", port) is Condition.ADDRESS_REFUSED
        with pytest.raises(NetworkError, match="address-refused"):
            await network.resolve("rebinder.example")
        await nobody_came(server)


async def test_a_name_is_looked_up_once_and_its_address_connected(dns):
    dns.names["web"] = ["127.0.0.3"]
    async with running() as network, listening("127.0.0.3") as (_, port):
        async with await network.open_stream("Web.Example", port) as link:
            assert link.peer == Endpoint("127.0.0.3", port)
        assert dns.asked == ["Web.Example"]
        assert await network.resolve("web.example") == "127.0.0.3"


async def test_the_next_address_where_the_first_refuses(dns):
    dns.names["two"] = ["127.0.0.4", "127.0.0.5"]
    async with running() as network, listening("127.0.0.5") as (_, port):
        link = await network.open_stream("two.example", port)
        assert link.peer == Endpoint("127.0.0.5", port)
        await link.aclose()


@pytest.mark.parametrize("answer", [socket.gaierror(socket.EAI_NONAME, "no such"), []])
async def test_name_not_found(answer, dns):
    dns.names["nobody"] = answer
    async with running() as network:
        assert await refused(network, "nobody.example") is Condition.NAME_NOT_FOUND
        with pytest.raises(NetworkError, match="name-not-found"):
            await network.resolve("nobody.example")


async def test_a_mute_dns(dns, autojump_clock, monkeypatch):
    monkeypatch.setattr(local_network, "CONNECT_LIMIT", 20)
    dns.names["mute"] = None
    async with running() as network:
        assert await refused(network, "mute.example") is Condition.CONNECT_TIMEOUT
        with pytest.raises(NetworkError, match="name-not-found"):
            await network.resolve("mute.example")
        assert trio.current_time() == pytest.approx(40)


async def test_maps(dns):
    dns.names["real"] = ["192.0.2.80"]
    policy = Policy.parse(maps=["192.0.2.80=127.0.0.1", "web.example=127.0.0.1"])
    async with running(policy) as network, listening() as (_, port):
        for host, shown in [("192.0.2.80", "192.0.2.80"), ("real.example", "192.0.2.80"), ("WEB.example.", "127.0.0.1")]:
            assert await network.resolve(host) == shown
            async with await network.open_stream(host, port) as link:
                assert link.peer == Endpoint(shown, port)
        assert dns.asked == ["real.example"] * 2
        # A host that looked the mapped name up comes back with the number.
        await (await network.open_stream(await network.resolve("web.example"), port)).aclose()


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_bad_port(port):
    async with running() as network:
        assert await refused(network, "127.0.0.1", port) is Condition.BAD_ARGUMENT


@pytest.mark.parametrize("keepalive", [-1, 32768])
async def test_bad_keepalive(keepalive):
    async with running() as network:
        assert await refused(network, "127.0.0.1", 9, keepalive=keepalive) is Condition.BAD_ARGUMENT


async def test_connection_refused_and_nothing_left():
    notes = []
    async with listening() as (_, port):
        pass
    async with running(trace=Trace(notes.append), stream_links=1) as network:
        for _ in range(3):
            assert await refused(network, "127.0.0.1", port) is Condition.CONNECT_REFUSED
        assert network._links == set()
    assert [note.rule for note in notes] == ["local-refused"] * 3


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        (113, Condition.HOST_UNREACHABLE),
        (110, Condition.CONNECT_TIMEOUT),
        (24, Condition.NO_FREE_LINK),
        (22, Condition.MODULE_ERROR),
    ],
)
async def test_an_oserror_becomes_a_condition(code, condition, monkeypatch):
    async def fail(*_):
        await trio.lowlevel.checkpoint()
        raise OSError(code, "x")

    monkeypatch.setattr(opening, "connect", fail)
    async with running() as network:
        assert await refused(network, "127.0.0.1") is condition


@asynccontextmanager
async def mute_server():
    """A port where connecting hangs: its queue is full, so Linux drops the SYN."""
    async with listening(backlog=0) as (_, port):
        with socket.create_connection(("127.0.0.1", port)):
            yield port


@pytest.mark.deadline(100)
async def test_connect_timeout(autojump_clock):
    async with running(stream_links=1) as network, mute_server() as port:
        assert await refused(network, "127.0.0.1", port) is Condition.CONNECT_TIMEOUT
        assert trio.current_time() == pytest.approx(local_network.CONNECT_LIMIT)


async def test_a_cancelled_connect_leaves_nothing():
    async with running(stream_links=1) as network, mute_server() as port:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.open_stream, "127.0.0.1", port)
            await wait_all_tasks_blocked(0.01)
            assert await refused(network, "127.0.0.1", port) is Condition.NO_FREE_LINK  # one being opened counts
            nursery.cancel_scope.cancel()
        assert (network._links, network._opening) == (set(), 0)


async def test_no_free_link():
    async with running(stream_links=2) as network, listening() as (_, port):
        first = await network.open_stream("127.0.0.1", port)
        async with await network.open_stream("127.0.0.1", port):
            assert await refused(network, "127.0.0.1", port) is Condition.NO_FREE_LINK
            await first.aclose()
            await (await network.open_stream("127.0.0.1", port)).aclose()


async def test_reset_closes_every_link():
    async with running() as network, listening() as (server, port):
        links = [await network.open_stream("127.0.0.1", port) for _ in range(3)]
        peers = [(await server.accept())[0] for _ in links]
        ended = []

        async def watch(link):
            ended.append((await link.wait_readable(), link.condition))

        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(watch, link)
            await wait_all_tasks_blocked()
            await network.reset()
        assert ended == [(0, Condition.LINK_CLOSED)] * 3
        for peer in peers:
            with peer:
                assert await peer.recv(1) == b""
        assert network._links == set()
        assert network.state.phase is Phase.UP


async def test_the_end_closes_every_link():
    async with listening() as (server, port):
        async with running() as network:
            link = await network.open_stream("127.0.0.1", port)
            peer, _ = await server.accept()
        with peer:
            assert await peer.recv(1) == b""
        assert link.condition is Condition.LINK_CLOSED
        assert await link.wait_readable() == 0
        assert link.waiting() == 0


async def test_a_connect_that_outlives_the_network_is_closed(monkeypatch):
    connect, gate, opened = opening.connect, trio.Event(), []

    async def slow(*arguments):
        await gate.wait()
        opened.append(await connect(*arguments))
        return opened[0]

    monkeypatch.setattr(opening, "connect", slow)
    async with listening() as (_, port), trio.open_nursery() as nursery:
        async with running() as network:

            async def late():
                assert await refused(network, "127.0.0.1", port) is Condition.BEARER_UNAVAILABLE

            nursery.start_soon(late)
            await wait_all_tasks_blocked()
        gate.set()
    assert opened[0].fileno() == -1
