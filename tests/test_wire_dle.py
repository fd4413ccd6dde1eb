"""DLE/ETX both ways: whole, byte by byte, and in random splits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.dle import END, ETX, Decoder, encode

SPECIAL = st.lists(st.sampled_from([0x03, 0x10, 0x41, 0x0D]), max_size=12).map(bytes)


@pytest.mark.parametrize(
    ("payload", "wire"),
    [
        (b"", b""),
        (b"plain", b"plain"),
        (b"\x03", b"\x10\x03"),
        (b"\x10", b"\x10\x10"),
        (b"\x10\x03\x10", b"\x10\x10\x10\x03\x10\x10"),
        (bytes(range(256)), bytes(range(3)) + b"\x10\x03" + bytes(range(4, 16)) + b"\x10\x10" + bytes(range(17, 256))),
    ],
)
def test_encode(payload, wire):
    assert encode(payload) == wire
    assert Decoder().feed(wire) == ([payload] if payload else [])


@pytest.mark.parametrize(
    ("wire", "found"),
    [
        (b"\x03", [END]),
        (b"\x03\x03", [END, END]),
        (b"a\x03b", [b"a", END, b"b"]),
        (b"\x10\x10\x03", [b"\x10", END]),
        (b"\x10\x10\x10\x03", [b"\x10\x03"]),
        (b"a\x10b", [b"ab"]),  # a DLE before any other byte is dropped
        (b"\x10\n\x03", [b"\n", END]),
        (b"a\x10", [b"a"]),
        (b"\x10", []),
    ],
)
def test_decode(wire, found):
    assert Decoder().feed(wire) == found


def joined(pieces):
    """Pieces as datagrams, the last one unfinished."""
    found, part = [], b""
    for piece in pieces:
        if piece is END:
            found.append(part)
            part = b""
        else:
            assert piece
            part += piece
    return found, part


@given(st.lists(SPECIAL, max_size=6), SPECIAL, st.lists(st.integers(0, 40), max_size=8))
def test_any_split_means_the_same(datagrams, rest, cuts):
    wire = b"".join(encode(datagram) + ETX for datagram in datagrams) + encode(rest)
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    splits = [wire[a:b] for a, b in pairwise(edges)]
    singles = [bytes([byte]) for byte in wire]
    for parts in ([wire], singles, splits):
        decoder = Decoder()
        pieces = [piece for part in parts for piece in decoder.feed(part)]
        assert joined(pieces) == (datagrams, rest)


@given(st.binary(max_size=64), st.integers(0, 64))
def test_any_bytes_split_anywhere_mean_the_same(wire, cut):
    whole, split = Decoder(), Decoder()
    assert joined(whole.feed(wire)) == joined(split.feed(wire[:cut]) + split.feed(wire[cut:]))


def by_the_book(data):
    """What `joined` gives, byte by byte as the manual says it."""
    found, payload, escaped = [], bytearray(), False
    for byte in data:
        if escaped or byte not in {0x03, 0x10}:
            payload.append(byte)
            escaped = False
        elif byte == 0x10:
            escaped = True
        else:
            found.append(bytes(payload))
            payload.clear()
    return found, bytes(payload)


@given(st.lists(st.lists(st.sampled_from([0x03, 0x10, 0x41]), max_size=5).map(bytes)))
def test_decoding_does_not_depend_on_how_bytes_are_grouped(pieces):
    decoder = Decoder()
    found = [event for piece in pieces for event in decoder.feed(piece)]
    assert joined(found) == by_the_book(b"".join(pieces))


@given(st.binary(max_size=300))
def test_what_is_encoded_decodes_to_itself(data):
    assert joined(Decoder().feed(encode(data) + ETX)) == ([data], b"")


def test_escapes_are_those_of_the_manual():
    assert encode(b"a\x03b\x10c") == b"a\x10\x03b\x10\x10c"
    assert Decoder().feed(b"\x10+++") == [b"+++"]  # a DLE before any other byte is dropped
