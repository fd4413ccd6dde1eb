"""One bridge as a program: its ports, its log, its signals and its exit status."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import trio

from bridge import dialects, logs, tables
from bridge.emulation.ack import AckNetwork
from bridge.endpoint import Ack, EndpointSpec
from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.model import Condition, ModuleSettings
from bridge.network import Network, NetworkError
from bridge.ports import Port, PortLost
from bridge.ports.opening import PortError, open_port, publish
from bridge.session import Upstream, run_session
from bridge.trace import Trace
from bridge.trace_file import TraceFile

log = structlog.get_logger("bridge")

BAUD = 115200  # where a table names no usual speed
GRACE = 2.0  # seconds for an orderly end, unless the Network says it needs more
LAST = 1.0  # and on top of it, before the process ends itself: something ignores its cancellation


class ServiceError(Exception):
    """The bridge cannot go on.  The text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one bridge is made of."""

    upstream: EndpointSpec
    downstream: EndpointSpec | None  # None: local
    policy: Policy
    trace: Path | None = None
    trace_payload: bool = False
    name: str = ""  # of several in one process; logs and traces say it
    upstream_table: tables.Profile | None = None  # None: as mappings/ has it, with no overrides
    downstream_table: tables.Profile | None = None
    downstream_others: tuple[tables.Profile, ...] | None = None  # what the module may turn out to be, with the overrides
    ack: Ack = "module"  # who has a send's bytes when the host is told that it is sent; "bridge": `emulation.ack`

    def about(self) -> dict[str, Any]:
        """What a trace says of it, once: which profiles, and by which tables."""
        said: dict[str, Any] = {"bridge": self.name} if self.name else {}
        if self.ack != "module":
            said["ack"] = self.ack
        for side, spec, table in (
            ("upstream", self.upstream, self.upstream_table),
            ("downstream", self.downstream, self.downstream_table),
        ):
            if spec is None:
                said[side] = {"dialect": "local"}
            else:
                table = table or tables.load(spec.dialect, spec.profile or "")  # noqa: PLW2901
                facts = {"dialect": spec.dialect, "profile": table.profile, "port": spec.port}
                said[side] = facts | {"file": table.file, "table": tables.digest(table)}
        if not self.upstream.host.announce:
            said["upstream"]["announce"] = False
        return said


def run(options: Options) -> None:
    """Run one bridge until a signal ends it.  Raises ServiceError, PortError, tables.TableError."""
    trio.run(_run, options)


async def _run(options: Options) -> None:
    grace = Grace()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(signals, scope, grace)
            failure = await caught(lambda: run_bridge(options, grace))
        nursery.cancel_scope.cancel()
    if failure is not None:  # raised out here, so that no nursery wraps it in a group
        raise failure


async def caught(run: Callable[[], Awaitable[None]]) -> Exception | None:
    """Run, and turn a lost port into a ServiceError; anything unexpected keeps its traceback."""
    failure: Exception | None = None
    try:
        await run()
    except* (PortLost, NetworkError, PortError, ServiceError, tables.TableError) as group:
        failure = told(group)
    return failure


def told(group: BaseExceptionGroup[Exception]) -> Exception:
    """The first failure of a group, as what an operator needs to know."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, PortLost):
        return ServiceError(f"the host's port is gone and is not one that comes back ({error}); start again")
    if isinstance(error, NetworkError):
        if error.condition is Condition.PORT_LOST:
            return ServiceError(
                f"the module's port is gone and is not one that comes back ({error.detail or error}); start again"
            )
        return ServiceError(f"the module's side ended: {error}")
    assert isinstance(error, Exception)
    return error


class Grace:
    """How long an orderly end may take; known once the Networks are."""

    seconds = GRACE


async def signals(
    scope: trio.CancelScope, grace: Grace, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The first SIGTERM or SIGINT cancels ``scope``; a second one, or an end that takes too long, ends the process."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            log.info("stopping", signal=signal.Signals(number).name, within=grace.seconds)
            break
        scope.cancel()
        with trio.move_on_after(grace.seconds + LAST):
            async for number in received:
                log.warning("stopped at once", signal=signal.Signals(number).name)
                os._exit(128 + number)
        log.error("stopped: the orderly end took too long", after=grace.seconds + LAST)
        os._exit(1)


async def run_bridge(options: Options, grace: Grace, *watchers: Callable[[], Awaitable[None]]) -> None:
    """One bridge, until it is cancelled.  Raises, in groups, what `caught` knows.

    ``watchers`` run in the session's own nursery: they stop when it begins to end.
    """
    async with AsyncExitStack() as stack:
        trace = Trace(payload=options.trace_payload)
        if options.trace is not None:
            try:
                sink = TraceFile(options.trace, about=options.about())
            except OSError as error:
                raise ServiceError(f"--trace {options.trace}: {error.strerror}") from None
            trace.add(sink)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(sink.run)
            stack.callback(nursery.cancel_scope.cancel)
            logs.noted_in(trace)
        network, below = await open_network(
            options.downstream, options.policy, trace, stack, options.downstream_table, others=options.downstream_others
        )
        if options.ack == "bridge":
            network = AckNetwork(network, trace)
        if below is not None:  # a module in another program waits for its end of the line
            await publish(below)
        upstream, port = await open_upstream(options.upstream, network, trace, stack, options.upstream_table)
        grace.seconds = max(grace.seconds, float(getattr(network, "shutdown_grace", GRACE)))
        async with trio.open_nursery() as session:
            for watcher in watchers:
                session.start_soon(watcher)
            await session.start(run_session, upstream, network)
            await publish(port)
            log.info(
                "bridge ready",
                upstream=f"{options.upstream.dialect}@{port.name}",
                downstream="local" if options.downstream is None else f"{options.downstream.dialect}@{options.downstream.port}",
            )


async def open_network(
    spec: EndpointSpec | None,
    policy: Policy,
    trace: Trace,
    stack: AsyncExitStack,
    table: tables.Profile | None = None,
    *,
    others: tuple[tables.Profile, ...] | None = None,
) -> tuple[Network, Port | None]:
    """The Network below, and its port where it has one; the port is closed by the stack."""
    if spec is None:
        return LocalNetwork(policy, trace), None
    table = table or tables.load(spec.dialect, spec.profile or "")
    driver = dialects.downstream(spec.dialect)
    more: dict[str, Any] = {}
    if getattr(driver, "module_keys", ()):
        more["settings"] = spec.module
    elif spec.module != ModuleSettings():
        raise ServiceError(f"{spec.text}: the {spec.dialect} driver has no use for apn= and user=; leave them out")
    if others is None:
        others = tuple(tables.load(spec.dialect, name) for name in other_profiles(spec, table.profile))
    if others:
        more["others"] = others
    port = await open_port(spec, baud=speed(spec, table))
    stack.push_async_callback(close, port)
    network: Network = driver(port, table, trace, **more)
    return network, port


def other_profiles(spec: EndpointSpec, taken_for: str) -> list[str]:
    """The profiles that a module may turn out to have, where the endpoint names none and the driver asks it."""
    if spec.profile or not getattr(dialects.downstream(spec.dialect), "finds_profile", False):
        return []
    return [name for name in tables.profiles(spec.dialect) if name != taken_for]


async def open_upstream(
    spec: EndpointSpec, network: Network, trace: Trace, stack: AsyncExitStack, table: tables.Profile | None = None
) -> tuple[Upstream, Port]:
    """The upstream on a Network, and its port; the port is closed by the stack."""
    table = table or tables.load(spec.dialect, spec.profile or "")
    port = await open_port(spec, baud=speed(spec, table))
    stack.push_async_callback(close, port)
    upstream: Upstream = dialects.upstream(spec.dialect)(port, network, table, trace, spec.host.typed())
    return upstream, port


async def close(port: Port) -> None:
    """Close a port even where the bridge is being cancelled: its symlink goes with it."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        await port.aclose()


def speed(spec: EndpointSpec, table: tables.Profile) -> int:
    """The speed asked for, or the table's usual one."""
    if spec.baud:
        return spec.baud
    return table.number("baud") if "baud" in table.value else BAUD
