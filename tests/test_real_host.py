"""A published host driver, unchanged, on the bridge: joins, fetches a page, leaves, joins again, fetches again."""

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from real_host.running import MODULES, bridge

OLDER = ("esp-at:espat-2.1", "esp-at:nonos-1.7")
DRIVE = Path(__file__).parent / "real_host" / "drive.py"
# Longer than one +IPD of ESP-AT (2920 bytes), so that the page comes in several; no '+', because the driver, which
# looks for the next +IPD in a buffer that still holds the last payload, would mistake one in the page for a message.
PAGE = bytes(random.Random(1).choices(b"abcdefghijklmnopqrstuvwxyz <>/=\"'\r\n", k=6000))


async def serve_page(stream):
    request = b""
    async with stream:
        while b"\r\n\r\n" not in request:
            piece = await stream.receive_some()
            if not piece:
                return
            request += piece
        assert request.startswith(b"GET /orchard HTTP/1.0\r\n")
        await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


@pytest.mark.deadline(150)
@pytest.mark.parametrize(("dialect", "module"), [*(("esp-at", module) for module in MODULES), *((p, "local") for p in OLDER)])
async def test_circuitpython_driver_joins_fetches_and_reconnects(dialect, module, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, serve_page, 0)
    port = listeners[0].socket.getsockname()[1]
    trace = tmp_path / "trace"
    async with bridge(tmp_path, module, trace=trace, host=dialect) as host:
        command = [sys.executable, str(DRIVE), str(host), "127.0.0.1", str(port), "/orchard", "--debug"]
        with trio.move_on_after(120):
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    output = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, output
    rounds = json.loads(done.stdout.splitlines()[-1])
    assert len(rounds) == 2
    for one in rounds:
        assert one["status"] == "HTTP/1.0 200 OK"
        assert one["length"] == len(PAGE)
        assert one["sha256"] == hashlib.sha256(PAGE).hexdigest()
        assert one["joined"]
        assert not one["joined after leaving"]
        assert one["ip"] not in {"", "0.0.0.0"}
        assert one["version"].startswith("AT version:")
    assert b"pippin-seed" not in trace.read_bytes()


def test_the_driver_is_the_published_one():
    """Nothing in this repository stands in for the driver: only what it imports from CircuitPython is stubbed."""
    found = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata as m; print(m.version('adafruit-circuitpython-esp-atcontrol'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    pinned = (Path(__file__).parent.parent / "requirements" / "host.txt").read_text()
    assert f"adafruit-circuitpython-esp-atcontrol=={found.stdout.strip()} " in pinned
