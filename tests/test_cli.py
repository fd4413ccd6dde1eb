"""The command line from the outside: statuses, one-line errors with a remedy, help that helps."""

import re
from pathlib import Path

import pytest

from bridge import cli, endpoint, service, tables
from bridge.commands.endpoint_help import ENDPOINT, HOST, MODULE

ROOT = Path(__file__).resolve().parent.parent


def run(capsys, *arguments):
    try:
        status = cli.main(list(arguments))
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def test_version_and_help(capsys):
    status, out, _ = run(capsys, "--version")
    assert (status, out.split()[0]) == (0, "at-bridge")
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for command in ("run", "simulate", "demo", "check", "test"):
        assert command in out
        status, text, _ = run(capsys, command, "--help")
        assert status == 0
        assert "examples:" in text
        for code in ("0  ", "1  ", "2  ", "78  "):
            assert code in text


COMMANDS = ("run", "simulate", "demo", "check", "ports", "trace", "install", "test")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_narrow_terminal(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    _, text, _ = run(capsys, *command.split(), "--help")
    assert [row for row in text.splitlines() if len(row) > 80] == []


@pytest.mark.parametrize("command", ["run", "simulate"])
def test_help_names_every_kind_of_port_and_every_key(capsys, command):
    _, text, _ = run(capsys, command, "--help")
    for word in ("/dev/", "usb:", "pty:", "listen:", "unix:", "rfc2217://", "socket://", "'local'"):
        assert word in text
    missing = set() if command == "run" else {"ack", *endpoint._MODULE}  # whose downstream has no keys
    for key in endpoint._CHOICES.keys() - missing:
        assert f"  {key}=" in text or f" {key}=" in text, key


def test_the_endpoints_and_keys_of_the_help_are_right():
    shown = re.findall(r"^  ((?:esp-at|wip:c1)@\S+)", ENDPOINT, re.MULTILINE)
    assert len(shown) == 9
    for text in shown:
        assert endpoint.parse(text, side="upstream" if text.startswith("esp") else "downstream").port
    keys = re.findall(r"^  (\w+=[\w.]+)", ENDPOINT + HOST, re.MULTILINE)
    assert len(keys) == 12
    for key in keys:
        assert endpoint.parse(f"esp-at@/dev/ttyUSB0,{key}", side="upstream").text
    keys = re.findall(r"^  (\w+=[\w.]+)", MODULE, re.MULTILINE)
    assert len(keys) == 3
    for key in keys:
        assert endpoint.parse(f"wip@/dev/ttyUSB0,{key}", side="downstream").text
        with pytest.raises(endpoint.EndpointError, match="put it on the downstream"):
            endpoint.parse(f"esp-at@/dev/ttyUSB0,{key}", side="upstream")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["run", "esp-at@pty:x"], "DOWNSTREAM"),
        (["run", "nonsense", "local"], "nonsense"),
        (["run", "nodialect@pty:x", "local"], "nodialect"),
        (["run", "esp-at@pty:x", "wip:c1@y", "--allow", "127.0.0.0/8"], "are for 'local'"),
        (["run", "esp-at@pty:x", "wip:c1@y", "--bind", "127.0.0.1"], "are for 'local'"),
        (["run", "esp-at@pty:x", "wip:c1@y", "--bind", ""], "are for 'local'"),
        (["run", "esp-at@pty:x", "wip:c1@y", "--listen", "80=127.0.0.1:8080"], "are for 'local'"),
        (["run", "esp-at@pty:x", "local", "--bind", "home"], "--bind home"),
        (["simulate", "wip:c1@pty:x", "--listen", "80=home"], "--listen 80=home"),
        (["run", "esp-at@pty:x", "local", "--allow", "home"], "--allow home"),
        (["run", "esp-at@pty:x", "local", "--map", "home"], "--map home"),
        (["run", "esp-at@pty:x", "local", "--trace-payload"], "needs --trace"),
        (["test", "/nonexistent.txt"], "no such file"),
    ],
)
def test_usage_errors(capsys, arguments, reason):
    status, out, error = run(capsys, *arguments)
    assert status == 2
    assert reason in error
    assert "Traceback" not in error
    assert out == ""


def test_an_error_of_ours_is_one_line(capsys):
    _, _, error = run(capsys, "run", "esp-at@pty:x", "local", "--map", "home")
    assert error.startswith("at-bridge: ")
    assert error.count("\n") == 1


def test_a_device_that_is_not_there(capsys, tmp_path):
    status, _, error = run(capsys, "run", f"esp-at@{tmp_path}/none", "local")
    assert status == 1
    assert "none" in error
    assert "Traceback" not in error


def test_a_trace_that_cannot_be_written(capsys, tmp_path):
    status, _, error = run(capsys, "run", f"esp-at@pty:{tmp_path}/h", "local", "--trace", f"{tmp_path}/no/where")
    assert status == 1
    assert "--trace" in error


def test_a_wrong_table_is_a_configuration_error(capsys, monkeypatch):
    def broken(*_):
        raise tables.TableError("mappings/x.toml: value.a: wrong; mend it")

    monkeypatch.setattr(tables, "load", broken)
    monkeypatch.setattr(tables, "names", lambda: ["esp-at"])
    monkeypatch.setattr(tables, "profiles", lambda _: ["p"])
    status, out, _ = run(capsys, "check")
    assert status == 78
    assert "mend it" in out


def test_the_tables_are_right(capsys):
    status, out, _ = run(capsys, "check")
    assert status == 0, out
    assert "esp-at:espat-2.3:" in out
    assert "wip:c1:" in out


def test_dead_rows_are_reported(capsys, monkeypatch):
    monkeypatch.setattr(tables, "unread", lambda *_: ["value.dead"])
    status, out, _ = run(capsys, "check")
    assert status == 78
    assert "value.dead: no code" in out


def test_transcripts(capsys, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("# Title: nothing\nhost > AT\n")
    status, out, _ = run(capsys, "test", str(tmp_path))
    assert status == 1
    assert "0 of 1 transcripts passed" in out
    (tmp_path / "bad.txt").unlink()
    status, _, error = run(capsys, "test", str(tmp_path))
    assert (status, "no transcripts" in error) == (2, True)


def test_what_a_lost_port_says():
    from bridge.model import Condition
    from bridge.network import NetworkError
    from bridge.ports import PortLost

    lost = ExceptionGroup("", [ExceptionGroup("", [PortLost("/dev/ttyUSB0")])])
    assert "the host's port is gone and is not one that comes back (/dev/ttyUSB0); start again" in str(service.told(lost))
    lost = ExceptionGroup("", [NetworkError(Condition.PORT_LOST, "/dev/ttyUSB1")])
    assert "the module's port is gone and is not one that comes back (/dev/ttyUSB1); start again" in str(service.told(lost))
