"""Questions that the module answers at once: names, and who it is.  In the driver's task."""

from __future__ import annotations

from bridge.dialects.skt.driver.loop import Driver
from bridge.model import Condition, Identity
from bridge.network import NetworkError
from bridge.wire.addresses import dotted
from bridge.wire.patterns import Pattern


class Questions:
    """Asks them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lookups: bool | None = None  # whether this build can look a name up; None: nobody has asked
        self._next_port = 0

    async def resolve(self, name: str) -> str:
        """The first address of a name.  Raises NetworkError, ModuleError, ModuleLost."""
        wire, profile = self._driver.wire, self._driver.profile
        if self._lookups is None:
            # An unknown command is answered by silence, which says nothing of the name.
            lines = await wire.ask("commands")
            self._lookups = any(profile.words("lookup_listed").encode() in line for line in lines)
        if not self._lookups:
            raise NetworkError(Condition.NOT_SUPPORTED, "this build of the module looks no names up by itself")
        pattern = Pattern(profile.words("lookup_answer"))
        for line in await wire.ask("lookup", name=name):
            if (fields := pattern.match(line)) is not None and dotted(str(fields["address"])):
                return str(fields["address"])
        raise NetworkError(Condition.NAME_NOT_FOUND, name)

    async def identity(self) -> Identity:
        """Raises ModuleError, ModuleLost."""
        lines = await self._driver.wire.ask("identity")
        revision = lines[0].decode("latin-1").removeprefix("+GMR:").strip() if lines else ""
        return Identity("Realtek", "Ameba", revision)

    def free_port(self) -> int:
        """A local port for what must name one."""
        profile = self._driver.profile
        ports = range(profile.number("port_first"), profile.number("port_last") + 1)
        taken = {held.local_port for held in self._driver.registry}
        for _ in ports:
            port = ports[self._next_port % len(ports)]
            self._next_port += 1  # in turn: a port just closed may still be known to its peer
            if port not in taken:
                return port
        raise NetworkError(Condition.PORT_IN_USE, "every local port")
