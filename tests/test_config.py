"""The configuration: what it may say, and what every wrong one is told: file, key path, problem, remedy."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import cli, config, dialects, secret_files
from bridge.dialects.esp_at.lines import Mask
from bridge.model import HostSettings, Wire
from bridge.ports import inventory

ROOT = Path(__file__).resolve().parent.parent

ONE = """\
version = 1
[bridge.gate]
upstream = "esp-at@pty:host"
downstream = "local"
"""

SERIAL = ONE.replace("pty:host", "/dev/x-none")


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(inventory.list_ports, "comports", list)

    def load(text, folder=tmp_path):
        file = folder / "bridge.toml"
        file.write_text(text)
        return config.load(file)

    return load


@pytest.fixture
def wrong(load, tmp_path):
    def wrong(text, *said):
        """The one problem of this text, without the file's name."""
        with pytest.raises(config.ConfigError) as caught:
            load(text)
        lines = str(caught.value).splitlines()
        for line in lines:
            assert line.startswith(f"{tmp_path}/bridge.toml: "), line
            assert re.search(r"; \S", line), f"no remedy: {line}"
        assert len(lines) == 1, lines
        line = lines[0].removeprefix(f"{tmp_path}/bridge.toml: ")
        for part in said:
            assert part in line
        return line

    return wrong


def secret(path, text="hush\n", mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


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


# ---------------------------------------------------------------- what is wrong, in one line each


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ONE.replace("version = 1\n", ""), ["version: is missing; write version = 1"]),
        (ONE.replace("version = 1", "version = 2"), ["version: 2 is not known here"]),
        (ONE.replace("version = 1", "version = true"), ["version: "]),
        ("version = 1\n", ["bridge: there is no bridge"]),
        ("version = 1\nbridge = 3\n", ["bridge: is a number where a table is needed; write a table"]),
        ("version = 1\n[bridge]\ngate = 3\n", ["bridge.gate: is not a table; write [bridge.gate]"]),
        (ONE + "[locl]\n", ["locl: unknown key; did you mean local?"]),
        (ONE + "[defaults]\nupstream = 'x'\n", ["defaults.upstream: unknown key"]),
        (ONE + "joined_at_strat = true\n", ["bridge.gate.joined_at_strat: unknown key; did you mean joined_at_start?"]),
        (ONE + "[bridge.gate.limits]\nconect = 1\n", ["bridge.gate.limits.conect: unknown key; did you mean connect?"]),
        (ONE + "[defaults.limits]\nconnect = 0\n", ["defaults.limits.connect: 0.0 is no limit"]),
        (ONE + "[bridge.gate.limits]\nconnect = nan\n", ["bridge.gate.limits.connect: nan is no limit"]),
        (ONE + "[bridge.gate.limits]\npayload = -1\n", ["bridge.gate.limits.payload"]),
        (
            ONE + '[bridge.gate.limits]\npayload = "1"\n',
            ["bridge.gate.limits.payload: is a text where a number is needed; write a number"],
        ),
        (
            ONE + "joined_at_start = 1\n",
            ["bridge.gate.joined_at_start: is a number where true or false is needed; write true or false"],
        ),
        (SERIAL + 'reset_on = "dsx"\n', ["bridge.gate.reset_on: reset_on cannot be 'dsx'; did you mean reset_on=dsr?"]),
        (SERIAL + 'reset_on = "!break"\n', ["bridge.gate.reset_on: reset_on cannot be '!break'"]),
        (SERIAL + 'reset_on = "dsr,joined=yes"\n', ["bridge.gate.reset_on: "]),
        (ONE + 'reset_on = "dsr"\n', ["bridge.gate.reset_on: a pty has no reset_on"]),
        (
            SERIAL.replace("none", "none,flow=rtscts") + 'reset_on = "cts"\n',
            ["bridge.gate.reset_on: flow=rtscts needs that wire"],
        ),
        (
            SERIAL.replace("none", "none,connect=3") + "[bridge.gate.limits]\nconnect = 4\n",
            ["limits.connect: is given in upstream, too"],
        ),
        (
            SERIAL.replace("none", "none,reset_on=cts") + 'reset_on = "dsr"\n',
            ["bridge.gate.reset_on: reset_on= is given twice; leave one out"],
        ),
        (ONE + 'ssid = ""\n', ["bridge.gate.ssid: '' is no network name"]),
        (ONE + f'ssid = "{"x" * 33}"\n', ["bridge.gate.ssid: "]),
        (
            ONE.replace("@pty:host", "@pty:host,joined=yes") + "joined_at_start = true\n",
            ["joined_at_start: is given in upstream, too"],
        ),
        (ONE.replace('"local"', "7"), ["bridge.gate.downstream: is a number where a text is needed; write it in quotes"]),
        (ONE.replace("esp-at@pty:host", "esp-at"), ["bridge.gate.upstream: ", "there is no '@'"]),
        (ONE.replace("esp-at@", "esp-bt@"), ["bridge.gate.upstream: no dialect 'esp-bt'", "did you mean esp-at?"]),
        (ONE.replace("esp-at@", "esp-at:nonos-17@"), ["bridge.gate.upstream: esp-at has no profile 'nonos-17'"]),
        (ONE.replace('"local"', '"wip:c2@x"'), ["bridge.gate.downstream: wip has no profile 'c2'"]),
        (ONE.replace("bridge.gate", 'bridge."a b"'), ["bridge.a b: is no name"]),
        (ONE.replace("bridge.gate", 'bridge."../x"'), ["bridge.../x: is no name"]),
        (ONE + '[local]\nallow = ["home"]\n', ["local.allow: home: "]),
        (ONE + '[bridge.gate.local]\nallow = ["home"]\n', ["bridge.gate.local.allow: home: "]),
        (ONE + "[local]\nallow = [1]\n", ["local.allow: is a number where a text is needed (at [0] in it)"]),
        (ONE + '[local]\nmap = { "1.2.3.4" = "x" }\n', ["local.map: 1.2.3.4=x"]),
        (ONE + '[local]\nbind = "lan"\n', ["local.bind: lan"]),
        (ONE + '[local]\nlisten = { 80 = "192.0.2.1" }\n', ["local.listen: 80=192.0.2.1"]),
        (
            ONE.replace('"local"', '"wip@x"') + "[bridge.gate.local]\nallow = []\n",
            ["bridge.gate.local: the module's own network"],
        ),
        (ONE + "trace_payload = true\n", ["bridge.gate.trace_payload: there is no trace"]),
        (ONE + '[bridge.gate.module]\napn = "internet"\n', ["bridge.gate.module.apn: the gateway's own network needs none"]),
        (
            ONE.replace('"local"', '"wip@x"') + "[bridge.gate.module]\napm = 1\n",
            ["bridge.gate.module.apm: unknown key; did you mean apn?"],
        ),
    ],
)
def test_one_problem_one_line(wrong, text, said):
    wrong(text, *said)


def test_all_problems_are_told_at_once(load):
    bridges = '[bridge.a]\nupstream = 1\n[bridge.b]\ndownstream = "local"\n[bridge.c]\ndonwstream = "local"\n'
    with pytest.raises(config.ConfigError) as caught:
        load("version = 1\n[defaults]\nx = 1\n" + bridges)
    told = str(caught.value).splitlines()
    assert any(line.endswith("bridge.c.donwstream: unknown key; did you mean downstream?") for line in told)
    paths = [line.split(": ")[1] for line in told[:4]]
    assert paths == ["defaults.x", "bridge.a.upstream", "bridge.a.downstream", "bridge.b.upstream"]


def test_ports_are_looked_at_where_other_keys_are_wrong(load):
    with pytest.raises(config.ConfigError) as caught:
        load(ONE.replace("pty:host", "/dev") + "announce = 1\n[bridge.gate.limits]\nconnect = 0\n[local]\nallow = ['x']\n")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["bridge.gate.announce"]
    with pytest.raises(config.ConfigError) as caught:
        load(ONE.replace("pty:host", "/dev") + "[bridge.gate.limits]\nconnect = 0\n[local]\nallow = ['x']\n")
    paths = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert paths == ["bridge.gate.limits.connect", "local.allow", "bridge.gate.upstream"]


def test_what_is_wrong_among_the_defaults_is_told_once_and_there(wrong):
    two = TWO.format("pty:a", "m")
    wrong(two + '[defaults]\npassword_file = "none"\nssid = "x"\n', "defaults.password_file: cannot read")
    wrong(two + '[defaults]\nssid = ""\n', "defaults.ssid: ")
    wrong(two + '[defaults]\ntrace = "no/{bridge}"\n', "defaults.trace: there is no directory")


def test_the_upstreams_text_goes_before_the_defaults(load):
    text = SERIAL.replace("none", "none,joined=yes,reset_on=!cts,connect=3")
    host = load(text + "[defaults]\njoined_at_start = false\n[defaults.limits]\nconnect = 4\npayload = 5\n")
    host = host.bridges[0].upstream.host
    assert (host.joined_at_start, host.reset_on, host.reset_level) == (True, Wire.CTS, False)
    assert (host.connect, host.payload) == (3.0, 5.0)


def test_defaults_for_modules_are_not_for_local(load):
    assert load(ONE + '[defaults.module]\napn = "internet"\n').bridges


@pytest.mark.parametrize(
    "text",
    [
        ONE + ONE.removeprefix("version = 1\n"),  # the same name twice
        ONE + 'downstream = "local"\n',
        "version = ",
        "\udcff",
        "[" * 5000,
        "a = " + "[" * 5000,
    ],
)
def test_what_is_no_toml(tmp_path, text):
    file = tmp_path / "bridge.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "; " in str(caught.value)


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "none", "."):
        with pytest.raises(config.ConfigError, match=r"; "):
            config.load(tmp_path / name)


def test_keys_of_the_module_that_its_driver_does_not_use_are_refused_with_the_reason(wrong, tmp_path, monkeypatch, load):
    monkeypatch.setattr(dialects.downstream("wip"), "module_keys", (), raising=False)
    text = ONE.replace('"local"', '"wip@modem"') + '[bridge.gate.module]\napn = "internet"\n'
    wrong(text, "bridge.gate.module.apn: the wip driver does not use it yet")
    monkeypatch.setattr(dialects.downstream("wip"), "module_keys", ("apn", "pin_file"))
    assert load(text).bridges
    secret(tmp_path / "pin", "1234\n", 0o644)
    wrong(text + 'pin_file = "pin"\n', "bridge.gate.module.pin_file", "can be read by others")


# ---------------------------------------------------------------- ports


TWO = """\
version = 1
[bridge.a]
upstream = "esp-at@{}"
downstream = "local"
[bridge.b]
upstream = "esp-at@pty:b"
downstream = "wip@{}"
"""


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


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o601, 0o777])
def test_a_secret_that_others_can_read(wrong, tmp_path, mode):
    secret(tmp_path / "pw", mode=mode)
    line = wrong(ONE + 'ssid = "x"\npassword_file = "pw"\n', "bridge.gate.password_file", "can be read by others", "chmod 0600")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hush\nhush\n", "more than one line"),
        (b"hu\0sh\n", "more than one line"),
        (b"h" * 2000, "more than one line"),
        (b"hush\xff\n", "is not UTF-8"),
    ],
)
def test_a_secret_that_is_none(wrong, tmp_path, data, said):
    secret(tmp_path / "pw").write_bytes(data)
    line = wrong(ONE + 'ssid = "x"\npassword_file = "pw"\n', "bridge.gate.password_file", said)
    assert "hush" not in line


def test_secrets_that_cannot_be_read(wrong, tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    text = ONE + 'ssid = "x"\npassword_file = "{}"\n'
    wrong(text.format("fifo"), "is not a regular file")
    wrong(text.format("none"), "cannot read", "create it, with mode 0600")
    wrong(text.format("/"), "is not a regular file")
    wrong(text.format("credential:../x"), "'../x' is no name of a credential")
    wrong(text.format("credential:x"), "secrets/x", "create it")


def test_unreadable_for_this_user(tmp_path, monkeypatch):
    secret(tmp_path / "pw")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(secret_files.os, "open", refuse)
    with pytest.raises(secret_files.SecretError, match="Permission denied"):
        secret_files.read(tmp_path / "pw")


def test_a_password_without_a_network(wrong, tmp_path):
    secret(tmp_path / "pw")
    wrong(ONE + 'password_file = "pw"\n', "bridge.gate.password_file: belongs to a network that is not named")


def test_credentials_of_systemd(load, tmp_path, monkeypatch):
    secret(tmp_path / "run" / "secrets_wifi", "from systemd")
    secret(tmp_path / "secrets" / "wifi", "by hand\r\n")
    text = ONE + 'ssid = "x"\npassword_file = "credential:wifi"\n'
    assert load(text).bridges[0].upstream.host.password == "by hand"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "run"))
    assert load(text).bridges[0].upstream.host.password == "from systemd"


@pytest.mark.parametrize(
    ("entries", "opens"),
    [
        ([(1, 6, 0), (2, 4, None), (4, 0, 0), (16, 4, 0), (32, 0, 0)], False),  # what systemd sets: its user may read
        ([(1, 6, 0), (2, 4, 12345), (4, 0, 0), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (2, 4, None), (4, 4, 0), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (4, 0, 0), (8, 4, 5), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (4, 0, 0), (16, 4, 0), (32, 4, 0)], True),
    ],
)
def test_access_control_lists(entries, opens):
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, os.geteuid() if owner is None else owner) for tag, bits, owner in entries
    )
    assert secret_files._acl_opens(acl) is opens
    assert secret_files._acl_opens(acl[:-1])
    assert secret_files._acl_opens(b"")


def test_a_credential_as_systemd_leaves_it(tmp_path, monkeypatch):
    """Mode 0440 by its mask, and yet for one user alone; on a real file."""
    path = secret(tmp_path / "pw", "hush", 0o400)
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, owner)
        for tag, bits, owner in ((1, 4, 2**32 - 1), (2, 4, 65534), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    )
    try:
        os.setxattr(path, secret_files._ACL, acl)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    assert path.stat().st_mode & 0o777 == 0o440
    monkeypatch.setattr(secret_files.os, "geteuid", lambda: 65534)
    assert secret_files.read(path) == "hush"
    monkeypatch.setattr(secret_files.os, "geteuid", lambda: 65533)
    with pytest.raises(secret_files.SecretError, match="can be read by others"):
        secret_files.read(path)


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("downstream.time.gaurd = 1", ["downstream.time.gaurd: the table has no such entry; did you mean guard?"]),
        ("downstream.tim.guard = 1", ["downstream.tim: a table has no such section; did you mean time?"]),
        ("downstream.time.guard = -1", ["downstream: breaks a rule of the table", "time.guard.seconds: must not be negative"]),
        ('downstream.time.guard = "1"', ["downstream.time.guard.seconds: Expected `float`, got `str`"]),
        ("downstream.time = 1", ["downstream.time: is not a table"]),
        ("downstream = 1", ["downstream: is not a table"]),
        ("time.guard = 1", ["overrides.time: overrides are for the table of one side", "overrides.upstream.time"]),
        ("downstream.time.guard = { secs = 1 }", ["downstream.time.guard.secs: a row has no such key; did you mean seconds?"]),
        ('downstream.error = [{ code = 831, condition = "nonsense" }]', ["'nonsense' is not a condition"]),
        ("downstream.error = 3", ["downstream.error: is not a list of tables"]),
        ("upstream.command.CIPSEND = 3", ["upstream.command.CIPSEND: is not a table"]),
        ("upstream.command.CIPSENDD.final = 3", ["upstream.command.CIPSENDD: the table has no such entry; did you mean CIPSEND"]),
    ],
)
def test_an_override_that_does_not_fit(wrong, override, said):
    text = ONE.replace('"local"', '"wip@modem"') + f"[bridge.gate.overrides]\n{override}\n"
    wrong(text, "bridge.gate.overrides.", *said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('text.ok = "OK{"', "overrides.upstream.text.ok.text: Single '{' encountered in format string; a brace that is meant"),
        ('text.connect = "{nmber}CONNECT"', "text.connect.text: nothing fills in {nmber}; what can be filled in here: {id}"),
        ('text.ok = "{id}OK"', "text.ok.text: nothing fills in {id}; what can be filled in here: nothing"),
        ('text.err_code = "{code:d}"', "text.err_code.text: nothing fills in {code:d}; what can be filled in here: {code:08x}"),
        ('text.err_code = { text = "{code}" }', ""),
        ('text.recvdata = "{length}:"', ""),
        ('text.connect = "{{{id}}}"', ""),
        ('refusal = [{ condition = "*", text = "{id}ERR{mux}" }]', ""),
        ('refusal = [{ condition = "*", text = "{cause}ERR" }]', "refusal[0].text: nothing fills in {cause}; what can be"),
    ],
)
def test_an_overridden_text_that_cannot_be_filled_in(load, wrong, override, said):
    text = ONE + f"[bridge.gate.overrides.upstream]\n{override}\n"
    if said:
        wrong(text, said)
    else:
        load(text)


def nonos(load, override):
    text = ONE.replace('"esp-at@', '"esp-at:nonos-1.7@') + f"[bridge.gate.overrides.upstream.command]\n{override}\n"
    assert "nonos" in text
    return load(text).bridges[0].upstream_table.command


def test_an_override_reaches_every_name_of_its_command(load):
    rows = nonos(load, "CWJAP.final = 77.0\nCWJAP_DEF.final = 55.0\nCWMODE_CUR.note = 'x'\nCWMODE.note = 'y'")
    assert [rows[name].final for name in ("CWJAP", "CWJAP_CUR", "CWJAP_DEF")] == [77, 77, 55]
    assert [rows[name].note for name in ("CWMODE", "CWMODE_CUR", "CWMODE_DEF")] == ["y", "x", "y"]
    assert rows["CWJAP_CUR"].secret == rows["CWJAP"].secret == ("password",)
    assert rows["CWJAP_CUR"].source.startswith("Espressif")
    assert rows["CWJAP_DEF"].source.startswith("configuration")


def test_a_refused_command_is_refused_by_every_name_and_its_arguments_stay_secret(load):
    rows = nonos(load, "CWJAP = { disposition = 'refused', why = 'w' }\nCWMODE_DEF = { disposition = 'refused', why = 'v' }")
    for name in ("CWJAP", "CWJAP_CUR", "CWJAP_DEF"):
        assert (rows[name].disposition, rows[name].why, rows[name].hook, rows[name].set) == ("refused", "w", "", None)
        assert rows[name].secret == ("password",)
    assert Mask(rows).line(b'AT+CWJAP_DEF="a","hush"\r\n').count(b"hush") == 0
    assert rows["CWMODE_DEF"].why == "v"
    assert rows["CWMODE_CUR"].disposition != "refused"
    assert not rows["CWMODE_DEF"].same


def test_overrides_reach_the_tables(load, tmp_path):
    text = ONE.replace('"local"', '"wip@modem"')
    plain = load(text).bridges[0]
    (options,) = load(
        text
        + """\
[bridge.gate.overrides.downstream]
time.guard = 1.5
error = [{ code = 99999, condition = "link-reset" }, { code = 842, condition = "aborted" }]
[bridge.gate.overrides.upstream.command.GMR]
disposition = "refused"
why = "this host takes it badly"
"""
    ).bridges
    down, up = options.downstream_table, options.upstream_table
    assert down.seconds("guard") == 1.5 != plain.downstream_table.seconds("guard")
    assert down.condition_of(99999) == "link-reset"
    assert down.condition_of(842) == "aborted"
    assert up.command["GMR"].disposition == "refused"
    assert down.time["guard"].source == f"configuration {tmp_path}/bridge.toml"
    hashes = [o.about()["downstream"]["table"] for o in (plain, options)]
    assert hashes[0] != hashes[1]
    assert load(text).bridges[0].about() == plain.about()


def test_local_has_no_table(wrong):
    wrong(ONE + "[bridge.gate.overrides.downstream]\ntime.guard = 1\n", "bridge.gate.overrides.downstream: local has no table")


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
