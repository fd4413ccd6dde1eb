"""Passive receive: what the host is told, what it gets, and when the link may end."""

from __future__ import annotations

import random

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from test_esp_at import ERROR, OK, PROMPT, bridge

from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError
from bridge.tables import Text, Value

pytestmark = pytest.mark.deadline(20000)

A, B = Endpoint("10.0.0.9", 4000), Endpoint("10.0.0.8", 5000)
DEAD = b",-1,-1,-1,-1\r\n"


def got(data):
    return b"+CIPRECVDATA:%d," % len(data) + data + OK


async def passive(host, kind="TCP"):
    """Link 0 in passive mode."""
    await host.join()
    assert await host.ask("AT+CIPRECVMODE=1") == OK
    assert await host.ask(f'AT+CIPSTART=0,"{kind}","1.2.3.4",80') == b"0,CONNECT\r\n" + OK
    return host.network.links[0] if kind == "TCP" else host.network.datagrams[0]


def vary(host, **values):
    """As another generation has it."""
    profile = host.upstream.profile
    rows = {name: Value(value=value, source="a test") for name, value in values.items()}
    host.upstream.profile = msgspec.structs.replace(profile, value={**profile.value, **rows})


async def test_the_mode_is_asked_for(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        assert await host.ask("AT+CIPRECVMODE?") == b"+CIPRECVMODE:0\r\n" + OK
        assert await host.ask("AT+CIPRECVMODE=2") == ERROR
        assert await host.ask("AT+CIPRECVMODE=1") == OK
        assert await host.ask("AT+CIPRECVMODE?") == b"+CIPRECVMODE:1\r\n" + OK
        assert await host.ask("AT+RST", 2) != b""
        await host.ask("ATE0")
        assert await host.ask("AT+CIPRECVMODE?") == b"+CIPRECVMODE:0\r\n" + OK


async def test_told_once_until_it_reads(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"one")
        assert await host.read(1) == b"\r\n+IPD,0,3\r\n"
        link.feed(b"two")
        assert await host.read(60) == b""
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:6" + DEAD + OK
        assert await host.ask("AT+CIPRECVDATA=0,3", 1) == got(b"one") + b"\r\n+IPD,0,3\r\n"  # it did not know of these
        assert await host.ask("AT+CIPRECVDATA=0,2", 1) == got(b"tw")
        link.feed(b"three")
        assert await host.read(1) == b"\r\n+IPD,0,6\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,2048", 1) == got(b"othree")
        assert await host.ask("AT+CIPRECVDATA=0,2048") == ERROR
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:0" + DEAD + OK


async def test_told_of_each_growth_where_the_generation_does(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        vary(host, passive_repeat=True, no_length=0)
        total = 0
        for size in (31, 37, 39):
            link.feed(b"x" * size)
            total += size
            assert await host.read(1) == b"\r\n+IPD,0,%d\r\n" % total
        assert await host.ask("AT+CIPRECVDATA=0,100", 1) == got(b"x" * 100)
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:7,0,0,0,0\r\n" + OK
        assert await host.ask("AT+CIPRECVDATA=0,100", 1) == got(b"x" * 7)


async def test_single_connection_mode(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0)
        await host.ask("AT+CIPRECVMODE=1")
        await host.ask("AT+CIPDINFO=1")
        await host.ask('AT+CIPSTART="TCP","1.2.3.4",80')
        host.network.links[0].feed(b"abc")
        assert await host.read() == b"\r\n+IPD,3\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,3") == ERROR
        assert await host.ask("AT+CIPRECVDATA=3") == b'+CIPRECVDATA:3,"1.2.3.4",80,abc' + OK


@pytest.mark.parametrize("arguments", ["0,0", "0,-1", "0", "1,5", "5,5", "0,5,5", "", "0,2147483648", '0,"5"'])
async def test_reads_that_are_none(autojump_clock, arguments):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abc")
        await host.read()
        assert await host.ask(f"AT+CIPRECVDATA={arguments}") == ERROR
        assert await host.ask("AT+CIPRECVDATA=0,2147483647") == got(b"abc")


async def test_active_links_have_nothing_to_read(autojump_clock):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        link.feed(b"abc")
        assert await host.ask("AT+CIPRECVDATA=0,3") in {b"\r\n+IPD,0,3:abc" + ERROR, ERROR + b"\r\n+IPD,0,3:abc"}
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:0" + DEAD + OK


async def test_every_byte_value(autojump_clock):
    data = bytes(range(256)) + b"\r\n+IPD,0,5\r\nOK\r\n"
    async with bridge() as host:
        link = await passive(host)
        link.feed(data)
        await host.read()
        assert await host.ask("AT+CIPRECVDATA=0,5000") == got(data)
        link.feed(b"private words")
        await host.read()
        await host.ask("AT+CIPRECVDATA=0,5000")
        assert b"private words" not in b"".join(record.data or b"" for record in host.records)


async def test_closed_comes_when_all_was_read(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abcdef")
        link.peer_close()
        assert await host.read(600) == b"\r\n+IPD,0,6\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,4", 60) == got(b"abcd")
        assert await host.ask("AT+CIPSTATUS", 1) != b"STATUS:4\r\n" + OK
        assert await host.ask("AT+CIPRECVDATA=0,4", 60) == got(b"ef") + b"0,CLOSED\r\n"
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:-1" + DEAD + OK
        assert link.closed


async def test_the_host_closes_before_it_has_read(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abcdef")
        await host.read()
        assert await host.ask("AT+CIPCLOSE=0") == b"0,CLOSED\r\n" + OK
        assert await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80') == b"0,CONNECT\r\n" + OK
        assert await host.ask("AT+CIPRECVDATA=0,6", 1) == ERROR
        host.network.links[1].feed(b"new")
        assert await host.read() == b"\r\n+IPD,0,3\r\n"
        assert link.closed


async def test_a_lost_link_keeps_what_it_has_for_its_host(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"last words")
        await host.read()
        assert await host.ask("AT+CIPSEND=0,2") == PROMPT
        link.lose(Condition.LINK_RESET)
        assert await host.ask(b"ab", 60) == b"\r\nRecv 2 bytes\r\n\r\nSEND FAIL\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,100", 5) == got(b"last words") + b"0,CLOSED\r\n"


async def test_no_more_than_a_window_is_told_or_read(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"a" * 5760 + b"b" * 5760 + b"c")
        assert await host.read() == b"\r\n+IPD,0,5760\r\n"
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:5760" + DEAD + OK
        assert link.waiting() == 11521  # nothing is pulled before it is asked for
        assert await host.ask("AT+CIPRECVDATA=0,2147483647", 1) == got(b"a" * 5760) + b"\r\n+IPD,0,5760\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,2147483647", 1) == got(b"b" * 5760) + b"\r\n+IPD,0,1\r\n"


async def test_a_slow_pull_loses_nothing(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abc")
        await host.read()
        host.network.delay["fetch"] = 4
        assert await host.ask("AT+CIPRECVDATA=0,3", 3.9) == b""
        assert await host.read(0.2) == got(b"abc")
        link.feed(b"def")
        await host.read(10)
        host.network.delay["fetch"] = float("inf")
        assert await host.ask("AT+CIPRECVDATA=0,3", 5.1) == ERROR
        host.network.delay.clear()
        assert await host.ask("AT+CIPRECVDATA=0,3", 5) == got(b"def")


async def test_what_was_pulled_for_a_read_that_failed_is_there_for_the_next(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abcdef")
        await host.read()
        original = link.fetch
        in_parts(link, trio.sleep_forever)
        assert await host.ask("AT+CIPRECVDATA=0,6", 6) == ERROR
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:6" + DEAD + OK
        link.fetch = original
        assert await host.ask("AT+CIPRECVDATA=0,6", 6) == got(b"abcdef")


def in_parts(link, then):
    """Two reads of two bytes; the third waits or raises as ``then`` does."""
    take, fetch, calls = link.take, link.fetch, []

    async def some():
        calls.append(1)
        if len(calls) > 2:
            await then()
        return await fetch()

    link.take = lambda most: take(min(most, 2))
    link.fetch = some


async def test_what_was_pulled_waits_for_its_host_whatever_becomes_of_the_rest(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abcdef")
        await host.read()
        in_parts(link, trio.sleep_forever)
        assert await host.ask("AT+CIPRECVDATA=0,6", 6) == ERROR
        link._inbox.clear()  # the module forgot the rest
        link.lose(Condition.MODULE_RESET)
        assert await host.read(60) == b""
        assert await host.ask("AT+CIPRECVDATA=0,3", 5) == got(b"abc")
        assert await host.ask("AT+CIPRECVDATA=0,3", 5) == got(b"d") + b"0,CLOSED\r\n"


async def test_what_was_pulled_of_a_link_that_is_lost_meanwhile_is_told(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abcdef")
        await host.read()

        async def lose():
            raise LinkLost(Condition.MODULE_RESET)

        in_parts(link, lose)
        assert await host.ask("AT+CIPRECVDATA=0,6", 5) == got(b"abcd") + b"0,CLOSED\r\n"


async def test_switching_to_active_tells_what_was_never_asked_for(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abc")
        assert await host.read() == b"\r\n+IPD,0,3\r\n"
        assert await host.ask("AT+CIPRECVMODE=0", 1) == OK + b"\r\n+IPD,0,3:abc"


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
async def test_a_network_is_asked_only_for_what_it_has(autojump_clock, kind):
    """A fetch may wait until something comes: nothing may hang on that."""
    async with bridge() as host:
        link = await passive(host, kind)
        fetch = link.fetch

        async def patient():
            while not (link.waiting() or link.condition):  # noqa: ASYNC110 - a module that looks now and then
                await trio.sleep(0.01)
            await trio.sleep(0.5)
            return await fetch()

        link.fetch = patient
        link.feed(b"one", *[A] * (kind == "UDP"))
        assert await host.read(1) == b"\r\n+IPD,0,3\r\n"
        link.feed(b"two", *[A] * (kind == "UDP"))
        assert await host.ask("AT+CIPRECVDATA=0,3", 2) == got(b"one") + b"\r\n+IPD,0,3\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,64", 2) == got(b"two")
        link.feed(b"three", *[A] * (kind == "UDP"))
        assert await host.read(1) == b"\r\n+IPD,0,5\r\n"
        assert await host.ask("AT+CIPRECVMODE=0", 2) == OK + b"\r\n+IPD,0,5:three"


async def test_a_short_read_of_a_datagram_does_not_hide_the_next(autojump_clock):
    async with bridge() as host:
        link = await passive(host, "UDP")
        link.feed(b"first", A)
        assert await host.read() == b"\r\n+IPD,0,5\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,3", 1) == got(b"fir")
        link.feed(b"ab", A)
        assert await host.read() == b"\r\n+IPD,0,2\r\n"


async def test_nothing_is_left_of_links_that_were_closed_unread(autojump_clock):
    async with bridge() as host:
        await passive(host)
        living = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            host.network.links[-1].feed(b"unread")
            assert await host.read() == b"\r\n+IPD,0,6\r\n"
            await host.ask("AT+CIPCLOSE=0")
            await host.ask('AT+CIPSTART=0,"TCP","1.2.3.4",80')
        assert trio.lowlevel.current_statistics().tasks_living == living


@pytest.mark.parametrize("error", [LinkLost(Condition.MODULE_RESET), NetworkError(Condition.MODULE_ERROR)])
async def test_what_cannot_be_pulled_ends_the_link(autojump_clock, error):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abc")
        await host.read()
        host.network.error["fetch"] = error
        answer = await host.ask("AT+CIPRECVDATA=0,3", 5)
        assert sorted([answer.count(ERROR), answer.count(b"0,CLOSED\r\n")]) == [1, 1]
        assert answer.replace(ERROR, b"") == b"0,CLOSED\r\n"


async def test_switching_while_data_wait(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        link.feed(b"abc")
        await host.read()
        assert await host.ask("AT+CIPRECVDATA=0,1") == got(b"a")
        assert await host.ask("AT+CIPRECVMODE=0", 1) == OK + b"\r\n+IPD,0,2:bc"
        link.feed(b"def")
        assert await host.read() == b"\r\n+IPD,0,3:def"
        await host.ask("AT+CIPSEND=0,2")
        link.feed(b"behind the gate")
        assert await host.ask(b"xy", 0.001) == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert await host.ask("AT+CIPRECVMODE=1", 1) == OK + b"\r\n+IPD,0,15\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,99") == got(b"behind the gate")


async def test_a_client_s_first_bytes_are_told_after_its_connect(autojump_clock):
    async with bridge() as host:
        await host.join()
        await host.ask("AT+CIPRECVMODE=1")
        await host.ask("AT+CIPSERVER=1,80")
        client = host.network.listeners[0].knock()
        client.feed(b"GET / HTTP/1.0\r\n\r\n")
        client.peer_close()
        assert await host.read() == b"0,CONNECT\r\n\r\n+IPD,0,18\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,99", 1) == got(b"GET / HTTP/1.0\r\n\r\n") + b"0,CLOSED\r\n"


async def test_a_client_that_is_not_read_is_not_idle(autojump_clock):
    async with bridge() as host:
        await host.join()
        for text in ("AT+CIPRECVMODE=1", "AT+CIPSTO=5", "AT+CIPSERVER=1,80"):
            assert await host.ask(text) == OK
        client = host.network.listeners[0].knock()
        client.feed(b"x")
        assert await host.read(100) == b"0,CONNECT\r\n\r\n+IPD,0,1\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,1", 4.9) == got(b"x")
        assert await host.read(0.3) == b"0,CLOSED\r\n"


async def test_a_host_that_sends_and_never_reads_stops_nobody(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        await host.ask('AT+CIPSTART=1,"TCP","1.2.3.4",80')
        link.feed(b"x" * 100000)
        assert await host.read() == b"\r\n+IPD,0,5760\r\n"
        for _ in range(20):
            assert await host.ask("AT+CIPSEND=1,2") == PROMPT
            assert await host.ask(b"ab") == b"\r\nRecv 2 bytes\r\n\r\nSEND OK\r\n"
        assert link.waiting() == 100000  # the window stays shut: nothing is pulled that nobody asked for
        host.network.links[1].feed(b"y")
        assert await host.read() == b"\r\n+IPD,1,1\r\n"


async def test_datagrams_short_and_long_reads(autojump_clock):
    async with bridge() as host:
        link = await passive(host, "UDP")
        await host.ask("AT+CIPDINFO=1")
        link.feed(b"first", A)
        assert await host.read() == b"\r\n+IPD,0,5\r\n"
        link.feed(b"", A)
        link.feed(b"second", B)
        link.feed(b"third", B)
        link.feed(b"fourth", B)
        # Less than a datagram: its rest is lost.  Nobody knew of the others.
        assert await host.ask("AT+CIPRECVDATA=0,3", 1) == b'+CIPRECVDATA:3,"10.0.0.9",4000,fir' + OK + b"\r\n+IPD,0,17\r\n"
        assert host.upstream.counters["datagrams-read-short"] == 1
        assert await host.ask("AT+CIPRECVDATA=0,6", 1) == b'+CIPRECVDATA:6,"10.0.0.8",5000,second' + OK
        assert await host.ask("AT+CIPRECVDATA=0,7", 1) == b'+CIPRECVDATA:7,"10.0.0.8",5000,thirdfo' + OK
        assert await host.ask("AT+CIPRECVDATA=0,7", 1) == ERROR


async def test_datagrams_that_are_nothing_are_not_told(autojump_clock):
    async with bridge() as host:
        link = await passive(host, "UDP")
        link.feed(b"", A)
        link.feed(b"half", A, cut=True)
        assert await host.read(1) == b""
        link.feed(b"whole", A)
        assert await host.read(1) == b"\r\n+IPD,0,5\r\n"
        assert await host.ask("AT+CIPRECVDATA=0,50") == got(b"whole")


async def test_datagrams_are_active_where_the_generation_has_it_so(autojump_clock):
    async with bridge() as host:
        link = await passive(host, "UDP")
        vary(host, passive_udp=False)
        await host.ask("AT+CIPRECVMODE=1")
        link.feed(b"active", A)
        assert await host.read() == b"\r\n+IPD,0,6:active"
        assert await host.ask("AT+CIPRECVDATA=0,5") == ERROR


async def test_the_other_form_of_an_answer(autojump_clock):
    async with bridge() as host:
        link = await passive(host)
        profile = host.upstream.profile
        rows = {"recvdata": "\r\n+CIPRECVDATA,{length}:", "recvdata_peer": ""}
        text = {**profile.text, **{name: Text(text=text, source="a test") for name, text in rows.items()}}
        host.upstream.profile = msgspec.structs.replace(profile, text=text)
        await host.ask("AT+CIPDINFO=1")
        link.feed(b"abc")
        await host.read()
        assert await host.ask("AT+CIPRECVDATA=0,3") == b"\r\n+CIPRECVDATA,3:abc" + OK


@given(seed=st.integers(0, 2**32), repeat=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_host_that_reads_what_it_is_told_of_gets_every_byte(seed, repeat):
    """It reads only after a notification, and as much as that said, in pieces: nothing is lost, and nothing left."""
    dice = random.Random(seed)
    data = dice.randbytes(20000)

    async def session():
        async with bridge() as host:
            link = await passive(host)
            vary(host, passive_repeat=repeat)
            read = bytearray()

            async def feed():
                at = 0
                while at < len(data):
                    size = dice.randrange(1, 3000)
                    link.feed(data[at : at + size])
                    at += size
                    await trio.sleep(dice.choice([0, 0.001, 0.03, 0.5]))
                link.peer_close()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed)
                due = 0
                while True:
                    heard = await (host.ask(f"AT+CIPRECVDATA=0,{dice.randrange(1, due + 1)}") if due else host.read(0.1))
                    while heard:  # in order, by count
                        if heard == b"0,CLOSED\r\n":
                            return bytes(read), due
                        word, _, heard = heard.partition(b"," if heard[:1] == b"+" else b"\r\n")
                        if word.startswith(b"+CIPRECVDATA:"):
                            size = int(word.removeprefix(b"+CIPRECVDATA:"))
                            read += heard[:size]
                            due -= size
                            assert heard[size : size + 6] == OK
                            heard = heard[size + 6 :]
                        else:
                            assert word == b""
                            word, _, heard = heard.partition(b"\r\n")
                            due = int(word.removeprefix(b"+IPD,0,"))

    assert trio.run(session, clock=trio.testing.MockClock(autojump_threshold=0)) == (data, 0)


async def test_the_old_generation_s_words(autojump_clock):
    async with bridge(profile="nonos-1.7") as host:
        await host.ask("ATE0")
        assert (await host.ask('AT+CWJAP="net","p"')).endswith(OK)
        for text in ("AT+CIPMUX=1", "AT+CIPDINFO=1", "AT+CIPRECVMODE=1"):
            assert await host.ask(text) == OK
        await host.ask('AT+CIPSTART=4,"TCP","1.2.3.4",80')
        link = host.network.links[0]
        link.feed(b"a" * 31)
        assert await host.read() == b"\r\n+IPD,4,31\r\n"
        link.feed(b"b" * 37)
        assert await host.read() == b"\r\n+IPD,4,68\r\n"
        assert await host.ask("AT+CIPRECVLEN?") == b"+CIPRECVLEN:0,0,0,0,68\r\n" + OK
        answer = await host.ask("AT+CIPRECVDATA=4,40")
        assert answer == b"\r\n+CIPRECVDATA,40:" + b"a" * 31 + b"b" * 9 + OK
        link.peer_close()
        answer = await host.ask("AT+CIPRECVDATA=4,2048", 1)
        assert answer == b"\r\n+CIPRECVDATA,28:" + b"b" * 28 + OK + b"4,CLOSED\r\n"
        await host.ask('AT+CIPSTART=0,"UDP","1.2.3.4",53')
        host.network.datagrams[0].feed(b"active", A)
        assert await host.read() == b"\r\n+IPD,0,6,10.0.0.9,4000:active"
