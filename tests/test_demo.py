"""`at-bridge demo` does the main job on a machine without hardware, shows it, and fails where any of it was wrong."""

import os
import subprocess
import sys

import pytest
import trio


@pytest.mark.deadline(90)
async def test_the_demo_shows_both_wires_and_all_of_it_is_right():
    command = [sys.executable, "-bb", "-m", "bridge", "demo"]
    done = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, env=os.environ | {"COLUMNS": "160"}
    )
    shown = done.stdout.decode()
    assert done.returncode == 0, shown[-3000:]
    assert "host   > AT+CIPSTART=0," in shown
    assert "module < AT+WIPCREATE=2,1," in shown
    assert "WRONG" not in shown
    assert "not a secret" not in shown  # the Wi-Fi password, in a command and in its echo
