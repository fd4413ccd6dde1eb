"""LocalDatagramLink: borders, peers, replies under the policy, bounds, the end.  On real loopback sockets."""

from __future__ import annotations

import errno
import random
import socket
from ipaddress import IPv4Address

import pytest
import trio
from local_net import LOOPBACK, descriptors, local_dns, running, udp
from trio.testing import wait_all_tasks_blocked

from bridge.local import binding, datagrams
from bridge.local.network import DATAGRAM_LINKS
from bridge.local.policy import Policy
from bridge.model import Condition, Datagram, Endpoint, Peers
from bridge.network import LinkLost, NetworkError
from bridge.trace import Trace

SERVING = Policy.parse(["127.0.0.0/8"], bind="127.0.0.1")


def endpoint(other):
    return Endpoint(*other.getsockname())


async def next_one(link):
    assert await link.wait_readable()
    assert await link.fetch() > 0
    return link.take()


async def failing(call):
    with pytest.raises(NetworkError) as caught:
        await call
    return caught.value


async def nothing_came(other):
    await trio.sleep(0.02)
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(9)


# --- one peer ---


async def test_datagrams_keep_their_borders_and_order():
    sizes = [0, 1, 1472, 0, 2048, 7]
    payload = [random.Random(size).randbytes(size) for size in sizes]
    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            assert link.peer == endpoint(other)
            assert link.local.host == "127.0.0.1"
            for data in payload:
                await link.send(data)
            assert [other.recvfrom(4096) for _ in payload] == [(data, (link.local.host, link.local.port)) for data in payload]
            for data in payload:
                other.sendto(data, (link.local.host, link.local.port))
            assert [await next_one(link) for _ in payload] == [Datagram(data, endpoint(other)) for data in payload]
            assert link.take() is None
            assert await link.fetch() == 0
            assert await link.find_endpoints() == (link.local, link.peer)


async def test_the_longest_and_one_more():
    data = random.Random(1).randbytes(datagrams.DATAGRAM_SIZE)
    async with running() as network:
        assert network.limits.datagram_size == 65507
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            assert (await failing(link.send(data + b"x"))).condition is Condition.TOO_LONG
            await link.send(data)
            assert other.recv(65536) == data
            other.sendto(data, (link.local.host, link.local.port))
            assert await next_one(link) == Datagram(data, endpoint(other))


async def test_waiting_consumes_nothing_and_counts_what_it_pulled():
    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            assert link.waiting() == 0
            for data in (b"abc", b"", b"defgh"):
                other.sendto(data, (link.local.host, link.local.port))
            assert await link.wait_readable()
            assert link.waiting() == link.waiting() == 8
            assert [link.take().data for _ in range(3)] == [b"abc", b"", b"defgh"]
            assert link.waiting() == 0


async def test_an_empty_datagram_wakes_the_reader():
    async with running() as network, trio.open_nursery() as nursery:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            woken = trio.Event()

            async def read():
                assert await link.wait_readable()
                woken.set()

            nursery.start_soon(read)
            await wait_all_tasks_blocked(0.01)
            other.sendto(b"", (link.local.host, link.local.port))
            await woken.wait()
            assert link.take() == Datagram(b"", endpoint(other))


async def test_what_another_task_pulled_wakes_the_reader_too():
    async with running() as network, trio.open_nursery() as nursery:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            nursery.start_soon(link.wait_readable)  # the test ends when it does
            await wait_all_tasks_blocked(0.01)
            other.sendto(b"x", (link.local.host, link.local.port))
            assert link.waiting() == 1  # the socket is empty again before the loop looks at it


async def test_two_readers_are_one_too_many():
    async with running() as network, trio.open_nursery() as nursery:
        link = await network.open_datagram(Endpoint("127.0.0.1", 9))
        nursery.start_soon(link.wait_readable)
        await wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError):
            await link.wait_readable()
        nursery.cancel_scope.cancel()


async def test_nobody_listens_at_the_peer_and_then_somebody_does():
    with udp() as other:
        address = endpoint(other)
    async with running() as network:
        link = await network.open_datagram(address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.wait_readable)
            for _ in range(5):
                await link.send(b"?")
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
        assert link.unheard == 5
        assert link.condition is None
        with udp(port=address.port) as other:
            await link.send(b"hello")
            assert other.recvfrom(9) == (b"hello", (link.local.host, link.local.port))
            other.sendto(b"hi", (link.local.host, link.local.port))
            assert await next_one(link) == Datagram(b"hi", address)


async def test_a_refusal_that_waits_does_not_fail_the_next_send():
    with udp() as other:
        address = endpoint(other)
    async with running() as network:
        link = await network.open_datagram(address)
        await link.send(b"?")
        await trio.sleep(0.02)  # nobody reads: the refusal waits in the socket
        await link.send(b"again")
        assert link.unheard == 1


async def test_a_fixed_peer_is_the_only_one_heard():
    async with running() as network:
        with udp() as other, udp() as stranger:
            link = await network.open_datagram(endpoint(other), local_port=0)
            stranger.sendto(b"me", (link.local.host, link.local.port))
            other.sendto(b"you", (link.local.host, link.local.port))
            assert (await next_one(link)).data == b"you"
            assert link.waiting() == 0


async def test_who_slips_in_before_the_connect_is_not_heard(monkeypatch):
    opened = binding.datagram_socket

    def slow(address, port):
        bound = opened(IPv4Address("127.0.0.1"), port)
        stranger.sendto(b"me", bound.getsockname())
        return bound

    async with running() as network:
        with udp() as other, udp() as stranger:
            monkeypatch.setattr(binding, "datagram_socket", slow)
            link = await network.open_datagram(endpoint(other))
            other.sendto(b"you", (link.local.host, link.local.port))
            assert (await next_one(link)).data == b"you"
            assert link.strangers == 1


async def test_local_ports():
    with udp() as taken:
        async with running(SERVING) as network:
            free = endpoint(taken).port
            for peers in Peers:
                call = network.open_datagram(Endpoint("127.0.0.1", 9), local_port=free, peers=peers)
                assert (await failing(call)).condition is Condition.PORT_IN_USE
            taken.close()
            for peers in Peers:
                link = await network.open_datagram(Endpoint("127.0.0.1", 9), local_port=free, peers=peers)
                assert link.local == Endpoint("127.0.0.1", free)
                await link.aclose()


# --- a target per datagram ---


async def test_a_target_per_datagram():
    async with running() as network:
        with udp() as other, udp() as target:
            link = await network.open_datagram(endpoint(other))
            await link.send(b"there", endpoint(target))
            await link.send(b"here")
            assert target.recv(9) == b"there"
            assert other.recv(9) == b"here"
            assert link.peer == endpoint(other)
            assert (await failing(link.send(b"", Endpoint("127.0.0.1", 0)))).condition is Condition.BAD_ARGUMENT


async def test_a_refused_target_is_in_the_trace():
    notes = []
    async with running(trace=Trace(notes.append)) as network:
        link = await network.open_datagram(Endpoint("127.0.0.1", 9))
        await failing(link.send(b"x", Endpoint("169.254.169.254", 80)))
    assert [note.rule for note in notes] == ["local-open", "local-refused", "local-end"]


async def test_a_targets_name_is_looked_up_each_time_and_each_address_checked():
    dns = local_dns()
    dns.names["moving"] = ["127.0.0.1"]
    async with running(Policy.parse(["127.0.0.1/32"])) as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            await link.send(b"1", Endpoint("moving.example", endpoint(other).port))
            for mix in (["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["169.254.169.254"]):
                dns.names["moving"] = mix
                error = await failing(link.send(b"2", Endpoint("moving.example", endpoint(other).port)))
                assert error.condition is Condition.ADDRESS_REFUSED
            dns.names["moving"] = []
            error = await failing(link.send(b"3", Endpoint("moving.example", endpoint(other).port)))
            assert error.condition is Condition.NAME_NOT_FOUND
            await link.send(b"4")
            assert [other.recv(9), other.recv(9)] == [b"1", b"4"]


async def test_a_mute_dns_fails_the_send_and_not_the_link(autojump_clock):
    local_dns().names["mute"] = None
    async with running() as network:
        link = await network.open_datagram(Endpoint("127.0.0.1", 9))
        error = await failing(link.send(b"x", Endpoint("mute.example", 9)))
        assert error.condition is Condition.NAME_NOT_FOUND
        assert trio.current_time() == pytest.approx(datagrams.LOOKUP_LIMIT)
        await link.send(b"x")


async def test_one_send_at_a_time_and_a_cancelled_one_sends_nothing():
    dns = local_dns()
    dns.names["mute"] = None
    async with running() as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send, b"slow", Endpoint("mute.example", 9))
                await wait_all_tasks_blocked(0.01)
                with pytest.raises(trio.BusyResourceError):
                    await link.send(b"fast")
                nursery.cancel_scope.cancel()
            with trio.CancelScope() as scope:
                scope.cancel()
                await link.send(b"never")
            await link.send(b"next")
            assert other.recv(9) == b"next"


async def test_maps_are_invisible_to_the_host():
    with udp() as real:
        port = endpoint(real).port
        async with running(Policy.parse(maps=["192.0.2.80=127.0.0.1"], bind="127.0.0.1")) as network:
            fixed = await network.open_datagram(Endpoint("192.0.2.80", port))
            last = await network.open_datagram(None, peers=Peers.LAST)
            await last.send(b"hello", Endpoint("192.0.2.80", port))
            for link in (last, fixed):
                if link is fixed:
                    await link.send(b"hello")
                data, source = real.recvfrom(9)
                assert data == b"hello"
                real.sendto(b"answer", source)
                assert await next_one(link) == Datagram(b"answer", Endpoint("192.0.2.80", port))
                assert link.peer == Endpoint("192.0.2.80", port)
                await link.send(b"again")
                assert real.recvfrom(9) == (b"again", source)


async def test_the_shown_targets_are_bounded():
    maps = [f"192.0.2.{last}=127.0.0.1" for last in range(1, 100)]
    async with running(Policy.parse(maps=maps, bind="127.0.0.1")) as network:
        link = await network.open_datagram(None, peers=Peers.LAST)
        for last in range(1, 100):
            await link.send(b"", Endpoint(f"192.0.2.{last}", 1000 + last))
        assert len(link._shown) == datagrams.SHOWN_BOUND
        assert ("127.0.0.1", 1099) in link._shown


# --- peers that change ---


@pytest.mark.parametrize("peers", [Peers.FIRST, Peers.LAST])
async def test_without_a_place_to_bind_nobody_is_heard(peers):
    async with running() as network:
        error = await failing(network.open_datagram(Endpoint("127.0.0.1", 9), local_port=5000, peers=peers))
        assert error.condition is Condition.ADDRESS_REFUSED
        assert "--bind ADDRESS" in error.detail


async def test_the_first_sender_becomes_the_peer_for_good():
    async with running(SERVING) as network:
        with udp() as named, udp() as first, udp() as second:
            link = await network.open_datagram(endpoint(named), peers=Peers.FIRST)
            here = (link.local.host, link.local.port)
            await link.send(b"to the named one")
            assert named.recv(99) == b"to the named one"
            first.sendto(b"1", here)
            second.sendto(b"2", here)
            named.sendto(b"0", here)
            first.sendto(b"3", here)
            assert await next_one(link) == Datagram(b"1", endpoint(first))
            assert await next_one(link) == Datagram(b"3", endpoint(first))
            assert link.peer == endpoint(first)
            assert link.strangers == 2
            await link.send(b"answer")
            assert first.recvfrom(9) == (b"answer", here)


async def test_the_last_sender_is_the_peer():
    async with running(SERVING) as network:
        with udp() as first, udp() as second:
            link = await network.open_datagram(None, peers=Peers.LAST)
            here = (link.local.host, link.local.port)
            error = await failing(link.send(b"to nobody"))
            assert error.condition is Condition.WRONG_STATE
            for other in (first, second, first):
                other.sendto(b"hi", here)
                assert await next_one(link) == Datagram(b"hi", endpoint(other))
                assert link.peer == endpoint(other)
                await link.send(b"answer")
                assert other.recvfrom(9) == (b"answer", here)


async def test_a_sender_that_is_refused_as_a_destination_gets_no_answer():
    async with running(Policy.parse(["127.0.0.3/32"], bind="127.0.0.2")) as network:
        link = await network.open_datagram(None, peers=Peers.LAST)
        here = (link.local.host, link.local.port)
        assert link.local.host == "127.0.0.2"
        # Refused as a destination; allowed; and the server's own address, which the operator offered there.
        for source, answered in (("127.0.0.1", False), ("127.0.0.3", True), ("127.0.0.2", True)):
            with udp(source) as other:
                other.sendto(b"hi", here)
                assert await next_one(link) == Datagram(b"hi", endpoint(other))
                if answered:
                    await link.send(b"answer")
                    assert other.recv(9) == b"answer"
                else:
                    assert (await failing(link.send(b"answer"))).condition is Condition.ADDRESS_REFUSED
                    await nothing_came(other)
                # The exception is for an answer: as a target its address is what it is for every operation.
                if source != "127.0.0.3":
                    assert (await failing(link.send(b"x", endpoint(other)))).condition is Condition.ADDRESS_REFUSED
                    await nothing_came(other)


async def test_a_peer_is_checked_at_each_send(monkeypatch):
    """An address that was a stranger's may be the gateway's own a moment later."""
    monkeypatch.setattr("bridge.local.policy._REFUSED", ())
    own = set()
    async with running(Policy(is_own=own.__contains__)) as network:
        with udp() as other:
            link = await network.open_datagram(endpoint(other))
            await link.send(b"1")
            own.add(IPv4Address("127.0.0.1"))
            assert (await failing(link.send(b"2"))).condition is Condition.ADDRESS_REFUSED
            own.clear()
            await link.send(b"3")
            assert [other.recv(9), other.recv(9)] == [b"1", b"3"]


async def test_listen_moves_a_port():
    with udp() as probe:
        port = endpoint(probe).port
    policy = Policy.parse(["127.0.0.0/8"], listen=[f"69=127.0.0.2:{port}"])
    async with running(policy) as network:
        for peers in Peers:
            link = await network.open_datagram(Endpoint("127.0.0.1", 9), local_port=69, peers=peers)
            assert link.local == Endpoint("127.0.0.2", port)
            await link.aclose()
        error = await failing(network.open_datagram(None, local_port=70, peers=Peers.LAST))
        assert error.condition is Condition.ADDRESS_REFUSED


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.EACCES, "--listen 53=ADDRESS:PORT"), (errno.EADDRNOTAVAIL, "--bind ADDRESS")]
)
async def test_what_the_kernel_does_not_let_us_bind(code, remedy, monkeypatch):
    def refuse(*_):
        raise OSError(code, "x")

    async with running(SERVING) as network:
        before = descriptors()
        monkeypatch.setattr(socket.socket, "bind", refuse)
        error = await failing(network.open_datagram(None, local_port=53, peers=Peers.LAST))
        assert error.condition is Condition.ADDRESS_REFUSED
        assert remedy in error.detail
        assert descriptors() == before


# --- groups ---


@pytest.mark.parametrize("group", ["255.255.255.255", "239.1.2.3", "127.255.255.255"])
async def test_a_group_is_refused_unless_allowed_and_hears_everybody_where_we_may_serve(group):
    peer = Endpoint(group, 9999)
    async with running(Policy.parse(bind="127.0.0.1")) as network:
        assert (await failing(network.open_datagram(peer))).condition is Condition.ADDRESS_REFUSED
    async with running(Policy.parse([f"{group}/32"])) as network:
        error = await failing(network.open_datagram(peer))
        assert (error.condition, "--bind" in error.detail) == (Condition.ADDRESS_REFUSED, True)
    async with running(Policy.parse([f"{group}/32"], bind="127.0.0.1")) as network:
        before = descriptors()
        link = await network.open_datagram(peer)
        with udp() as other:
            other.sendto(b"I am here", (link.local.host, link.local.port))
            assert await next_one(link) == Datagram(b"I am here", endpoint(other))
        assert link.peer == peer
        await link.aclose()
        assert descriptors() == before


async def test_a_multicast_group_is_sent_to_and_heard():
    with udp("0.0.0.0") as listener:
        group = Endpoint("239.1.2.3", endpoint(listener).port)
        membership = socket.inet_aton(group.host) + socket.inet_aton("127.0.0.1")
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        async with running(Policy.parse(["239.1.2.3/32"], bind="127.0.0.1")) as network:
            link = await network.open_datagram(group)
            await link.send(b"all of you")
            assert listener.recvfrom(99) == (b"all of you", (link.local.host, link.local.port))


async def test_a_broadcast_leaves_and_comes_back_to_a_server_that_is_everywhere():
    policy = Policy.parse(["127.255.255.255/32"], bind="0.0.0.0")
    async with running(policy) as network:
        hearing = await network.open_datagram(None, peers=Peers.LAST)
        sending = await network.open_datagram(Endpoint("127.255.255.255", hearing.local.port))
        await sending.send(b"anybody?")
        assert (await next_one(hearing)).data == b"anybody?"


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
