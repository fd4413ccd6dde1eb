"""LocalDatagramLink: peers that change by who sends, ports that are bound for it, groups."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address

import pytest
import trio
from local_net import descriptors, running, udp
from local_udp import SERVING, endpoint, failing, next_one, nothing_came

from bridge.local.policy import Policy
from bridge.model import Condition, Datagram, Endpoint, Peers

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


async def test_an_answer_goes_to_who_was_the_peer_when_it_was_given():
    async with running(SERVING) as network, trio.open_nursery() as nursery:
        with udp() as first, udp() as second:
            link = await network.open_datagram(None, peers=Peers.LAST)
            here = (link.local.host, link.local.port)

            async def pull():
                assert link.waiting() == 1

            for _ in range(10):  # trio chooses who runs first when the send waits
                first.sendto(b"1", here)
                assert await next_one(link) == Datagram(b"1", endpoint(first))
                second.sendto(b"2", here)
                nursery.start_soon(pull)
                await link.send(b"answer")
                assert first.recv(9) == b"answer"
                assert await next_one(link) == Datagram(b"2", endpoint(second))
            await nothing_came(second)


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
