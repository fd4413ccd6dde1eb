"""What a host may not reach, by every operation that goes somewhere: in disguise, by a name, by an address of ours.

Everything is tried against the strict policy; what would go out is seen by sockets of ours, or by the address that a
socket is sent to or connected to.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import pytest
import trio
from local_net import local_dns, running

from bridge.local import icmp
from bridge.local.policy import Policy, own_address
from bridge.model import Condition, Endpoint, Peers
from bridge.network import NetworkError

OWN = IPv4Address("203.0.113.5")
HARMLESS = "203.0.113.80"


def own(address):
    return address == OWN


STRICT = Policy(is_own=own, bind=IPv4Address("127.0.0.1"))


async def stream(network, host):
    await network.open_stream(host, 9)


async def fixed(network, host):
    await network.open_datagram(Endpoint(host, 9))


async def first(network, host):
    await network.open_datagram(Endpoint(host, 9), peers=Peers.FIRST)


async def last(network, host):
    await network.open_datagram(Endpoint(host, 9), peers=Peers.LAST)


async def target(network, host):
    link = await network.open_datagram(None, peers=Peers.LAST)
    try:
        await link.send(b"x", Endpoint(host, 9))
    finally:
        await link.aclose()


async def ping(network, host):
    await network.ping(host, 0.01)


async def resolve(network, host):
    await network.resolve(host)


OPERATIONS = pytest.mark.parametrize("operation", [stream, fixed, first, last, target, ping, resolve])

DISGUISED = [
    "0177.0.0.1",
    "127.0.0.01",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "127.1",
    "127.0.0.1.",
    "0",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020.0.1",
    "127.0.0.1 ",
    "127.0.0.1\x00.example",
    "[::1]",
]
FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.1.1",
    "224.0.0.251",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    str(OWN),
]
FORBIDDEN_SIX = [
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:203.0.113.5",
    "64:ff9b::a9fe:a9fe",
    "fe80::1",
    "ff02::1",
]


async def unanswered(*_):
    await trio.sleep_forever()


@pytest.fixture
def gone(monkeypatch):
    """Every address that any socket was sent or connected to."""
    addresses = []

    def connect(self, address):
        addresses.append(address)

    def connect_ex(self, address):
        addresses.append(address)
        return 111

    def sendto(self, data, address):
        addresses.append(address)
        return len(data)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    monkeypatch.setattr(socket.socket, "sendto", sendto)
    monkeypatch.setattr(icmp, "_icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    monkeypatch.setattr(icmp, "_call", unanswered)
    return addresses


async def refusal(operation, network, host):
    with pytest.raises(NetworkError) as caught:
        await operation(network, host)
    return caught.value.condition


@OPERATIONS
@pytest.mark.parametrize("host", DISGUISED)
async def test_a_disguised_address(operation, host, gone):
    dns = local_dns()
    async with running(STRICT) as network:
        gone.clear()
        assert await refusal(operation, network, host) is Condition.BAD_ARGUMENT
    assert (gone, dns.asked) == ([], [])


@OPERATIONS
@pytest.mark.parametrize("host", FORBIDDEN + FORBIDDEN_SIX)
async def test_a_forbidden_address(operation, host, gone):
    dns = local_dns()
    async with running(STRICT) as network:
        gone.clear()
        assert await refusal(operation, network, host) is Condition.ADDRESS_REFUSED
    assert (gone, dns.asked) == ([], [])


@OPERATIONS
@pytest.mark.parametrize("bad", FORBIDDEN)
@pytest.mark.parametrize("order", [[0, 1], [1, 0], [0]])
async def test_a_name_that_resolves_to_it_alone_or_among_harmless_ones(operation, bad, order, gone):
    local_dns().names["rebinder"] = [[bad, HARMLESS][index] for index in order]
    async with running(STRICT) as network:
        gone.clear()
        assert await refusal(operation, network, "rebinder.example") is Condition.ADDRESS_REFUSED
    assert gone == []


@OPERATIONS
async def test_the_checked_address_is_the_one_that_is_used(operation, gone):
    """The second answer would be loopback: there must be no second question."""
    dns = local_dns()
    dns.names["rebinder"] = [HARMLESS]
    answer = dns.getaddrinfo

    async def rebinding(*arguments, **options):
        found = await answer(*arguments, **options)
        dns.names["rebinder"] = ["127.0.0.1"]
        return found

    dns.getaddrinfo = rebinding
    async with running(STRICT) as network:
        gone.clear()
        try:
            await operation(network, "rebinder.example")
        except NetworkError as error:
            assert error.condition in {Condition.CONNECT_REFUSED, Condition.CONNECT_TIMEOUT}  # noqa: PT017 - of the fakes
    assert dns.asked == ["rebinder.example"]
    assert {address for address, _ in gone} <= {HARMLESS}
    assert bool(gone) is (operation not in {resolve, first, last})  # those two send later


@OPERATIONS
async def test_the_policy_is_what_refuses(operation, gone):
    """The same destinations, allowed: all of the above would otherwise pass on a network that refuses everything."""
    policy = Policy.parse(["0.0.0.0/0"], bind="127.0.0.1")
    async with running(policy) as network:
        for host in ("127.0.0.1", "169.254.169.254", str(OWN)):
            try:
                await operation(network, host)
            except NetworkError as error:
                assert error.condition in {Condition.CONNECT_REFUSED, Condition.CONNECT_TIMEOUT}  # noqa: PT017 - of the fakes


def test_the_kernel_knows_our_broadcast_addresses():
    assert own_address(IPv4Address("127.255.255.255"))
