"""What a module needs for its network: from the endpoint, the configuration and secret files to the driver, and nowhere else."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from bridge import config, dialects, service, tables
from bridge.dialects.wip.downstream import WipNetwork
from bridge.endpoint import EndpointError, parse
from bridge.local.policy import Policy
from bridge.model import ModuleSettings
from bridge.ports import inventory
from bridge.ports.memory import line
from bridge.trace import Trace

ONE = """\
version = 1
[bridge.gate]
upstream = "esp-at@pty:host"
downstream = "{}"
"""
SECRETS = ("hush-hush", "4321")


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inventory.list_ports, "comports", list)
    for name, text in zip(("password", "pin"), SECRETS, strict=True):
        write(tmp_path / name, text + "\n")

    def load(text):
        (tmp_path / "bridge.toml").write_text(text)
        return config.load(tmp_path / "bridge.toml").bridges[0]

    return load


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)


def test_the_configurations_keys_reach_the_endpoint(load):
    text = ONE.format("wip:f4@modem") + '[bridge.gate.module]\napn = "internet"\nuser = "meter"\n'
    options = load(text + 'password_file = "password"\npin_file = "pin"\n')
    assert options.downstream.module == ModuleSettings("internet", "meter", *SECRETS)
    for secret in SECRETS:
        assert secret not in repr(options)


def test_defaults_are_for_all_and_each_may_differ(load):
    text = ONE.format("wip:f4@modem") + '[defaults.module]\napn = "internet"\nuser = "meter"\n'
    assert load(text).downstream.module == ModuleSettings("internet", "meter")
    assert load(text + '[bridge.gate.module]\napn = "own"\n').downstream.module == ModuleSettings("own", "meter")
    assert load(text.replace("modem", "modem,apn=mine")).downstream.module == ModuleSettings("mine", "meter")


def test_an_endpoint_has_the_keys_that_are_no_secrets():
    assert parse("wip:f4@/dev/x,apn=internet,user=me@net", side="downstream").module == ModuleSettings("internet", "me@net")
    assert parse("wip:f4@/dev/x,baud=9600", side="downstream").module == ModuleSettings()


@pytest.mark.parametrize(
    ("text", "side", "said"),
    [
        ("esp-at@/dev/x,apn=internet", "upstream", "about the module"),
        ("wip@/dev/x,apn=", "downstream", "1 to 100"),
        ("wip@/dev/x,apn=" + "x" * 101, "downstream", "1 to 100"),
        ('wip@/dev/x,apn=a"b', "downstream", "without quotes"),
        ("wip@/dev/x,apn=a\rAT", "downstream", "printable"),
        ("wip@/dev/x,user=ü", "downstream", "ASCII"),
        ("wip@/dev/x,pin=1234", "downstream", "unknown key"),
        ("wip@/dev/x,password=1234", "downstream", "no place on a command line"),
        ("local,apn=internet", "downstream", "have no apn"),
    ],
)
def test_what_an_endpoint_cannot_say(text, side, said):
    with pytest.raises(EndpointError, match=said) as caught:
        parse(text, side=side)
    if "password" in text:
        assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "files", "said"),
    [
        ('apn = "a\\"b"', {}, "bridge.gate.module.apn: is plain printable"),
        ('apn = ""', {}, "bridge.gate.module.apn: has 1 to 100"),
        ('pin_file = "bad"', {"bad": "12a4"}, "bridge.gate.module.pin_file: what is in it is no PIN"),
        ('pin_file = "bad"', {"bad": "123"}, "no PIN"),
        ('pin_file = "bad"', {"bad": "123456789"}, "no PIN"),
        ('password_file = "bad"', {"bad": 'sec"ret'}, "bridge.gate.module.password_file: what is in it is plain"),
        ('password_file = "bad"', {"bad": "sec\u00fcret"}, "plain printable"),
    ],
)
def test_values_that_no_module_can_carry(keys, files, said, load, tmp_path):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(config.ConfigError) as caught:
        load(ONE.format("wip:f4@modem") + f"[bridge.gate.module]\n{keys}\n")
    assert said in str(caught.value)
    for text in files.values():
        assert text not in str(caught.value)


def test_a_key_in_two_places(load):
    text = ONE.format("wip:f4@modem,apn=mine") + '[bridge.gate.module]\napn = "internet"\n'
    with pytest.raises(config.ConfigError, match=r"bridge.gate.module.apn: is given in downstream, too"):
        load(text)


def test_a_profile_that_is_found_may_be_any_with_the_overrides_in_all(load):
    text = ONE.format("wip@modem") + "[bridge.gate.overrides.downstream.time]\nguard = 1.5\n"
    options = load(text)
    tables_of = (options.downstream_table, *options.downstream_others)
    assert [table.profile for table in tables_of] == tables.profiles("wip")
    assert {table.seconds("guard") for table in tables_of} == {1.5}
    assert load(ONE.format("wip:f4@modem")).downstream_others == ()


async def opened(monkeypatch, spec, *tables):
    async def open_port(*_args, **_named):
        return line("module")[0]

    monkeypatch.setattr(service, "open_port", open_port)
    async with AsyncExitStack() as stack:
        network, _ = await service.open_network(spec, Policy(), Trace(), stack, *tables)
        return network


async def test_the_driver_gets_what_it_asks_for(monkeypatch):
    seen = {}

    class Driver(WipNetwork):
        def __init__(self, port, profile, trace, settings=None, others=()):
            seen.update(settings=settings, profile=profile.profile, others=[other.profile for other in others])
            super().__init__(port, profile, trace, settings, others)

    monkeypatch.setattr(dialects, "downstream", lambda _: Driver)
    await opened(monkeypatch, parse("wip@/dev/x,apn=internet", side="downstream"))
    assert seen == {"settings": ModuleSettings("internet"), "profile": "c1", "others": ["f4", "w5", "wismo"]}
    await opened(monkeypatch, parse("wip:w5@/dev/x", side="downstream"))
    assert seen == {"settings": ModuleSettings(), "profile": "w5", "others": []}


async def test_a_driver_that_has_no_use_for_them_says_so(monkeypatch):
    class Driver:
        def __init__(self, port, profile, trace):
            pass

    monkeypatch.setattr(dialects, "downstream", lambda _: Driver)
    await opened(monkeypatch, parse("wip:f4@/dev/x", side="downstream"))
    with pytest.raises(service.ServiceError, match="leave them out"):
        await opened(monkeypatch, parse("wip:f4@/dev/x,apn=internet", side="downstream"))
