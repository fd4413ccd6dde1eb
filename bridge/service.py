"""One bridge as a program: its ports, its log, its signals and its exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
import trio

from bridge import dialects, tables
from bridge.endpoint import EndpointSpec
from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.model import Condition
from bridge.network import Network, NetworkError
from bridge.ports import Port, PortLost
from bridge.ports.opening import PortError, open_port, publish
from bridge.session import Upstream, run_session
from bridge.trace import Trace
from bridge.trace_file import TraceFile

log = structlog.get_logger("bridge")

LogFormat = Literal["auto", "console", "json"]

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


def configure_logging(form: LogFormat, *, verbose: bool) -> None:
    """Logs go to stderr: readable on a terminal, JSON lines for a collector."""
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    renderer: structlog.typing.Processor
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(10 if verbose else 20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def run(options: Options) -> None:
    """Run one bridge until a signal ends it.  Raises ServiceError, PortError, tables.TableError."""
    trio.run(_run, options)


async def _run(options: Options) -> None:
    grace = _Grace()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(_signals, scope, grace)
            failure = await caught(lambda: _bridge(options, grace))
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
        return ServiceError(f"the host's port is gone ({error}); plug it in and start again")
    if isinstance(error, NetworkError):
        if error.condition is Condition.PORT_LOST:
            return ServiceError(f"the module's port is gone ({error.detail or error}); plug it in and start again")
        return ServiceError(f"the module's side ended: {error}")
    assert isinstance(error, Exception)
    return error


class _Grace:
    """How long an orderly end may take; known once the Network is."""

    seconds = GRACE


async def _signals(
    scope: trio.CancelScope, grace: _Grace, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name, within=grace.seconds)
            break
        scope.cancel()
        with trio.move_on_after(grace.seconds + LAST):
            async for number in signals:
                log.warning("stopped at once", signal=signal.Signals(number).name)
                os._exit(128 + number)
        log.error("stopped: the orderly end took too long", after=grace.seconds + LAST)
        os._exit(1)


async def _bridge(options: Options, grace: _Grace) -> None:
    async with AsyncExitStack() as stack:
        trace = Trace(payload=options.trace_payload)
        if options.trace is not None:
            try:
                sink = TraceFile(options.trace)
            except OSError as error:
                raise ServiceError(f"--trace {options.trace}: {error.strerror}") from None
            trace.add(sink)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(sink.run)
            stack.callback(nursery.cancel_scope.cancel)
        network, _ = await open_network(options.downstream, options.policy, trace, stack)
        upstream, port = await open_upstream(options.upstream, network, trace, stack)
        grace.seconds = float(getattr(network, "shutdown_grace", GRACE))
        async with trio.open_nursery() as session:
            await session.start(run_session, upstream, network)
            await publish(port)
            log.info(
                "bridge ready",
                upstream=f"{options.upstream.dialect}@{port.name}",
                downstream="local" if options.downstream is None else f"{options.downstream.dialect}@{options.downstream.port}",
            )


async def open_network(
    spec: EndpointSpec | None, policy: Policy, trace: Trace, stack: AsyncExitStack
) -> tuple[Network, Port | None]:
    """The Network below, and its port where it has one; the port is closed by the stack."""
    if spec is None:
        return LocalNetwork(policy, trace), None
    table = tables.load(spec.dialect, spec.profile or "")
    port = await open_port(spec, baud=speed(spec, table))
    stack.push_async_callback(close, port)
    network: Network = dialects.downstream(spec.dialect)(port, table, trace)
    return network, port


async def open_upstream(spec: EndpointSpec, network: Network, trace: Trace, stack: AsyncExitStack) -> tuple[Upstream, Port]:
    """The upstream on a Network, and its port; the port is closed by the stack."""
    table = tables.load(spec.dialect, spec.profile or "")
    port = await open_port(spec, baud=speed(spec, table))
    stack.push_async_callback(close, port)
    upstream: Upstream = dialects.upstream(spec.dialect)(port, network, table, trace)
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
