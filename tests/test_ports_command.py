"""``at-bridge ports``: names, identity, holders, ModemManager, and hostile descriptors of devices."""

import os
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from bridge import cli
from bridge.ports import inventory
from bridge.ports.inventory import Found


def port(device, **facts):
    info = ListPortInfo(str(device))
    for key, value in facts.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Two adapters and a plain port, with udev's links and a /proc."""
    for name in ("ttyUSB0", "ttyUSB10", "ttyUSB2"):
        (tmp_path / name).touch()
    for kind, name, device in (
        ("by-id", "usb-FTDI_A1", "ttyUSB0"),
        ("by-path", "pci-1", "ttyUSB0"),
        ("by-path", "pci-2", "ttyUSB2"),
    ):
        (tmp_path / "serial" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "serial" / kind / name).symlink_to(tmp_path / device)
    for number, comm, device in ((17, "picocom", "ttyUSB2"), (4, "ModemManager", "ttyUSB2"), (99, "other", "none")):
        (tmp_path / "proc" / str(number) / "fd").mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "comm").write_text(comm + "\n")
        (tmp_path / "proc" / str(number) / "fd" / "3").symlink_to(tmp_path / device)
    (tmp_path / "proc" / "self").mkdir()
    (tmp_path / "proc" / "55").mkdir()  # it ended, or is somebody else's
    there = [
        port(tmp_path / "ttyUSB10"),
        port(tmp_path / "ttyUSB2", vid=0x1A86, pid=0x7523, product="USB\x1b[2J Serial"),
        port(tmp_path / "ttyUSB0", vid=0x0403, pid=0x6001, serial_number="A1", product="FT232R"),
    ]
    monkeypatch.setattr(inventory.list_ports, "comports", lambda: list(there))
    return tmp_path


def test_lasting_names_and_order(bench):
    found = inventory.listed(bench / "serial")
    assert [Path(p.device).name for p in found] == ["ttyUSB0", "ttyUSB2", "ttyUSB10"]
    assert found[0].lasting == f"{bench}/serial/by-id/usb-FTDI_A1"
    assert found[1].lasting == f"{bench}/serial/by-path/pci-2"
    assert found[2].lasting == f"{bench}/ttyUSB10"
    assert [p.usb for p in found] == ["usb:0403:6001:A1", "usb:1a86:7523", ""]
    assert inventory.listed(bench / "none")[0].lasting == f"{bench}/ttyUSB0"


def test_holders_and_modem_manager(bench):
    held = inventory.holders([f"{bench}/ttyUSB2", f"{bench}/ttyUSB0"], bench / "proc")
    assert [(h.pid, h.name) for h in held[f"{bench}/ttyUSB2"]] == [(4, "ModemManager"), (17, "picocom")]
    assert held[f"{bench}/ttyUSB0"] == []
    assert inventory.modem_manager(bench / "proc")
    assert not inventory.modem_manager(bench / "none")


def test_we_see_ourselves():
    master, slave = os.openpty()
    try:
        (holder,) = [h for h in inventory.holders([os.ttyname(slave)])[os.ttyname(slave)] if h.pid == os.getpid()]
        assert holder.name
    finally:
        os.close(master)
        os.close(slave)


def test_the_command(bench, capsys, monkeypatch):
    found = inventory.listed(bench / "serial")
    held = inventory.holders([p.device for p in found], bench / "proc")
    monkeypatch.setattr(inventory, "listed", lambda: found)
    monkeypatch.setattr(inventory, "holders", lambda _: held)
    monkeypatch.setattr(inventory, "modem_manager", lambda: True)
    assert cli.main(["ports"]) == 0
    out = capsys.readouterr().out
    assert "held by    ModemManager (process 4), picocom (process 17)" in out
    assert "ModemManager runs" in out
    assert "\x1b" not in out
    assert "\\x1b[2J" in out
    assert f'upstream = "esp-at@{bench}/serial/by-id/usb-FTDI_A1"' in out
    assert f'downstream = "wip:c1@{bench}/serial/by-path/pci-2"' in out


def test_the_snippet_is_a_configuration(bench, capsys, monkeypatch, tmp_path):
    from bridge import config

    monkeypatch.setattr(inventory, "listed", lambda: [Found("/dev/x-1"), Found("/dev/x-2")])
    monkeypatch.setattr(inventory, "modem_manager", lambda: False)
    assert cli.main(["ports"]) == 0
    out = capsys.readouterr().out
    assert "ModemManager" not in out
    snippet = out[out.index("  [bridge.NAME]") :]
    (tmp_path / "c.toml").write_text("version = 1\n" + snippet)
    (options,) = config.load(tmp_path / "c.toml").bridges
    assert (options.upstream.port, options.downstream.port) == ("/dev/x-1", "/dev/x-2")


def test_no_ports(monkeypatch, capsys):
    monkeypatch.setattr(inventory, "listed", list)
    assert cli.main(["ports"]) == 0
    assert "No serial ports" in capsys.readouterr().out


def test_usb_names():
    ports = [
        Found("/dev/ttyUSB0", "/by-id/a", vid=0x0403, pid=0x6001, serial="A:1"),
        Found("/dev/ttyUSB1", vid=0x0403, pid=0x6001, serial="B"),
        Found("/dev/ttyUSB2", "", "/by-path/x", vid=0x10C4, pid=0xEA60, serial=""),
        Found("/dev/ttyS0"),
    ]
    assert inventory.resolve("/dev/x", ports) == "/dev/x"
    assert inventory.resolve("usb:0403:6001:A:1", ports) == "/by-id/a"
    assert inventory.resolve("usb:0403:6001:B", ports) == "/dev/ttyUSB1"
    assert inventory.resolve("usb:10C4:ea60", ports) == "/by-path/x"
    for name, final in (("usb:0403:6001", True), ("usb:0403:6001:", True), ("usb:0403:6002", False), ("usb:0403:6001:C", False)):
        with pytest.raises(inventory.UsbError) as caught:
            inventory.resolve(name, ports)
        assert caught.value.final is final


def test_a_usb_name_on_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(inventory.list_ports, "comports", list)
    assert cli.main(["run", "esp-at@usb:0403:6001", "local"]) == 1
    error = capsys.readouterr().err
    assert error == "at-bridge: usb:0403:6001: no such adapter is plugged in; 'at-bridge ports' lists those that are\n"
