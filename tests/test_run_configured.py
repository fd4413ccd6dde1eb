"""``run -c`` as a process: several bridges, one of which never can; its log, its trace, what systemd hears, its end."""

import contextlib
import json
import os
import re
import signal
import socket
import time

from programs import STARTS, ask, started, wait

CONFIGURATION = """\
version = 1
[defaults]
trace = "{bridge}.jsonl"
[bridge.good]
upstream = "esp-at@pty:good"
downstream = "local"
ssid = "plant"
password_file = "pw"
[bridge.bad]
upstream = "esp-at@/dev/there-is-no-such-port"
downstream = "local"
[bridge.unused]
upstream = "esp-at@pty:unused"
downstream = "local"
"""

PASSWORD = "Xq7-not-for-logs"


def test_one_that_fails_does_not_end_the_other(tmp_path):
    (tmp_path / "bridge.toml").write_text(CONFIGURATION)
    (tmp_path / "pw").write_text(PASSWORD)
    (tmp_path / "pw").chmod(0o600)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(10)
        systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        arguments = ("run", "-c", "bridge.toml", "--log-format", "json", "good", "bad")
        with started("-m", "bridge", *arguments, cwd=tmp_path, env=systemd) as process:
            wait((tmp_path / "good").is_symlink)
            ask(tmp_path / "good")
            heard = []
            while "WATCHDOG=1" not in heard or "READY=1" not in heard or len(heard) < 6:
                heard.append(ear.recv(4096).decode())
            process.send_signal(signal.SIGTERM)
            assert process.wait(STARTS) == 0
            rows = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert any("STATUS=1 of 2 bridges run; bad: /dev/there-is-no-such-port: " in line for line in heard)
    ready = [row for row in rows if row["event"] == "bridge ready"]
    assert [row["bridge"] for row in ready] == ["good"]
    failed = [row for row in rows if row["event"].startswith("bridge ended")]
    assert failed
    assert {row["bridge"] for row in failed} == {"bad"}
    assert not (tmp_path / "good").is_symlink()
    assert not (tmp_path / "unused.jsonl").exists()
    head, *records = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    assert (head["trace"], head["bridge"], head["upstream"]["dialect"]) == (1, "good", "esp-at")
    assert any(row.get("data") == "AT\\r\\n" for row in records)
    for path in tmp_path.glob("*.jsonl"):
        assert PASSWORD not in path.read_text()
    assert PASSWORD not in json.dumps(rows)


def test_a_password_of_the_host_is_in_no_log_and_no_trace(tmp_path):
    """Whole, in pieces, in echoes, and in lines that cannot be understood."""
    (tmp_path / "bridge.toml").write_text(
        'version = 1\n[bridge.a]\nupstream = "esp-at@pty:host"\ndownstream = "local"\ntrace = "wires"\ntrace_payload = true\n'
    )
    joins = [
        f'AT+CWJAP="plant","{PASSWORD}"',
        f'AT+CWJAP="plant","{PASSWORD}",,1',
        f'AT+CWJAP="plant","{PASSWORD}',
        f'AT+CWJAP=plant,"{PASSWORD}"',
        f'AT+CWJAPX="plant","{PASSWORD}"',
        f'at+cwjap="plant","{PASSWORD}"',
        f'AT+CWJAP_CUR="plant","{PASSWORD}"',
        f'AT+CWSAP="ap","{PASSWORD}",5,3',
        f'T+CWJAP="plant","{PASSWORD}"',
    ]
    # Its log is longer than a pipe holds while nobody reads.
    arguments = ("run", "-c", "bridge.toml", "--log-level", "debug", "--log-format", "json")
    with started("-m", "bridge", *arguments, cwd=tmp_path, log=tmp_path / "log") as process:
        wait((tmp_path / "host").is_symlink)
        host = os.open(tmp_path / "host", os.O_RDWR | os.O_NOCTTY)
        os.set_blocking(host, False)
        answered = b""
        for join in joins:
            for size in (len(join), 7):
                for start in range(0, len(join), size):
                    os.write(host, join[start : start + size].encode())
                    time.sleep(0.002)
                os.write(host, b"\r\n")
                until = time.monotonic() + 3
                got = b""
                while not re.search(rb"(OK|ERROR|FAIL|busy p\.\.\.)\r\n$", got) and time.monotonic() < until:
                    time.sleep(0.01)
                    with contextlib.suppress(BlockingIOError):
                        got += os.read(host, 4096)
                answered += got
        os.close(host)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STARTS) == 0
    log = (tmp_path / "log").read_text()
    assert PASSWORD.encode() in answered  # the host has its echo, unmasked
    trace = (tmp_path / "wires").read_text()
    assert trace.count("CWJAP") >= 10
    commands = [row for row in map(json.loads, log.splitlines()) if row["event"] == "command"]
    assert len(commands) >= 2 * len(joins)  # one a line
    assert sum("CWJAP" in row["verb"] for row in commands) >= 10
    assert {row["bridge"] for row in commands} == {"a"}
    for text in (trace, log):
        for part in (PASSWORD, PASSWORD[:8], PASSWORD[-8:]):
            assert part not in text, text[max(0, text.index(part) - 300) :][:400]
