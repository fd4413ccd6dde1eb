"""`at-bridge demo` does the main job on a machine without hardware, shows it, and fails where any of it was wrong."""

import os
import select
import signal
import subprocess
import sys
import time
import tty
from pathlib import Path

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


def test_a_demo_that_is_kept_answers_until_a_signal():
    command = [sys.executable, "-bb", "-m", "bridge", "demo", "--keep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            shown = b""
            until = time.monotonic() + 60
            while b"--eol CRLF " not in shown or not shown.endswith(b"\n"):
                assert time.monotonic() < until, shown[-2000:]
                assert child.poll() is None, shown[-2000:]
                if select.select([child.stdout], [], [], 1)[0]:
                    shown += os.read(child.stdout.fileno(), 65536)
            path = shown.rsplit(b"--eol CRLF ", 1)[1].strip().decode()
            host = os.open(path, os.O_RDWR | os.O_NOCTTY)
            try:
                tty.setraw(host)
                for text in (b"AT\r\n", b"AT+CIPMUX?\r\n") * 5:  # nobody else reads at this terminal
                    os.write(host, text)
                    got = b""
                    while not got.endswith(b"OK\r\n"):
                        assert select.select([host], [], [], 5)[0], got
                        got += os.read(host, 4096)
            finally:
                os.close(host)
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 0
            assert not Path(path).parent.exists()
            assert b"Traceback" not in child.stderr.read()
        finally:
            child.kill()
