"""What goes wrong on the wire of an SKT module: silence, resets, noise.  Nobody is told something untrue, the driver lives."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from skt_driven import (
    BRING_UP,
    DELETE,
    EMPTY,
    IDLE,
    JOINED,
    NO_ROWS,
    ONE_ROW,
    OPEN,
    OPENED,
    READ,
    RECEIVE_OFF,
    ROW,
    SENT,
    TEST,
    ReopeningPort,
    SktModule,
    network,
    opened,
    state,
    up,
)

from bridge.dialects.skt.downstream import SktNetwork
from bridge.model import Condition, Delivered, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace


async def test_a_send_that_is_not_answered_is_never_repeated(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND": b""})
        with pytest.raises(LinkLost) as lost:
            await link.send_all(b"hello")
        assert lost.value.delivered is Delivered.UNKNOWN
        await trio.sleep(5)
        assert module.heard.count(b"AT+SKTSEND=5,1:hello") == 1
        assert b"AT+SKTDEL=1" in module.heard
        assert net.state.phase is Phase.UP


async def test_a_send_that_fails_in_its_second_line_is_not_told_as_untouched(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND=108": SENT, b"AT+SKTSEND=1,": b"\r\n+SKTSEND:ERROR:1\r\n"})
        with pytest.raises(LinkLost) as lost:
            await link.send_all(b"x" * 109)
        assert lost.value.delivered is Delivered.SOME
        assert link.condition is not None


@pytest.mark.parametrize("banner", [b"ATCMD READY\r\n", b"atio_uart_init @38400bps\n", b"\r\nAT COMMAND READY\r\n\n# "])
@pytest.mark.parametrize("moment", ["in a send", "idle"])
async def test_a_reset_ends_every_link_and_the_module_is_brought_up_again(banner, moment, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        outcome = []

        async def send():
            try:
                await link.send_all(b"hello")
            except LinkLost as lost:
                outcome.append((lost.condition, lost.delivered))

        if moment == "in a send":
            nursery.start_soon(send)
            await module.expect(b"AT+SKTSEND=5,1:hello\r\n")
        await module.say(banner)
        await trio.sleep(0.01)
        assert link.condition is Condition.MODULE_RESET
        assert net.state.generation == 1
        if moment == "in a send":
            assert outcome == [(Condition.MODULE_RESET, Delivered.UNKNOWN)]
        await up(net, module)
        await module.silent_for(1)


async def test_a_module_that_has_forgotten_an_id_was_reset(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"\r\n+SKTREAD:ERROR:3\r\n"), TEST, NO_ROWS, NO_ROWS)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.MODULE_RESET
        assert net.state.generation == 1
        await up(net, module)


async def test_a_module_that_gives_an_id_twice_was_reset(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1] + OPENED, b"AT+SKTRECVCFG": RECEIVE_OFF[1], b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.2", 80)
        assert refused.value.condition is Condition.MODULE_RESET
        assert link.condition is Condition.MODULE_RESET


NOISE = b"\r\n[WLAN-A] RX mgnt\r\n+SKT weird line\r\n[$]wifi something\r\n"


async def test_noise_in_every_gap(autojump_clock):
    async with network() as (net, module, nursery):
        await module.say(NOISE)
        for heard, said in BRING_UP:
            await module.expect(heard)
            await module.say(NOISE + said + NOISE)
        await net.attach()

        async def answer():
            await module.play((OPEN[0], NOISE + OPEN[1] + NOISE + OPENED + NOISE))

        nursery.start_soon(answer)
        link = await net.open_stream("192.0.2.1", 80)
        await module.play((READ, NOISE + b"+SKTREAD:OK,5,1:hello\r\n" + NOISE))
        assert await link.receive_some() == b"hello"
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"x")
        await module.play((b"AT+SKTSEND=1,1:x\r\n", NOISE + SENT + NOISE))
        await module.play((READ, NOISE + b"\r\n+SKTREAD:ERROR:7\r\n" + NOISE), (DELETE[0], NOISE + DELETE[1]))
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
async def test_every_answer_in_small_pieces(size, autojump_clock):
    class Slow(SktModule):
        async def say(self, data):
            for start in range(0, len(data), size):
                await self.port.send(data[start : start + size])
                await trio.sleep(0.001)

    async with network() as (net, plain, nursery):
        module = Slow(plain.port)
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:h\r\nlo\r\n"))
        assert await link.receive_some() == b"h\r\nlo"
        await module.play(EMPTY)
        nursery.start_soon(link.send_all, b"x")
        await module.play((b"AT+SKTSEND=1,1:x\r\n", SENT), (READ, b"\r\n+SKTREAD:ERROR:7\r\n"), DELETE)
        assert link.condition is Condition.PEER_CLOSED


@pytest.mark.parametrize("step", range(1, len(BRING_UP)))
async def test_a_module_that_goes_mute_in_the_bring_up_is_asked_from_the_start(step, autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*BRING_UP[:step])
        await module.expect(BRING_UP[step][0])
        await trio.sleep(4.4)
        mute_until = trio.current_time() + 15
        while trio.current_time() < mute_until:
            with trio.move_on_after(1):
                module.spare += await module.port.receive()
        module.spare = b""
        assert net.state.phase is not Phase.UP
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTRECVCFG": RECEIVE_OFF[1], b"AT+SKTSTATE": NO_ROWS[1]})
        await net.attach()


async def test_a_module_that_goes_mute_is_lost_and_its_links_with_it(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        assert await link.wait_readable() == 0
        assert link.condition is Condition.MODULE_MUTE
        await trio.sleep(10)
        assert net.state.cause is Condition.MODULE_MUTE or net.state.phase is Phase.STARTING
        module.spare = b""
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTRECVCFG": RECEIVE_OFF[1]})
        await net.attach()


@pytest.mark.deadline(400)
@pytest.mark.parametrize(
    "mute", [b"AT+SKTCLIENT", b"AT+SKTSEND", b"AT+SKTREAD", b"AT+SKTDEL", b"AT+SKTSTATE", b"AT+WLSTATE", b"AT+TEST"]
)
async def test_a_module_that_is_mute_to_one_command_is_there_again_once_it_answers(mute, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        rules = {**IDLE, b"AT+SKTSEND": SENT, b"AT+SKTRECVCFG": RECEIVE_OFF[1], mute: b""}
        held = {1}

        def rows(_):
            return b"" if mute == b"AT+SKTSTATE" and quiet else state(*[ROW for number in held])

        def delete(_):
            held.discard(1)
            return b"" if mute == b"AT+SKTDEL" and quiet else DELETE[1]

        def answer_open(_):
            held.add(1)
            return b"" if mute == b"AT+SKTCLIENT" and quiet else OPEN[1] + OPENED

        quiet = True
        rules |= {b"AT+SKTSTATE": rows, b"AT+SKTDEL=1": delete, b"AT+SKTCLIENT": answer_open}
        if mute == b"AT+SKTREAD":
            rules[b"AT+SKTREAD=1,"] = b""
        nursery.start_soon(module.serve, rules)
        with trio.move_on_after(10), suppress(LinkLost):
            await (link.aclose() if mute == b"AT+SKTDEL" else link.send_all(b"hello"))
        if mute == b"AT+SKTCLIENT":
            with pytest.raises(NetworkError):
                await net.open_stream("192.0.2.2", 80)
        await trio.sleep(40)
        quiet = False
        rules |= {**IDLE, b"AT+SKTSEND": SENT, b"AT+SKTSTATE": rows, b"AT+SKTDEL=1": delete, b"AT+SKTCLIENT": answer_open}
        await trio.sleep(20)
        await net.attach()
        if link.condition is not None:
            again = await net.open_stream("192.0.2.1", 80)
            await again.send_all(b"hello")


async def test_a_lost_first_command_is_asked_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.expect(READ)
        await module.play((b"AT+TEST\r\n", b""), TEST, ONE_ROW)
        assert link.condition is not None  # what the read took from the module, nobody knows
        await module.play(DELETE)


async def test_the_port_is_lost_and_comes_back(autojump_clock):
    port = ReopeningPort()
    async with network(port=port) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await port.pull()
        await trio.sleep(0.1)
        assert link.condition is Condition.PORT_LOST
        assert net.state.phase is Phase.FAILED
        back = SktModule(port.plug())
        left = (b"AT+SKTSTATE\r\n", ROW + NO_ROWS[1])
        await up(net, back, [*BRING_UP[:3], left, DELETE, JOINED])
        assert await opened(net, back, nursery)


async def test_a_port_that_does_not_come_back_ends_the_network(autojump_clock):
    ours, theirs = line("module")
    net, module = SktNetwork(ours, load("skt", "s1-uart"), Trace()), SktModule(theirs)
    ended = []

    async def run():
        try:
            await net.run()
        except NetworkError as error:
            ended.append(error.condition)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await up(net, module)
        await module.port.aclose()
    assert ended == [Condition.PORT_LOST]


async def test_nothing_is_said_to_zero(autojump_clock):
    async with network() as (net, module, _):
        rows = (b"AT+SKTSTATE\r\n", b"con_id:0,client,tcp,address:192.0.2.1,port:80,socket:0\r\n\r\n+SKTSTATE:OK\r\n")
        await module.play(*BRING_UP[:3], rows)
        await trio.sleep(1)
        assert b"AT+SKTDEL=0" not in module.spare
        assert net.state.phase is not Phase.UP


@pytest.mark.parametrize("said", [b"", b"\r\n+SKTDEL:ERROR:1\r\n"])
async def test_an_id_that_cannot_be_deleted_does_not_keep_the_wire_from_the_others_for_ever(said, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=0,192.0.2.2,80\r\n", OPEN[1] + b"+SKTCLIENT:con_id=2\r\n"))
        other = await net.open_stream("192.0.2.2", 80)
        two = b"con_id:2,client,tcp,address:192.0.2.2,port:80,socket:1\r\n"
        rules = {b"AT+SKTDEL": said, b"AT+SKTSTATE": state(ROW, two), b"AT+SKTREAD=2": b"+SKTREAD:OK,0,2:\r\n"}
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTDEL=1": said, **rules})
        nursery.start_soon(link.aclose)
        await trio.sleep(0.1)
        with trio.fail_after(20), pytest.raises(LinkLost):
            await other.send_all(b"hello")
