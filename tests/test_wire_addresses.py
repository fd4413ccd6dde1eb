"""IPv4 addresses as texts: the one strict form, what only looks like one, and what other readers make of it."""

from __future__ import annotations

import socket
from ipaddress import AddressValueError, IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.wire.addresses import aton, dotted, numeric, unpadded

TEXTS = st.lists(st.from_regex(r"0{0,3}[0-9]{1,4}|0[xX][0-9a-fA-F]{0,4}|[a-z]{1,3}", fullmatch=True), min_size=1, max_size=5).map(
    ".".join
)


def strict(text):
    try:
        return str(IPv4Address(text)) == text
    except AddressValueError:
        return False


@given(TEXTS | st.ip_addresses(v=4).map(str))
@example("1.2.3.4\n")
@example("1.2.3.٤")
@example("")
def test_one_strict_form(text):
    assert dotted(text) == strict(text)
    assert not dotted(text) or (numeric(text) and aton(text) == unpadded(text) == text)


@given(TEXTS)
@example("08.1.1.1")
@example("0177.1")
@example("0x7f.1")
def test_numbers_are_read_as_the_c_library_reads_them(text):
    try:
        expected = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        expected = None
    if not any(part.lower() == "0x" for part in text.split(".")):  # the C libraries differ about it
        assert aton(text) == expected
    assert aton(text) is None or numeric(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.168.99.101", "192.168.99.101"),
        ("0xC0A86365", "192.168.99.101"),
        ("192.168.010.1", "192.168.8.1"),
        ("10.1", "10.0.0.1"),
        ("127.1.2", "127.1.0.2"),
        ("0", "0.0.0.0"),
        ("C0A86365", None),
        ("256.1.1.1", None),
        ("1.2.3.4.5", None),
        ("1..2", None),
        ("example.com", None),
        ("", None),
        ("08.1.1.1", None),
        ("1.2.3.٤", None),
        ("0" * 5000, None),
    ],
)
def test_aton(text, address):
    assert aton(text) == address


@pytest.mark.parametrize("text", ["1", "1.2.3.4.", "example.1", "0x", "a.0x7F", "::ffff:1.2.3.4", "08.1.1.1", "256.1.1.1"])
def test_what_ends_in_a_number_is_no_name(text):
    assert numeric(text)


@pytest.mark.parametrize(
    "text", ["", ".", "example.com", "example.com.", "host1", "1.example", "1.2.3.a", "0xg", "::1", "1.2.3.٤"]
)
def test_what_does_not_may_be_one(text):
    assert not numeric(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("192.168.001.005", "192.168.1.5"),
        ("000.00.0.0", "0.0.0.0"),
        ("010.0.0.001", "010.0.0.1"),  # 10 or 8
        ("192.168.001.009", "192.168.1.009"),  # 9 or none
        ("0x1.0.0.1", "0x1.0.0.1"),
        ("001.1", "001.1"),
        ("001.example", "001.example"),
        ("10.100.0.200", "10.100.0.200"),
    ],
)
def test_padding_goes_where_it_says_nothing(text, same):
    assert unpadded(text) == same
