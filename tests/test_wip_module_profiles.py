r"""What a host finds with each modem of the family: commands row by row, bring-up, how a create fails (wip.md 2, 4, 8)."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wip_fakes import profile, running

from bridge.dialects.wip.module.commands import HOOKS
from bridge.model import Capability, Condition, Phase
from bridge.network import NetworkError
from bridge.tables import load

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
GSM = ("f4", "w5", "wismo")
ALL = ("c1", *GSM)


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


def line(text):
    return b"\r\n" + text + b"\r\n"


# -- before the stack is started: (command, answer by profile or of all)

BEFORE = [
    (b"AT", OK),
    (
        b"AT+CGMM",
        {"c1": line(b"Q26EL") + OK, "f4": line(b"GPRS-F4") + OK, "w5": line(b"Q2687") + OK, "wismo": line(b"WISMO228") + OK},
    ),
    (b"AT+CPIN?", line(b"+CPIN: READY") + OK),
    (b'AT+CPIN="1234"', cme(3)),
    (b"AT+CPIN=1234", cme(3)),
    (b"AT+CREG?", line(b"+CREG: 0,1") + OK),
    (b"AT+CGREG?", {"c1": ERROR, "": line(b"+CGREG: 0,1") + OK}),
    (b"AT+CGATT?", {"c1": ERROR, "": line(b"+CGATT: 1") + OK}),
    (b"AT+CGATT=1", {"c1": ERROR, "": OK}),
    (b"AT+CSS?", {"c1": line(b"+CSS: 1,A,1") + OK, "": ERROR}),
    (b"AT$QCMIP=0", {"c1": OK, "": ERROR}),
    (b"AT+WOPEN?", {"f4": line(b"+WOPEN: 1") + OK, "w5": line(b"+WOPEN: 1") + OK, "": ERROR}),
    (b"AT+WOPEN=1", {"f4": OK, "w5": OK, "": ERROR}),
    (b"AT+WOPEN=2", {"f4": cme(801), "w5": cme(801), "": ERROR}),
    (b"AT&K3", ERROR),  # not a command of this family
    (b"AT+WIPCFG?", cme(803)),
    (b"AT+WIPBR?", cme(803)),
    (b"AT+WIPBR=1,6", cme(803)),
    (b"AT+WIPCFG=3", {"c1": cme(834)}),
    (b"AT+WIPCFG=5", cme(834)),
    (b'AT+WIPPING="h"', {"c1": ERROR, "": cme(803)}),
    (b'AT+WIPFILE=4,1,1,"f"', ERROR),
    (b"AT+WIPCFG=1", OK),
    (b"AT+WIPCFG=1", cme(844)),
    (b"AT+WIPCFG=2,0,255", OK),
    (b"AT+WIPCFG=2,0,256", cme(801)),
    (b"AT+WIPCFG=2,1,16", {"c1": cme(800), "": OK}),
    (b"AT+WIPCFG=2,4,1460", OK),
    (b"AT+WIPCFG=2,4,535", cme(801)),
    (b"AT+WIPCFG=2,12,10", OK),
    (b"AT+WIPCFG=2,13,1", {"w5": OK, "": cme(800)}),
    (b"AT+WIPCFG=4,1", OK),
    (b"AT+WIPCFG=4,2", cme(801)),
    (b"AT+WIPCFG=?", OK),
    (b"AT+WIPBR=?", OK),
    # the bearer
    (b"AT+WIPBR?", {"c1": line(b"+WIPBR: 6,0") + OK, "": OK}),
    (b"AT+WIPBR=5,6", cme(803)),
    (b'AT+WIPBR=2,6,11,"apn"', {"c1": cme(800), "": cme(803)}),  # GSM: not opened yet
    (b"AT+WIPBR=4,6,0", {"c1": None, "": cme(803)}),
    (b"AT+WIPBR=1,6", {"c1": cme(834), "": OK}),
    (b"AT+WIPBR=1,6", {"c1": cme(834), "": cme(804)}),
    (b"AT+WIPBR=1,7", {"c1": cme(834), "": cme(801)}),  # no source lists a bearer 7
    (b"AT+WIPBR=1,4", {"c1": cme(834), "w5": OK, "": cme(801)}),
    (b"AT+WIPBR=1,1", {"c1": cme(834), "wismo": cme(801), "": OK}),
    (b"AT+WIPBR=4,1,0", {"c1": cme(801), "wismo": cme(801), "": cme(805)}),
    (b"AT+WIPBR=0,1", {"c1": cme(834), "wismo": cme(801), "": OK}),
    (b"AT+WIPBR=0,4", {"c1": cme(834), "w5": OK, "": cme(801)}),
    (b"AT+WIPBR?", line(b"+WIPBR: 6,0") + OK),
    (b'AT+WIPBR=2,6,0,"user"', OK),
    (b'AT+WIPBR=2,6,1,""', OK),
    (b'AT+WIPBR=2,6,0,"' + b"u" * 65 + b'"', cme(801)),
    (b'AT+WIPBR=2,6,11,"apn"', {"c1": cme(800), "": OK}),
    (b"AT+WIPBR=2,6,11,bare.apn", {"c1": cme(800), "": OK}),
    (b"AT+WIPBR=2,6,12,1", {"c1": cme(800), "": OK}),
    (b"AT+WIPBR=2,6,22,1", cme(800)),
    (b"AT+WIPBR=3,6,11", {"c1": cme(803), "": line(b'+WIPBR: 6,11,"bare.apn"') + OK}),
    (b"AT+WIPBR=3,6,12", {"c1": cme(803), "": line(b"+WIPBR: 6,12,1") + OK}),
    (b"AT+WIPBR=3,6,1", cme(803)),  # the password is never given back
    (b"AT+WIPBR=3,6,15", cme(803)),
    (b"AT+WIPBR=4,6,1", cme(834)),
    (b"AT+WIPBR=6,6,1", {"c1": cme(834), "": OK}),
    (b'AT+WIPCREATE=2,1,"h",7', cme(803)),
]


def expected(answer, which):
    return answer if isinstance(answer, bytes) else answer.get(which, answer.get(""))


@pytest.mark.parametrize("which", ALL)
async def test_before_the_bearer_is_up(autojump_clock, which):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CMEE=1")
        for command, answer in BEFORE:
            wanted = expected(answer, which)
            if wanted is not None:
                assert (command, await host.ask(command)) == (command, wanted)


# -- with the bearer up

UP = [
    (b"AT+WIPBR?", line(b"+WIPBR: 6,1") + OK),
    (b"AT+WIPBR=3,6,15", line(b'+WIPBR: 6,15,"10.0.0.2"') + OK),
    (b"AT+WIPBR=3,6,19", {"c1": cme(800), "": line(b"+WIPBR: 6,19,0") + OK}),
    (b"AT+WIPBR=3,6,1", cme(800)),
    (b"AT+WIPBR=4,6,0", cme(803)),
    (b'AT+WIPCREATE=1,1,5000,"10.1.1.1",7', OK + line(b"+WIPREADY: 1,1")),
    (b'AT+WIPCREATE=1,2,,"10.1.1.1",07', OK + line(b"+WIPREADY: 1,2")),
    (b'AT+WIPCREATE=1,3,"10.1.1.1","00007"', {"c1": cme(832), "": OK + line(b"+WIPREADY: 1,3")}),
    (b"AT+WIPCREATE=1,4,5001", OK + line(b"+WIPREADY: 1,4")),
    (b'AT+WIPCREATE=2,1,"10.1.1.1",05000', OK + line(b"+WIPREADY: 2,1")),
    (b'AT+WIPCREATE=2,1,"10.1.1.1",7', cme(840)),
    (b'AT+WIPCREATE=2,9,"10.1.1.1",7', cme(830)),
    (b'AT+WIPCREATE=2,2,"10.1.1.1",70000', cme(832)),
    (b"AT+WIPCREATE=3,1,80,4,5", OK),
    (b"AT+WIPCREATE=3,2,81,5,6", cme(845)),
    (b"AT+WIPCREATE=3,5,81,6,7", cme(830)),
    (b'AT+WIPCREATE=2,4,"10.1.1.1",7', cme(845)),
    (b'AT+WIPCREATE=4,1,"ftp",21,"u","p"', {"c1": cme(837), "": cme(834)}),
    (b'AT+WIPCREATE=4,1,"ftp",21,"u","p","account"', {"c1": cme(837), "": cme(834)}),
    (b'AT+WIPCREATE=5,1,"http",80,"u","p","Accept","text/plain"', {"c1": cme(837), "": cme(834)}),
    (b'AT+WIPCREATE=2,2,"10.1.1.1",7,"u","p"', cme(800)),  # more fields than a socket has
    (b'AT+WIPCREATE=5,1,"http",80', {"c1": cme(837), "": cme(834)}),
    (b'AT+WIPCREATE=8,1,"mms",80', {"w5": cme(834), "": cme(837)}),
    (b"AT+WIPCREATE=?", OK),
    (b"AT+WIPDATA=?", OK),
    (b"AT+WIPCREATE?", {"c1": None, "": ERROR}),
    (b"AT+WIPDATA?", {"c1": OK, "": ERROR}),
    (b"AT+WIPOPT=2,1,1,2", line(b'+WIPOPT: 2,2,"10.1.1.1"') + OK),
    (b"AT+WIPOPT=2,1,1,6", line(b"+WIPOPT: 2,6,0") + OK),
    (b"AT+WIPOPT=1,4,1,3", line(b"+WIPOPT: 1,3,0") + OK),
    (b"AT+WIPOPT=1,1,1,4", cme(835)),
    (b"AT+WIPOPT=3,1,1,1", cme(835)),
    (b"AT+WIPOPT=2,1,1,10", cme(800)),
    (b"AT+WIPOPT=2,3,1,6", cme(831)),
    (b"AT+WIPOPT?", ERROR),
    (b"AT+WIPDATA=3,1,1", cme(837)),
    (b"AT+WIPDATA=2,2,2", cme(831)),
    (b"AT+WIPDATA=2,1,1", {"c1": cme(801)}),
    (b"AT+WIPDATA=2,1,3", cme(801)),
    (b"AT+WIPDATA=2,1,0", cme(801)),  # unmapping is for another port
    (b"AT+WIPDATA=1,1,2", {"w5": None, "": cme(801)}),
    (b"AT+WIPDATA=2,1", {"w5": None, "": ERROR}),
    (b"AT+WIPDATA=2,1,2,100,5", {"w5": None, "": ERROR}),
    (b"AT+WIPDATA=2,1,2,0,5", {"w5": cme(801), "": ERROR}),
    (b"AT+WIPCLOSE=2,1", OK),
    (b"AT+WIPCLOSE=2,1", cme(831)),
    (b"AT+WIPCLOSE=2,9", cme(830)),
    (b"AT+WIPCLOSE=3,1", OK),
    (b"AT+WIPCLOSE=9,1", cme(837)),
    (b"AT+WIPCLOSE=?", OK),
    (b"AT+WIPBR=0,6", {"c1": cme(834), "": OK}),
    (b"AT+WIPBR=5,6", {"c1": None, "": cme(803)}),
    (b"AT+WIPCFG=0", {"c1": None, "": OK}),
]


@pytest.mark.parametrize("which", ALL)
async def test_with_the_bearer_up(autojump_clock, which):
    async with running(profile(which)) as host:
        await (host.up if which == "c1" else host.up_gsm)()
        for command, answer in UP:
            wanted = expected(answer, which)
            if wanted is not None:
                assert (command, await host.ask(command)) == (command, wanted)


@pytest.mark.parametrize("which", GSM)
async def test_the_whole_of_option_3_is_three_lines(autojump_clock, which):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0")
        answer = await host.ask(b"AT+WIPCFG=3")
        assert answer.endswith(OK)
        assert answer.count(b"\r\n") == 2 * 4  # each line between its own two


@pytest.mark.parametrize("which", ALL)
async def test_stored_options_outlive_a_restart(autojump_clock, which):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+WIPCFG=1")
        await host.ask(b"AT+WIPCFG=2,12,7")
        await host.ask(b"AT+WIPCFG=2,0,9")
        await host.ask(b"AT+WIPCFG=4,1")
        await host.ask(b"AT+WIPCFG=2,0,10")
        await host.ask(b"AT+CFUN=1", 5)
        await host.ask(b"ATE0;+WIPCFG=1")
        listed = await host.ask(b"AT+WIPCFG?")
        assert line(b"+WIPCFG: 12,7") in listed
        assert line(b"+WIPCFG: 0,9") in listed
        await host.ask(b"AT+WIPCFG=4,0")
        await host.ask(b"AT+CFUN=1", 5)
        await host.ask(b"ATE0;+WIPCFG=1")
        assert line(b"+WIPCFG: 12,0") in await host.ask(b"AT+WIPCFG?")


# -- the GSM bearer: its OK waits


@pytest.mark.parametrize("which", GSM)
async def test_the_ok_of_the_bearer_waits_until_it_is_up(autojump_clock, which):
    async with running(profile(which, module_bearer_start=25.0)) as host:
        for command in (b"ATE0", b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        assert await host.ask(b'AT+WIPBR=4,6,0,"me","s3cret"', 24.9) == b""
        await trio.sleep(0.2)
        assert host.got() == OK  # and no +WIPBR line
        login = host.network.logins[0]
        assert (login.name, login.password) == ("me", "s3cret")
        assert b"s3cret" not in b"".join(r.data or b"" for r in host.records)
        assert await host.ask(b"AT+WIPBR=5,6") == OK
        assert host.network.calls["detach"] == 1
        assert await host.ask(b'AT+WIPCREATE=2,1,"h",7') == cme(803)


@pytest.mark.parametrize(
    ("which", "condition", "number"),
    [
        ("f4", Condition.BEARER_REFUSED, 814),
        ("f4", Condition.BEARER_UNAVAILABLE, 812),
        ("w5", Condition.CONNECT_TIMEOUT, 847),
        ("f4", Condition.MODULE_ERROR, 812),
        ("wismo", Condition.BEARER_UNAVAILABLE, 848),
    ],
)
async def test_a_bearer_that_does_not_come_up(autojump_clock, which, condition, number):
    async with running(profile(which)) as host:
        for command in (b"ATE0", b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        host.network.error["attach"] = NetworkError(condition)
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == cme(number)
        host.network.error.clear()
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == OK
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == cme(803)


@pytest.mark.deadline(200)
async def test_a_bearer_that_never_comes_up_gets_its_one_answer(autojump_clock):
    async with running(profile("f4")) as host:
        for command in (b"ATE0", b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        host.network.delay["attach"] = 1e6
        assert await host.ask(b"AT+WIPBR=4,6,0", 61.9) == b""
        await trio.sleep(0.2)
        assert host.got() == cme(847)
        host.network.delay.clear()
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == OK


async def test_a_bridge_is_ready_as_soon_as_its_network_is(autojump_clock):
    async with running(profile("wismo")) as host:
        await host.ask(b"AT+CFUN=1", 3.1)
        for command in (b"ATE0", b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == OK


async def test_a_simulated_wismo_is_not_ready_right_after_a_restart(autojump_clock):
    async with running(profile("wismo"), quirks=True) as host:
        await host.ask(b"AT+CFUN=1", 3.1)
        for command in (b"ATE0", b"AT+CMEE=1", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        assert await host.ask(b"AT+WIPBR=4,6,0", 2) == cme(848)
        assert await host.ask(b"AT+WIPBR=4,6,0", 2) == cme(848)
        await trio.sleep(2)
        assert await host.ask(b"AT+WIPBR=4,6,0", 3) == OK


async def test_hanging_up_in_the_middle_of_the_start(autojump_clock):
    """&D2: the OK that the host waited for never comes true, and the module can be started again."""
    async with running(profile("f4", module_bearer_start=10.0), wired=True) as host:
        for command in (b"ATE0", b"AT+CMEE=1", b"AT&D2", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
            await host.ask(command)
        assert await host.ask(b"AT+WIPBR=4,6,0", 5) == b""
        host.wire.dtr(False)
        await trio.sleep(0.1)
        assert host.got() == cme(809)
        host.wire.dtr(True)
        assert await host.ask(b"AT+WIPBR=4,6,0", 11) == OK


@pytest.mark.parametrize("which", GSM)
async def test_the_bearer_is_lost(autojump_clock, which):
    """No line tells of the bearer; each connection tells its own end, without an index."""
    async with running(profile(which)) as host:
        await host.up_gsm()
        link = await host.create(1)
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        link.end(Condition.BEARER_LOST)
        await trio.sleep(0.1)
        assert host.got() == cme(816)
        assert await host.ask(b"AT+WIPBR?") == line(b"+WIPBR: 6,0") + OK
        assert await host.ask(b"AT+CGATT?") == line(b"+CGATT: 0") + OK


async def test_a_stopped_bearer_is_told_by_its_ok_alone(autojump_clock):
    async with running(profile("f4")) as host:
        await host.up_gsm()
        link = await host.create(1)
        assert await host.ask(b"AT+WIPBR=5,6", 1) == OK
        assert link.closed
        assert await host.ask(b"AT+WIPDATA=2,1,2") == cme(831)


# -- a create that fails: +WIPERROR with the socket on c1, a bare number on GSM


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize(("condition", "number"), [(Condition.CONNECT_TIMEOUT, 842), (Condition.NAME_NOT_FOUND, 839)])
async def test_create_fails_late(autojump_clock, which, condition, number):
    async with running(profile(which)) as host:
        await (host.up if which == "c1" else host.up_gsm)()
        host.network.refused["nobody"] = condition
        host.network.delay["open_stream"] = 4.0
        told = line(b"+WIPERROR: 2,3,%d" % number) if which == "c1" else cme(number)
        assert await host.ask(b'AT+WIPCREATE=2,3,"nobody",7', 3.9) == OK
        await trio.sleep(0.2)
        assert host.got() == told
        assert await host.ask(b'AT+WIPCREATE=2,3,"nobody",7') == cme(840)
        assert await host.ask(b"AT+WIPCLOSE=2,3") == OK


async def test_the_bare_error_follows_cmee(autojump_clock):
    async with running(profile("f4")) as host:
        await host.up_gsm(b"AT+CMEE=0")
        host.network.refused["nobody"] = Condition.CONNECT_TIMEOUT
        assert await host.ask(b'AT+WIPCREATE=2,3,"nobody",7', 1) == OK + ERROR


# -- WOPEN


async def test_the_application_is_started_once_and_stays_started(autojump_clock):
    async with running(profile("f4", module_application=False)) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CMEE=1")
        assert await host.ask(b"AT+WOPEN?") == line(b"+WOPEN: 0") + OK
        for command in (b"AT+WIPCFG=1", b"AT+WIPCFG?", b"AT+WIPBR=1,6", b"AT+WIPCFG=?"):
            assert await host.ask(command) == ERROR
        assert await host.ask(b"AT+CSQ") == line(b"+CSQ: 31,0") + OK
        assert await host.ask(b"AT+WOPEN=1", 1) == OK
        assert await host.ask(b"AT", 1) == b""  # it restarts
        await trio.sleep(3)
        assert await host.ask(b"AT+WOPEN?") == b"AT+WOPEN?\r" + line(b"+WOPEN: 1") + OK
        await host.ask(b"ATE0")
        assert await host.ask(b"AT+WIPCFG=1") == OK
        await host.ask(b"AT+CFUN=1", 5)
        assert await host.ask(b"ATE0;+WOPEN?") == b"ATE0;+WOPEN?\r" + line(b"+WOPEN: 1") + OK
        assert await host.ask(b"AT+WOPEN=0", 5) == OK
        assert await host.ask(b"AT+WIPCFG=1") == b"AT+WIPCFG=1\r" + ERROR


# -- WIPPING


async def test_a_padded_address_is_pinged_without_its_padding(autojump_clock):
    async with running(profile("f4")) as host:
        await host.up_gsm()
        asked = []

        async def ping(name, limit):
            asked.append(name)
            return 0.1

        host.network.ping = ping
        assert await host.ask(b'AT+WIPPING="010.001.01.1"', 1) == OK + line(b"+WIPPING: 0,0,100")
        assert asked == ["010.1.1.1"]


@pytest.mark.parametrize("which", GSM)
async def test_ping(autojump_clock, which):
    async with running(profile(which)) as host:
        await host.up_gsm()
        host.network.echo = 0.1234
        assert await host.ask(b'AT+WIPPING="10.1.1.1"', 1) == OK + line(b"+WIPPING: 0,0,123")  # rocketscream's bytes
        assert await host.ask(b"AT+WIPPING=10.1.1.1,2,500,1000", 0.4) == OK + line(b"+WIPPING: 0,0,123")
        assert await host.ask(b'AT+WIPPING="h"') == cme(803)  # one at a time
        await trio.sleep(0.3)
        assert host.got() == line(b"+WIPPING: 0,1,123")
        host.network.delay["ping"] = 5.0
        assert await host.ask(b'AT+WIPPING="10.1.1.1",1,1000,1500', 1.4) == OK
        await trio.sleep(0.2)
        assert host.got() == line(b"+WIPPING: 1,0,0")
        assert await host.ask(b'AT+WIPPING=""') == cme(801)
        host.network.delay.clear()
        assert await host.ask(b'AT+WIPPING="a";+WIPPING="b"') == cme(803) + line(b"+WIPPING: 0,0,123")
        assert await host.ask(b'AT+WIPPING="a",9,100', 0.25) == OK + b"".join(line(b"+WIPPING: 0,%d,123" % n) for n in range(3))
        assert await host.ask(b"AT+WIPCFG=0", 5) == OK  # and no more of them
        for command in (b"AT+WIPCFG=1", b"AT+WIPBR=4,6,0"):
            assert await host.ask(command, 3) == OK
        assert await host.ask(b'AT+WIPPING="a"') == OK + line(b"+WIPPING: 0,0,123")
        assert await host.ask(b'AT+WIPPING="h",0') == cme(801)
        host.network.limits = type(host.network.limits)(5, 5, 2048, frozenset({Capability.TCP}))
        assert await host.ask(b'AT+WIPPING="h"') == cme(819)


# -- quirks, and every table


async def test_spaces_after_commas_are_for_unsolicited_lines(autojump_clock):
    async with running(profile("w5", quirk_comma_space=True), quirks=True) as host:
        await host.up_gsm()
        assert await host.ask(b'AT+WIPCREATE=2,1,"h",7') == OK + line(b"+WIPREADY: 2, 1")
        assert await host.ask(b"AT+WIPOPT=2,1,1,6") == line(b"+WIPOPT: 2,6,0") + OK


@pytest.mark.parametrize("which", ALL)
def test_every_hook_of_every_profile_is_there(which):
    rows = load("wip", which).command
    assert {row.hook for row in rows.values() if row.hook} <= HOOKS.keys()


SESSION = (
    b'ATE0V1+CMEE=1;+CSQ\rAT+WIPCFG=1\r\nAT+WIPBR=1,6\rAT+WIPBR=2,6,11,"a"\rA/at+wipbr=3,6,11\r'
    b'AT+WIPBR=1,6\rAT+WIPCREATE=2,1,"h",7\rAT+WOPEN?\rnoise+++AT+WIPCFG=3;+WIPBR?\r'
)


async def _replies(which, pieces):
    async with running(profile(which)) as host:
        for piece in pieces:
            await host.port.send(piece)
        await trio.sleep(1)
        return host.got()


def _run(which, pieces):
    return trio.run(_replies, which, pieces, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("which", GSM)
def test_a_session_byte_by_byte(which):
    whole = _run(which, [SESSION])
    assert whole.startswith(b"ATE0V1+CMEE=1;+CSQ\r" + line(b"+CSQ: 31,0") + OK + OK + OK + OK)
    assert whole.count(line(b'+WIPBR: 6,11,"a"') + OK + cme(804) + cme(803)) == 1
    assert _run(which, [SESSION[n : n + 1] for n in range(len(SESSION))]) == whole


@given(st.sampled_from(GSM), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_session_in_random_splits(which, seed):
    dice, pieces, at = random.Random(seed), [], 0
    while at < len(SESSION):
        size = dice.choice([1, 2, 3, 5, 17, 60])
        pieces.append(SESSION[at : at + size])
        at += size
    assert _run(which, pieces) == _run(which, [SESSION])
