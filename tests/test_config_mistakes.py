"""What every wrong configuration is told: file, key path, problem, remedy, in one line each."""

import os

import pytest
from config_files import ONE, SERIAL, TWO, load, secret, wrong

from bridge import config, dialects
from bridge.model import Wire

__all__ = ["load", "wrong"]  # fixtures


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
