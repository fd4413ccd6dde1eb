"""The log's set-up: form, level, context, priorities for the journal, and nothing in it that steers a terminal."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import structlog
import trio

from bridge import logs
from bridge.trace import Trace


class Err(io.StringIO):
    def __init__(self, tty=False, descriptor=None):
        super().__init__()
        self.tty = tty
        self.descriptor = descriptor

    def isatty(self):
        return self.tty

    def fileno(self):
        if self.descriptor is None:
            raise io.UnsupportedOperation
        return self.descriptor


@pytest.fixture
def err(monkeypatch):
    def err(form, level="info", **options):
        monkeypatch.setattr(sys, "stderr", Err(**options))
        logs.configure(form, level)
        return sys.stderr

    monkeypatch.setenv("NO_COLOR", "1")
    return err


@pytest.mark.parametrize(
    ("form", "tty", "is_json"), [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)]
)
def test_form(err, form, tty, is_json):
    out = err(form, tty=tty)
    structlog.get_logger("bridge").info("ready", port="x")
    assert out.getvalue().startswith("{") is is_json
    assert "ready" in out.getvalue()


async def test_what_is_logged_about_a_bridge_stands_in_its_trace(err):
    err("json", "info")
    records = []
    log = structlog.get_logger("bridge")

    async def bridge():
        logs.noted_in(Trace(records.append))
        structlog.contextvars.bind_contextvars(bridge="gate")
        async with trio.open_nursery() as session:
            session.start_soon(part)

    async def part():
        log.warning("port lost", port="x")
        log.debug("not logged, not noted")
        await trio.to_thread.run_sync(log.info, "of a thread: logged, and not noted")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge)
    log.info("of somebody else")
    assert [(r.lane, r.rule, r.data) for r in records] == [(None, "log", b"port lost port=x")]


@pytest.mark.parametrize(("level", "seen"), [("debug", "abcd"), ("info", "bcd"), ("warning", "cd"), ("error", "d")])
def test_levels(err, level, seen):
    out = err("json", level)
    log = structlog.get_logger("bridge")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert "".join(json.loads(line)["event"] for line in out.getvalue().splitlines()) == seen


def test_context(err):
    out = err("json")
    with structlog.contextvars.bound_contextvars(bridge="gate"):
        structlog.get_logger("bridge").info("x")
    assert json.loads(out.getvalue())["bridge"] == "gate"


@pytest.mark.parametrize("form", ["console", "json"])
def test_nothing_steers_the_terminal(err, form):
    out = err(form, tty=form == "console")
    evil = "\x1b[2J\r\n\u202e\x9b"
    structlog.get_logger("bridge").info("said", line=evil, error=ValueError(evil))
    text = out.getvalue()
    assert text.count("\n") == 1
    assert "[2J" in text
    for char in ("\x1b[2J", "\r", "\u202e", "\x9b"):
        assert char not in text


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_keeps_its_lines_and_nothing_else(err, form):
    out = err(form, tty=form == "console")
    try:
        raise ValueError("\x1b[2J\u202e")
    except ValueError:
        structlog.get_logger("bridge").exception("crashed")
    text = out.getvalue()
    assert "test_logs.py" in text
    assert "[2J" in text
    assert not {"\x1b[2J", "\u202e"} & {text[n : n + size] for n in range(len(text)) for size in (1, 4)}


def test_the_journal_gets_priorities(err, monkeypatch):
    with Path(os.devnull).open("w") as null:
        found = os.fstat(null.fileno())
        for stream, lead in ((f"{found.st_dev}:{found.st_ino}", "<4>{"), ("1:1", "{")):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            out = err("json", descriptor=null.fileno())
            structlog.get_logger("bridge").warning("x")
            assert out.getvalue().startswith(lead)
