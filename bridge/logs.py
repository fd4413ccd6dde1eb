"""Logs, for operators: to stderr, readable on a terminal, JSON lines for a collector.

A log line never holds a secret: what is logged is named by its caller, and hosts' lines only ever masked by their table.
So what is logged about a bridge goes into its trace, too: a port that was lost explains the silence on its wire.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Literal

import structlog
import trio
from structlog.typing import EventDict, Processor

from bridge.trace import Trace, printable

__all__ = ["LEVELS", "LogFormat", "configure", "noted_in"]

LogFormat = Literal["auto", "console", "json"]
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_ABOUT_THE_LINE = {"event", "bridge", "level", "timestamp", "exception"}
_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # of syslog


def configure(form: LogFormat, level: str = "info") -> None:
    """From here on all logs go to stderr; ``auto`` is ``console`` on a terminal and ``json`` anywhere else."""
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    end: list[Processor]
    if console:
        plain = structlog.dev.plain_traceback
        end = [_escaped, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    else:
        end = [_to_journal() if _is_journal() else structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            structlog.processors.format_exc_info,
            _note,
            *end,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def noted_in(trace: Trace) -> None:
    """From here on, what this task and those that it starts log is noted in the trace as well."""
    _TRACE.set(trace)


def _note(_: Any, __: str, event: EventDict) -> EventDict:
    # A worker thread has our context and must not touch a trace.
    if (trace := _TRACE.get()) is not None and trio.lowlevel.in_trio_run():
        facts = [f"{key}={value}" for key, value in sorted(event.items()) if key not in _ABOUT_THE_LINE]
        trace.note("log", " ".join([str(event.get("event")), *facts]))
    return event


def _escaped(_: Any, __: str, event: EventDict) -> EventDict:
    """What hosts, peers and devices said must not steer the terminal that shows it (JSON escapes by itself)."""
    for key, value in event.items():
        if key == "exception":
            event[key] = "\n".join(printable(line) for line in str(value).splitlines())
        elif isinstance(value, (str, BaseException)) and not str(value).isprintable():
            event[key] = printable(str(value))
    return event


def _is_journal() -> bool:
    """Whether our stderr is the journal's own stream, which systemd names as DEVICE:INODE."""
    with suppress(OSError, ValueError):
        found = os.fstat(sys.stderr.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False


def _to_journal() -> Processor:
    """JSON behind the priority, which the journal takes off the line: `journalctl -p warning` finds what it should."""
    render = structlog.processors.JSONRenderer()

    def lead(logger: Any, name: str, event: EventDict) -> str:
        priority = _PRIORITY.get(str(event.get("level")), 6)
        return f"<{priority}>{render(logger, name, event)!s}"

    return lead
