"""Bridges as a user starts them: `python -m bridge` processes, and waiting for what they do."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = 20.0  # seconds: an interpreter's start on a loaded machine


@contextmanager
def started(*arguments, cwd=ROOT, env=None, log=None):
    """A Python process; killed at the end, if it is still there.  ``log``: a file for its stderr instead of a pipe."""
    command = [sys.executable, "-bb", "-W", "error", *map(str, arguments)]
    with ExitStack() as stack:
        err = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
        child = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"} | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
            )
        )
        stack.callback(child.kill)
        yield child


def wait(what, seconds=STARTS):
    """What ``what`` gives, once it gives something."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def ask(path, command=b"AT\r\n"):
    """What a host at this terminal is answered, up to OK."""
    host = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(host, command)
        got = b""
        while not got.endswith(b"OK\r\n"):
            got += os.read(host, 100)
        return got
    finally:
        os.close(host)
