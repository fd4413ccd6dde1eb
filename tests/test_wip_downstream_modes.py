"""Data mode of a WIP modem, both modes, against literal module bytes: what the peer sent, and what the modem says of it."""

from __future__ import annotations

import random

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from test_wip_downstream import HOSTILE
from wip_modem import CLOSE, CLOSE_UDP, EMPTY, MAP, MAP_UDP, Module, network, opened, opened_udp, up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.driver.sockets import PIECE, Outgoing
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

OK = b"\r\nOK\r\n"
CLOSED = b"\r\n+WIPPEERCLOSE: 2,1\r\n"
SHUTDOWN = b"\r\nSHUTDOWN\r\n"
RESET = b"\x03\r\n+CME ERROR: 843\r\n"
SYNC = ((b"\r", b""), (b"AT\r", OK))
MAP_1 = (b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\n")


def table(mode):
    """The C1's way up, with TCP in this data mode: what differs here is the data mode alone."""
    profile = load("wip", "c1")
    row = msgspec.structs.replace(profile.value["stream_mode"], value=mode)
    return msgspec.structs.replace(profile, value=profile.value | {"stream_mode": row})


def mapping(mode):
    return MAP_1 if mode == 1 else MAP


def wire(data, mode):
    return data.replace(b"\x10", b"\x10\x10").replace(b"\x03", b"\x10\x03") if mode == 1 else data


async def read(link, count):
    got = b""
    while len(got) < count:
        got += await link.receive_some()
    return got


async def mapped(net, module, nursery, mode):
    """A link with bytes announced, mapped."""
    await up(net, module)
    link = await opened(net, module, nursery)
    await module.say(b"\r\n+WIPDATA: 2,1,9\r\n")
    await module.play(mapping(mode))
    return link


async def escaped(module, said=OK):
    await module.expect(b"+++")
    await trio.sleep(1.0)
    await module.say(said)


@pytest.mark.parametrize("profile", ["f4", "w5", "wismo"])
def test_gsm_has_tcp_in_mode_1_and_the_c1_in_mode_2(profile):
    assert load("wip", profile).number("stream_mode") == 1
    assert load("wip", "c1").number("stream_mode") == 2
    assert load("wip", profile).number("datagram_mode") == load("wip", "c1").number("datagram_mode") == 1


# --- the codec ---


@pytest.mark.parametrize("payload", [b"\x03", b"\x10", b"\x10\x03\x03\x10", bytes(range(256)) * 9, b"\x10" * 3000])
@pytest.mark.parametrize("mode", [1, 2])
async def test_what_is_sent(payload, mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        done = trio.Event()

        async def send():
            await link.send_all(payload)
            done.set()

        nursery.start_soon(send)
        await module.play(mapping(mode), (wire(payload, mode), b""))
        with trio.fail_after(1):
            await done.wait()


@pytest.mark.parametrize("mode", [1, 2])
async def test_a_send_in_pieces_that_cut_everywhere(mode, autojump_clock):
    payload = (b"\x10\x03+" * 40 + b"+++\r\n") * 3
    async with network(table(mode)) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)

        async def send():
            with link.sending(len(payload)) as sending:
                for byte in payload:
                    await sending.write(bytes([byte]))
                await sending.commit()

        nursery.start_soon(send)
        await module.play(mapping(mode), (wire(payload, mode), b""))


@given(st.lists(st.integers(0, 3).map([b"\x10", b"\x03", b"a", b"\x10" * 700].__getitem__), max_size=30))
def test_no_piece_of_a_send_ends_inside_of_a_pair(parts):
    async def run():
        data = b"".join(parts) + b"z"
        outgoing = Outgoing(len(data), coded=True)
        outgoing.give(data)
        got = b""
        while outgoing.waiting:
            piece = outgoing.next_piece()
            assert 0 < len(piece) <= PIECE
            assert (len(piece) - len(piece.rstrip(b"\x10"))) % 2 == 0 or got == b""
            outgoing.put_back(b"", held=False)
            outgoing.went_out(len(piece))
            got += piece
        assert got == wire(data, 1)
        assert outgoing.whole

    trio.run(run)


# --- payload that imitates the modem ---

IMITATIONS = [*HOSTILE, SHUTDOWN, SHUTDOWN + SHUTDOWN, SHUTDOWN + b"x", b"x" + SHUTDOWN, RESET, CLOSED + OK, SHUTDOWN + CLOSED]


def cuts(payload, how):
    if how == "random":
        rng = random.Random(len(payload))
        at = 0
        while at < len(payload):
            size = rng.randrange(1, 5)
            yield payload[at : at + size]
            at += size
    else:
        yield from (payload[at : at + how] for at in range(0, len(payload), how))


@pytest.mark.parametrize("payload", IMITATIONS, ids=repr)
@pytest.mark.parametrize("how", [1, 1000, "random"])
@pytest.mark.parametrize("pause", [0.0, 0.7, 1.4])
@pytest.mark.parametrize("mode", [1, 2])
async def test_payload_that_imitates_the_modem_is_delivered_whole(payload, how, pause, mode, autojump_clock):
    """With a pause right after the text the escape is on its way, or answered, before the peer goes on."""
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        for piece in cuts(wire(payload, mode), how):
            await module.say(piece)
            await trio.sleep(0.001)
        await trio.sleep(pause)
        await module.say(b"and on")

        async def rest():
            await escaped(module)
            await module.play(EMPTY)

        nursery.start_soon(rest)
        assert await read(link, len(payload) + 6) == payload + b"and on"
        assert link.condition is None


@pytest.mark.parametrize("payload", IMITATIONS, ids=repr)
@pytest.mark.parametrize("mode", [1, 2])
async def test_and_where_the_peer_then_is_silent(payload, mode, autojump_clock):
    async with network(table(mode)) as (net, module, nursery):
        link = await mapped(net, module, nursery, mode)
        await module.say(wire(payload, mode))

        async def rest():
            await escaped(module)
            await module.play(EMPTY)

        nursery.start_soon(rest)
        assert await read(link, len(payload)) == payload
        await trio.sleep(5)
        assert link.condition is None
        assert link.waiting() == 0


# --- the peer closes: every row of the reference's table ---


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


# --- writing ---


@pytest.mark.parametrize("text", [RESET, b"\r\nNO CARRIER\r\n"])
async def test_not_a_byte_of_payload_after_the_modem_fell_back(text, autojump_clock):
    """Looked for between blocks of 512 bytes: at most one more block may be on its way when the text comes."""
    mode = 1 if text is RESET else 2
    ours, theirs = line("module", baud=115200)
    net, module = WipNetwork(ours, table(mode), Trace()), Module(theirs)
    net.shutdown_grace = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        await up(net, module)
        link = await opened(net, module, nursery)
        outcome = []

        async def send():
            try:
                await link.send_all(b"x" * 20000)
            except LinkLost as lost:
                outcome.append(lost)

        nursery.start_soon(send)
        await module.play(mapping(mode))
        await module.expect(b"x" * 1000)
        await module.say(text)
        await trio.sleep(0.2)
        while True:
            with trio.move_on_after(0.1) as silence:
                module.spare += await theirs.receive()
            if silence.cancelled_caught:
                break
        late, module.spare = module.spare, b""
        assert late.count(b"x") <= 1024
        after = late.lstrip(b"x")
        assert after in {b"", b"\r"}
        if text is not RESET:
            await module.play((b"+++", b""))
        await module.play(*(SYNC[1:] if after else SYNC), EMPTY, CLOSE)
        assert outcome[0].delivered == "unknown"
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(300)
async def test_an_escape_is_never_repeated_into_a_stalled_line(autojump_clock):
    """It arrives with the first one as six pluses: payload for the peer."""
    ours, theirs = line("module")
    stalled, sent = trio.Event(), []
    send, drain = ours.send, ours.drain

    async def sends(data):
        sent.append(bytes(data))
        return await send(data)

    async def drains():
        if stalled.is_set():
            await trio.sleep_forever()
        await drain()

    ours.send, ours.drain = sends, drains
    net, module = WipNetwork(ours, table(2), Trace()), Module(theirs)
    net.shutdown_grace = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        link = await mapped(net, module, nursery, 2)
        await module.say(b"x")
        await trio.sleep(0.01)
        stalled.set()
        sent.clear()
        await trio.sleep(200)
        assert link.condition is Condition.MODULE_BLOCKED
        assert sent == [b"+++"]
        nursery.cancel_scope.cancel()


async def test_a_second_escape_is_heard(autojump_clock):
    async with network(table(2)) as (net, module, nursery):
        link = await mapped(net, module, nursery, 2)
        await module.say(b"x")
        nursery.start_soon(_refused, net)
        await module.expect(b"+++")
        begun = trio.current_time()
        await escaped(module)
        assert 3.0 <= trio.current_time() - begun - 1.0 <= 3.3
        await module.expect(EMPTY[0])
        assert link.condition is None


async def _refused(net):
    with pytest.raises(NetworkError):
        await net.open_stream("192.0.2.1", 80)
