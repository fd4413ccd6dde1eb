"""Arguments between commas, quoted and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.grammar import ArgumentError, Grammar, Token, split

TEXTS = st.lists(st.text('a",\\\r\n é', max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", [("", False)]),
        ("0,,", [("0", False), ("", False), ("", False)]),
        ('"","a,b",7', [("", True), ("a,b", True), ("7", False)]),
        (r'"\,\"\\\a"', [(',"\\a', True)]),
        ('a"b,c\\,d', [('a"b', False), ("c\\", False), ("d", False)]),
        ('"a\r\nb"', [("a\r\nb", True)]),
    ],
)
def test_arguments_as_they_are_written(text, tokens):
    assert split(text) == [Token(*token) for token in tokens]


@pytest.mark.parametrize(
    ("text", "index", "reason"),
    [
        ('"', 0, "not closed"),
        ('1,"a', 1, "not closed"),
        ('"a\\"', 0, "not closed"),
        ('"a\\', 0, "not closed"),
        ('"a"b,1', 0, "after"),
        ('1,"a" ,2', 1, "after"),
    ],
)
def test_a_quote_that_does_not_end_an_argument(text, index, reason):
    with pytest.raises(ArgumentError, match=reason) as wrong:
        split(text)
    assert (wrong.value.kind, wrong.value.index) == ("parse", index)


@given(TEXTS)
def test_every_text_can_be_quoted(texts):
    written = ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    assert split(written) == [Token(text, True) for text in texts]


@given(TEXTS)
def test_without_escapes_a_backslash_is_a_character(texts):
    texts = [text.replace('"', "") for text in texts]
    assert split(",".join(f'"{text}"' for text in texts), escapes=False) == [Token(text, True) for text in texts]
    assert split('"a\\"', escapes=False) == [Token("a\\", True)]


@pytest.mark.parametrize(
    ("mux", "udp", "text", "names"),
    [
        (False, False, "5", ["length"]),
        (True, False, "0,5", ["link", "length"]),
        (False, True, '5,"h"', ["length", "host"]),
        (True, True, '0,5,"h",9', ["link", "length", "host", "port"]),
    ],
)
def test_flags_say_which_arguments_there_are(mux, udp, text, names):
    grammar = Grammar(["link:id?mux", "length:int(1..2048)", "host:str?udp", "[port:int?udp]"])
    assert list(grammar.parse(split(text), mux=mux, udp=udp)) == names
    for wrong in ("", '0,5,"h",9,9'):
        with pytest.raises(ArgumentError):
            grammar.parse(split(wrong), mux=mux, udp=udp)


@pytest.mark.parametrize(("text", "count"), [("1", 2 << 8 | 1), ("1,2,3,4", 3 << 8 | 4)])
def test_the_count_says_how_many_are_needed(text, count):
    with pytest.raises(ArgumentError) as wrong:
        Grammar(["a:int", "b:int", "[c:int]"]).parse(split(text))
    assert (wrong.value.kind, wrong.value.index) == ("count", count)
