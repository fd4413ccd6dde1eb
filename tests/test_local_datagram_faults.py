"""LocalDatagramLink: bounds, what the kernel refuses, and the end."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from local_net import LOOPBACK, descriptors, local_dns, running, udp
from local_udp import SERVING, endpoint, failing, next_one, nothing_came
from trio.testing import wait_all_tasks_blocked

from bridge.local import datagrams
from bridge.local.network import DATAGRAM_LINKS
from bridge.model import Condition, Datagram, Endpoint, Peers
from bridge.network import LinkLost

# --- bounds and faults ---


async def test_a_flood_is_bounded_and_what_is_lost_is_counted():
    async with running(SERVING) as network:
        with udp() as other, udp() as late:
            link = await network.open_datagram(None, peers=Peers.LAST)
            here = (link.local.host, link.local.port)
            for number in range(5000):
                other.sendto(number.to_bytes(2, "big") * 100, here)
            got = []
            while await link.fetch():
                assert link._bytes < datagrams.RECEIVE_BOUND + 200
                assert link.waiting() >= link._bytes
                while (datagram := link.take()) is not None:
                    got.append(int.from_bytes(datagram.data[:2], "big"))
            assert got == list(range(len(got)))  # the oldest are kept, in order
            assert 0 < len(got) < 1000
            assert link.peak <= datagrams.QUEUE_BOUND
            late.sendto(b"late", here)  # it tells of those before it
            assert (await next_one(link)).data == b"late"
            assert link.lost == 5000 - len(got)
            assert link.condition is None


async def test_our_own_queue_is_bounded_in_datagrams_too():
    async with running(SERVING) as network:
        with udp() as other:
            link = await network.open_datagram(None, peers=Peers.LAST)
            for _ in range(datagrams.QUEUE_BOUND + 10):
                other.sendto(b"", (link.local.host, link.local.port))
            assert await link.wait_readable()
            assert await link.fetch() == datagrams.QUEUE_BOUND
            for _ in range(datagrams.QUEUE_BOUND):
                assert link.take() is not None
            assert link.take() is None
            assert await link.fetch() == 10


async def test_what_is_cut_says_so(monkeypatch):
    monkeypatch.setattr(datagrams, "RECEIVE_SIZE", 8)
    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            for data in (b"12345678", b"123456789"):
                other.sendto(data, (link.local.host, link.local.port))
            assert [await next_one(link), await next_one(link)] == [
                Datagram(b"12345678", endpoint(other), cut=False),
                Datagram(b"12345678", endpoint(other), cut=True),
            ]


async def test_a_full_way_out_holds_the_sender_back(monkeypatch):
    class Full:
        """A socket that has no room twice."""

        def __init__(self, real):
            self.real, self.times = real, 2

        def __getattr__(self, name):
            return getattr(self.real, name)

        def sendto(self, *arguments):
            if self.times:
                self.times -= 1
                raise BlockingIOError
            return self.real.sendto(*arguments)

    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            link._socket = Full(link._socket)
            await link.send(b"once")
            assert other.recv(9) == b"once"
            await nothing_came(other)


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        (errno.ENETUNREACH, Condition.HOST_UNREACHABLE),
        (errno.EINVAL, Condition.HOST_UNREACHABLE),
        (errno.EPERM, Condition.HOST_UNREACHABLE),
        (errno.EMSGSIZE, Condition.TOO_LONG),
        (errno.ENOBUFS, Condition.NO_FREE_LINK),
    ],
)
async def test_a_send_that_the_kernel_refuses_costs_only_itself(code, condition, monkeypatch):
    class Refusing:
        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def sendto(self, *_):
            raise OSError(code, "x")

    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            link._socket, real = Refusing(link._socket), link._socket
            assert (await failing(link.send(b"x"))).condition is condition
            link._socket = real
            await link.send(b"y")
            assert other.recv(9) == b"y"


async def test_no_free_link_and_its_return():
    async with running() as network:
        assert network.limits.datagram_links == DATAGRAM_LINKS
        links = [await network.open_datagram(Endpoint("127.0.0.1", 9)) for _ in range(DATAGRAM_LINKS)]
        error = await failing(network.open_datagram(Endpoint("127.0.0.1", 9)))
        assert error.condition is Condition.NO_FREE_LINK
        await links[3].aclose()
        await network.open_datagram(Endpoint("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("peer", "options"),
    [
        (None, {}),
        (Endpoint("127.0.0.1", 0), {}),
        (Endpoint("127.0.0.1", 65536), {}),
        (Endpoint("127.0.0.1", 9), {"local_port": -1}),
        (Endpoint("127.0.0.1", 9), {"local_port": 65536}),
        (Endpoint('a"b', 9), {}),
    ],
)
async def test_bad_arguments(peer, options):
    async with running() as network:
        assert (await failing(network.open_datagram(peer, **options))).condition is Condition.BAD_ARGUMENT


# --- the end ---


@pytest.mark.parametrize("how", ["aclose", "reset", "end"])
async def test_the_end_is_told_to_the_reader_and_to_the_next_send(how):
    async with trio.open_nursery() as nursery:  # noqa: SIM117 - outside: the reader hears of the network's end
        async with running() as network:
            before = descriptors()
            link = await network.open_datagram(Endpoint("127.0.0.1", 9))
            heard = []

            async def read():
                heard.append(await link.wait_readable())

            nursery.start_soon(read)
            await wait_all_tasks_blocked(0.01)
            if how == "aclose":
                await link.aclose()
            elif how == "reset":
                await network.reset()
            if how != "end":
                assert descriptors() == before
                await network.open_datagram(Endpoint("127.0.0.1", 9))
    assert heard == [False]
    assert link.condition is Condition.LINK_CLOSED
    with pytest.raises(LinkLost, match="link-closed, delivered: none"):
        await link.send(b"x")
    assert (link.waiting(), link.take(), await link.fetch(), await link.wait_readable()) == (0, None, 0, False)
    await link.aclose()


async def test_what_was_pulled_before_a_reset_stays_takeable_but_not_after_aclose():
    async with running() as network:
        with udp() as other:
            for keep in (True, False):
                link = await network.open_datagram(endpoint(other))
                other.sendto(b"last", (link.local.host, link.local.port))
                assert await link.wait_readable()
                await (network.reset() if keep else link.aclose())
                assert await link.wait_readable() is keep
                assert (link.take() is not None) is keep
                assert await link.wait_readable() is False


async def test_a_send_that_looks_up_a_name_when_the_link_is_closed():
    dns = local_dns()
    dns.names["slow"] = None
    async with running() as network:
        link = await network.open_datagram(Endpoint("127.0.0.1", 9))
        release = trio.Event()

        async def getaddrinfo(*_, **__):
            await release.wait()
            return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 0))]

        dns.getaddrinfo = getaddrinfo
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(LinkLost, match="link-closed, delivered: none"):
                    await link.send(b"x", Endpoint("slow.example", 9))

            nursery.start_soon(send)
            await wait_all_tasks_blocked(0.01)
            await link.aclose()
            release.set()


async def test_a_lookup_that_never_ends_does_not_say_that_a_closed_link_lives(autojump_clock):
    local_dns().names["mute"] = None
    async with running() as network:
        link = await network.open_datagram(Endpoint("127.0.0.1", 9))
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(LinkLost, match="link-closed, delivered: none"):
                    await link.send(b"x", Endpoint("mute.example", 9))

            nursery.start_soon(send)
            await trio.sleep(1)
            await link.aclose()


async def test_cancelled_at_every_wait_nothing_is_left():
    dns = local_dns()
    dns.names["mute"] = None
    dns.names["web"] = ["127.0.0.1"]
    async with running(SERVING) as network:
        before = descriptors()
        for host in ("127.0.0.1", "web.example", "mute.example"):
            for rounds in range(4):  # cancelled before the first wait, in it, after it
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(network.open_datagram, Endpoint(host, 9))
                        for _ in range(rounds):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
                await network.reset()  # those that were open before the cancellation
                assert descriptors() == before
                assert network._opening_datagrams == 0


async def test_a_lookup_that_outlives_the_network_opens_nothing():
    dns = local_dns()
    release = trio.Event()

    async def getaddrinfo(*_, **__):
        await release.wait()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 0))]

    dns.getaddrinfo = getaddrinfo
    async with trio.open_nursery() as nursery:
        async with running(LOOPBACK) as network:

            async def late():
                error = await failing(network.open_datagram(Endpoint("slow.example", 9)))
                assert error.condition is Condition.BEARER_UNAVAILABLE

            nursery.start_soon(late)
            await wait_all_tasks_blocked(0.01)
        release.set()
