"""Whose words are at the end of a mapped stream: the pure parts, under every cut of the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dialects.wip.driver.pluses import Pluses
from bridge.dialects.wip.driver.tail import Answer, Tail
from bridge.tables import load

PROFILE = load("wip", "c1")
TEXTS = [b"\r\nNO CARRIER\r\n", b"\r\nSHUTDOWN\r\n", b"\r\nOK\r\n", b"\r\n+WIPPEERCLOSE: 2,1\r\n", b"\r\n+CME ERROR: 843\r\n"]


def one_of(texts):
    """A choice by number: hypothesis compares choices with numbers, which python -bb does not allow for bytes."""
    return st.integers(0, len(texts) - 1).map(texts.__getitem__)


NOISE = [bytes([byte]) for byte in range(256)]
WORDS = one_of([*TEXTS, b"\r", b"\n", b"\r\n", b"NO CARRIER", b"+", b"x", *NOISE])


def tail():
    stays = PROFILE.words("stays").split("|")
    return Tail([*PROFILE.words("fallback").split("|"), *stays], [urc.pattern for urc in PROFILE.urc.values()], stays)


def pieces(data, cuts):
    at = 0
    for cut in cuts:
        yield data[at : at + cut]
        at += cut
    yield data[at:]


@given(st.lists(WORDS, max_size=8), st.lists(st.integers(1, 9), max_size=30))
def test_no_byte_is_lost_added_or_reordered(words, cuts):
    data = b"".join(words)
    box = tail()
    got = b"".join(box.feed(piece, 0.0) for piece in pieces(data, cuts) if piece)
    held = box.holding
    assert got + box.release_all() == data
    assert held <= len(data)


@given(st.lists(WORDS, max_size=6), st.lists(st.integers(1, 9), max_size=30))
def test_a_cut_never_changes_what_is_suspect(words, cuts):
    data = b"".join(words)
    whole, cut = tail(), tail()
    whole.feed(data, 0.0)
    for piece in pieces(data, cuts):
        cut.feed(piece, 0.0)
    assert (whole.suspect(), whole.holding) == (cut.suspect(), cut.holding)


@given(st.lists(WORDS, max_size=6), one_of([TEXTS[0], TEXTS[0] + TEXTS[3], TEXTS[1]]))
def test_a_fallback_text_at_the_tail_is_always_seen(words, text):
    box = tail()
    box.feed(b"".join(words) + text, 0.0)
    assert box.suspect()


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\nx", b"NO CARRIER\r\n", b"\r\nNO CARRIERS\r\n", b"\r\nOK\r\n"])
def test_what_is_not_at_the_tail_or_not_exact_is_payload(text):
    box = tail()
    got = box.feed(text, 0.0)
    assert not box.suspect()
    assert got + box.release_partial() == text


def test_an_ok_is_payload_before_the_guard_is_over():
    box = tail()
    box.believe_ok_from(1.0)
    assert box.feed(b"\r\nOK\r\n", 0.9) == b"\r\nOK"  # a CRLF at the end may still become a text
    assert not box.escaped(0.9)
    assert box.feed(b"data\r\n+WIPDATA: 2,2,5\r\n\r\nOK\r\n\r\n+WIPREADY: 2,3\r\n", 1.1) == b"\r\ndata"
    assert box.escaped(1.1)
    assert box.close_escaped() == Answer(b"", b"", [b"+WIPDATA: 2,2,5", b"OK", b"+WIPREADY: 2,3"])


def test_an_imitated_ok_before_the_true_one_is_payload():
    box = tail()
    box.believe_ok_from(1.0)
    assert box.feed(b"\r\nOK\r\n\r\nOK\r\n", 1.01) == b"\r\nOK\r\n"
    assert box.close_escaped() == Answer(b"", b"", [b"OK"])


def test_an_answered_escape_proves_that_a_held_fallback_was_payload():
    box = tail()
    assert box.feed(b"\r\nNO CARRIER\r\n", 0.1) == b""
    box.believe_ok_from(1.0)
    assert box.feed(b"\r\nOK\r\n", 1.05) == b""
    assert box.escaped(1.1)
    assert box.close_escaped() == Answer(b"\r\nNO CARRIER\r\n", b"", [b"OK"])


class Wire:
    """What a module's escape recogniser would make of it (Multi-Tech S000478 p.106)."""

    def __init__(self):
        self.sent = []

    def out(self, when, data):
        self.sent += [(when, byte) for byte in data]

    def escapes(self, end):
        for at in range(len(self.sent) - 2):
            three = self.sent[at : at + 3]
            before = self.sent[at - 1][0] if at else -9.0
            after = self.sent[at + 3][0] if at + 3 < len(self.sent) else end
            together = three[1][0] - three[0][0] < 1.0 and three[2][0] - three[1][0] < 1.0
            if together and all(b == 0x2B for _, b in three) and three[0][0] - before >= 1.0 and after - three[2][0] >= 1.0:
                return True
        return False


@given(st.lists(st.tuples(one_of([b"+", b"++", b"+++", b"a+++", b"+++a", b"ab", b"++++"]), st.floats(0, 3)), max_size=8))
def test_payload_never_makes_an_escape(sends):
    pluses, wire, now, expected = Pluses(1.1), Wire(), 0.0, b""
    for data, pause in sends:
        now += pause
        plan, held = pluses.plan(data, now, more=False)
        assert held == b""
        for wait, piece in plan:
            now += wait
            wire.out(now, piece)
            pluses.went_out(piece, now)
        expected += data
    assert bytes(byte for _, byte in wire.sent) == expected
    assert not wire.escapes(now + 5)


def test_a_trailing_run_is_held_while_more_follows():
    pluses = Pluses(1.1)
    assert pluses.plan(b"abc++", 0.0, more=True) == ([(0.0, b"abc")], b"++")
    assert pluses.plan(b"+++", 0.0, more=True) == ([], b"+++")
