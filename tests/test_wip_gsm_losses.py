"""A GSM modem's links and bearer end without a word that says which: what the driver makes of the words there are."""

from __future__ import annotations

import pytest
import trio
from test_wip_downstream_faults import Outcome
from wip_gsm import ADDRESS, ERROR, OK, UP_AGAIN, cme, gsm, opened, opening, up
from wip_gsm_links import NO_LIST, NONE_UNREAD, UNREAD, close
from wip_modem import network
from wip_modem import up as c1_up

from bridge.model import Condition, Phase

# --- errors with no command and no create ---


async def test_a_bare_error_ends_the_link_that_refuses_to_be_asked(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        first, second = await opened(net, module, nursery), await opened(net, module, nursery, 2)
        await module.say(cme(843))
        await module.play((UNREAD % 1, NONE_UNREAD), (UNREAD % 2, ERROR), (close(2), OK))
        await trio.sleep(0.1)
        assert (first.condition, second.condition) == (None, Condition.LINK_RESET)
        assert net.state.phase is Phase.UP


@pytest.mark.parametrize("answer", [cme(843) + OK, b"\r\n+WIPDATA: 2,1,4\r\n" + cme(843) + OK, OK + cme(843)])
@pytest.mark.parametrize("how", [1, 1000])
async def test_a_bare_error_with_the_answer_of_an_escape_is_no_payload_of_the_mapped_link(answer, how, autojump_clock):
    """The reset of a link that is not mapped is told as soon as it can be: round the OK that ends another's visit."""
    async with gsm() as (net, module, nursery):
        await up(net, module)
        first, second = await opened(net, module, nursery), await opened(net, module, nursery, 2)
        await module.say(b"\r\n+WIPDATA: 2,2,5\r\n")
        await module.play((b"AT+WIPDATA=2,2,1\r", b"\r\nCONNECT\r\nhello"))
        await module.expect(b"+++")
        await trio.sleep(1.0)
        for start in range(0, len(answer), how):
            await module.say(answer[start : start + how])
        await module.play(NO_LIST, (UNREAD % 1, ERROR), (UNREAD % 2, NONE_UNREAD))
        await module.play((UNREAD % 1, ERROR), (UNREAD % 2, NONE_UNREAD), (close(1), OK))
        await trio.sleep(0.1)
        assert (first.condition, second.condition) == (Condition.LINK_RESET, None)
        assert second.take(100) == b"hello"


@pytest.mark.parametrize("answer", [ERROR, cme(835), NONE_UNREAD], ids=["refused", "no such option", "answered"])
async def test_a_bare_error_that_nobody_can_be_blamed_for_ends_nobody(answer, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        links = await opened(net, module, nursery), await opened(net, module, nursery, 2)
        await module.say(cme(843))
        await module.play((UNREAD % 1, answer), (UNREAD % 2, answer))
        await module.silent_for(10)
        assert {link.condition for link in links} == {None}


async def test_a_connect_that_nobody_asked_for_is_looked_into(autojump_clock):
    """Commands would be typed into the socket that it glued to the wire."""
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\nCONNECT\r\n")
        await module.answer_escape()
        await module.play((b"\r", b""), (b"AT\r", OK), NO_LIST, (UNREAD % 1, NONE_UNREAD))
        assert link.condition is None


# --- the bearer ---


@pytest.mark.parametrize("number", [803, 805, 816, 817, 849])
async def test_a_lost_bearer_that_a_create_shows(number, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((opening(2), cme(number)))
        await outcome.is_(Condition.BEARER_LOST)
        assert (net.state.phase, net.state.cause) == (Phase.DOWN, Condition.BEARER_LOST)
        assert link.condition is Condition.BEARER_LOST
        await up(net, module, UP_AGAIN)
        assert net.state.generation == 0


@pytest.mark.deadline(200)
@pytest.mark.parametrize(
    "answer", [cme(803), ERROR, b'\r\n+WIPBR: 6,15,"10.0.0.99"\r\n' + OK, b'\r\n+WIPBR: 6,15,"0.0.0.0"\r\n' + OK]
)
async def test_a_bearer_that_dies_silently_is_missed_within_half_a_minute(answer, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module)
        await module.silent_for(20)
        await module.play(ADDRESS[0])
        await module.silent_for(29)
        await module.play((ADDRESS[0][0], answer))
        await trio.sleep(0.1)
        assert (net.state.phase, net.state.cause) == (Phase.DOWN, Condition.BEARER_LOST)
        await up(net, module)


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\n", ERROR, cme(849)])
@pytest.mark.parametrize("gone", [True, False])
async def test_a_text_that_may_be_about_the_bearer_has_it_looked_at_at_once(text, gone, autojump_clock):
    """No URC tells a GSM modem's host that the bearer is gone: the other links would wait half a minute for it."""
    async with gsm() as (net, module, nursery):
        await up(net, module)
        first, second = await opened(net, module, nursery), await opened(net, module, nursery, 2)
        await module.say(b"\r\n+WIPDATA: 2,1,3\r\n")
        await module.play((b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\nabc" + text))
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", OK), NO_LIST, (UNREAD % 2, NONE_UNREAD))
        begun = trio.current_time()
        await module.play((ADDRESS[0][0], cme(803)) if gone else ADDRESS[0])
        await trio.sleep(0.01)
        assert trio.current_time() - begun < 0.1
        assert first.condition is not None
        assert second.condition is (Condition.BEARER_LOST if gone else None)
        assert net.state.phase is (Phase.DOWN if gone else Phase.UP)


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\n", cme(817), cme(849)])
async def test_and_in_command_state_too(text, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(text)
        begun = trio.current_time()
        await module.play((ADDRESS[0][0], ERROR))
        await trio.sleep(0.01)
        assert trio.current_time() - begun < 0.1
        assert link.condition is Condition.BEARER_LOST


async def test_a_c1_tells_by_itself(autojump_clock):
    async with network() as (net, module, _):
        await c1_up(net, module)
        await module.say(b"\r\nNO CARRIER\r\n")
        await module.silent_for(50)


async def test_a_bearer_that_drops_in_the_middle_of_a_send(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        sending = Outcome(nursery, link.send_all, b"x" * 5000)
        await module.play((b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\n"), (b"x" * 600, b"\r\nNO CARRIER\r\n"))
        while not module.spare.endswith(b"+++"):  # what was on its way when the text was seen, and then nothing but the escape
            module.spare += await module.port.receive()
        assert set(module.spare[:-3]) <= set(b"x")
        module.spare = b""
        await module.play((b"\r", b""), (b"AT\r", OK))
        await sending.done.wait()
        assert sending.condition in {Condition.LINK_RESET, Condition.PEER_CLOSED}
        await module.play(NO_LIST, (ADDRESS[0][0], cme(803)))
        await trio.sleep(0.01)
        assert (net.state.phase, net.state.cause) == (Phase.DOWN, Condition.BEARER_LOST)
        await up(net, module, UP_AGAIN)


@pytest.mark.parametrize(
    "event", [b"\r\n+WIND: 3\r\n", b"\r\n+WIND:4\r\n", b"\r\n+WIND:  4\r\n", b"\xff\x00\r\n+WIND: 3\r\n\r\n+WIND: 4\r\n"]
)
async def test_a_reboot_that_tells(event, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(event)
        await trio.sleep(0.1)
        assert link.condition is Condition.MODULE_RESET
        assert net.state.generation == 1
        await up(net, module)
        assert net.state.generation == 1


@pytest.mark.parametrize(
    "event", [b"\r\n+WIND: 8\r\n", b"\r\n+WIND: 5,1\r\n", b"\r\n+WIND: \r\n", b"\r\n+WIND: 7\r\n", b"\r\n+CREG: 2\r\n"]
)
async def test_what_is_no_reboot_on_gsm(event, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(event)
        await module.silent_for(5)
        assert (link.condition, net.state.phase) == (None, Phase.UP)
