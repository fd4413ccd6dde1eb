"""The operator's first hour, as processes: install, edit, check, run, unplug and replug, read the trace; and two on one port."""

import json
import os
import signal

import pytest
from adapter import Adapter
from programs import STARTS, started, wait

READY = b"\r\nready\r\n"
ECHOED = b"AT\r\n\r\nOK\r\n"  # to AT, with the echo that a module has after power-up


@pytest.fixture
def adapter(tmp_path):
    adapter = Adapter(tmp_path / "usb-Maker_Adapter_1234-if00")
    yield adapter
    adapter.unplug(name=False)


def at_bridge(*arguments):
    """One that ends by itself: its status and what it said."""
    with started("-m", "bridge", *arguments) as child:
        out, err = child.communicate(timeout=STARTS)
    return child.returncode, (out + err).decode()


def answered(adapter, command=b"AT\r\n"):
    """The host says something, once, and has an answer."""
    adapter.say(command)
    got = bytearray()

    def final():
        got.extend(adapter.heard())
        return got.endswith((b"\r\nOK\r\n", b"\r\nERROR\r\n"))

    wait(final)
    return bytes(got)


def heard(adapter, what):
    """The host waits for what its module says by itself."""
    got = bytearray()

    def there():
        got.extend(adapter.heard())
        return what in got

    wait(there)


def test_install_edit_check_run_unplug_replug_and_read_the_trace(tmp_path, adapter):
    root, wires = tmp_path / "root", tmp_path / "wires.jsonl"
    root.mkdir()
    status, said = at_bridge("install", "--root", root, "--program", "/usr/bin/at-bridge")
    assert status == 0, said
    file = root / "etc/at-bridge/bridge.toml"
    text = file.read_text()
    for old, new in (
        ("pty:/run/at-bridge/example/host", str(adapter.link)),
        ('# trace = "/var/log/at-bridge/{bridge}/wires.jsonl"', f'trace = "{wires}"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    status, said = at_bridge("check", "-c", file)
    assert status == 0, said
    with started("-m", "bridge", "run", "-c", file, "--log-format", "json", "example", log=tmp_path / "log") as bridge:
        heard(adapter, READY)
        assert answered(adapter) == ECHOED
        assert answered(adapter, b"ATE0\r\n").endswith(b"OK\r\n")
        adapter.unplug()
        wait(lambda: "port lost" in (tmp_path / "log").read_text())
        adapter.plug()
        heard(adapter, READY)  # what a host knows of its module's state no longer holds: the module says so
        assert answered(adapter) == ECHOED
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(STARTS) == 0
    status, shown = at_bridge("trace", "show", wires, "--wide")
    assert status == 0, shown
    places = [shown.index("AT\\r\\n"), shown.index("port lost"), shown.index("port back"), shown.rindex("AT\\r\\n")]
    assert places == sorted(places)
    assert str(adapter.link) in shown
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events.count("port lost") == events.count("port back") == 1
    assert "bridge ended; it is started again" not in events


def test_a_second_process_on_the_port_is_told_who_has_it(tmp_path, adapter):
    with started("-m", "bridge", "run", f"esp-at@{adapter.link}", "local", log=tmp_path / "log") as first:
        heard(adapter, READY)
        status, said = at_bridge("run", f"esp-at@{adapter.link}", "local")
        assert status == 1
        assert said.count("\n") == 1
        assert str(adapter.link) in said
        assert "in use by " in said
        assert f"(process {first.pid}); stop that program" in said
        assert answered(adapter) == ECHOED  # the first one is none the worse
        first.send_signal(signal.SIGTERM)
        assert first.wait(STARTS) == 0


def test_a_second_process_of_a_configuration_waits_for_its_turn(tmp_path, adapter):
    file, log = tmp_path / "bridge.toml", tmp_path / "log"
    file.write_text(f'version = 1\n[bridge.a]\nupstream = "esp-at@{adapter.link}"\ndownstream = "local"\n')

    def rows():
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def refused():
        return [row for row in rows() if row["event"] == "bridge ended; it is started again"]

    with started("-m", "bridge", "run", f"esp-at@{adapter.link}", "local", log=tmp_path / "first.log") as first:
        heard(adapter, READY)
        with started("-m", "bridge", "run", "-c", file, "--log-format", "json", log=log) as second:
            (reason,) = {row["why"] for row in wait(refused)}
            assert f"(process {first.pid}); stop that program" in reason
            assert answered(adapter) == ECHOED
            first.send_signal(signal.SIGTERM)
            assert first.wait(STARTS) == 0
            heard(adapter, READY)  # the second one has the port
            assert answered(adapter) == ECHOED
            second.send_signal(signal.SIGTERM)
            assert second.wait(STARTS) == 0
    assert len([row for row in rows() if row["event"] == "bridge ready"]) == 1


def test_a_module_in_another_program_finds_its_end_of_the_line(tmp_path):
    """``pty:PATH`` on the module's side: the link is there before the module is, and goes with the bridge."""
    with started("-m", "bridge", "run", "esp-at@pty:host", "wip:c1@pty:module", cwd=tmp_path, log=tmp_path / "log") as bridge:
        wait((tmp_path / "module").is_symlink)
        module = os.open(tmp_path / "module", os.O_RDWR | os.O_NOCTTY)
        try:
            asked = b""
            while b"AT" not in asked:  # the bring-up asks the modem, whoever plays it
                asked += os.read(module, 100)
        finally:
            os.close(module)
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(STARTS) == 0, (tmp_path / "log").read_text()
    assert not list(tmp_path.glob("[hm]o*"))  # neither link is left
