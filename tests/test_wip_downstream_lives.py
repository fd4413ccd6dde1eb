"""What a WIP modem says between two of its lives, and what our own end leaves behind, against literal module bytes."""

from __future__ import annotations

import pytest
import trio
from test_wip_downstream_faults import BOOT, DOWN, OK, Outcome
from wip_gsm import APPLICATION, FOUND, OPENED, REGISTERED, SETTINGS, SIM, STACK, gsm
from wip_gsm import opened as gsm_opened
from wip_gsm import up as gsm_up
from wip_modem import BRING_UP, CLOSE, LISTEN, MAP, OPEN, Module, listening, network, opened, up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Condition, ModuleSettings, Phase
from bridge.network import LinkLost
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

ACCEPT = b"\r\n+WIPACCEPT: 1,4\r\n"
CLOSE_4 = b"AT+WIPCLOSE=2,4\r"


# --- words of the former life ---


@pytest.mark.parametrize("when", ["in the pause", "in the bring-up"])
async def test_an_accept_between_two_lives_is_closed(when, autojump_clock):
    """The modem's server lives until the bring-up closes it: peers come meanwhile."""
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(DOWN)
        await trio.sleep(0.1)
        assert net.state.phase is Phase.DOWN
        script = list(BRING_UP)
        if when == "in the pause":
            await module.say(ACCEPT)
        else:
            at = next(number for number, (heard, _) in enumerate(script) if heard == b"AT+WIPCREATE?\r")
            script[at] = (script[at][0], script[at][1] + ACCEPT)
        await module.play(*script, (CLOSE_4, OK), LISTEN)  # its index is the server's
        await net.attach()
        assert listener.condition is None
        await module.silent_for(3)
        await module.say(ACCEPT)
        assert (await listener.accept()).index == 4


async def test_a_reset_is_one_reset_however_often_the_bring_up_fails(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        opening = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.expect(OPEN[0][0])
        await module.say(BOOT)  # and no answer
        await opening.done.wait()
        assert net.state.generation == 1
        for _ in range(2):
            await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b""), (b"\r", b""), (b"AT\r", b""))
            while net.state.phase is not Phase.DOWN:
                await net.wait_state(net.state.seq)
            assert net.state.cause is Condition.MODULE_MUTE
        await up(net, module)
        assert net.state.generation == 1


async def test_a_bearer_that_is_lost_with_the_last_answer_of_the_bring_up_is_lost(autojump_clock):
    async with network() as (net, module, _):
        await module.play(*BRING_UP[:-1], (BRING_UP[-1][0], BRING_UP[-1][1] + DOWN))
        await trio.sleep(0.1)
        assert (net.state.phase, net.state.cause) == (Phase.DOWN, Condition.BEARER_LOST)
        await up(net, module)


# --- our own end ---


async def ended(work):
    """A driver that works, and is told to end: ``work`` gives what is then on the wire."""
    ours, theirs = line("module")
    net, module = WipNetwork(ours, load("wip", "c1"), Trace()), Module(theirs)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        done = trio.Event()

        async def run():
            with scope:
                await net.run()
            done.set()

        nursery.start_soon(run)
        await up(net, module)
        await work(net, module, nursery, scope)
        with trio.fail_after(6):
            await done.wait()
        nursery.cancel_scope.cancel()


async def test_a_mapping_under_way_at_the_end_is_left_before_anything_is_typed(autojump_clock):
    """CONNECT is on its way: a command would be the peer's payload."""

    async def work(net, module, nursery, scope):
        link = await opened(net, module, nursery)
        Outcome(nursery, link.send_all, b"x")
        await module.expect(MAP[0])
        scope.cancel()
        await module.say(MAP[1])
        await module.answer_escape()
        await module.play((b"\r", b""), (b"AT\r", OK), CLOSE)

    await ended(work)


async def test_an_escape_under_way_at_the_end_leaves_nothing_open(autojump_clock):
    """Its OK is on its way, and another escape is not answered any more."""

    async def work(net, module, nursery, scope):
        link = await opened(net, module, nursery)
        Outcome(nursery, link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        Outcome(nursery, net.signal)
        Outcome(nursery, net.resolve, "example.net")  # somebody wants the wire
        await module.expect(b"+++")
        scope.cancel()
        await trio.sleep(1.0)
        await module.say(OK)
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", OK), CLOSE)

    await ended(work)


async def test_a_close_that_is_refused_at_the_end_does_not_leave_the_others_open(autojump_clock):
    async def work(net, module, nursery, scope):
        await opened(net, module, nursery)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=2,2,"192.0.2.1",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n"))
        await net.open_stream("192.0.2.1", 80)
        scope.cancel()
        await module.play((CLOSE[0], b"\r\n+CME ERROR: 831\r\n"), (b"AT+WIPCLOSE=2,2\r", OK))

    await ended(work)


# --- what is said of a link ---


async def test_a_refused_send_of_a_link_that_is_gone_is_a_lost_link(autojump_clock):
    """NetworkError would say that the link lives."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        sending = link.sending(1)
        await sending.write(b"x")
        sending.failed = Condition.RECEIVE_BUFFER_FULL  # as the arbiter does
        sending.wake()
        link.end(Condition.MODULE_RESET)
        with pytest.raises(LinkLost) as lost:
            await sending.commit()
        assert lost.value.condition is Condition.MODULE_RESET


async def test_a_half_close_given_up_before_it_began_can_be_asked_for_again(autojump_clock):
    async with gsm() as (net, module, nursery):
        await gsm_up(net, module)
        link = await gsm_opened(net, module, nursery)
        nursery.start_soon(net.signal)
        await module.expect(b"AT+CSQ\r")  # the wire is busy
        with trio.move_on_after(1):
            await link.send_eof()
        await module.say(b"\r\n+CSQ: 20,0\r\n" + OK)
        await trio.sleep(0.1)
        nursery.start_soon(link.send_eof)
        await module.play((b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\n"), (b"\x03", b""))


async def test_a_half_close_of_a_link_that_is_lost_meanwhile_fails(autojump_clock):
    async with gsm() as (net, module, nursery):
        await gsm_up(net, module)
        link = await gsm_opened(net, module, nursery)
        nursery.start_soon(net.signal)
        await module.expect(b"AT+CSQ\r")
        closing = Outcome(nursery, link.send_eof)
        await trio.sleep(0.1)
        await module.say(b"\r\n+WIND: 3\r\n" + OK)
        await closing.is_(Condition.MODULE_RESET)


# --- secrets ---


async def test_a_secret_whose_echo_is_broken_by_a_line_of_the_modems_is_in_no_trace(autojump_clock):
    """A modem that was reset in the bring-up echoes again, and its boot lines stand inside."""
    records = []
    settings = ModuleSettings(apn="internet.example", user="meter", password="hush-hush")
    async with gsm(settings=settings, records=records) as (_, module, _):
        script = [*FOUND, *SETTINGS, *SIM, *REGISTERED, *APPLICATION, *STACK, *OPENED]
        await module.play(*script, (b'AT+WIPBR=2,6,11,"internet.example"\r', OK), (b'AT+WIPBR=2,6,0,"meter"\r', OK))
        await module.expect(b'AT+WIPBR=2,6,1,"hush-hush"\r')
        await module.say(b'AT+WIPBR=2,6,1,"hush-\r\n+WIND: 3\r\nhush"\r' + OK)
        await trio.sleep(0.1)
    assert "hush" not in repr(records)
    assert "+WIND: 3" in repr(records)
