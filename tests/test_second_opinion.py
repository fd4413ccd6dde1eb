"""The bridge between an ESP-AT host and a simulated SKT module that was written without it: see `second_opinion`.

Real processes on ptys, sessions by seed; `make soak` has more of them.  Only deadlines look at the clock.
"""

from __future__ import annotations

import pytest
from second_opinion.runs import once


@pytest.mark.parametrize(
    ("profile", "faults", "seed"),
    [("s1-uart", "gaps", 2), ("s1-uart", "closes", 3), ("s1-push", "none", 5), ("s1b", "gaps", 2), ("s2", "all", 4)],
)
def test_a_session_breaks_no_rule(profile, faults, seed, tmp_path):
    session = once(profile, faults, seed, tmp_path, steps=40)
    assert not session.findings.broken, "\n".join(session.findings.notes)
    assert session.opened > 2
    assert min(session.carried()) > 400
