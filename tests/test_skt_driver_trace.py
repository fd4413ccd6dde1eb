"""What the SKT driver's trace has: the wire's own bytes in the wire's order, whatever the reads cut, and nobody's secret."""

import pytest
import trio
from skt_driven import BRING_UP, IDLE, JOINED, READ, STATION, network, opened, up

from bridge.trace import Lane

OK = b"\r\nOK\r\n"
S2_FIND = [(b"<<<", b""), (b"\r\n", b""), (b"AT+TEST\r\n", OK), (b"AT+SKTSTATE\r\n", OK)]
TO, FROM = Lane.TO_MODULE, Lane.FROM_MODULE


def wires(records, start=0):
    return [(record.lane, record.data) for record in records[start:] if record.lane is not None]


async def cut(module, text, size):
    for at in range(0, len(text), size or len(text)):
        await module.say(text[at : at + (size or len(text))])
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("size", [0, 1, 2, 3])
async def test_a_payload_stands_in_its_message(size, autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        before = len(records)
        nursery.start_soon(link.send_all, b"a,b")
        await module.expect(b"AT+SKTSEND=3,1:a\\,b\r\n")
        await cut(module, b"\r\n+SKTSEND:OK\r\n", size)
        await module.expect(READ)
        await cut(module, b"+SKTREAD:OK,5,1:he\r\no\r\n", size)
        await module.expect(READ)
        await cut(module, b"+SKTREAD:OK,0,1:\r\n", size)
        got = wires(records, before)
        assert got[:8] == [
            (TO, b"AT+SKTSEND=3,1:"),
            (TO, b"a\\,b"),
            (TO, b"\r\n"),
            (FROM, b"+SKTSEND:OK\r\n"),
            (TO, b"AT+SKTREAD=1,512\r\n"),
            (FROM, b"+SKTREAD:OK,5,1:"),
            (FROM, b"he\r\no"),
            (FROM, b"\r\n"),
        ]
        assert b"".join(data for _, data in got[8:]) == b"AT+SKTREAD=1,512\r\n+SKTREAD:OK,0,1:\r\n"
        assert link.take(9) == b"he\r\no"


@pytest.mark.parametrize("size", [0, 1, 7])
async def test_a_text_before_the_end_of_a_payload_stands_there(size, autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await module.expect(READ)
        before = len(records)
        await cut(module, b"+SKTREAD:OK,5,1:hello+SKTREAD:ERROR:7,1\r\n\r\n", size)
        assert wires(records, before) == [
            (FROM, b"+SKTREAD:OK,5,1:"),
            (FROM, b"hello"),
            (FROM, b"+SKTREAD:ERROR:7,1\r\n"),
            (FROM, b"\r\n"),
        ]


@pytest.mark.parametrize("size", [0, 1])
async def test_a_pushed_payload_of_s2_has_its_head_and_its_end(size, autojump_clock):
    records = []
    async with network("s2", records=records) as (net, module, nursery):
        await module.play(*S2_FIND)
        await module.play((b"AT+WLSTATE\r\n", STATION + OK))
        await net.attach()
        nursery.start_soon(net.open_stream, "192.0.2.1", 80)
        await module.play((b"AT+SKTCLIENT=9,1,,192.0.2.1,80,,1\r\n", OK))
        await trio.sleep(0.01)
        before = len(records)
        await cut(module, b"[$][SKT][DATA][9][3]:a\0b\r\n", size)
        assert wires(records, before) == [(FROM, b"[$][SKT][DATA][9][3]:"), (FROM, b"a\0b"), (FROM, b"\r\n")]


async def test_of_a_payload_that_did_not_come_whole_all_that_came_is_there(autojump_clock):
    records = []
    async with network(records=records) as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await module.expect(READ)
        before = len(records)
        await module.say(b"+SKTREAD:OK,40,1:hel\r\n")
        await trio.sleep(0.2)
        await module.say(b"+WLRSSI:OK\r\n")  # discarded: nobody knows whose it is
        await trio.sleep(0.01)
        assert wires(records, before) == [(FROM, b"+SKTREAD:OK,40,1:"), (FROM, b"hel\r\n"), (FROM, b"+WLRSSI:OK\r\n")]


async def test_what_may_have_the_password_in_it_is_masked_where_a_payload_should_be(autojump_clock):
    records = []
    async with network("s2", records=records) as (_, module, _):
        await module.play(*S2_FIND)
        await module.expect(b"AT+WLSTATE\r\n")
        await module.say(b"[$][SKT][DATA][9][300]:ab")
        await module.say(STATION[:140])
        await trio.sleep(3)
        await module.say(STATION + OK)
        shown = b"".join(record.data or b"" for record in records)
        assert b"[300]:***" in shown
        assert b"12345678" not in shown


async def test_a_send_is_one_step_of_its_command(autojump_clock):
    async with network(records=[]) as (net, module, nursery):
        steps = []
        net._trace.watch_steps(steps.append)
        await up(net, module)
        link = await opened(net, module, nursery)
        steps.clear()
        nursery.start_soon(module.serve, {**IDLE, b"AT+SKTSEND=": b"\r\n+SKTSEND:OK\r\n"})
        await link.send_all(b"abc")
        assert [step for step in steps if step != "read"] == ["send"]


@pytest.mark.parametrize("cut", range(len(b"   PASSWORD => 12345678")))
async def test_a_log_line_in_the_stations_answer_bares_no_password(cut, autojump_clock):
    records = []
    at = STATION.index(b"   PASSWORD") + cut
    broken = STATION[:at] + b"\r\n[WLAN-A] RX\r\n" + STATION[at:]
    async with network(records=records) as (net, module, _):
        await up(net, module, [*BRING_UP[:-1], (JOINED[0], broken + b"\r\n+WLSTATE:OK\r\n")])
    shown = b"".join(record.data or b"" for record in records)
    assert not any(b"12345678"[start : start + 3] in shown for start in range(6))
