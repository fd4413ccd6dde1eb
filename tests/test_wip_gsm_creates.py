"""A GSM modem's creates: one at a time, because a failure names no index."""

from __future__ import annotations

import pytest
import trio
from test_wip_downstream_faults import Outcome
from wip_gsm import ADDRESS, ERROR, OK, cme, gsm, opened, opening, up
from wip_gsm_links import close, ready
from wip_modem import network
from wip_modem import up as c1_up

from bridge.model import Condition, Phase


@pytest.mark.deadline(200)
@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (cme(842), Condition.CONNECT_TIMEOUT),
        (cme(839), Condition.NAME_NOT_FOUND),
        (cme(843), Condition.CONNECT_REFUSED),
        (b"\r\n+CME ERROR:842\r\n", Condition.CONNECT_TIMEOUT),
        (b"\r\n+WIPERROR: 2,1,842\r\n", Condition.CONNECT_TIMEOUT),
        (ERROR, Condition.MODULE_ERROR),
    ],
)
@pytest.mark.parametrize("after", [0, 0.01, 74])
async def test_a_create_that_fails_without_an_index(said, condition, after, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.expect(opening(1))
        if after:
            await module.say(OK)
            while (left := min(after, 29)) > 0:  # the bearer is looked after meanwhile
                with trio.move_on_after(left):
                    await module.play(*[(ADDRESS[0])] * 9)
                after -= left
            await module.say(said)
        else:
            await module.say(OK + said)
        await module.play((close(1), OK))
        await outcome.is_(condition)
        assert net.state.phase is Phase.UP
        await trio.sleep(0.1)
        await opened(net, module, nursery)


@pytest.mark.deadline(100)
@pytest.mark.parametrize(
    ("host", "after", "condition"),
    [
        (b"example.net", 1, Condition.NAME_NOT_FOUND),
        (b"example.net", 20, Condition.CONNECT_TIMEOUT),
        (b"192.0.2.1", 1, Condition.CONNECT_TIMEOUT),
    ],
)
async def test_a_name_that_fails_at_once_was_not_found(host, after, condition, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        outcome = Outcome(nursery, net.open_stream, host.decode(), 80)
        await module.play((opening(1, host), OK))
        await trio.sleep(after)
        await module.say(cme(842))
        await outcome.is_(condition)


@pytest.mark.parametrize("number", [0, 842, 999])
async def test_a_number_that_nobody_knows_is_a_failure_all_the_same(number, autojump_clock):
    async with network() as (net, module, nursery):
        await c1_up(net, module)
        outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((opening(1), OK + b"\r\n+WIPERROR: 2,1,%d\r\n" % number))
        await outcome.is_(Condition.CONNECT_TIMEOUT if number == 842 else Condition.MODULE_ERROR)


async def test_one_create_at_a_time(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        outcomes = [Outcome(nursery, net.open_stream, "192.0.2.1", 80) for _ in range(3)]
        heard = []
        for number in range(3):
            await module.expect(b"AT+WIPCREATE=2,")
            index = int((await module.port.receive() if not module.spare else module.spare)[:1])
            module.spare = b""
            heard.append(index)
            await module.say(OK)
            await module.silent_for(5)
            if number == 1:
                await module.say(cme(842))
                await module.play((close(index), OK))  # before the next one: nobody could tell whose failure comes
            else:
                await module.say(ready(index))
        for outcome in outcomes:
            await outcome.done.wait()
        assert sorted(str(outcome.condition) for outcome in outcomes) == ["None", "None", "connect-timeout"]


async def test_a_c1_makes_them_all_at_once(autojump_clock):
    async with network() as (net, module, nursery):
        await c1_up(net, module)
        outcomes = [Outcome(nursery, net.open_stream, "192.0.2.1", 80) for _ in range(2)]
        for _ in range(2):
            await module.expect(b"AT+WIPCREATE=2,")
            module.spare = module.spare or await module.port.receive()
            module.spare = b""
            await module.say(OK)
        await module.say(b"\r\n+WIPERROR: 2,2,842\r\n" + ready(1))
        await module.play((close(2), OK))
        for outcome in outcomes:
            await outcome.done.wait()
        assert {outcome.condition for outcome in outcomes} == {None, Condition.CONNECT_TIMEOUT}


async def test_a_create_that_waits_for_its_turn_too_long_was_never_asked(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(net.open_stream, "192.0.2.1", 80)
        await module.play((opening(1), OK))
        outcome = Outcome(nursery, net.resolve, "example.net")  # waits 15 s
        await module.silent_for(20)
        await outcome.is_(Condition.NO_FREE_LINK)
        await module.say(ready(1))
        await module.silent_for(5)


async def test_a_server_needs_no_turn(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(net.open_stream, "192.0.2.1", 80)
        await module.play((opening(1), OK))
        nursery.start_soon(module.play, (b"AT+WIPCREATE=3,1,8080,4,8\r", OK))
        with trio.fail_after(5):
            assert (await net.listen(8080, room=5)).local.port == 8080
        await module.say(ready(1))
        await module.silent_for(5)


async def test_a_late_failure_of_a_create_that_was_given_up_is_nobody_elses(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        scope = trio.CancelScope()
        nursery.start_soon(cancelled, scope, net)
        await module.play((opening(1), OK))
        await trio.sleep(1)
        scope.cancel()
        other = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((close(1), cme(842) + OK))  # the failure comes before the close is done
        await module.expect(b"AT+WIPCREATE=2,")
        index = int((module.spare or await module.port.receive())[:1])
        module.spare = b""
        await module.say(OK + ready(index))
        await other.is_(None)


async def cancelled(scope, net):
    with scope:
        await net.open_stream("192.0.2.1", 80)


@pytest.mark.parametrize("gap", [0, 0.1])
async def test_a_failure_in_the_middle_of_another_links_command_is_not_that_commands(gap, autojump_clock):
    """843 is an answer to WIPDATA, too: the CONNECT that follows tells that it was not."""
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        failing = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((opening(2), OK))
        await trio.sleep(1)
        nursery.start_soon(link.send_all, b"hello")
        await module.expect(b"AT+WIPDATA=2,1,1\r")
        await module.say(cme(843))
        await trio.sleep(gap)
        await module.say(b"\r\nCONNECT\r\n")
        await module.expect(b"hello")
        await failing.is_(Condition.CONNECT_REFUSED)
        assert link.condition is None


async def test_an_error_that_nothing_follows_is_the_commands(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        other = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((opening(2), OK))
        await trio.sleep(1)
        sending = Outcome(nursery, link.send_all, b"hello")
        await module.play((b"AT+WIPDATA=2,1,1\r", cme(843)))
        await sending.is_(Condition.LINK_RESET)
        await module.play((close(1), OK))
        await module.say(ready(2))
        await other.is_(None)
