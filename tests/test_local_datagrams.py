"""LocalDatagramLink: borders, order, one fixed peer, a target per datagram.  On real loopback sockets."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import pytest
import trio
from local_net import local_dns, running, udp
from local_udp import SERVING, endpoint, failing, next_one
from trio.testing import wait_all_tasks_blocked

from bridge.local import binding, datagrams
from bridge.local.policy import Policy
from bridge.model import Condition, Datagram, Endpoint, Peers
from bridge.trace import Trace

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
            assert link.targets
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
