"""From an unknown module to one that takes connections; and finding out which generation it is.

Raises ModuleLost where a step fails; the caller waits and starts again.
"""

from __future__ import annotations

import structlog
import trio

from bridge.dialects.skt.driver.raw import RawSends
from bridge.dialects.skt.driver.upkeep import Upkeep
from bridge.dialects.skt.driver.wire import Wire
from bridge.driving.trouble import ModuleError, ModuleLost
from bridge.model import Condition
from bridge.tables import Profile

log = structlog.get_logger("bridge.skt")


async def find(wire: Wire, profile: Profile, raw: RawSends, *, detect: bool) -> str:
    """The profile that the module speaks, once it answers.  Raises ModuleLost.

    Its line buffer may hold text of a former life, and it may still be starting.  ``detect``: it is asked which
    generation it is; without, it is what ``profile`` says.
    """
    log.info("module: looking for it")
    if detect or str(profile.value["sending"].value) == "raw":
        await raw.leave()  # before anything else: in raw mode a command would go to a peer
    end = trio.current_time() + profile.seconds("find")
    while True:
        await wire.clean_line()
        wire.reader.resume()  # a payload may have broken off
        wire.finals.probing = detect
        try:
            await wire.command("probe")
            found = await _generation(wire, profile) if detect else profile.profile
        except ModuleError as error:
            log.debug("module: probe", code=error.code)
        else:
            return found
        finally:
            wire.finals.probing = False
            wire.doubt = ""
        if trio.current_time() >= end:
            raise ModuleLost(Condition.MODULE_MUTE, "no answer to AT+TEST; check cable, speed, power and profile")


async def _generation(wire: Wire, profile: Profile) -> str:
    """Which one has answered ``AT+TEST``.  The probes are safe on every generation.

    S1 answers it by name and the later ones by a bare OK; of those only S1b knows ``AT+SKTRECVCFG`` (ameba-rtos,
    ``atcmd_sockets.c`` of both).
    """
    if wire.finals.by_name:
        return "s1-log" if wire.echoed else profile.profile
    try:
        await wire.command("probe_receive")
    except ModuleError as error:
        return "s1b" if error.code > 0 else "s2"
    return "s1b"


async def set_up(wire: Wire, profile: Profile, upkeep: Upkeep) -> None:
    """Close what a former life left open, seeds before their servers, and choose how data come."""
    receive = str(profile.value["receive"].value)
    if receive != "link":
        await _setting(wire, "receive", on=0)
        await trio.sleep(profile.seconds("receive_off"))  # the task that pushes may be in its last turn
    for row in sorted(await upkeep.rows(), key=lambda row: row.role == "server"):
        log.info("module: a connection of a former life is closed", id=row.id)
        try:
            await upkeep.delete_id(row.id)
        except ModuleError as error:
            raise ModuleLost(Condition.MODULE_ERROR, f"left-over id {row.id} cannot be deleted: {error.code}") from None
    if receive == "push":
        await _setting(wire, "receive", on=1)


async def _setting(wire: Wire, template: str, **arguments: object) -> None:
    try:
        await wire.ask(template, **arguments)
    except ModuleError as error:
        raise ModuleLost(Condition.MODULE_ERROR, f"{template} {arguments} is refused: {error.code}") from None
