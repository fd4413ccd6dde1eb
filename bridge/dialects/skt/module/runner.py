"""A command's way from its row to its one final result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from bridge.command_log import CommandEvent, Part
from bridge.dialects.skt.module import basic as module_basic
from bridge.dialects.skt.module import call as module_call
from bridge.dialects.skt.module import list as module_list
from bridge.dialects.skt.module import open as module_open
from bridge.dialects.skt.module import receive as module_receive
from bridge.dialects.skt.module import send as module_send
from bridge.dialects.skt.module import serve as module_serve
from bridge.dialects.skt.module import station as module_station
from bridge.dialects.skt.module import through as module_through
from bridge.dialects.skt.module.call import Call, Request
from bridge.dialects.skt.module.console import Heard
from bridge.dialects.skt.module.reply import Outcome, Raw, Refused
from bridge.dialects.skt.module.state import Module
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.session import HostWriter
from bridge.tables import Profile, TableError
from bridge.trace import Trace
from bridge.wire.grammar import ArgumentError

Hook = Callable[[Module, Request], Awaitable[Outcome]]

HOOKS: dict[str, Hook] = {
    hook.__name__: hook
    for hook in (
        module_basic.version,
        module_basic.names,
        module_basic.restart,
        module_basic.lookup,
        module_basic.echo_request,
        module_basic.options,
        module_basic.options_told,
        module_open.skt_client,
        module_open.link_client,
        module_serve.skt_server,
        module_serve.link_server,
        module_send.skt_send,
        module_send.link_send,
        module_send.link_sendraw,
        module_receive.skt_read,
        module_receive.link_read,
        module_receive.skt_recvcfg,
        module_list.skt_del,
        module_list.link_del,
        module_list.skt_state,
        module_through.skt_tt,
        module_station.wl_conn,
        module_station.wl_disconn,
        module_station.wl_static,
        module_station.wl_state,
        module_station.wl_rssi,
        module_station.wl_scan,
        module_station.wl_reconn,
    )
}

# Hooks that take the text behind the "=" apart by themselves: escapes, pairs, a colon.
TEXTS = frozenset({
    "skt_send", "link_send", "link_sendraw", "wl_conn", "wl_static", "wl_reconn", "echo_request", "options",
})  # fmt: skip

_HELPED = {1, 2}  # the numbers of the WL family that are followed by a help text


class Runner:
    """Runs commands, one at a time.  Raises TableError where the table names a hook that is not there."""

    def __init__(self, module: Module, writer: HostWriter, profile: Profile, trace: Trace, counters: Counter[str]) -> None:
        for name, row in profile.command.items():
            if row.hook and row.hook not in HOOKS:
                raise TableError(f"{profile.file}: command.{name}.hook: {row.hook!r} is no hook of this dialect")
        self._module = module
        self._writer = writer
        self._profile = profile
        self._trace = trace
        self._counters = counters
        self._words = module.words
        self._running = trio.CancelScope()
        self._resets = 0

    def reset(self) -> None:
        """What runs ends without a word."""
        self._resets += 1
        self._running.cancel()

    async def run(self, call: Call, heard: Heard, event: CommandEvent) -> Raw | None:
        """One command through its row, to its one final result.  With a raw payload its result is still to come."""
        resets = self._resets
        outcome: Outcome | None = None
        refused: Refused | None = None
        with trio.CancelScope() as self._running:
            try:
                outcome = await self._run(call, heard, event)
            except Refused as problem:
                refused = problem
        if resets != self._resets or (outcome is None and refused is None):
            return None  # reset while it ran: nobody answers
        if outcome is not None and outcome.raw is not None:
            return outcome.raw
        await self.answer(call.name, outcome, refused, event)
        return None

    async def answer(self, name: str, outcome: Outcome | None, refused: Refused | None, event: CommandEvent) -> None:
        """The one final result, with what stands before it."""
        prints: list[bytes] = []
        carried: int | None = None
        final = b""
        if refused is not None:
            event.refused(refused.condition, refused.about)
            self._counters["commands-refused"] += 1
            self._trace.note("refused", f"{name}: {refused}")
            prints = [final := self._words.error(name, refused)]
            if name.startswith("WL") and self._words.number(name, refused) in _HELPED and self._module.quirk("quirk_help"):
                prints.append(self._words.say("module_help", command=name))
        elif outcome is not None:
            prints, carried = outcome.prints, outcome.carried
            if outcome.ok:
                prints = [*prints, self._words.ok(name, outcome.id)]
            # The head of a payload that no OK follows; never the payload.
            final = b"".join(prints if carried is None else prints[-1:] if outcome.ok else prints[:1])
        event.said(sum(map(len, prints)) - len(final))
        event.end(final)
        pieces = [(text, slice(None) if number == carried else slice(0)) for number, text in enumerate(prints)]
        if not self._module.quirk("quirk_split"):
            start = sum(map(len, prints[:carried]))
            pieces = [(b"".join(prints), slice(0) if carried is None else slice(start, start + len(prints[carried])))]
        for number, (text, where) in enumerate(pieces, 1):
            if number == len(pieces) and outcome is not None and outcome.then is not None:
                outcome.then()  # nothing can be written between this and the result
            await self._writer.answer(text, carried=where)

    async def _run(self, call: Call, heard: Heard, event: CommandEvent) -> Outcome:
        row = self._profile.command[call.name]
        if row.disposition == "refused":
            raise Refused(Condition.NOT_SUPPORTED, "command", row.why)
        if heard.too_long and (heard.payload is not None or not self._module.quirk("quirk_editor")):
            raise Refused(Condition.TOO_LONG, "data_size", "longer than this module takes")
        request = self._request(call, heard)
        if not row.hook:
            return Outcome()
        part = Part.MODULE if row.disposition == "translated" else Part.OWN
        with trio.move_on_after(row.final if row.final is not None else math.inf), event.waiting(part):
            try:
                return await HOOKS[row.hook](self._module, request)
            except Refused:
                raise
            except NetworkError as error:
                raise Refused.by(error, "network") from None
            except Exception:
                self._module.crashed(call.name)
                raise Refused(Condition.MODULE_ERROR, "task", "internal") from None
        self._counters["commands-late"] += 1
        raise Refused(Condition.MODULE_MUTE, "late", f"no answer within {row.final} s")

    def _request(self, call: Call, heard: Heard) -> Request:
        row = self._profile.command[call.name]
        if row.hook in TEXTS:
            if call.text is None:
                raise Refused(Condition.BAD_ARGUMENT, "count", "no fields")
            return Request(call.name, call.text, payload=heard.payload)
        try:
            return Request(call.name, call.text or "", module_call.values(row, call.text))
        except ArgumentError as problem:
            raise Refused(Condition.BAD_ARGUMENT, "count", str(problem)) from None
