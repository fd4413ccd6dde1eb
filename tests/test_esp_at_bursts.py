"""What a host types in transparent mode, sans I/O: pauses, the escape, and what an adapter makes of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dialects.esp_at.bursts import Bursts

PAUSE, LATENCY = 0.020, 0.016
MOST = 16


def play(reads, *, most=MOST, latency=LATENCY, byte=0.0):
    """What comes of (seconds since the read before, bytes): the data up to the way out, and whether that was found."""
    bursts, now, out = Bursts(most, PAUSE, latency), 0.0, []
    for gap, data in reads:
        now += gap
        if now >= bursts.deadline:
            flushed, left = bursts.end()
            out.append(flushed)
            if left:
                return b"".join(out), True
        out += (full := bursts.feed(data, now, byte))
        assert all(len(piece) == most for piece in full)
    flushed, left = bursts.end()
    return b"".join([*out, flushed]), left


@pytest.mark.parametrize(
    ("reads", "data", "left"),
    [
        ([(0, b"+++")], b"", True),
        ([(0, b"+"), (0.019, b"+"), (0.019, b"+")], b"", True),
        ([(0, b"+"), (0.016, b"++")], b"", True),
        ([(0, b"+"), (0.021, b"++")], b"+++", False),
        ([(0, b"++++")], b"++++", False),
        ([(0, b"++")], b"++", False),
        ([(0, b"+++\r\n")], b"+++\r\n", False),
        ([(0, b"+++"), (0.003, b"\r\n")], b"+++\r\n", False),
        ([(0, b"+++"), (0.019, b"\r\n")], b"+++\r\n", False),
        ([(0, b"data+++")], b"data+++", False),
        ([(0, b"data"), (0.003, b"+++")], b"data+++", False),
        ([(0, b"data"), (0.020, b"+++")], b"data", True),
        ([(0, b"data"), (0.016, b"+++")], b"data", True),  # 20 to 36 ms at the pin, behind an adapter of 16
        ([(0, b"data"), (0.016, b"+"), (0.016, b"++")], b"data", True),
        ([(0, b"+"), (1, b"+++")], b"+", True),
        ([(0, b"+++++"), (1, b"+++")], b"+++++", True),
        ([(0, b"x" * 16), (0.001, b"+++")], b"x" * 16 + b"+++", False),  # a full buffer is no pause
    ],
)
def test_what_leaves_the_mode(reads, data, left):
    assert play(reads) == (data, left)


def test_without_latency_the_measure_is_exact():
    assert play([(0, b"data"), (0.019, b"+++")], latency=0) == (b"data+++", False)
    assert play([(0, b"data"), (0.0201, b"+++")], latency=0) == (b"data", True)


@pytest.mark.parametrize("baud", [1200, 9600, 115200])
def test_a_slow_line_is_no_pause(baud):
    """Bytes that follow each other on the line, in reads of any size, are one burst."""
    byte = 10 / baud
    for size in (1, 2, 3):
        data = b"abcdef+++"
        reads = [(size * byte, data[at : at + size]) for at in range(0, len(data), size)]
        assert play(reads, byte=byte) == (data, False)
        assert play([*reads, (0.02 + 3 * byte, b"+++")], byte=byte) == (data, True)
        slowly = [(0.05 + byte, b"+"), (byte, b"+"), (byte, b"+")]
        assert play([(0, b"data"), *slowly], byte=byte) == (b"data", True)


RUNS = st.lists(
    st.one_of(st.sampled_from([b"+++", b"+", b"++", b"++++", b"x+++", b"+++\r\n"]), st.binary(min_size=1, max_size=40))
)


@given(RUNS, st.randoms(use_true_random=False))
def test_between_certain_pauses_exactly_three_of_them_lead_out(runs, random):
    reads = []
    for run in runs:
        gap, at = random.uniform(0.0201, 2), 0
        while at < len(run):
            count = random.randint(1, len(run) - at)
            reads.append((gap, run[at : at + count]))
            at += count
            gap = random.uniform(0, 0.0039)
    found = runs.index(b"+++") if b"+++" in runs else len(runs)
    assert play(reads) == (b"".join(runs[:found]), found < len(runs))


@given(st.lists(st.tuples(st.floats(0, 0.05), st.sampled_from([b"+", b"++", b"+++", b"a", b"ab++", b"+++c"]))))
def test_nothing_is_lost_or_added_whatever_the_gaps(reads):
    data, left = play(reads)
    typed = b"".join(piece for _, piece in reads)
    assert typed.startswith(data + b"+++") if left else typed == data
