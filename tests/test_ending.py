"""How a bridge ends, as a process: at a signal in order, at a second one at once, and by itself where the order is stuck."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STARTS = 20.0  # seconds: an interpreter's start on a loaded machine

# A bridge that does not heed its cancellation.  Its Networks are known, and how long they may take.
STUCK = """\
import trio
from bridge import logs, service
from bridge.endpoint import parse
from bridge.local.policy import Policy

async def stuck(options, grace, *watchers):
    grace.seconds = {grace}
    print("up", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep(60)

logs.configure("json")
service.run_bridge = stuck
service.run(service.Options(parse("esp-at@pty:x", side="upstream"), None, Policy()))
"""


@contextmanager
def started(*arguments, cwd=ROOT):
    command = [sys.executable, "-bb", "-W", "error", *arguments]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def wait(what, seconds=STARTS):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path, number):
    with started("-m", "bridge", "run", "esp-at@pty:host", "local", "--log-format", "json", cwd=tmp_path) as child:
        wait((tmp_path / "host").is_symlink)
        at = time.monotonic()
        child.send_signal(number)
        assert child.wait(8) == 0
        assert time.monotonic() - at < 2
        assert not (tmp_path / "host").is_symlink()
        assert f'"signal": "{number.name}"'.encode() in child.stderr.read()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second):
    with started("-c", STUCK.format(grace=50)) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGTERM)
        while b'"stopping"' not in child.stderr.readline():
            assert child.poll() is None
        at = time.monotonic()
        child.send_signal(second)
        assert child.wait(5) == 128 + second
        assert time.monotonic() - at < 1


def test_an_end_that_takes_too_long_is_ended():
    with started("-c", STUCK.format(grace=0.5)) as child:
        assert child.stdout.readline() == b"up\n"
        at = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 1
        assert 1.5 <= time.monotonic() - at < 4  # its grace, and a second more
        assert b"took too long" in child.stderr.read()
