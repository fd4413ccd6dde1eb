"""Who knows the names: what a host asks about the network's name servers."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream


def name_servers(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPDNS: those of the network, whatever the host would like."""
    if command.form is Form.QUERY:
        return _name_servers(unit, command)
    if command.number("on"):
        command.refuse(Condition.NOT_SUPPORTED, "names are looked up by the network")
    else:
        command.ok()
    return None


async def _name_servers(unit: EspAtUpstream, command: Command) -> None:
    servers = await unit.network.name_servers() if unit.station.up else []
    each = b"".join(unit.say("dns_server", name=command.name, address=server) for server in servers)
    command.ok(unit.say("dns", name=command.name, servers=each.decode("latin-1")))


HOOKS: dict[str, Hook] = {"name_servers": name_servers}
