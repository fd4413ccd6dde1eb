"""The configuration: what it may say, and what the command line says of a wrong one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from config_files import ONE, load, secret

from bridge import cli, config
from bridge.model import HostSettings, Wire

__all__ = ["load"]  # fixtures

ROOT = Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------- what it may say


def test_ten_lines_are_enough(load):
    (options,) = load(ONE).bridges
    assert options.name == "gate"
    assert options.upstream.pty_path == "host"
    assert options.downstream is None
    assert options.upstream.host == HostSettings()
    assert options.trace is None


def test_every_key(load, tmp_path):
    secret(tmp_path / "secrets" / "wifi")
    (options,) = load(
        """\
version = 1
[defaults]
trace = "{bridge}.jsonl"
joined_at_start = true
[defaults.limits]
connect = 7
payload = 30.5
[local]
allow = ["127.0.0.0/8"]
bind = "192.0.2.1"
listen = { 80 = "192.0.2.1:8080", 81 = "192.0.2.1:8081" }
[bridge.gate]
upstream = "esp-at:espat-2.3@/dev/x-none,baud=9600"
downstream = "local"
joined_at_start = false
announce = false
quirks = true
ssid = "plant"
password_file = "credential:wifi"
reset_on = "!dsr"
trace_payload = true
[bridge.gate.limits]
connect = 5
[bridge.gate.local]
map = { "198.51.100.7" = "127.0.0.1" }
listen = { 80 = "192.0.2.2:8090" }
[bridge.gate.overrides.upstream]
refusal = [{ condition = "no-free-link", text = "busy p..." }]
"""
    ).bridges
    host = options.upstream.host
    assert host == HostSettings(
        announce=False,
        quirks=True,
        joined_at_start=False,
        ssid="plant",
        password="hush",
        reset_on=Wire.DSR,
        reset_level=False,
        connect=5.0,
        payload=30.5,
    )
    assert options.upstream.baud == 9600
    assert (options.trace, options.trace_payload) == (tmp_path / "gate.jsonl", True)
    assert [str(network) for network in options.policy.allow] == ["127.0.0.0/8"]
    assert {port: (str(address), at) for port, (address, at) in options.policy.listen.items()} == {
        80: ("192.0.2.2", 8090),
        81: ("192.0.2.1", 8081),
    }
    assert str(options.policy.bind) == "192.0.2.1"


def test_the_secret_is_in_no_repr(load, tmp_path):
    secret(tmp_path / "pw", "Xq7-hush\n")
    found = load(ONE + 'ssid = "plant"\npassword_file = "pw"\n')
    assert found.bridges[0].upstream.host.password == "Xq7-hush"
    assert "Xq7-hush" not in repr(found)
    assert "Xq7-hush" not in str(found.bridges[0].about())


def test_names_choose_bridges(load):
    found = load(ONE + '[bridge.b]\nupstream = "esp-at@pty:b"\ndownstream = "local"\n')
    assert [o.name for o in found.choose([])] == ["gate", "b"]
    assert [o.name for o in found.choose(["b"])] == ["b"]
    assert [o.name for o in found.choose(["b", "b"])] == ["b"]
    with pytest.raises(config.ConfigError, match=r"bridge\.gat: there is no such bridge; did you mean gate\?"):
        found.choose(["gat"])


def test_the_shipped_example_passes(capsys):
    assert cli.main(["check", "-c", str(ROOT / "systemd" / "bridge.toml")]) == 0
    out = capsys.readouterr().out
    assert "example: esp-at:" in out


def test_the_example_is_right_with_every_comment_taken_away(load, tmp_path):
    text = (ROOT / "systemd" / "bridge.toml").read_text()
    secret(tmp_path / "secrets" / "plant")
    secret(tmp_path / "secrets" / "operator")
    secret(tmp_path / "secrets" / "pin", "1234\n")
    live = re.sub(r"(?m)^# (?=\[bridge|[a-z_.]+ = )", "", text)
    assert live.count("\n# ") < text.count("\n# ") - 15
    found = load(live)
    assert [o.name for o in found.bridges] == ["example", "meter-1", "camera"]
    assert found.bridges[1].downstream_table.seconds("guard") == 1.5
    assert found.bridges[1].downstream_table.time["guard"].source.startswith("configuration ")
    assert found.bridges[1].downstream.module.apn == "internet"
    assert found.bridges[1].downstream.module.pin == "1234"
    assert found.bridges[2].upstream.host.joined_at_start


# ---------------------------------------------------------------- the command line


def run(capsys, *arguments):
    status = cli.main(list(arguments))
    return status, *capsys.readouterr()


def test_check_tells_all_and_says_78(capsys, tmp_path):
    file = tmp_path / "b.toml"
    file.write_text(ONE + "x = 1\ny = 2\n")
    status, out, _ = run(capsys, "check", "-c", str(file))
    assert status == 78
    assert out.count("unknown key") == 2
    assert out.endswith("2 problems\n")
    status, out, _ = run(capsys, "check", "-c", str(tmp_path / "none"))
    assert (status, "cannot be read" in out) == (78, True)


def test_run_refuses_a_wrong_configuration_with_78_and_options_of_the_other_form_with_2(capsys, tmp_path):
    file = tmp_path / "b.toml"
    file.write_text(ONE + "x = 1\n")
    status, _, error = run(capsys, "run", "-c", str(file))
    assert (status, error.count("\n")) == (78, 1)
    file.write_text(ONE)
    status, _, error = run(capsys, "run", "-c", str(file), "nobody")
    assert (status, "bridge.nobody: there is no such bridge" in error) == (78, True)
    for option in (["--trace", "x"], ["--allow", "127.0.0.0/8"], ["--bind", "127.0.0.1"]):
        status, _, error = run(capsys, "run", "-c", str(file), *option)
        assert (status, f"{option[0]} and -c exclude each other" in error) == (2, True)


def test_hostile_names_cannot_steer_the_terminal(capsys, tmp_path):
    file = tmp_path / "b.toml"
    file.write_text(ONE + '"\\u001b[31m" = 1\n')
    status, out, _ = run(capsys, "check", "-c", str(file))
    assert (status, "\x1b" in out) == (78, False)


def test_no_secret_reaches_a_process_list():
    help_text = subprocess.run(
        [sys.executable, "-m", "bridge", "run", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"--\S*(password|pin|secret)", help_text)
