"""What the module holds under its ids, as the driver sees it.

An id is addressed only between the line by which the module gave it to us and the moment it is deleted: the firmware's
list walk runs past its end for an id that is not there (ameba-rtos, ``atcmd_lwip.c``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bridge.driving.handles import Handle
from bridge.model import Condition, Endpoint
from bridge.network import NetworkError
from bridge.tables import Profile


class Held(Handle):
    """One id: a connection, a UDP socket or a server."""

    def __init__(self, want: Callable[[], None]) -> None:
        super().__init__(want)
        self.id = -1  # -1: the module has not said it yet
        self.server: Held | None = None  # whose seed it is
        self.server_side = False  # made by SKTSERVER: every send names its peer
        self.adopted = False  # found by SKTSTATE before the line that gives its id was read
        self.doubted = False  # the module refused its id: SKTSTATE tells what has become of it
        self.deleting = False  # SKTDEL of it is out
        self.tries = 0  # deletions in vain

    @property
    def live(self) -> bool:
        """It can be used, as far as anybody knows."""
        return self.condition is None and self.id >= 0

    def learnt(self, number: int) -> None:
        """The module gave it this id."""
        self.id = number

    def deliver(self, data: bytes, source: Endpoint | None, *, cut: bool) -> bool:
        """Bytes that came for it; False: a datagram of them was dropped."""
        return True


class Nobodys(Held):
    """An id that nobody wants any more: it is only there to be deleted."""

    def __init__(self, want: Callable[[], None], number: int) -> None:
        super().__init__(want)
        self.id = number
        self.condition = Condition.ABORTED


class Registry:
    """The ids that the module is known to hold, and the room that is left."""

    def __init__(self, profile: Profile) -> None:
        self.pool = profile.number("pool")
        self.spare = profile.number("spare")
        self.by_host = str(profile.value["ids"].value) == "host"
        self.lowest = 0 if self.by_host else 1
        self.added: Callable[[Held], None] = lambda _: None  # told of each that gets its id
        self.freed: Callable[[int], None] = lambda _: None  # told of each id that nobody has any more
        self._held: dict[int, Held] = {}

    def __iter__(self) -> Iterator[Held]:
        """A snapshot: ids come and go while somebody walks through them."""
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, number: int) -> Held | None:
        """What is there."""
        return self._held.get(number)

    def holds(self, held: Held) -> bool:
        """Whether this very one still has its id."""
        return self._held.get(held.id) is held

    def add(self, held: Held, number: int) -> None:
        """It has this id from now on."""
        self._held[number] = held
        held.learnt(number)
        self.added(held)

    def free(self, held: Held) -> None:
        """The module holds nothing there any more."""
        if self.holds(held):
            del self._held[held.id]
            self.freed(held.id)
        held.freed.set()
        held.wake()

    def clear(self) -> None:
        """The module forgot, or will be told to forget, everything."""
        for held in self:
            self.free(held)

    def seeds(self, server: Held) -> list[Held]:
        """The connections that a server accepted, those to be deleted too."""
        return [held for held in self if held.server is server]

    def crowded(self, coming: int = 0) -> bool:
        """Whether one more would take the last id, which an arriving peer may need: without one the server dies."""
        return len(self._held) + coming > self.pool - self.spare

    def check_room(self, coming: int) -> None:
        """Raises NetworkError where no id can be had now.  ``coming``: those asked for and not known yet, and this one."""
        if self.crowded(coming):
            raise NetworkError(Condition.NO_FREE_LINK, f"{len(self._held)} of {self.pool} ids are in use")

    def choose(self, *, low: bool) -> int:
        """A free id where the host chooses: seeds take the lowest by themselves, so connections begin at the top."""
        numbers = range(1, self.pool)
        for number in numbers if low else reversed(numbers):
            if number not in self._held:
                return number
        raise NetworkError(Condition.NO_FREE_LINK, "every id")
