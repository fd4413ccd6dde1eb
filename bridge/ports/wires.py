"""Seeing signals of the other side, short pulses too.

A wire is known by its level and by how often it has changed.  Drivers count changes by interrupt, a server tells them
one by one; so two looks tell what was between them, however short it was.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BREAK_CHANGES", "Look", "entered"]

BREAK_CHANGES = 2  # a break is counted when it is seen, as begun and ended


@dataclass(frozen=True, slots=True)
class Look:
    """A wire at one moment."""

    level: bool
    changes: int = 0  # since the port was opened; stands still where nobody counts


def entered(before: Look, now: Look, asserted: bool) -> bool:
    """Whether the wire is so now, or came to be so since ``before``.

    A wire that was so at ``before`` already and has only left since did not come to be so.
    """
    if now.level == asserted:
        return True
    left = 1 if before.level == asserted else 0
    return now.changes - before.changes >= 2 + left
