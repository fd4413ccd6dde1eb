"""AT+WIPPING (Multi-Tech S000437C p.31): OK, then a line for each echo request that was answered or given up."""

from __future__ import annotations

import trio

from bridge.dialects.wip.module.reply import Cme, Outcome, Refused
from bridge.dialects.wip.module.settings import Request
from bridge.dialects.wip.module.state import Module
from bridge.model import Capability, Condition
from bridge.network import NetworkError
from bridge.wire.addresses import unpadded


async def wipping(module: Module, request: Request) -> Outcome:
    """One series at a time.  Size and TTL of the requests are the Network's own."""
    if not module.stack or not module.call.up or module.pinging is not None:
        raise Refused(Cme.WRONG_STACK_STATE)
    if Capability.PING not in module.network.limits.capabilities:
        raise Refused(Cme.PING_CHANNEL, Condition.NOT_SUPPORTED)
    host = unpadded(request.text("host").strip())
    if not host:
        raise Refused(Cme.INVALID_VALUE)
    module.pinging = scope = trio.CancelScope()
    return Outcome(then=lambda: module.spawn(lambda: _series(module, host, request, scope)))


async def _series(module: Module, host: str, request: Request, scope: trio.CancelScope) -> None:
    interval, limit = (request.number(name, 2000) / 1000 for name in ("interval", "timeout"))  # the manual's defaults
    began = trio.current_time()
    with scope:
        for packet in range(request.number("repeat", 1)):
            await trio.sleep_until(began + packet * interval)
            expired, spent = await _once(module, host, limit)
            module.urc(f"+WIPPING: {expired},{packet},{spent}")
    if module.pinging is scope:
        module.pinging = None


async def _once(module: Module, host: str, limit: float) -> tuple[int, int]:
    """0 and the milliseconds that the answer took, or 1: none came in time."""
    try:
        return 0, round(1000 * await module.network.ping(host, limit))
    except NetworkError as error:
        module.trace.note("ping", str(error))
        return 1, 0
