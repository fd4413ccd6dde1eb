"""The bridge's real process between a host's pty and the module's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPEARS = 30.0  # seconds until the host's pty must be there
ENDS = 15.0
BAUD = 460800
CONFIGURED = """version = 1
[bridge.one]
upstream = "{}"
downstream = "{}"
trace = "{}"
trace_payload = true
[bridge.one.overrides.downstream]
{}
"""


@contextlib.contextmanager
def gateway(directory, profile, module, overrides=""):
    """`python -m bridge run`; gives the path of the host's pty.  Raises where the process ends by itself or badly.

    ``overrides``: rows of the module's table that its operator sets, in TOML.
    """
    path, log = directory / "host", directory / "bridge.log"
    trace = directory / "trace.jsonl"
    ends = [f"esp-at@pty:{path}", f"skt:{profile}@{module},baud={BAUD}"]
    options = [*ends, "--trace", str(trace), "--trace-payload"]
    if overrides:
        file = directory / "bridge.toml"
        file.write_text(CONFIGURED.format(*ends, trace, overrides))
        options = ["-c", str(file)]
    command = [sys.executable, "-bb", "-W", "error", "-m", "bridge", "run", *options, "-v"]
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
    try:
        until = time.monotonic() + APPEARS
        while not path.is_symlink() and child.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert path.is_symlink(), log.read_text()
        yield path
        assert child.poll() is None, f"ended by itself: {log.read_text()[-3000:]}"
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(ENDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise
    assert child.returncode == 0, f"ended with {child.returncode}: {log.read_text()[-3000:]}"
    assert "Traceback" not in log.read_text(), log.read_text()[-5000:]
