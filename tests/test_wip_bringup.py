"""From an unknown modem to an address, per profile, against literal module bytes: what a modem may refuse, say or forget."""

from __future__ import annotations

import pytest
import trio
import wip_modem
from wip_gsm import (
    ADDRESS,
    APPLICATION,
    BEARER,
    CLEAN,
    ERROR,
    FOUND,
    OK,
    REGISTERED,
    SETTINGS,
    SIM,
    STACK,
    START,
    UP,
    cme,
    gsm,
    instead,
    up,
    without,
)

from bridge.model import Condition, ModuleSettings, Phase
from bridge.network import NetworkError
from bridge.tables import load, profiles

NO_APPLICATION = without(UP, APPLICATION[0][0])


async def down(net, phase=Phase.DOWN):
    """The state when a bring-up has failed."""
    state = net.state
    while state.phase is not phase:
        state = await net.wait_state(state.seq)
    return state


def test_every_step_of_every_profile_is_there():
    from bridge.dialects.wip.downstream import WipNetwork
    from bridge.ports.memory import line
    from bridge.trace import Trace

    for name in profiles("wip"):
        table = load("wip", name)
        net = WipNetwork(line("module")[0], table, Trace())
        assert set(table.words("bring_up").split()) <= net._bring_up._steps.keys()


@pytest.mark.parametrize("profile", ["f4", "w5"])
async def test_gsm(profile, autojump_clock):
    async with gsm(profile) as (net, module, _):
        await up(net, module)
        await module.silent_for(5)


async def test_wismo_has_no_application_to_start(autojump_clock):
    async with gsm("wismo") as (net, module, _):
        await up(net, module, NO_APPLICATION)


@pytest.mark.parametrize("cut", [1, 2, 5])
async def test_answers_in_pieces(cut, autojump_clock):
    async with gsm() as (net, module, _):
        for heard, said in UP:
            await module.expect(heard)
            for start in range(0, len(said), cut):
                await module.say(said[start : start + cut])
                await trio.sleep(0.001)
        await net.attach()


@pytest.mark.parametrize("flow", [False, True])
async def test_the_modems_flow_control_is_the_ports(flow, autojump_clock):
    async with gsm(flow=flow) as (net, module, _):
        await up(net, module, instead(UP, b"AT+IFC=0,0\r", (b"AT+IFC=2,2\r" if flow else b"AT+IFC=0,0\r", OK)))


# --- what is success although it says an error ---


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (b"AT+WIPCFG=1\r", cme(844)),
        (b"AT+WIPCFG=1\r", cme(850)),
        (b"AT+WIPCFG=1\r", ERROR),
        (b"AT+WIPBR=1,6\r", cme(804)),
        (b"AT+WIPBR=1,6\r", ERROR),
        (b"AT+WIPBR=4,6,0\r", cme(803)),
        (b"AT+WIPBR=4,6,0\r", ERROR),  # of a modem without numbers: its address tells
        (b"AT+WOPEN?\r", ERROR),
        (b"AT+CMEE=1\r", ERROR),
        (b"AT&D1\r", ERROR),
        (b"AT+WIND=0\r", ERROR),
        (b"AT+CGREG?\r", ERROR),
        (b"AT+CPIN?\r", b"\r\n+CPIN: READY\r\n"),  # and no OK
        (b"AT+CPIN?\r", b"\r\n+CPIN:READY\r\n" + OK),
        (b"AT+CREG?\r", b'\r\n+CREG: 2, 5, "00A1", "0B2C"\r\n' + OK),
        (b"AT+WIPBR=3,6,15\r", b"\r\n+WIPBR: 6,15,10.0.0.5\r\n" + OK),
        (b"AT+WIPBR=3,6,15\r", b'\r\n+WIPBR: 6, 15, "10.0.0.5"\r\n' + OK),
        (b"AT+WIPCLOSE=2,3\r", OK),
        (b"AT+WIPCLOSE=2,3\r", ERROR),
    ],
)
async def test_answers_that_are_success(command, said, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module, instead(UP, command, (command, said)))


async def test_an_echo_that_stays_on_is_told_and_tried_again(autojump_clock):
    """With it every command of ours would look like a reset of the modem."""
    async with gsm() as (net, module, _):
        await module.play(*FOUND, (b"ATE0\r", b"ATE0\r" + ERROR))
        assert (await down(net)).cause is Condition.MODULE_ERROR
        await up(net, module)


async def test_either_registration_is_enough(autojump_clock):
    script = instead(UP, b"AT+CREG?\r", (b"AT+CREG?\r", b"\r\n+CREG: 0,2\r\n" + OK))
    async with gsm() as (net, module, _):
        await up(net, module, script)


async def test_a_modem_that_refuses_the_registration_question_is_asked_for_its_bearer(autojump_clock):
    script = instead(UP, b"AT+CREG?\r", (b"AT+CREG?\r", ERROR))
    async with gsm() as (net, module, _):
        await up(net, module, script)


@pytest.mark.deadline(300)
async def test_registration_lost_for_minutes(autojump_clock):
    """It is asked again for as long as it takes; the host sees that there is no network, and then that there is."""
    searching = [(b"AT+CREG?\r", b"\r\n+CREG: 0,2\r\n" + OK), (b"AT+CGREG?\r", b"\r\n+CGREG: 0,0\r\n" + OK)]
    async with gsm() as (net, module, _):
        await module.play(*FOUND, *SETTINGS, *SIM)
        rounds = 0
        while net.state.phase is not Phase.DOWN:
            await module.play(*searching)
            rounds += 1
            await trio.sleep(1.5)
        assert 25 <= rounds <= 35
        assert net.state.cause is Condition.BEARER_UNAVAILABLE
        await up(net, module)


# --- SIM card ---


PIN = ModuleSettings(pin="4321")
ENTER = b'AT+CPIN="4321"\r'
ASKED = b"AT+CPIN?\r"
WANTED = (ASKED, b"\r\n+CPIN: SIM PIN\r\n" + OK)


@pytest.mark.parametrize(
    "busy",
    [[(ASKED, cme(515))] * 16, [(ASKED, cme(10))], [(ASKED, cme(14))], [(ASKED, ERROR)]],
    ids=["515", "10 once", "14", "no number"],
)
async def test_a_card_that_is_not_ready_yet(busy, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module, instead(UP, ASKED, *busy, *SIM))


async def test_a_modem_without_the_question(autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module, instead(UP, ASKED, *[(ASKED, ERROR)] * 8))


@pytest.mark.parametrize("wanted", [WANTED, (ASKED, cme(11))], ids=["words", "number"])
async def test_the_pin_is_entered_once_and_never_shown(wanted, autojump_clock):
    records = []
    async with gsm(settings=PIN, records=records) as (net, module, _):
        await up(net, module, instead(UP, ASKED, wanted, (ENTER, OK), (ASKED, cme(515)), *SIM))
    assert "4321" not in repr([(record.data, record.rule) for record in records])  # their times may have it
    assert "AT+CPIN=" in repr(records)
    assert "4321" not in repr(PIN)


@pytest.mark.deadline(600)
@pytest.mark.parametrize("answer", [cme(16), ERROR, b""], ids=["refused", "error", "mute"])
async def test_a_pin_that_was_not_accepted_is_never_tried_again(answer, autojump_clock):
    async with gsm(settings=PIN) as (net, module, _):
        await module.play(*FOUND, *SETTINGS, WANTED, (ENTER, answer))
        await down(net, Phase.DOWN if answer == b"" else Phase.FAILED)
        for _ in range(3):
            await module.play(*FOUND, *SETTINGS, WANTED)
            state = await down(net, Phase.FAILED)
            assert state.cause is Condition.BEARER_REFUSED
            with pytest.raises(NetworkError) as refused:
                await net.attach()
            assert refused.value.condition is Condition.BEARER_REFUSED
            await module.silent_for(55)  # nobody is in a hurry
        await up(net, module)  # the person has unlocked the card


async def test_an_echo_does_not_show_the_pin_either(autojump_clock):
    records = []
    async with gsm(settings=PIN, records=records) as (net, module, _):
        await module.play(*FOUND, *SETTINGS, WANTED, (ENTER, b"noise" + ENTER + b"\n\r\n" + ENTER + OK))
        await down(net)
        await up(net, module, instead(UP, ASKED, WANTED, (ENTER, OK), *SIM))
    assert "4321" not in repr([(record.data, record.rule) for record in records])  # their times may have it


async def test_a_pin_that_was_accepted_is_entered_again_after_a_reset(autojump_clock):
    script = instead(UP, ASKED, WANTED, (ENTER, OK), *SIM)
    async with gsm(settings=PIN) as (net, module, _):
        await up(net, module, script)
        await module.say(b"\r\n+WIND: 3\r\n")
        await down(net)
        await up(net, module, script)


@pytest.mark.deadline(200)
@pytest.mark.parametrize(
    ("said", "tries"),
    [
        (b"\r\n+CPIN: SIM PUK\r\n" + OK, 1),
        (b"\r\n+CPIN: SIM PIN\r\n" + OK, 1),  # and none is given
        (cme(10), 8),
        (cme(12), 8),
        (cme(13), 8),
        (cme(515), 20),
    ],
)
async def test_a_card_that_a_person_must_see_to(said, tries, autojump_clock):
    async with gsm() as (net, module, _):
        await module.play(*FOUND, *SETTINGS, *[(ASKED, said)] * tries)
        state = await down(net, Phase.FAILED)
        assert state.cause is Condition.BEARER_REFUSED
        await module.silent_for(50)


async def test_c1_asks_for_a_card_only_where_a_pin_is_given(autojump_clock):
    script = wip_modem.BRING_UP
    place = [heard for heard, _ in script].index(b"AT+CREG?\r")
    async with gsm("c1", settings=PIN) as (net, module, _):
        await module.play(*script[:place], WANTED, (ENTER, OK), *SIM, *script[place:])
        await net.attach()


# --- the Open AT application ---


async def test_the_application_is_started_by_a_restart(autojump_clock):
    stopped = [(b"AT+WOPEN?\r", b"\r\n+WOPEN: 0\r\n" + OK), (b"AT+WOPEN=1\r", OK)]
    async with gsm() as (net, module, _):
        await module.play(*FOUND, *SETTINGS, *SIM, *REGISTERED, *stopped)
        await module.silent_for(1.9)
        await module.say(b"\xff\r\n+WIND: 3\r\n")
        # It is deaf for a while; its echo is on again, and its numbers are off.
        await module.play((b"\r", b""), (b"AT\r", b""), (b"\r", b""), (b"AT\r", b""), (b"\r", b"\r"), (b"AT\r", b"AT\r" + OK))
        await module.say(b"\r\n+WIND: 4\r\n")
        await module.play(*SETTINGS, *SIM, *REGISTERED, *APPLICATION, *STACK, *BEARER)
        await net.attach()
        assert net.state.generation == 0  # it had never been up


@pytest.mark.parametrize("refused", [True, False])
async def test_an_application_that_does_not_start_is_told_and_not_tried_for_ever(refused, autojump_clock):
    stopped = [(b"AT+WOPEN?\r", b"\r\n+WOPEN: 0\r\n" + OK)]
    again = [*SETTINGS, *SIM, *REGISTERED]
    async with gsm() as (net, module, _):
        await module.play(*FOUND, *again, *stopped)
        if refused:
            await module.play((b"AT+WOPEN=1\r", cme(541)))
        else:
            for _ in range(2):
                await module.play((b"AT+WOPEN=1\r", OK), (b"\r", b""), (b"AT\r", OK), *again, *stopped)
            await module.play((b"AT+WOPEN=1\r", OK), (b"\r", b""), (b"AT\r", OK))
        state = await down(net, Phase.FAILED)
        assert state.cause is Condition.MODULE_ERROR
        await module.silent_for(50)


async def test_a_modem_that_does_not_come_back_from_its_restart(autojump_clock):
    async with gsm() as (net, module, _):
        await module.play(*FOUND, *SETTINGS, *SIM, *REGISTERED)
        await module.play((b"AT+WOPEN?\r", b"\r\n+WOPEN: 0\r\n" + OK), (b"AT+WOPEN=1\r", OK))
        state = await down(net)
        assert state.cause is Condition.MODULE_MUTE
        while b"+++" not in module.spare:
            module.spare += await module.port.receive()
        module.spare = module.spare[module.spare.index(b"+++") :]
        await up(net, module)


# --- the bearer ---


LOGIN = ModuleSettings(apn="internet.example", user="meter", password="hush-hush")
LOGIN_SENT = [
    (b'AT+WIPBR=2,6,11,"internet.example"\r', OK),
    (b'AT+WIPBR=2,6,0,"meter"\r', OK),
    (b'AT+WIPBR=2,6,1,"hush-hush"\r', OK),
]


async def test_the_login_goes_to_the_modem_and_to_nobody_else(autojump_clock):
    records = []
    async with gsm(settings=LOGIN, records=records) as (net, module, _):
        await up(net, module, instead(UP, START[0][0], *LOGIN_SENT, *START))
    for secret in ("internet.example", "meter", "hush-hush"):
        assert secret not in repr(records)
    assert "hush-hush" not in repr(LOGIN)


@pytest.mark.parametrize("said", [OK, ERROR])
async def test_a_c1_has_no_access_point_but_a_login(said, autojump_clock):
    script = wip_modem.BRING_UP
    place = [heard for heard, _ in script].index(b"AT+WIPBR=4,6\r")
    async with gsm("c1", settings=LOGIN) as (net, module, _):
        await module.play(*script[:place], (b"AT$QCMIP=0\r", said), *LOGIN_SENT[1:], *script[place:])
        await net.attach()


@pytest.mark.parametrize("bad", ['a"b', "a\rAT", "a\nb", "ü", "x" * 65])
async def test_a_password_that_could_become_a_command_is_never_sent(bad, autojump_clock):
    async with gsm(settings=ModuleSettings(password=bad)) as (net, module, _):
        await module.play(*FOUND, *SETTINGS, *SIM, *REGISTERED, *APPLICATION, *STACK, (b"AT+WIPBR=1,6\r", OK))
        state = await down(net, Phase.FAILED)
        assert state.cause is Condition.BEARER_REFUSED
        await module.silent_for(50)


@pytest.mark.parametrize("number", [805, 807, 808, 809, 811, 812, 813, 815, 816, 847, 848, 849, 850])
async def test_a_bearer_that_is_not_ready_is_tried_again(number, autojump_clock):
    async with gsm() as (net, module, _):
        await up(net, module, instead(UP, START[0][0], *[(START[0][0], cme(number))] * 4, *START))


@pytest.mark.deadline(200)
@pytest.mark.parametrize("number", [810, 814])
async def test_a_refused_login_is_told_and_not_tried_in_a_hurry(number, autojump_clock):
    before = UP[: UP.index(START[0])]
    async with gsm() as (net, module, _):
        await module.play(*before, (START[0][0], cme(number)))
        state = await down(net, Phase.FAILED)
        assert state.cause is Condition.BEARER_REFUSED
        await module.silent_for(55)
        await up(net, module)


async def test_a_card_that_only_a_restart_finds(autojump_clock):
    before = UP[: UP.index(START[0])]
    async with gsm() as (net, module, _):
        await module.play(*before, *[(START[0][0], cme(811))] * 15, (b"AT+CFUN=1\r", OK))
        await up(net, module)


async def test_a_late_ok_of_the_bearer(autojump_clock):
    before = UP[: UP.index(START[0])]
    async with gsm() as (net, module, _):
        await module.play(*before)
        await module.expect(START[0][0])
        await module.silent_for(50)
        await module.say(OK)
        await module.play(*ADDRESS, *CLEAN)
        await net.attach()


@pytest.mark.parametrize("said", [b'\r\n+WIPBR: 6,15,"0.0.0.0"\r\n' + OK, OK, cme(803), b'\r\n+WIPBR: 6,17,"10.0.0.5"\r\n' + OK])
async def test_a_bearer_without_an_address_is_none(said, autojump_clock):
    async with gsm() as (net, module, _):
        await module.play(*UP[: UP.index(ADDRESS[0])], (ADDRESS[0][0], said))
        state = await down(net)
        assert state.cause is Condition.BEARER_UNAVAILABLE


@pytest.mark.parametrize("step", range(len(FOUND) + len(SETTINGS), len(UP)), ids=lambda step: UP[step][0].decode().strip())
async def test_a_reset_in_the_middle_starts_again(step, autojump_clock):
    """The modem's echo gives it away: what was set is gone."""
    heard, said = UP[step]
    async with gsm() as (net, module, _):
        await module.play(*UP[:step], (heard, b"\r\n+WIND: 3\r\n" + heard + said))
        state = await down(net)
        assert state.cause is Condition.MODULE_RESET
        await up(net, module)
