"""What tells one modem of the family from another once it is up: failures without an index, pings, a bearer's silent death."""

from __future__ import annotations

import pytest
import structlog
import trio
from fake_network import FakeNetwork
from test_wip_downstream_faults import Outcome
from wip_gsm import ADDRESS, CLEAN, ERROR, FOUND, OK, REGISTERED, SETTINGS, SIM, UP, UP_AGAIN, cme, gsm, opened, opening, up
from wip_modem import BRING_UP, network
from wip_modem import up as c1_up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Capability, Condition, Datagram, Endpoint, Identity, ModuleSettings, Phase
from bridge.network import NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

UNREAD = b"AT+WIPOPT=2,%d,1,6\r"
NONE_UNREAD = b"\r\n+WIPOPT: 2,6,0\r\n" + OK
NO_LIST = (b"AT+WIPDATA?\r", ERROR)


def ready(index):
    return b"\r\n+WIPREADY: 2,%d\r\n" % index


def close(index):
    return b"AT+WIPCLOSE=2,%d\r" % index


async def module_again(net, module, script=None):
    """Whatever it was told before, bring-up comes."""
    data = b""
    while not data.endswith(b"+++"):
        data += module.spare or await module.port.receive()
        module.spare = b""
    module.spare = b"+++"
    await up(net, module, script)


# --- failures of creates ---


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


# --- spelling ---


@pytest.mark.parametrize(
    "said", [b"\r\n+WIPREADY: 2, 1\r\n", b"\r\n+WIPREADY:2,1\r\n", b"\n+WIPREADY: 2,1\r\n", b"+WIPREADY: 2,1\r\n"]
)
@pytest.mark.parametrize("cut", [1, 1000])
async def test_ways_to_say_ready(said, cut, autojump_clock):
    text = b"\r\nOK\r\n" + said
    async with gsm() as (net, module, nursery):
        await up(net, module)
        outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.expect(opening(1))
        for start in range(0, len(text), cut):
            await module.say(text[start : start + cut])
        await outcome.is_(None)


@pytest.mark.parametrize(
    "said",
    [
        b'\r\n+WIPDATA: 1,1,2,"192.0.2.1",7\r\n',
        b"\r\n+WIPDATA: 1,1,2,192.0.2.1,7\r\n",
        b'\r\n+WIPDATA: 1,1,2,"192.0.2.1","7"\r\n',
        b'\r\n+WIPDATA:1, 1, 2, "192.0.2.1", "00007"\r\n',
    ],
)
@pytest.mark.parametrize("profile", ["f4", "w5", "wismo"])
async def test_ways_to_say_where_a_datagram_comes_from(said, profile, autojump_clock):
    script = [pair for pair in UP if profile != "wismo" or pair[0] != b"AT+WOPEN?\r"]
    async with gsm(profile) as (net, module, nursery):
        await up(net, module, script)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=1,1,4000,"192.0.2.1",7\r', OK + b"\r\n+WIPREADY: 1,1\r\n"))
        link = await net.open_datagram(Endpoint("192.0.2.1", 7), local_port=4000)
        await module.say(said)
        nursery.start_soon(module.play, (b"AT+WIPDATA=1,1,1\r", b"\r\nCONNECT\r\nhi\x03"))
        assert await link.wait_readable()
        await link.fetch()
        assert link.take() == Datagram(b"hi", Endpoint("192.0.2.1", 7))


@pytest.mark.parametrize(
    "said", [b'\r\n+WIPDATA: 1,1,2,"",""\r\n', b'\r\n+WIPDATA: 1,1,2,"example.net",x\r\n', b"\r\n+WIPDATA: 1,1,2,\xb2,\xb2\r\n"]
)
async def test_a_datagram_from_nowhere_is_one_all_the_same(said, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=1,1,4000,"192.0.2.1",7\r', OK + b"\r\n+WIPREADY: 1,1\r\n"))
        link = await net.open_datagram(Endpoint("192.0.2.1", 7), local_port=4000)
        await module.say(said)
        nursery.start_soon(module.play, (b"AT+WIPDATA=1,1,1\r", b"\r\nCONNECT\r\nhi\x03"))
        assert await link.wait_readable()
        await link.fetch()
        assert link.take().data == b"hi"


@pytest.mark.parametrize(
    "word", [b"+WIPREADY", b"+WIPDATA", b"+WIPPEERCLOSE", b"+WIPERROR", b"+WIPACCEPT", b"+WIPBR", b"+WIND", b"+WIPPING"]
)
@pytest.mark.parametrize("rest", [b"", b":", b": ", b": 2", b": 2,", b": ,,", b": 2,x", b": -1,1", b": 2,1,1,1,1,1,1"])
async def test_a_urc_that_is_cut_off_or_garbled_is_counted_and_nothing_else(word, rest, autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n" + word + rest + b"\r\n")
        await module.silent_for(5)
        assert (link.condition, net.state.phase) == (None, Phase.UP)
        whole = word + rest == b"+WIND: 2"  # which says that somebody calls
        assert net.counters["unmatched-lines"] == (0 if whole else 1)


# --- errors without numbers ---


async def test_a_modem_that_knows_no_numbers_opens_and_closes(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module, [(heard, ERROR if b"CME" in said else said) for heard, said in UP])
        link = await opened(net, module, nursery)
        closing = Outcome(nursery, link.aclose)
        await module.play((close(1), ERROR))  # there is nothing to close any more
        await closing.is_(None)
        await trio.sleep(0.1)
        outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((opening(1), OK + ERROR), (close(1), OK))
        await outcome.is_(Condition.MODULE_ERROR)
        await trio.sleep(0.1)
        await opened(net, module, nursery)


# --- ping ---


ASKED = b'AT+WIPPING="192.0.2.1"\r'


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (OK + b"\r\n+WIPPING: 0,0,123\r\n", 0.123),
        (OK + b"\r\n+WIPPING:0, 1, 0\r\n", 0.0),
        (OK + b"\r\n+WIPPING: 1,0,0\r\n", Condition.CONNECT_TIMEOUT),
        (OK, Condition.CONNECT_TIMEOUT),
        (OK + cme(819), Condition.CONNECT_TIMEOUT),
        (cme(819), Condition.CONNECT_TIMEOUT),
        (cme(839), Condition.NAME_NOT_FOUND),
        (ERROR, Condition.NOT_SUPPORTED),
    ],
)
async def test_ping(said, outcome, autojump_clock):
    async with gsm() as (net, module, nursery):
        assert Capability.PING in net.limits.capabilities
        await up(net, module)
        nursery.start_soon(module.play, (ASKED, said))
        if isinstance(outcome, float):
            assert await net.ping("192.0.2.1", 10) == outcome
        else:
            with pytest.raises(NetworkError) as failed:
                await net.ping("192.0.2.1", 10)
            assert failed.value.condition is outcome
        await module.silent_for(1)
        assert net.state.phase is Phase.UP
        await opened(net, module, nursery)  # the wire is free


async def test_a_ping_takes_its_limit_and_a_late_answer_is_nobodys(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (ASKED, OK))
        began = trio.current_time()
        with pytest.raises(NetworkError) as failed:
            await net.ping("192.0.2.1", 1)
        assert failed.value.condition is Condition.CONNECT_TIMEOUT
        assert trio.current_time() - began == pytest.approx(1)
        await module.silent_for(6)
        await module.say(b"\r\n+WIPPING: 0,0,7000\r\n")
        nursery.start_soon(module.play, (ASKED, OK + b"\r\n+WIPPING: 0,0,5\r\n"))
        assert await net.ping("192.0.2.1", 1) == 0.005


@pytest.mark.parametrize("host", ['a"b', "a\rAT", "", "x" * 121])
async def test_a_ping_is_no_way_to_type_a_command(host, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module)
        with pytest.raises(NetworkError) as failed:
            await net.ping(host, 1)
        assert failed.value.condition is Condition.BAD_ARGUMENT
        await module.silent_for(1)


async def test_a_c1_cannot_ping(autojump_clock):
    async with network() as (net, module, _):
        await c1_up(net, module)
        assert Capability.PING not in net.limits.capabilities
        with pytest.raises(NetworkError) as failed:
            await net.ping("192.0.2.1", 1)
        assert failed.value.condition is Condition.NOT_SUPPORTED
        await module.silent_for(1)


# --- who it is ---


def identity(model, revision=b"R7.43"):
    return [
        (b"AT+CGMI\r", b"\r\nWAVECOM MODEM\r\n" + OK),
        (b"AT+CGMM\r", b"\r\n" + model + b"\r\n" + OK if model else ERROR),
        (b"AT+CGMR\r", b"\r\n" + revision + b"\r\n" + OK if revision else ERROR),
    ]


OTHERS = ("f4", "w5", "wismo")


def others():
    return tuple(load("wip", name) for name in OTHERS)


@pytest.mark.parametrize(
    ("model", "revision", "profile"),
    [
        (b"Q2687", b"R7.43", "w5"),
        (b'+CGMM: "q2686"', b"R7.43", "w5"),
        (b" MULTIBAND  900E  1800  850  1900 ", b"R7.4", "f4"),
        (b"GPRS-F4", b"", "f4"),
        (b"WISMO228", b"R7.50", "wismo"),
        (b"", b"WISMO228 7.5", "wismo"),
    ],
)
async def test_the_modem_says_which_profile_it_has(model, revision, profile, autojump_clock):
    """Taken for a c1 until it is asked; then it is brought up again as what it is, and not asked again."""
    first = [pair for pair in SETTINGS if pair[0] != b"AT+WIND=0\r"]
    script = [pair for pair in UP if profile != "wismo" or pair[0] != b"AT+WOPEN?\r"]
    async with gsm("c1", others=others()) as (net, module, _):
        await module.play(*FOUND, *first, *identity(model, revision))
        await up(net, module, script)
        assert Capability.PING in net.limits.capabilities
        await module.say(b"\r\n+WIND: 4\r\n")
        await up(net, module, script)


@pytest.mark.parametrize(("model", "known"), [(b"Q26EL", True), (b"Something else", False), (b"", False)])
async def test_a_modem_that_is_what_it_was_taken_for_or_nobody_knows(model, known, autojump_clock):
    place = [heard for heard, _ in BRING_UP].index(b"AT+CREG?\r")
    with structlog.testing.capture_logs() as logs:
        async with gsm("c1", others=others()) as (net, module, _):
            await module.play(*BRING_UP[:place], *identity(model, b""), *BRING_UP[place:])
            await net.attach()
            await module.say(b"\r\n+WIPBR: 6,0\r\n")
            await module.play(*BRING_UP)  # asked once
            await net.attach()
    warned = [entry for entry in logs if entry["log_level"] == "warning" and "not known" in entry["event"]]
    assert len(warned) == (0 if known else 1)


async def test_identity(autojump_clock):
    async with gsm() as (net, module, nursery):
        assert await net.identity() == Identity()
        await up(net, module)
        nursery.start_soon(module.play, *identity(b"Q2687"))
        assert await net.identity() == Identity("WAVECOM MODEM", "Q2687", "R7.43")
        assert await net.identity() == Identity("WAVECOM MODEM", "Q2687", "R7.43")
        await module.silent_for(1)


# --- what is never said twice ---


async def test_data_that_is_announced_once_is_asked_for_after_every_visit(autojump_clock):
    async with gsm() as (net, module, nursery):
        await up(net, module)
        first, second = await opened(net, module, nursery), await opened(net, module, nursery, 2)
        nursery.start_soon(first.send_all, b"x")
        await module.play((b"AT+WIPDATA=2,1,1\r", b"\r\nCONNECT\r\n"), (b"x", b""))
        await module.answer_escape()
        await module.play(NO_LIST, (UNREAD % 1, NONE_UNREAD), (UNREAD % 2, b"\r\n+WIPOPT: 2,6,2\r\n" + OK))
        nursery.start_soon(module.play, (b"AT+WIPDATA=2,2,1\r", b"\r\nCONNECT\r\nhi"))
        assert await second.receive_some() == b"hi"


def test_scripts_are_whole():
    """The pieces of the script that the tests put together are its own."""
    assert UP[-len(CLEAN) :] == CLEAN
    assert [*SIM, *REGISTERED] == UP[len(FOUND) + len(SETTINGS) :][:3]


# --- our own modules ---


@pytest.mark.deadline(200)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("profile", ["c1", "f4", "w5", "wismo"])
async def test_our_simulated_module_of_each_profile_is_brought_up(profile, named, autojump_clock):
    """Where the endpoint names none, it is found by what the module says."""
    ours, theirs = line("module", baud=115200)
    below, table, rest = FakeNetwork(), load("wip", profile), ()
    if not named:
        table, rest = load("wip"), tuple(load("wip", name) for name in OTHERS)
    net = WipNetwork(ours, table, Trace(), ModuleSettings(apn="internet", user="meter", password="x"), rest)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(theirs, below, load("wip", profile), Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        assert (await net.identity()).model == load("wip", profile).command["CGMM"].answer["execute"]
        assert (Capability.PING in net.limits.capabilities) == (profile != "c1")
        link = await net.open_stream("192.0.2.1", 80)
        await link.send_all(b"hello")
        assert below.links[0].sent == b"hello"
        if profile != "c1":
            assert await net.ping("192.0.2.1", 30) == pytest.approx(0.042, abs=0.002)
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()
