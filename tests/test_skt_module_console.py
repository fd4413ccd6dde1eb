r"""The line editors of the SKT console, pure: every byte of the table, lines over the limit, counted payload."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.dialects.skt.module.call import atoi, call, masked, unescaped
from bridge.dialects.skt.module.console import Console, Manner
from bridge.tables import load


def manner(editor="a", room=127, *, escape=True, counted=False, order="size,id:", payload_room=64):
    return Manner(editor, room, keeps_escape=escape, counted=counted, order=order, payload_room=payload_room)


def heard(how, data, pieces=None):
    """(line, payload, too_long) of every line, and the echo, whatever the pieces."""
    console, lines, echo = Console(how), [], b""
    for piece in pieces or [data]:
        rest = piece
        while rest:
            event = console.feed(rest)
            rest = event.rest
            echo += event.echo
            if event.line is not None:
                lines.append((event.line, event.payload, event.too_long))
    return lines, echo, console.begun or console.counting


def lines_of(how, data):
    lines, _, _ = heard(how, data)
    return [line for line, _, _ in lines]


@pytest.mark.parametrize(
    ("editor", "typed", "lines"),
    [
        ("a", b"AT+TEST\r\n", [b"AT+TEST"]),
        ("a", b"a\rb\r\n", [b"a\rb"]),
        ("a", b"a\nb\r\n", [b"a\nb"]),
        ("a", b"a\r\r\n", [b"a\r"]),
        ("a", b"a\0b\r\n", [b"a", b"b"]),
        ("a", b"ab\x08c\x7fd\r\n", [b"ad"]),
        ("a", b"\x08\x7fa\r\n", [b"a"]),
        ("a", b"a\tb\r\n", [b"a b"]),
        ("a", b"a\xffb\xfe\x80\r\n", [b"ab\xfe\x80"]),
        ("a", b"a\x1bb\r\n", [b"a\x1bb"]),
        ("a", b"  a b\r\n", [b"a b"]),
        ("a", b"a\r\nb\r\n\r\n", [b"a", b"b", b""]),
        ("b", b"a\rb\r\nc\nd\r", [b"a", b"b", b"cd"]),
        ("b", b"a\xffb\0c\r", [b"a\xffb", b"c"]),
        ("any", b"a\rb\r\nc\r\n\r\n", [b"a", b"b", b"c", b""]),
        # a send that still lacks bytes takes what editor a would have taken, and more
        ("any", b"AT+SKTSEND=3,1:a\rb\r\n", [b"AT+SKTSEND=3,1:a\rb"]),
        ("any", b"AT+SKTSEND=3,1:ab\r\r\n", [b"AT+SKTSEND=3,1:ab\r"]),
        ("any", b"AT+SKTSEND=2,1:ab\rAT\r", [b"AT+SKTSEND=2,1:ab", b"AT"]),
        ("any", b"AT+SKTSEND=5,1:ab\r\nAT\r\n", [b"AT+SKTSEND=5,1:ab", b"AT"]),
        ("any", b"AT+SKTSEND=4,1:\0\x08\t\x7f\r\n", [b"AT+SKTSEND=4,1:\0\x08\t\x7f"]),
        ("any", b"AT+SKTSEND=1,1:\\,\rAT\r", [b"AT+SKTSEND=1,1:\\,", b"AT"]),
        ("any", b"AT+SKTSEND=1,1:\n\r\n", [b"AT+SKTSEND=1,1:\n"]),
    ],
)
def test_edits(editor, typed, lines):
    assert lines_of(manner(editor), typed) == lines
    assert heard(manner(editor), typed, [typed[n : n + 1] for n in range(len(typed))]) == heard(manner(editor), typed)


def test_the_log_port_eats_escapes():
    assert lines_of(manner(escape=False), b"a\x1bb\r\n") == [b"ab"]


def test_echo_of_editor_a_has_the_cr_twice():
    assert heard(manner(), b"AT+TEST\r\n")[1] == b"AT+TEST\r\r\n"
    assert heard(manner("b"), b"AT+TEST\r\n")[1] == b"AT+TEST\r\n"


@pytest.mark.parametrize(
    ("length", "runs", "too_long"), [(124, 124, False), (125, 125, False), (126, 126, True), (300, 126, True)]
)
def test_lines_over_the_limit_of_editor_a_are_run_cut(length, runs, too_long):
    console = Console(manner())
    event = console.feed(b"x" * length + b"\r\n")
    assert event.line == b"x" * runs
    assert event.too_long is too_long
    assert event.rest == b"x" * (length - runs) + (b"\r\n" if too_long else b"")


@pytest.mark.parametrize(("length", "too_long"), [(125, False), (126, False), (127, True), (300, True)])
def test_lines_over_the_limit_of_editor_b_wait_for_their_end(length, too_long):
    console = Console(manner("b"))
    assert console.feed(b"x" * length).line is None
    event = console.feed(b"\r\nAT")
    assert (event.line, event.too_long, event.rest) == (b"x" * min(length, 126), too_long, b"AT")
    assert console.feed(event.rest + b"\r").line == b"AT"


def test_lines_over_the_limit_of_any_are_marked_and_end_where_they_end():
    lines, _, left = heard(manner("any", room=50), b"x" * 300 + b"\rAT+TEST\r\n" + b"y" * 300 + b"\r\nz\r\n")
    assert lines == [(b"x" * 50, None, True), (b"AT+TEST", None, False), (b"y" * 50, None, True), (b"z", None, False)]
    assert not left


def test_an_endless_line_of_any_keeps_its_bound():
    console = Console(manner("any", room=50))
    for _ in range(1000):
        assert console.feed(b"\xaa" * 97).line is None
    assert console.give_up() == b"\xaa" * 50


def test_a_counted_payload_is_never_edited():
    how = manner("any", counted=True)
    payload = bytes(range(256))[:60] + b"\r\nAT+\0\xff"[:4]
    data = b"AT+ SKTSEND=64,2:" + payload + b"\r\nAT+TEST\r\n"
    expected = [(b"AT+ SKTSEND=64,2:", payload, False), (b"", None, False), (b"AT+TEST", None, False)]
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        assert heard(how, data, pieces)[0] == expected


def test_a_counted_payload_over_the_limit_is_counted_all_the_same():
    data = b"AT+SKTSEND=1000,2:" + b"AT+RST\r\n" * 125 + b"AT+TEST\r\n"
    lines, _, left = heard(manner("any", counted=True), data)
    assert lines == [(b"AT+SKTSEND=1000,2:", (b"AT+RST\r\n" * 8), True), (b"AT+TEST", None, False)]
    assert not left


def test_a_counted_payload_of_nothing():
    assert heard(manner("any", counted=True), b"AT+SKTSEND=0,2:\r\n")[0] == [(b"AT+SKTSEND=0,2:", b"", False), (b"", None, False)]


@settings(deadline=None)
@given(
    data=st.binary(max_size=200),
    editor=st.sampled_from(["a", "b", "any"]),
    counted=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_splits_change_nothing(data, editor, counted, seed):
    data = data.replace(b"1", b"AT+SKTSEND=7,1:").replace(b"2", b"\r\n")
    how, rng, pieces, rest = manner(editor, counted=counted), random.Random(seed), [], data
    while rest:
        size = rng.randint(1, 9)
        pieces.append(rest[:size])
        rest = rest[size:]
    if data:
        assert heard(how, data, pieces) == heard(how, data)


# -- what a line says


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("AT+TEST", "TEST", None),
        ("AT+SKTDEL=", "SKTDEL", ""),
        ("AT+SKTSEND=5,1:a=b", "SKTSEND", "5,1:a=b"),
    ],
)
def test_call(line, name, text):
    found = call(line, space=False)
    assert (found.name, found.text) == (name, text)


@pytest.mark.parametrize("line", ["", "AT", "at+test", "AT+", "AT+test", "AT+ TEST", "AT+TEST ", "AT+TEST?", "xAT+TEST"])
def test_no_call(line):
    assert call(line, space=False) is None


def test_the_space_of_the_guide():
    assert call("AT+ SKTREAD=2,1500", space=True).name == "SKTREAD"
    assert call("AT+  SKTREAD=2,1500", space=True) is None


@pytest.mark.parametrize(("text", "number"), [("5", 5), ("5x", 5), ("x5", 0), ("", 0), (" 7", 7), ("-3", -3), ("+3", 3)])
def test_atoi(text, number):
    assert atoi(text) == number


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("5,1:hello", ["5", "1:hello"]),
        (r"3,1:a\,b", ["3", "1:a,b"]),
        (r"3,1:a\\b", ["3", "1:a\\b"]),
        ("3,1:a,b", ["3", "1:a", "b"]),
        (r"1,1:\n", None),
        ("1,1:\\", None),
    ],
)
def test_unescaped(text, fields):
    assert unescaped(text, 0) == fields


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("AT+WLCONN=ssid,home,pw,hush", ("AT+WLCONN=***", "")),
        ("AT+ WLCONN=ssid,home,pw,hush", ("AT+ WLCONN=***", "")),
        ("at+wlconn ssid,home,pw,hush", ("at+wlconn***", "")),
        ("AT+WLSTARTAP=ssid,x,pw,hush", ("AT+WLSTARTAP=***", "")),
        ("AT+SKTSEND=4,1:hush", ("AT+SKTSEND=4,1:", "hush")),
        ("AT+SKTSEND=6,1,192.0.2.1,7:hu:s\\,h", ("AT+SKTSEND=6,1,192.0.2.1,7:", "hu:s\\,h")),
        ("AT+SKTSEND=1,4,,,hush", ("AT+SKTSEND=1,4,,,", "hush")),
        ("AT+SKTSENDRAW=1,4", ("AT+SKTSENDRAW=1,4", "")),
        ("AT+SKTDEL=1", ("AT+SKTDEL=1", "")),
    ],
)
def test_masked(line, shown):
    assert masked(line, load("skt", "s1-uart").command, colon=True) == shown


def test_a_colon_in_a_payload_that_is_the_fifth_field_shows_nothing_of_it():
    shown = masked("AT+SKTSEND=1,4,,,h:u,sh", load("skt", "s2").command, colon=False)
    assert shown == ("AT+SKTSEND=1,4,,,", "h:u,sh")
