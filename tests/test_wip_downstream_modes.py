"""Data mode of a WIP modem, both modes, against literal module bytes: what is payload, and what is written when."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from test_wip_downstream import HOSTILE
from wip_modem import CLOSE, EMPTY, Module, network, opened, up
from wip_modes import CLOSED, OK, RESET, SHUTDOWN, SYNC, cuts, escaped, mapped, mapping, read, table, wire

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.driver.sockets import PIECE, Outgoing
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace


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
