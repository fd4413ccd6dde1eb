"""A GSM modem says things in several ways, or once, or without a number."""

from __future__ import annotations

import pytest
import trio
from test_wip_downstream_faults import Outcome
from wip_gsm import CLEAN, ERROR, FOUND, OK, REGISTERED, SETTINGS, SIM, UP, gsm, opened, opening, up
from wip_gsm_links import NO_LIST, NONE_UNREAD, UNREAD, close

from bridge.model import Condition, Datagram, Endpoint, Phase

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
