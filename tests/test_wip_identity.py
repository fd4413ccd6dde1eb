"""Which profile of the family a WIP modem has: asked of it, and our own simulated ones of each."""

from __future__ import annotations

import pytest
import structlog
import trio
from fake_network import FakeNetwork
from wip_gsm import ERROR, FOUND, OK, SETTINGS, UP, gsm, up
from wip_modem import BRING_UP

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Capability, Identity, ModuleSettings
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


def identity(model, revision=b"R7.43"):
    return [
        (b"AT+CGMI\r", b"\r\nWAVECOM MODEM\r\n" + OK),
        (b"AT+CGMM\r", b"\r\n" + model + b"\r\n" + OK if model else ERROR),
        (b"AT+CGMR\r", b"\r\n" + revision + b"\r\n" + OK if revision else ERROR),
    ]


OTHERS = ("f4", "w5", "wismo")


def others():
    return tuple(load("wip", name) for name in OTHERS)


@pytest.mark.parametrize(
    ("model", "revision", "profile"),
    [
        (b"Q2687", b"R7.43", "w5"),
        (b'+CGMM: "q2686"', b"R7.43", "w5"),
        (b" MULTIBAND  900E  1800  850  1900 ", b"R7.4", "f4"),
        (b"GPRS-F4", b"", "f4"),
        (b"WISMO228", b"R7.50", "wismo"),
        (b"", b"WISMO228 7.5", "wismo"),
    ],
)
async def test_the_modem_says_which_profile_it_has(model, revision, profile, autojump_clock):
    """Taken for a c1 until it is asked; then it is brought up again as what it is, and not asked again."""
    first = [pair for pair in SETTINGS if pair[0] != b"AT+WIND=0\r"]
    script = [pair for pair in UP if profile != "wismo" or pair[0] != b"AT+WOPEN?\r"]
    async with gsm("c1", others=others()) as (net, module, _):
        await module.play(*FOUND, *first, *identity(model, revision))
        await up(net, module, script)
        assert Capability.PING in net.limits.capabilities
        await module.say(b"\r\n+WIND: 4\r\n")
        await up(net, module, script)


@pytest.mark.parametrize(("model", "known"), [(b"Q26EL", True), (b"Something else", False), (b"", False)])
async def test_a_modem_that_is_what_it_was_taken_for_or_nobody_knows(model, known, autojump_clock):
    place = [heard for heard, _ in BRING_UP].index(b"AT+CREG?\r")
    with structlog.testing.capture_logs() as logs:
        async with gsm("c1", others=others()) as (net, module, _):
            await module.play(*BRING_UP[:place], *identity(model, b""), *BRING_UP[place:])
            await net.attach()
            await module.say(b"\r\n+WIPBR: 6,0\r\n")
            await module.play(*BRING_UP)  # asked once
            await net.attach()
    warned = [entry for entry in logs if entry["log_level"] == "warning" and "not known" in entry["event"]]
    assert len(warned) == (0 if known else 1)


async def test_identity(autojump_clock):
    async with gsm() as (net, module, nursery):
        assert await net.identity() == Identity()
        await up(net, module)
        nursery.start_soon(module.play, *identity(b"Q2687"))
        assert await net.identity() == Identity("WAVECOM MODEM", "Q2687", "R7.43")
        assert await net.identity() == Identity("WAVECOM MODEM", "Q2687", "R7.43")
        await module.silent_for(1)


# --- our own modules ---


@pytest.mark.deadline(200)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("profile", ["c1", "f4", "w5", "wismo"])
async def test_our_simulated_module_of_each_profile_is_brought_up(profile, named, autojump_clock):
    """Where the endpoint names none, it is found by what the module says."""
    ours, theirs = line("module", baud=115200)
    below, table, rest = FakeNetwork(), load("wip", profile), ()
    if not named:
        table, rest = load("wip"), tuple(load("wip", name) for name in OTHERS)
    net = WipNetwork(ours, table, Trace(), ModuleSettings(apn="internet", user="meter", password="x"), rest)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(theirs, below, load("wip", profile), Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        assert (await net.identity()).model == load("wip", profile).command["CGMM"].answer["execute"]
        assert (Capability.PING in net.limits.capabilities) == (profile != "c1")
        link = await net.open_stream("192.0.2.1", 80)
        await link.send_all(b"hello")
        assert below.links[0].sent == b"hello"
        if profile != "c1":
            assert await net.ping("192.0.2.1", 30) == pytest.approx(0.042, abs=0.002)
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()
