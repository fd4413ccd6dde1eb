"""The peer closes, and the modem says so, or does not: every row of the reference's table, in both data modes."""

from __future__ import annotations

import pytest
import trio
from wip_modem import CLOSE, CLOSE_UDP, EMPTY, MAP_UDP, network, opened, opened_udp, up
from wip_modes import CLOSED, MAP_1, OK, RESET, SHUTDOWN, SYNC, cuts, escaped, mapped, mapping, read, table

from bridge.model import Condition
from bridge.network import LinkLost, NetworkError


@pytest.mark.parametrize("mode", [1, 2])
async def test_fin_in_command_state_nothing_unread(mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(CLOSED)
        await module.play(EMPTY, CLOSE)
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("order", ["data first", "close first"])
async def test_fin_in_command_state_with_unread_bytes(order, autojump_clock):
    data = b"\r\n+WIPDATA: 2,1,4\r\n"
    async with network(table(1)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(data + CLOSED if order == "data first" else CLOSED + data)
        await module.play((EMPTY[0], data + OK), MAP_1)
        await module.say(b"last" + SHUTDOWN)
        await escaped(module, CLOSED + OK)
        await module.play(EMPTY, CLOSE)
        assert await link.receive_some() == b"last"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize(("unread", "own"), [(b"last", SHUTDOWN), (b"last" + SHUTDOWN, SHUTDOWN), (b"last" + SHUTDOWN, b"")])
@pytest.mark.parametrize("mode", [1, 2])
async def test_a_close_told_before_the_rest_is_read_is_not_told_again(unread, own, mode, autojump_clock):
    """The escape is answered with OK alone; what the modem said it held tells its own text from payload."""
    data = b"\r\n+WIPDATA: 2,1,%d\r\n" % len(unread)
    async with network(table(mode)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(data + CLOSED)
        await module.play((EMPTY[0], data + OK), mapping(mode))
        await module.say(unread + own)
        await escaped(module, OK)
        await module.play(EMPTY, CLOSE)
        assert await read(link, len(unread)) == unread
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("answer", [CLOSED + OK, OK + CLOSED])
@pytest.mark.parametrize("before", [b"bye", b"", SHUTDOWN, b"\r\n"])
@pytest.mark.parametrize("how", [1, 1000])
async def test_shutdown_while_mapped_stays_mapped_and_is_proved_by_the_escape(mode, answer, before, how, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        for piece in cuts(before + SHUTDOWN, how):
            await module.say(piece)
        said = trio.current_time()
        await module.expect(b"+++")
        assert trio.current_time() - said >= 0.5
        await trio.sleep(1.0)
        await module.say(answer)
        await module.play(EMPTY, CLOSE)
        got = b""
        while data := await link.receive_some():
            got += data
        assert got == before
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("at", [0.5, 0.93, 0.97, 1.0])
@pytest.mark.parametrize("how", [1, 1000])
async def test_shutdown_in_the_trailing_guard(at, how, autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 1)
        await module.say(b"bye")
        opening = trio.CancelScope()

        async def somebody_else():
            with opening:
                await net.open_stream("192.0.2.2", 81)

        nursery.start_soon(somebody_else)
        await module.expect(b"+++")
        await trio.sleep(at)
        for piece in cuts(SHUTDOWN, how):
            await module.say(piece)
        await trio.sleep(1.0 - at)
        await module.say(CLOSED + OK)
        await module.expect(EMPTY[0])
        opening.cancel()
        await module.say(OK)
        assert await link.receive_some() == b"bye"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_shutdown_without_the_peers_close_was_payload(autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 1)
        await module.say(b"x" + SHUTDOWN)
        await escaped(module, b"\r\n+WIPPEERCLOSE: 2,7\r\n" + OK)  # somebody else's
        await module.play(EMPTY)
        assert await read(link, 13) == b"x" + SHUTDOWN
        assert link.condition is None


async def test_a_send_that_was_out_before_the_peer_closed_was_taken(autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 1)
        taken = trio.Event()

        async def send():
            await link.send_all(b"last words")
            taken.set()

        nursery.start_soon(send)
        await module.expect(b"last words")
        await module.say(SHUTDOWN)
        await escaped(module, CLOSED + OK)
        await module.play(EMPTY, CLOSE)
        await taken.wait()
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("answer", [CLOSED + OK, OK])
async def test_after_our_own_half_close_shutdown_needs_no_other_proof(answer, autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"ask\x03")
        await module.play(MAP_1, (b"ask\x10\x03", b""))
        await trio.sleep(0.1)
        nursery.start_soon(link.send_eof)
        await module.expect(b"\x03")
        await trio.sleep(0.1)
        await link.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await link.send_all(b"more")
        await module.say(b"answer" + SHUTDOWN)
        await escaped(module, answer)
        await module.play(EMPTY, CLOSE)
        assert await link.receive_some() == b"answer"
        assert await link.receive_some() == b""


async def test_mode_2_has_no_half_close(autojump_clock):
    async with network(table(2)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        with pytest.raises(NetworkError) as refused:
            await link.send_eof()
        assert refused.value.condition is Condition.NOT_SUPPORTED
        await module.silent_for(3)


@pytest.mark.parametrize("how", [1, 1000])
@pytest.mark.parametrize("after", [b"", b"\r\n+WIPDATA: 2,2,5\r\n"])
async def test_a_reset_in_mode_1_needs_no_escape(how, after, autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 1)
        for piece in cuts(b"par\x10\x03t" + RESET + after, how):
            await module.say(piece)
        said = trio.current_time()
        await module.play(*SYNC)
        assert trio.current_time() - said < 0.6
        await module.play(EMPTY, CLOSE)
        assert await link.receive_some() == b"par\x03t"
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        assert lost.value.condition is Condition.LINK_RESET


async def test_an_etx_alone_is_looked_into_by_the_escape(autojump_clock):
    """No text follows: nobody knows where the modem is, and a command must not be the first probe."""
    async with network(table(1)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 1)
        await module.say(b"x\x03")
        await module.play((b"+++", b""), (b"+++", b""), *SYNC, EMPTY, CLOSE)
        assert await link.receive_some() == b"x"
        with pytest.raises(LinkLost):
            await link.receive_some()


@pytest.mark.parametrize("how", [1, 1000])
@pytest.mark.parametrize("later", [CLOSED, b""])
async def test_no_carrier_in_mode_2(how, later, autojump_clock):
    async with network(table(2)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 2)
        for piece in cuts(b"bye\r\nNO CARRIER\r\n", how):
            await module.say(piece)
        await trio.sleep(0.15)
        if later:
            await module.say(later)
        await module.play((b"+++", b""), *SYNC, EMPTY, CLOSE)
        assert await link.receive_some() == b"bye"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\n", b"\r\nERROR\r\n", b"\r\n+CME ERROR: 842\r\n"])
async def test_a_bearer_lost_under_a_mapped_datagram_socket(text, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(b'\r\n+WIPDATA: 1,1,3,"192.0.2.1",7\r\n')
        await module.play(MAP_UDP)
        await module.say(b"abc\x03" + text)
        await module.play((b"+++", b""), *SYNC, EMPTY, CLOSE_UDP)
        assert await link.wait_readable()
        assert link.take().data == b"abc"
        assert not await link.wait_readable()
        assert link.condition is not Condition.PEER_CLOSED


@pytest.mark.parametrize("mapped_still", [True, False])
@pytest.mark.parametrize("mode", [1, 2])
async def test_error_in_the_stream(mapped_still, mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        await module.say(b"x\r\nERROR\r\n")
        if mapped_still:
            await escaped(module)
            await module.play(EMPTY)
            assert await read(link, 10) == b"x\r\nERROR\r\n"
        else:
            await module.play((b"+++", b""), *SYNC, EMPTY, CLOSE)
            assert await link.receive_some() == b"x"
            with pytest.raises(LinkLost):
                await link.receive_some()


@pytest.mark.parametrize("mode", [1, 2])
async def test_the_peers_close_printed_in_the_stream(mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        await module.say(b"bye" + CLOSED)
        await module.play((b"+++", b""), *SYNC, EMPTY, CLOSE)
        assert await link.receive_some() == b"bye"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_somebody_elses_close_in_the_stream_is_no_orderly_end(autojump_clock):
    async with network(table(2)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 2)
        await module.say(b"x\r\n+WIPPEERCLOSE: 2,2\r\n")
        await module.play((b"+++", b""), *SYNC, EMPTY, CLOSE)
        assert await link.receive_some() == b"x"
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        assert lost.value.condition is Condition.LINK_RESET


@pytest.mark.parametrize("mode", [1, 2])
async def test_back_in_command_state_without_a_word(mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        await module.say(b"x")
        await module.play((b"+++", b""), (b"+++", b""), *SYNC, EMPTY, CLOSE)
        assert await link.receive_some() == b"x"
        with pytest.raises(LinkLost):
            await link.receive_some()


async def test_a_reset_in_command_state(autojump_clock):
    async with network(table(1)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPERROR: 2,1,843\r\n")
        await module.play(CLOSE)
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        assert lost.value.condition is Condition.LINK_RESET


@pytest.mark.parametrize("answer", [b"\r\n+CME ERROR: 831\r\n", b"\r\n+CME ERROR: 843\r\n", b"\r\nERROR\r\n"])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_mapping_refused_after_the_peer_closed(answer, announced, autojump_clock):
    waits = b"\r\n+WIPDATA: 2,1,4\r\n" if announced else b""
    async with network(table(1)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(CLOSED)
        await module.play((EMPTY[0], waits + OK))
        if announced:
            await module.play((MAP_1[0], answer), CLOSE)
            with pytest.raises(LinkLost):  # what was announced cannot be read: never silently wrong
                await link.receive_some()
        else:
            await module.play(CLOSE)
            assert await link.receive_some() == b""
