"""Several bridges in one process, in virtual time: one's trouble is not the others'; the watchdog is fed by progress."""

import contextlib
import os
import socket

import pytest
import structlog
import trio

from bridge import service, supervisor
from bridge.endpoint import parse
from bridge.local.policy import Policy
from bridge.notify import Notifier
from bridge.ports import PortLost


def options(name):
    return service.Options(parse(f"esp-at@pty:{name}", side="upstream"), None, Policy(), name=name)


class Life:
    """A `run_bridge` that does what it is told, and remembers when it was started."""

    def __init__(self, monkeypatch):
        self.starts = {}
        self.contexts = {}
        self.acts = {}
        self.parts = []
        monkeypatch.setattr(supervisor, "run_bridge", self)

    async def __call__(self, options, grace, *watchers):
        self.starts.setdefault(options.name, []).append(trio.current_time())
        self.contexts[options.name] = structlog.contextvars.get_contextvars()
        async with trio.open_nursery() as session:
            for watcher in watchers:
                session.start_soon(watcher)
            for part in self.parts:
                session.start_soon(part)
            session.start_soon(self.acts.get(options.name, trio.sleep_forever))


@pytest.fixture
def life(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    return Life(monkeypatch)


async def supervised(nursery, notifier, *names):
    board = supervisor._Board(notifier, list(names))
    for name in names:
        nursery.start_soon(supervisor.supervise, options(name), service.Grace(), notifier, board)
    return board


@pytest.mark.deadline(1000)
@pytest.mark.parametrize(
    "error", [PortLost("gone"), service.ServiceError("no"), RuntimeError("a bug"), ExceptionGroup("", [ValueError()])]
)
async def test_a_failing_bridge_is_tried_again_with_back_off_and_the_other_runs_on(life, autojump_clock, error):
    async def fail():
        raise error

    life.acts["bad"] = fail
    async with trio.open_nursery() as nursery:
        await supervised(nursery, Notifier(), "bad", "good")
        begin = trio.current_time()
        await trio.sleep(200)
        nursery.cancel_scope.cancel()
    assert [round(at - begin) for at in life.starts["bad"]] == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert len(life.starts["good"]) == 1
    assert life.contexts == {"bad": {"bridge": "bad"}, "good": {"bridge": "good"}}


@pytest.mark.deadline(1000)
async def test_a_bridge_that_ran_for_long_is_started_again_at_once(life, autojump_clock):
    lives = iter([0.0, 0.0, 0.0, 100.0, 0.0])

    async def some():
        await trio.sleep(next(lives, 1e6))
        raise PortLost("gone")

    life.acts["a"] = some
    async with trio.open_nursery() as nursery:
        await supervised(nursery, Notifier(), "a")
        begin = trio.current_time()
        await trio.sleep(150)
        nursery.cancel_scope.cancel()
    assert [round(at - begin) for at in life.starts["a"]] == [0, 1, 3, 7, 108, 110]


async def test_a_crash_in_the_orderly_end_is_logged_and_hurts_nobody(life, autojump_clock):
    async def bad_end():
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("a bug in its end")

    ends = []

    async def slow_end():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ends.append("good")

    life.acts.update(bad=bad_end, good=slow_end)
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await supervised(nursery, Notifier(), "bad", "good")
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert ends == ["good"]
    assert [row["event"] for row in logs if row["log_level"] == "error"] == ["bridge crashed"]


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "8000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

        def said():
            got = []
            while True:
                try:
                    got.append(ear.recv(4096).decode())
                except BlockingIOError:
                    return got

        yield said


@pytest.mark.deadline(1000)
async def test_the_watchdog_is_fed_while_bridges_run_or_wait(life, autojump_clock, systemd):
    async def fail():
        raise PortLost("gone")

    life.acts["bad"] = fail
    async with trio.open_nursery() as nursery:
        notifier = Notifier()
        await supervised(nursery, notifier, "bad", "good")
        nursery.start_soon(notifier.feed)
        for _ in range(50):
            await trio.sleep(8)
            assert systemd().count("WATCHDOG=1") >= 2
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(1000)
async def test_a_bridge_that_is_stuck_in_its_own_end_stops_the_watchdog(life, autojump_clock, systemd):
    async def stubborn():
        with trio.CancelScope(shield=True):
            await trio.sleep(300)

    async def act():
        await trio.sleep(20)
        raise PortLost("gone")

    life.acts["a"] = act
    life.parts = [stubborn]
    async with trio.open_nursery() as nursery:
        notifier = Notifier()
        await supervised(nursery, notifier, "a", "good")
        nursery.start_soon(notifier.feed)
        await trio.sleep(19)
        assert "WATCHDOG=1" in systemd()
        await trio.sleep(10)
        systemd()
        await trio.sleep(200)
        assert "WATCHDOG=1" not in systemd()
        await trio.sleep(100)
        assert "WATCHDOG=1" in systemd()  # its end was reached at last
        nursery.cancel_scope.cancel()


async def test_what_systemd_is_told(systemd, autojump_clock):
    notifier = Notifier()
    board = supervisor._Board(notifier, ["a", "b"])
    board.put("b", "")
    board.put("a", "/dev/x: it is\nnot there")
    board.put("a", "/dev/x: it is\nnot there")  # said once
    board.put("a", "")
    assert systemd() == [
        "STATUS=1 of 2 bridges run; a: starting",
        "STATUS=1 of 2 bridges run; a: /dev/x: it is not there",
        "STATUS=2 of 2 bridges run",
    ]


@pytest.mark.parametrize(
    ("usec", "pid", "period"),
    [("8000000", "", 8.0), ("8000000", "1", None), ("", "", None), ("0", "", None), ("x", "", None), ("\u0661", "", None)],
)
def test_the_watchdog_of_somebody_else_is_not_ours(monkeypatch, usec, pid, period):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert Notifier().period == period


def test_nobody_listens(monkeypatch, tmp_path):
    for address in ("", str(tmp_path / "none"), "@nobody-at-all"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        Notifier().tell("READY=1")


def test_an_abstract_socket(monkeypatch):
    name = f"at-bridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        Notifier().tell("READY=1")
        assert ear.recv(100) == b"READY=1"


async def test_ready_is_told_again_where_systemd_is_too_busy_to_hear_it(life, autojump_clock, systemd):
    """It waits for this message, and would end the service for want of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                others.sendto(b"somebody else's", os.environ["NOTIFY_SOCKET"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor._run_all, [options("a")])
        await trio.sleep(1)
        assert "READY=1" not in systemd()
        await trio.sleep(1)
        assert systemd().count("READY=1") == 1
        await trio.sleep(10)
        assert "READY=1" not in systemd()
        nursery.cancel_scope.cancel()


async def test_the_status_counts_no_bridge_that_is_only_being_started(life, autojump_clock, systemd):
    """Its ports may take long to open, or fail each time."""
    opening = trio.Event()

    async def run(options, grace, *watchers):
        if options.name == "bad":
            await trio.sleep(5)
            raise PortLost("gone")
        await opening.wait()
        await life(options, grace, *watchers)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supervisor, "run_bridge", run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor._run_all, [options("bad"), options("good")])
            await trio.sleep(1)
            assert [line for line in systemd() if "STATUS" in line] == [
                "STATUS=0 of 2 bridges run; bad: starting; good: starting"
            ]
            opening.set()
            await trio.sleep(30)
            told = [line.partition(" (")[0] for line in systemd() if "STATUS" in line]
            assert told == [
                "STATUS=1 of 2 bridges run; bad: starting",
                "STATUS=1 of 2 bridges run; bad: the host's port is gone and is not one that comes back",
            ]
            nursery.cancel_scope.cancel()
