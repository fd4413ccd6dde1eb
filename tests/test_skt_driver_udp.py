"""UDP sockets of an SKT module: targets as the module reads them, and answers that do not come."""

from __future__ import annotations

import pytest
import trio
from skt_driven import IDLE, NO_ROWS, network, up
from test_skt_driver_profiles import udp

from bridge.model import Condition, Delivered, Endpoint, Peers
from bridge.network import LinkLost, NetworkError
from bridge.tables import load

BOUND = (b"AT+SKTSERVER=1,4000\r\n", b"\r\n+SKTSERVER:OK\r\n\r\n+SKTSERVER:con_id=1\r\n")
NOTHING_FROM = b"+SKTREAD:OK,0,1,,0:\r\n"


def with_more_ids():
    table = load("skt", "s1-uart")
    value = {**table.value, "pool": type(table.value["pool"])(value=12, source="a test")}
    return type(table)(**{**{name: getattr(table, name) for name in table.__struct_fields__}, "value": value})


@pytest.mark.parametrize(("profile", "fits"), [("s1-uart", 108), (with_more_ids(), 107)])
async def test_a_datagram_fits_with_the_longest_id_that_it_may_have(profile, fits, autojump_clock):
    """The socket may have any id, and a line of 126 bytes overflows the console."""
    async with network(profile) as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b"\r\n+SKTSEND:OK\r\n"})
        await link.send(b"x" * fits)
        with pytest.raises(NetworkError) as refused:
            await link.send(b"x" * (fits + 1))
        assert refused.value.condition is Condition.TOO_LONG


async def bound(net, module, nursery):
    nursery.start_soon(module.play, BOUND)
    link = await net.open_datagram(None, local_port=4000, peers=Peers.LAST)
    nursery.start_soon(module.serve, IDLE | {b"AT+SKTREAD=1,": NOTHING_FROM, b"AT+SKTSEND=": b"\r\n+SKTSEND:OK\r\n"})
    return link


async def test_a_datagram_goes_to_who_was_the_peer_when_it_was_given(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await bound(net, module, nursery)
        assert link.targets

        async def another():
            link.deliver(b"b", Endpoint("192.0.2.2", 7), cut=False)

        for _ in range(10):  # trio chooses who runs first when the send waits
            link.deliver(b"a", Endpoint("192.0.2.1", 7), cut=False)
            nursery.start_soon(another)
            await link.send(b"answer")
            assert link.peer == Endpoint("192.0.2.2", 7)
            assert [datagram.data for datagram in (link.take(), link.take())] == [b"a", b"b"]
        assert {text for text in module.heard if b"SKTSEND" in text} == {b"AT+SKTSEND=6,1,192.0.2.1,7:answer"}


@pytest.mark.parametrize(
    "target",
    [
        Endpoint("192.0.2.1,7:x\r\nAT+SKTDEL=0", 7),
        Endpoint("host.example", 7),
        Endpoint("192.0.2.1", 0),
        Endpoint("192.0.2.1", 65536),
        Endpoint("0xC0000201", 7),
        Endpoint("192.0.2.256", 7),
        Endpoint("192.168.010.1", 7),  # the module reads a leading 0 as octal
    ],
)
async def test_a_target_that_is_no_address_is_refused_before_its_first_byte(target, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await bound(net, module, nursery)
        with pytest.raises(NetworkError) as refused:
            await link.send(b"hello", target)
        assert refused.value.condition is Condition.BAD_ARGUMENT
        assert link.condition is None
        await trio.sleep(0.1)
        assert not [text for text in module.heard if b"SKTSEND" in text or b"SKTDEL" in text]


async def test_one_answer_that_does_not_come_costs_a_datagram_and_not_its_socket(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        await module.expect(b"AT+SKTREAD=1,512\r\n")
        row = b"con_id:1,client,udp,address:192.0.2.9,port:53,socket:0\r\n"
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSTATE": row + NO_ROWS[1], b"AT+SKTREAD=1,": b"+SKTREAD:OK,2,1:hi\r\n"})
        await trio.sleep(4)
        assert link.condition is None
        assert link.take().data == b"hi"


async def test_a_datagram_whose_answer_does_not_come_is_told_as_a_lost_link(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await udp(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b""})
        with pytest.raises(LinkLost) as lost:
            await link.send(b"hello")
        assert lost.value.delivered is Delivered.UNKNOWN
        assert lost.value.condition is Condition.MODULE_MUTE
