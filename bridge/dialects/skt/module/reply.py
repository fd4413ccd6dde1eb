"""What the module answers: the shapes of its generation, from the table, and why it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.tables import Profile

if TYPE_CHECKING:
    from bridge.dialects.skt.module.node import Node


class Refused(Exception):
    """A command that cannot be done.  ``about``: the field or the step it failed at, a word of the table's refusals."""

    def __init__(self, condition: Condition, about: str, reason: str = "") -> None:
        super().__init__(f"{about}: {reason or condition}")
        self.condition = condition
        self.about = about

    @classmethod
    def by(cls, error: NetworkError, about: str) -> Refused:
        """What the Network refused, at this step."""
        return cls(error.condition, about, str(error))


@dataclass(frozen=True, slots=True)
class Raw:
    """The next bytes of the host are payload, counted and as they are."""

    node: Node
    size: int
    target: Endpoint | None


@dataclass(slots=True)
class Outcome:
    """What a command leads to.  ``prints`` come first, then OK unless ``ok`` is False."""

    prints: list[bytes] = field(default_factory=list)
    ok: bool = True
    then: Callable[[], None] | None = None  # begun when the answer is on its way
    raw: Raw | None = None  # a prompt instead of OK
    id: int | None = None  # of the connection, for an OK that names it
    carried: int | None = None  # which of the prints is a link's bytes


class Words:
    """The text rows of a table, filled in.  What is filled in is ours or a number, never a peer's bytes."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def say(self, row: str, **fields: object) -> bytes:
        """A row with its names filled in."""
        return self._profile.words(row).format(**fields).encode("latin-1", "replace")

    def ok(self, command: str, con_id: int | None = None) -> bytes:
        """The final result of a command that worked."""
        row = "module_ok" if con_id is None else "module_ok_id"
        return self.say(row, command=command, id=con_id)

    def error(self, command: str, refused: Refused) -> bytes:
        """The final result of one that did not."""
        return self.say("module_error", command=command, number=self.number(command, refused))

    def number(self, command: str, refused: Refused) -> int:
        """The error number of a command for what it was refused for."""
        return int(self._profile.refusal_of(refused.condition, command, about=refused.about))
