"""Datagrams through a WIP modem, against literal module bytes."""

from __future__ import annotations

import contextlib
import random

import pytest
import trio
import trio.testing
from wip_modem import CLOSE_UDP, EMPTY, MAP, MAP_UDP, OPEN_UDP, PEER, Module, listening, network, opened, opened_udp, up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Capability, Condition, Datagram, Delivered, Endpoint, Peers
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

URC = b'\r\n+WIPDATA: 1,1,%d,"192.0.2.1",7\r\n'


async def test_what_the_modem_can_do_is_told_beforehand(autojump_clock):
    async with network() as (net, _, _nursery):
        assert Capability.UDP in net.limits.capabilities
        assert Capability.UDP_PEERS not in net.limits.capabilities
        assert 1020 <= net.limits.datagram_size <= 1460


async def test_open_names_a_local_port_always(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        assert (link.local, link.peer) == (Endpoint("66.193.79.243", 4000), PEER)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=1,2,50000,"192.0.2.1",7\r', b"\r\nOK\r\n\r\n+WIPREADY: 1,2\r\n"))
        second = await net.open_datagram(PEER)
        assert second.local == Endpoint("66.193.79.243", 50000)


@pytest.mark.parametrize("port", [4000, 53853])
async def test_a_port_of_ours_is_in_use(port, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened_udp(net, module, nursery)
        with pytest.raises(NetworkError) as refused:
            await net.open_datagram(PEER, local_port=port)
        assert refused.value.condition is Condition.PORT_IN_USE
        await module.silent_for(1)


@pytest.mark.parametrize("arguments", [(PEER, Peers.FIRST), (PEER, Peers.LAST), (None, Peers.FIRST), (None, Peers.FIXED)])
async def test_changing_peers_are_refused_before_a_byte_goes_out(arguments, autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        with pytest.raises(NetworkError) as refused:
            await net.open_datagram(arguments[0], peers=arguments[1])
        assert refused.value.condition is Condition.NOT_SUPPORTED
        await module.silent_for(1)


async def test_a_peer_by_name_is_known_by_its_address(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(
            module.play,
            (b'AT+WIPCREATE=1,1,4000,"example.net",7\r', b"\r\nOK\r\n\r\n+WIPREADY: 1,1\r\n"),
            (b"AT+WIPOPT=1,1,1,2\r", b'\r\n+WIPOPT: 1,2,"192.0.2.1"\r\n\r\nOK\r\n'),
        )
        link = await net.open_datagram(Endpoint("example.net", 7), local_port=4000)
        assert link.peer == PEER


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        (b"\r\nOK\r\n\r\n+WIPERROR: 1,1,839\r\n", Condition.NAME_NOT_FOUND),
        (b"\r\n+CME ERROR: 833\r\n", Condition.PORT_IN_USE),
        (b"\r\n+CME ERROR: 832\r\n", Condition.BAD_ARGUMENT),
        (b"\r\n+CME ERROR: 838\r\n", Condition.NO_FREE_LINK),
    ],
)
async def test_create_failures(answer, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (OPEN_UDP[0], answer), CLOSE_UDP, OPEN_UDP)
        with pytest.raises(NetworkError) as failed:
            await net.open_datagram(PEER, local_port=4000)
        assert failed.value.condition is condition
        await trio.sleep(1)
        await net.open_datagram(PEER, local_port=4000)


@pytest.mark.parametrize(
    ("payload", "wire"),
    [
        (b"hello", b"hello\x03"),
        (b"", b"\x03"),
        (b"\x03\x10\x03", b"\x10\x03\x10\x10\x10\x03\x03"),
        (b"+++", b"+++\x03"),
        (b"\x10" * 1460, b"\x10" * 2920 + b"\x03"),
    ],
)
async def test_send(payload, wire, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        done = []

        async def send():
            await link.send(payload)
            done.append(trio.current_time())

        nursery.start_soon(send)
        await module.play(MAP_UDP, (wire, b""))
        begun = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert not done
        await trio.sleep(0.06)
        assert begun + 0.019 <= done[0] <= begun + 0.05
        await link.send(b"again")  # the modem stays in data mode, and so does the visit
        await module.expect(b"again\x03")


async def test_too_long_and_targets_are_refused_whole(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        assert not link.targets
        for data, target, condition in (
            (b"x" * 1461, None, Condition.TOO_LONG),
            (b"x", Endpoint("192.0.2.9", 7), Condition.NOT_SUPPORTED),
        ):
            with pytest.raises(NetworkError) as refused:
                await link.send(data, target)
            assert refused.value.condition is condition
        await module.silent_for(1)
        assert link.condition is None


async def test_one_send_at_a_time(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        nursery.start_soon(link.send, b"one")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await link.send(b"two")


async def test_a_send_given_up_goes_out_whole_or_not_at_all(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        with trio.move_on_after(0.001):  # while CONNECT is awaited: not a byte of it goes out
            await link.send(b"never")
        await module.play(MAP_UDP)
        await module.silent_for(0.5)
        with trio.move_on_after(0.001):  # while it settles: it is out
            await link.send(b"whole")
        await link.send(b"next")
        await module.expect(b"whole\x03next\x03")
        assert link.condition is None


async def test_firmware_that_leaves_data_mode_after_a_datagram(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        sent = []

        async def send(data):
            await link.send(data)
            sent.append(data)

        nursery.start_soon(send, b"one")
        await module.play(MAP_UDP, (b"one\x03", b"\r\nOK\r\n"))
        await trio.sleep(0.06)
        assert sent == [b"one"]  # the modem took it, whether it is mapped still or not
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b"\r\nOK\r\n"), EMPTY)
        assert link.condition is None
        nursery.start_soon(send, b"two")
        await module.play(MAP_UDP, (b"two\x03", b"\r\nOK\r\n"))


async def test_an_ok_that_was_a_peers_payload_is_delivered(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        nursery.start_soon(link.send, b"one")
        await module.play(MAP_UDP, (b"one\x03", b"\r\nOK\r\n"))
        await trio.sleep(0.1)
        await module.say(b"\x03")
        assert await link.wait_readable()
        assert await link.fetch() == 1
        assert link.take() == Datagram(b"\r\nOK\r\n", PEER)


async def test_an_ok_without_an_etx_that_was_payload_is_delivered_after_the_answered_escape(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(URC % 6)
        await module.expect(MAP_UDP[0])
        await module.say(MAP_UDP[1] + b"\r\nOK\r\n")
        await module.answer_escape()
        await module.play(EMPTY)
        await link.fetch()
        assert link.take() == Datagram(b"\r\nOK\r\n", PEER)


CUTS = ["whole", "bytes", *range(6)]


def pieces(data, cut):
    if cut == "whole":
        return [data]
    if cut == "bytes":
        return [data[at : at + 1] for at in range(len(data))]
    rng, at, found = random.Random(cut), 0, []
    while at < len(data):
        size = rng.randint(1, 7)
        found.append(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("cut", CUTS)
async def test_borders_are_kept_however_the_bytes_are_cut(cut, autojump_clock):
    payloads = [b"\x03\x10", b"", b"\r\nOK\r\n", b"a" * 5, b"\x10\x10\x03", b"\r\n+WIPPEERCLOSE: 1,1\r\n", b"+++"]
    wire = b"".join(p.replace(b"\x10", b"\x10\x10").replace(b"\x03", b"\x10\x03") + b"\x03" for p in payloads)
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(URC % 2)
        assert await link.wait_readable()
        assert link.waiting() == 2
        await module.play(MAP_UDP)
        for piece in pieces(wire, cut):
            await module.say(piece)
        await trio.sleep(0.5)
        got = []
        while (datagram := link.take()) is not None:
            got.append(datagram)
        assert got == [Datagram(payload, PEER) for payload in payloads]


@pytest.mark.parametrize("urc", [b"\r\n+WIPDATA: 1,1,5,192.0.2.1,7\r\n", b'\r\n+WIPDATA: 1, 1, 5, "192.0.2.1", 7\r\n'])
async def test_without_an_etx_the_announced_size_is_the_border(urc, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(urc)
        await module.play(MAP_UDP, (b"", b"hello"))
        await trio.sleep(0.2)
        assert link.take() == Datagram(b"hello", PEER)
        await module.say(b"\x03")  # late, and still its own: no empty datagram
        await module.say(b"x\x03")
        await trio.sleep(0.2)
        assert link.take() == Datagram(b"x", PEER)
        assert link.take() is None


async def test_fewer_bytes_than_announced_are_a_cut_datagram(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(URC % 9)
        await module.play(MAP_UDP, (b"", b"hello\x03whole\x03"))
        await trio.sleep(0.2)
        assert link.take() == Datagram(b"hello", PEER, cut=True)
        assert link.take() == Datagram(b"whole", PEER)


async def test_a_datagram_that_never_ends_is_bounded_and_cut(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(URC % 5)
        await module.play(MAP_UDP, (b"", b"x" * 20000 + b"\x03"))
        await trio.sleep(0.2)
        datagram = link.take()
        assert datagram.cut
        assert len(datagram.data) == 5904


async def test_a_flood_loses_the_newest_of_that_link_and_nobody_else_waits(autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=2,1,"192.0.2.1",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,1\r\n"))
        other = await net.open_stream("192.0.2.1", 80)
        await module.say(URC % 4)
        await module.play(MAP_UDP)
        flooding = trio.CancelScope()
        sent = []

        async def flood():
            with flooding:
                while True:
                    sent.append(b"%04d" % len(sent))
                    await module.say(sent[-1] + b"\x03")
                    await trio.sleep(0.005)

        nursery.start_soon(flood)
        begun = trio.current_time()
        nursery.start_soon(other.send_all, b"mine")
        await module.expect(b"+++")
        await trio.sleep(1.0)
        flooding.cancel()
        await trio.sleep(0.01)
        await module.say(b"\r\nOK\r\n")
        await module.play(EMPTY, MAP, (b"mine", b""))
        assert trio.current_time() - begun < 12
        assert link.condition is None
        got = []
        while (datagram := link.take()) is not None:
            got.append(datagram.data)
        assert got == sent[:32]
        assert net.counters["datagrams-dropped"] == len(sent) - 32
        assert any(record.rule == "datagram-dropped" for record in records)


async def test_the_pair_is_the_identity(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        datagrams = await opened_udp(net, module, nursery)
        stream = await opened(net, module, nursery)
        await module.say(URC % 3)
        await module.play(MAP_UDP, (b"", b"udp\x03"))
        await trio.sleep(0.2)
        await module.say(b"")
        nursery.start_soon(module.answer_escape)
        await trio.sleep(4)
        await module.expect(EMPTY[0])
        await module.say(b"\r\n+WIPDATA: 2,1,3\r\n\r\nOK\r\n")
        await module.play((MAP[0], MAP[1] + b"tcp"))
        assert await stream.receive_some() == b"tcp"
        assert datagrams.take() == Datagram(b"udp", PEER)
        assert datagrams.take() is None


async def test_rows_of_the_poll_are_datagrams_too(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 1,1\r\n")  # nonsense for UDP
        await module.silent_for(1)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")  # and this a reason to ask
        await module.play(
            (EMPTY[0], b'\r\n+WIPDATA: 1,1,2,"192.0.2.1",7\r\n\r\nOK\r\n'),
            (b"AT+WIPCLOSE=2,1\r", b"\r\nOK\r\n"),
            (MAP_UDP[0], MAP_UDP[1] + b"ab\x03"),
        )
        await link.fetch()
        assert link.take() == Datagram(b"ab", PEER)
        assert link.condition is None


async def test_a_modem_without_the_list_is_asked_socket_by_socket(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        stream = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play(
            (EMPTY[0], b"\r\nERROR\r\n"),
            (b"AT+WIPOPT=1,1,1,6\r", b"\r\n+WIPOPT: 1,6,7\r\n\r\nOK\r\n"),
            (b"AT+WIPOPT=2,1,1,6\r", b"\r\n+WIPOPT: 2,6,0\r\n\r\nOK\r\n"),
            (b"AT+WIPCLOSE=2,1\r", b"\r\nOK\r\n"),
            # Seven bytes in all: nobody said that they are one datagram, so two of them are not a cut one.
            (MAP_UDP[0], MAP_UDP[1] + b"one\x03two2\x03"),
        )
        assert await stream.receive_some() == b""
        await trio.sleep(0.2)
        assert [link.take(), link.take()] == [Datagram(b"one", PEER), Datagram(b"two2", PEER)]


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\n", b"\r\nNO CARRIER\r\n\r\n+WIPBR: 6,0\r\n"])
async def test_bearer_lost_while_mapped(text, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        nursery.start_soon(_send_quietly, link, b"x")
        await module.play(MAP_UDP, (b"x\x03", text))
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b"\r\nOK\r\n"))
        if b"WIPBR" in text:
            await up(net, module)
            assert link.condition is Condition.BEARER_LOST
        else:
            await module.play(EMPTY, CLOSE_UDP)
            assert link.condition is Condition.LINK_RESET
        assert not await link.wait_readable()
        with pytest.raises(LinkLost):
            await link.send(b"y")


async def _send_quietly(link, data):
    with contextlib.suppress(LinkLost):
        await link.send(data)


async def test_close_frees_index_and_port(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        nursery.start_soon(module.play, CLOSE_UDP)
        await link.aclose()
        assert link.condition is Condition.LINK_CLOSED
        again = await opened_udp(net, module, nursery)
        assert again.index == 1
        with pytest.raises(trio.ClosedResourceError):
            await link.send(b"x")


async def test_eight_sockets_in_all_one_kept_for_lookups(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await listening(net, module, nursery)
        for index in range(1, 6):
            create = b'AT+WIPCREATE=1,%d,%d,"192.0.2.1",7\r' % (index, 4000 + index)
            nursery.start_soon(module.play, (create, b"\r\nOK\r\n\r\n+WIPREADY: 1,%d\r\n" % index))
            await net.open_datagram(PEER, local_port=4000 + index)
        with pytest.raises(NetworkError) as refused:
            await net.open_datagram(PEER)
        assert refused.value.condition is Condition.NO_FREE_LINK
        await opened(net, module, nursery)  # the seventh
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition is Condition.NO_FREE_LINK
        nursery.start_soon(
            module.play,
            (b'AT+WIPCREATE=1,8,53853,"example.net",9\r', b"\r\nOK\r\n\r\n+WIPREADY: 1,8\r\n"),
            (b"AT+WIPOPT=1,8,1,2\r", b'\r\n+WIPOPT: 1,2,"192.0.2.7"\r\n\r\nOK\r\n'),
            (b"AT+WIPCLOSE=1,8\r", b"\r\nOK\r\n"),
        )
        assert await net.resolve("example.net") == "192.0.2.7"


async def test_a_datagram_that_the_end_of_a_visit_cut_off_is_cut(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(URC % 9)
        await module.play(MAP_UDP, (b"", b"half\x10"))
        await module.answer_escape()
        await module.play((EMPTY[0], URC % 2 + EMPTY[1]))
        assert link.take() == Datagram(b"half", PEER, cut=True)
        await module.play((MAP_UDP[0], MAP_UDP[1] + b"ok\x03"))  # and nothing of it is left over for the next
        await trio.sleep(0.2)
        assert link.take() == Datagram(b"ok", PEER)


async def test_a_datagram_that_could_not_go_out_whole_loses_its_link(autojump_clock):
    """A text that may be the modem's stops the writing; it was a peer's, and the modem has sent the first half."""
    ours, theirs = line("module", baud=9600)
    net, module = WipNetwork(ours, load("wip", "c1"), Trace()), Module(theirs)
    net.shutdown_grace = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        lost = []

        async def send():
            with pytest.raises(LinkLost) as caught:
                await link.send(b"x" * 1400)
            lost.append(caught.value)

        nursery.start_soon(send)
        await module.play(MAP_UDP, (b"x" * 16, b"\r\nNO CARRIER\r\n"))
        await module.expect(b"x" * 496)
        await module.answer_escape()
        await module.play(EMPTY, CLOSE_UDP)
        assert [(error.condition, error.delivered) for error in lost] == [(Condition.ABORTED, Delivered.UNKNOWN)]
        nursery.cancel_scope.cancel()
