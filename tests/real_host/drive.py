"""Run the published CircuitPython driver as a host: join, fetch a page, leave; then all of it again.

Runs in a process of its own, so that the stubs never shadow anything in the tests' interpreter:
``drive.py DEVICE ADDRESS PORT PATH``.  Its last line is JSON: a list with one object per round.

The driver is used as it was published.  One of its calls cannot be used on CPython: `remote_AP` while joined calls
``bytes.startswith(str)``, which CircuitPython allows and CPython does not; so nothing here joins while joined.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "stubs"))

import busio  # a stub
from adafruit_espatcontrol import adafruit_espatcontrol as driver
from adafruit_espatcontrol import adafruit_espatcontrol_socket as pool

QUIET = 15.0  # seconds without a byte after which the page is given up


def fetch(address, port, path):
    link = pool.socket()
    link.settimeout(1)
    link.connect((address, port), "TCP")
    link.send(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
    answer = b""
    last = time.monotonic()
    while time.monotonic() - last < QUIET:
        if piece := bytes(link.recv()):
            answer += piece
            last = time.monotonic()
        head, gap, body = answer.partition(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if gap and lengths and len(body) >= int(lengths[0].split(b":")[1]):
            link.close()
            return head.split(b"\r\n")[0].decode(), body
    raise SystemExit(f"no whole page within {QUIET} s; so far {answer!r}")


def main(device, address, port, path):
    esp = driver.ESP_ATcontrol(busio.UART(device), 115200, debug="--debug" in sys.argv)
    pool.set_interface(esp)
    rounds = []
    for _ in range(2):
        esp.connect({"ssid": "orchard", "password": "pippin-seed"})
        status, body = fetch(address, int(port), path)
        rounds.append(
            {
                "ip": esp.local_ip,
                "version": esp.version,
                "status": status,
                "length": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
                "joined": esp.is_connected,
            }
        )
        esp.disconnect()
        rounds[-1]["joined after leaving"] = esp.status in {2, 3, 4}
    sys.stdout.write(json.dumps(rounds) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:5])
