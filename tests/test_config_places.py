"""What two bridges of one configuration must not share: ports, listening places, traces; and ports that are none."""

import os

import pytest
from config_files import ONE, TWO, load, wrong

from bridge import config
from bridge.ports import inventory

__all__ = ["load", "wrong"]  # fixtures


@pytest.fixture
def terminal(tmp_path):
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_two_bridges_on_one_port(wrong, terminal, tmp_path):
    (tmp_path / "by-id").symlink_to(terminal)
    wrong(TWO.format(terminal, terminal), "bridge.b.downstream: ", "is the port of bridge.a.upstream, too")
    wrong(TWO.format(terminal, "by-id"), "bridge.b.downstream: by-id is the port of bridge.a.upstream, too")
    wrong(TWO.format("by-id", f"{tmp_path}/by-id"), "is the port of bridge.a.upstream, too")


def test_two_bridges_on_one_port_that_is_not_there_yet(wrong, load):
    wrong(TWO.format("/dev/x-none", "/dev/./x-none"), "is the port of bridge.a.upstream, too")
    assert "not there now" in load(TWO.format("/dev/x-none", "/dev/x-other")).warnings[0]


def test_two_bridges_publish_one_link(wrong, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "e").symlink_to("d")
    wrong(
        TWO.format("pty:d/x", "modem").replace("pty:b", "pty:e/x"),
        "bridge.b.upstream: pty:e/x is the port of bridge.a.upstream, too",
    )


def test_a_chain_of_bridges_is_no_conflict(load):
    assert len(load(TWO.format("pty:modem", "modem")).bridges) == 2


def test_a_port_that_is_a_directory_or_a_file(wrong, tmp_path):
    wrong(ONE.replace("pty:host", str(tmp_path)), f"bridge.gate.upstream: {tmp_path} is a directory; name the device")
    wrong(ONE.replace("pty:host", f"pty:{tmp_path}"), f"bridge.gate.upstream: {tmp_path} is a directory; name what is to be made")
    wrong(ONE.replace("pty:host", f"unix:{tmp_path}"), "is a directory")
    (tmp_path / "f").touch()
    wrong(ONE.replace("pty:host", "f"), "bridge.gate.upstream: f is not a serial device")


def _port(device, serial, vid, pid):
    from serial.tools.list_ports_common import ListPortInfo

    info = ListPortInfo(device)
    info.vid, info.pid, info.serial_number = vid, pid, serial
    return info


def test_usb_names(wrong, load, terminal, monkeypatch):
    there = [_port(terminal, "A1", 0x0403, 0x6001), _port("/dev/x-other", "A2", 0x0403, 0x6001)]
    monkeypatch.setattr(inventory.list_ports, "comports", lambda: there)
    wrong(ONE.replace("pty:host", "usb:0403:6001"), "bridge.gate.upstream: ", "means 2 ports", "add its SERIAL")
    wrong(ONE.replace("pty:host", "usb:403:6001"), "is no USB name; write usb:VID:PID")
    wrong(TWO.format("usb:0403:6001:A1", terminal), "is the port of bridge.a.upstream, too")
    assert load(ONE.replace("pty:host", "usb:0403:6001:A1")).warnings == ()
    assert "no such adapter is plugged in" in load(ONE.replace("pty:host", "usb:0403:6001:A3")).warnings[0]
    wrong(TWO.format("usb:0403:6001:A3", "usb:0403:6001:A3"), "is the port of bridge.a.upstream, too")


def test_two_hosts_that_listen_at_one_place(wrong, load):
    two = TWO.replace('"wip@{}"', '"local"').format("pty:a") + '[bridge.b.local]\nlisten = {{ 80 = "{}" }}\n'
    two = two + '[bridge.a.local]\nlisten = {{ 80 = "{}" }}\n'
    for one, other in (
        ("192.0.2.1:8080", "192.0.2.1:8080"),
        ("0.0.0.0:8080", "192.0.2.1:8080"),
        ("192.0.2.1:8080", "0.0.0.0:8080"),
    ):
        wrong(
            two.format(one, other),
            "bridge.b.local.listen.80: port-in-use: ",
            "bridge.a.local.listen.80, too; give each its own",
        )
    assert load(two.format("192.0.2.1:8080", "192.0.2.2:8080"))
    wrong(two.format("192.0.2.1:8080", "192.0.2.1:5").replace("pty:a", "listen:0.0.0.0:8080"), "port-in-use: 192.0.2.1:8080")
    wrong(TWO.format("listen:127.0.0.1:5000", "listen:127.0.0.1:5000"), "port-in-use: 127.0.0.1:5000")
    assert load(TWO.format("listen:127.0.0.1:0", "listen:127.0.0.1:0"))
    assert load(two.format("192.0.2.1:8080", "192.0.2.1:8081"))
    wrong(ONE + '[local]\nlisten = { 80 = "192.0.2.1:8080", 81 = "192.0.2.1:8080" }\n', "port-in-use")


# ---------------------------------------------------------------- traces


def test_traces_that_cannot_be_written(wrong, tmp_path, load, monkeypatch):
    wrong(ONE + 'trace = "no/where"\n', "bridge.gate.trace: there is no directory", "create it")
    (tmp_path / "d").mkdir()
    wrong(ONE + 'trace = "d"\n', "is not a regular file")
    (tmp_path / "l").symlink_to("elsewhere")
    wrong(ONE + 'trace = "l"\n', "is not a regular file")
    monkeypatch.setattr(config.os, "access", lambda *_: False)
    wrong(ONE + 'trace = "d/t"\n', f"the directory {tmp_path}/d cannot be written to")


def test_two_bridges_with_one_trace(wrong, load):
    two = TWO.format("pty:a", "m") + '[defaults]\ntrace = "{}"\n'
    wrong(two.format("t"), "bridge.b.trace: bridge.a writes to", "with {bridge} in the name")
    assert {o.trace.name for o in load(two.replace("{}", "{bridge}.t")).bridges} == {"a.t", "b.t"}


def test_the_folder_that_the_unit_makes_may_be_missing(load):
    found = load(ONE + 'trace = "/var/log/at-bridge/gate/wires.jsonl"\n')
    assert "the unit makes it" in found.warnings[0]
