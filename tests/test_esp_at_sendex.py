r"""CIPSENDEX: the end by count or by ``\0``, and escapes.  What it shares with CIPSEND is tested there."""

from __future__ import annotations

import pytest
from esp_at_sends import FAIL, sent
from hypothesis import given, settings
from hypothesis import strategies as st
from test_esp_at import ERROR, OK, PROMPT, bridge

from bridge.dialects.esp_at.lines import Line, LineReader, Piece
from bridge.model import Condition, Endpoint

pytestmark = pytest.mark.deadline(2000)


@pytest.mark.parametrize("how", ["whole", "bytes", "with the command", "slowly"])
@pytest.mark.parametrize(
    ("announced", "typed", "meant"),
    [
        (2048, b"hello\\0", b"hello"),
        (5, b"hello", b"hello"),
        (3, b"a\\\\b", b"a\\b"),  # two backslashes are one byte
        (9, b"a\\\\0b\\0", b"a\\0b"),
        (9, b"\\a\\b\\\r\\0", b"ab\r"),
        (4, b"\\\\\\\\\\\\\\\\", b"\\\\\\\\"),
        (2, b"\\1\\2", b"12"),
        (8, b"\x000\xff\\0", b"\x000\xff"),
        (8, b"AT\r\n\\0", b"AT\r\n"),
    ],
)
async def test_what_is_meant_is_sent(autojump_clock, how, announced, typed, meant):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        command = b"AT+CIPSENDEX=0,%d\r\n" % announced
        answer = await host.ask(command + typed if how == "with the command" else command)
        for piece in [] if how == "with the command" else [typed] if how == "whole" else [bytes([b]) for b in typed]:
            await host.type(piece)
            if how == "slowly":
                answer += await host.read(1)
        answer += await host.read()
        assert answer == PROMPT + sent(len(meant))
        assert bytes(link.sent) == meant
        assert await host.ask("AT") == OK


async def test_nothing_at_all_is_a_send(autojump_clock):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        assert await host.ask("AT+CIPSENDEX=0,10") == PROMPT
        assert await host.ask(b"\\0") == sent(0)
        assert link.commits == 0
        assert await host.ask("AT+CIPSENDEX=0,10") == PROMPT
        assert await host.ask(b"x\\0") == sent(1)


async def test_single_connection_mode_and_the_gate(autojump_clock):
    async with bridge() as host:
        await host.join(mux=0)
        await host.ask('AT+CIPSTART="TCP","1.2.3.4",80')
        link = host.network.links[0]
        assert await host.ask("AT+CIPSENDEX=10") == PROMPT
        link.feed(b"reply")
        assert await host.ask(b"abc\\", 60) == b""
        assert await host.ask(b"0") == sent(3) + b"\r\n+IPD,5:reply"


async def test_a_datagram(autojump_clock):
    async with bridge() as host:
        await host.join()
        await host.ask('AT+CIPSTART=0,"UDP","1.2.3.4",53')
        assert await host.ask('AT+CIPSENDEX=0,1000,"10.0.0.8",5000') == PROMPT
        assert await host.ask(b"\\\\x\\0") == sent(2)
        assert host.network.datagrams[0].sent == [(b"\\x", Endpoint("10.0.0.8", 5000))]
        assert await host.ask("AT+CIPSENDEX=0,1473") == ERROR


async def test_the_link_dies_while_the_host_types(autojump_clock):
    async with bridge() as host:
        link = (await host.join(links=(0,)))[0]
        assert await host.ask("AT+CIPSENDEX=0,100") == PROMPT
        link.lose(Condition.LINK_RESET)
        assert await host.ask(b"ab", 60) == b""
        assert await host.ask(b"\\0", 10) == b"\r\nRecv 2 bytes\r\n" + FAIL + b"0,CLOSED\r\n"


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(1, 20), max_size=40), counted=st.booleans())
@settings(max_examples=60)
def test_the_reader_gives_back_what_was_escaped(data, cuts, counted):
    """Whatever the bytes: ended by count where it is exact, by the terminator where it is not."""
    typed = data.replace(b"\\", b"\\\\") + (b"" if counted and data else b"\\0")
    reader = LineReader(256)
    reader.collect(len(data) if counted and data else 2048, escaped=True)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(typed[at : at + cut])
        at += cut
    found, ended, lines = b"", 0, []
    for piece in [*pieces, typed[at:], b"AT\r\n"]:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            if isinstance(event, Piece):
                found += event.data
                ended += event.left == 0
            else:
                lines.append(event)
    assert (found, ended, lines) == (data, 1, [Line(b"AT\r\n")])


async def test_a_payload_that_stops_coming(autojump_clock):
    async with bridge(payload=10) as host:
        link = (await host.join(links=(0,)))[0]
        assert await host.ask("AT+CIPSENDEX=0,100") == PROMPT
        assert await host.ask(b"ab\\", 9) == b""
        assert await host.read(2) == FAIL
        assert await host.ask(b"0", 1) == b""  # the end, too late
        assert await host.ask("AT") == OK
        assert link.sent == b""
        assert await host.ask("AT+CIPSENDEX=0,100") == PROMPT
        assert await host.ask(b"cd\\", 30) == FAIL
        assert await host.ask("AT") == OK  # a line again, without the backslash
