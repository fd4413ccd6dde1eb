"""Where an operator says who acknowledges, and that the bridge is made so."""

from __future__ import annotations

import pytest
import trio
from fake_network import FakeNetwork

from bridge import cli, config, service
from bridge.emulation.ack import AckNetwork
from bridge.endpoint import parse
from bridge.local.policy import Policy


def options(folder, *, key="", downstream="local", defaults=""):
    file = folder / "bridge.toml"
    file.write_text(
        f'version = 1\n[defaults]\n{defaults}\n[bridge.a]\nupstream = "esp-at@pty:host"\ndownstream = "{downstream}"\n{key}\n'
    )
    return config.load(file).bridges[0]


@pytest.mark.parametrize(
    ("key", "downstream", "defaults", "want"),
    [
        ("", "local", "", "module"),
        ('ack = "bridge"', "local", "", "bridge"),
        ('ack = "bridge"', "wip:c1@modem", "", "bridge"),
        ("", "local,ack=bridge", "", "bridge"),
        ("", "wip:c1@modem,ack=bridge", "", "bridge"),
        ("", "local", 'ack = "bridge"', "bridge"),
        ('ack = "module"', "local", 'ack = "bridge"', "module"),
        ("", "local,ack=module", 'ack = "bridge"', "module"),
        ("", "local,ack=bridge", 'ack = "module"', "bridge"),
    ],
)
def test_who_acknowledges(tmp_path, key, downstream, defaults, want):
    found = options(tmp_path, key=key, downstream=downstream, defaults=defaults)
    assert found.ack == want
    assert found.about().get("ack", "module") == want


@pytest.mark.parametrize(
    ("key", "downstream", "defaults", "says"),
    [
        ('ack = "host"', "local", "", 'bridge.a.ack: ack cannot be \'host\'; write "module" or "bridge"'),
        ("", "local", 'ack = "host"', 'defaults.ack: ack cannot be \'host\'; write "module" or "bridge"'),
        ("ack = true", "local", "", "bridge.a.ack: is true or false where a text is needed"),
        ('ack = "bridge"', "local,ack=bridge", "", "bridge.a.ack: is given in downstream, too; leave one out"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, key, downstream, defaults, says):
    with pytest.raises(config.ConfigError) as refused:
        options(tmp_path, key=key, downstream=downstream, defaults=defaults)
    (line,) = str(refused.value).splitlines()
    assert says in line


@pytest.mark.parametrize(("ack", "kind"), [("module", FakeNetwork), ("bridge", AckNetwork)])
async def test_the_bridge_is_made_so(monkeypatch, ack, kind):
    made = []

    async def open_network(*_args, **_more):
        return FakeNetwork(), None

    async def open_upstream(_spec, network, *_args):
        made.append(network)
        raise service.ServiceError("enough")

    monkeypatch.setattr(service, "open_network", open_network)
    monkeypatch.setattr(service, "open_upstream", open_upstream)
    wanted = service.Options(parse("esp-at@pty:x", side="upstream"), None, Policy(), ack=ack)
    with pytest.raises(service.ServiceError):
        await service.run_bridge(wanted, service.Grace())
    assert [type(network) for network in made] == [kind]
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("downstream", "want"), [("local", "module"), ("local,ack=bridge", "bridge"), ("wip:c1@m,ack=bridge", "bridge")]
)
def test_the_command_line_says_it(monkeypatch, downstream, want):
    made = []
    monkeypatch.setattr(service, "run", made.append)
    assert cli.main(["run", "esp-at@pty:x", downstream]) == 0
    assert made[0].ack == want


def test_a_simulated_module_has_no_bridge_in_it(monkeypatch):
    made = []
    monkeypatch.setattr(service, "run", made.append)
    assert cli.main(["simulate", "wip:c1@pty:x"]) == 0
    assert made[0].ack == "module"
