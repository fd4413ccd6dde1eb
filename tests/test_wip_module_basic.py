r"""The modem as a modem: lines of several commands, numeric results, settings, the line's speed, +WIND, the log (wip.md 1, 2)."""

from __future__ import annotations

import pytest
import structlog
import trio
from wip_fakes import profile, running

from bridge.model import Condition, Phase

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
ALL = ("c1", "f4", "w5", "wismo")


def cme(number):
    return b"\r\n+CME ERROR: %d\r\n" % number


def line(text):
    return b"\r\n" + text + b"\r\n"


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"ATE0V1+CMEE=1;+CSQ", line(b"+CSQ: 31,0") + OK),
        (b"AT+CSQ;E0;+CPIN?", line(b"+CSQ: 31,0") + line(b"+CPIN: READY") + OK),
        (b"AT&C1&D1E0", OK),
        (b"at+csq", line(b"+CSQ: 31,0") + OK),
        (b"AT+ICF?", line(b"+ICF: 3,4") + OK),
        (b"AT+ICF=3", OK),
        (b"AT+ICF=0,0", cme(801)),
        (b"AT+IFC=0,0;+IFC?", line(b"+IFC: 0,0") + OK),
        (b"AT+IFC=4,0", cme(801)),
        (b"AT+WIND?;+WIND=32767;+WIND?", None),
        (b"AT+CFUN?", line(b"+CFUN: 1") + OK),
        (b"AT+CFUN=0", cme(801)),
        (b"AT+CREG=1;+CREG?", line(b"+CREG: 1,1") + OK),
        (b"AT+CREG=3", cme(801)),
        (b"AT+CGSN", line(b"00000000") + OK),
        (b"AT&D3", cme(801)),
        (b"AT+CSQ;+NONSENSE;+CPIN?", line(b"+CSQ: 31,0") + ERROR),  # what was done before the error was done
        (b"AT+CSQ;+CFUN=0;+CPIN?", line(b"+CSQ: 31,0") + cme(801)),
    ],
)
async def test_answers(autojump_clock, which, command, answer):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0+CMEE=1")
        got = await host.ask(command)
        assert got.endswith(OK) if answer is None else got == answer


@pytest.mark.parametrize(("which", "maker"), [("c1", b"Multi-Tech Systems"), ("f4", b"WAVECOM MODEM")])
async def test_who_it_is(autojump_clock, which, maker):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0")
        for command in (b"ATI", b"ATI0", b"AT+CGMI"):
            assert await host.ask(command) == line(maker) + OK


async def test_everything_is_listed(autojump_clock):
    async with running(profile("f4")) as host:
        await host.ask(b"ATE0&D0;+CMEE=1")
        listed = await host.ask(b"AT&V")
        assert (
            listed
            == line(b"E:0 V:1 Q:0 +CMEE:1 &C:1 &D:0 &S:0 +IFC:2,2 +ICF:3,4 +IPR:115200 +WIND:0 +CREG:0 +CGREG:0 +CMGF:0") + OK
        )


async def test_numeric_results(autojump_clock):
    async with running(profile("f4")) as host:
        await host.up_gsm(b"ATV0")
        await host.ask(b'AT+WIPCREATE=2,1,"h",7')
        assert await host.ask(b"AT+CSQ") == b"+CSQ: 31,0\r\n0\r"
        assert await host.ask(b"AT+WIPDATA=2,2,1") == cme(831)  # stays as it is
        assert await host.ask(b"AT+WIPDATA=2,1,1") == b"1\r"
        host.network.links[0].end()
        await trio.sleep(0.1)
        assert host.got() == b"\r\nSHUTDOWN\r\n"
        assert await host.escape() == b"\r\n+WIPPEERCLOSE: 2,1\r\n0\r"


async def test_without_results_lines_are_still_said(autojump_clock):
    async with running(profile("f4")) as host:
        await host.up_gsm(b"ATQ1")
        assert await host.ask(b"AT+CSQ") == line(b"+CSQ: 31,0")
        assert await host.ask(b"AT+WIPBR=4,6,0") == b""
        assert await host.ask(b'AT+WIPCREATE=2,1,"h",7') == line(b"+WIPREADY: 2,1")
        assert await host.ask(b"AT+WIPDATA=2,1,1") == b""
        host.network.links[0].push(b"abc")
        await trio.sleep(0.1)
        assert host.got() == b"abc"


# -- the speed of the line


def listened(host):
    """Everything that the module's port was asked for, in order."""
    port, asked = host.wire, []
    real_send, real_speed = port.send, port.set_speed

    async def send(data):
        asked.append(data)
        return await real_send(data)

    async def set_speed(baud):
        if baud == 300:
            raise ValueError(baud)
        asked.append(baud)
        await real_speed(baud)

    port.send, port.set_speed = send, set_speed
    return asked


async def test_the_speed_changes_when_the_ok_has_left(autojump_clock):
    async with running(profile("f4"), baud=115200) as host:
        await host.ask(b"ATE0")
        asked = listened(host)
        assert await host.ask(b"AT+IPR=9600;+CSQ") == line(b"+CSQ: 31,0") + OK
        assert asked == [line(b"+CSQ: 31,0") + OK, 9600]
        assert host.wire.baud == 9600
        began = trio.current_time()
        await host.ask(b"AT+CGMI", 0)
        got = b""
        while not got.endswith(OK):
            await host.heard.wait()
            got += host.got()
        assert 0 <= trio.current_time() - began - len(got) * 10 / 9600 < 0.002  # at the new speed, but for the command
        assert await host.ask(b"AT+IPR?", 1) == line(b"+IPR: 9600") + OK
        assert await host.ask(b"AT&F0E0;+IPR?", 1) == line(b"+IPR: 9600") + OK  # or nobody would understand it


async def test_speeds_that_are_not_there(autojump_clock):
    async with running(profile("f4"), baud=115200) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+CMEE=1")
        asked = listened(host)
        assert await host.ask(b"AT+IPR=12345") == cme(3)
        assert await host.ask(b"AT+IPR=0") == OK  # finds out by itself: stays
        assert await host.ask(b"AT+IPR=300") == OK  # the port cannot, and nobody knew before
        assert [entry for entry in asked if isinstance(entry, int)] == []
        assert host.wire.baud == 115200
        assert host.upstream.counters["speed-refused"] == 1
        assert await host.ask(b"AT+IPR?") == line(b"+IPR: 0") + OK


async def test_a_restart_goes_back_to_the_stored_speed(autojump_clock):
    async with running(profile("f4"), baud=115200) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+IPR=19200", 1)
        await host.ask(b"AT&W", 1)
        await host.ask(b"AT+IPR=57600", 1)
        assert host.wire.baud == 57600
        await host.ask(b"AT+CFUN=1", 4)
        assert host.wire.baud == 19200


async def test_a_module_without_a_speed_keeps_the_number(autojump_clock):
    async with running() as host:
        await host.ask(b"ATE0")
        assert await host.ask(b"AT+IPR=9600;+IPR?") == line(b"+IPR: 9600") + OK


async def test_the_speed_is_the_ports_own_at_the_start(autojump_clock):
    async with running(baud=38400) as host:
        await host.ask(b"ATE0")
        assert await host.ask(b"AT+IPR?") == line(b"+IPR: 38400") + OK


# -- what is said unasked

BOOTS = [
    ("c1", 8, b"+WIND: 8"),
    ("c1", 64, b"+WIND: 64"),
    ("c1", 0, b""),
    ("f4", 0, b""),
    ("f4", 8, b"+WIND: 4"),
    ("w5", 32767, b"+WIND: 1\r\n\r\n+WIND: 3\r\n\r\n+WIND: 4\r\n\r\n+WIND: 7"),
    ("wismo", 12, b"+WIND: 3\r\n\r\n+WIND: 4"),
]


@pytest.mark.parametrize(("which", "level", "said"), BOOTS)
async def test_what_a_restart_says(autojump_clock, which, level, said):
    async with running(profile(which)) as host:
        await host.ask(b"ATE0")
        assert await host.ask(b"AT+WIND=%d" % level) == OK
        assert await host.ask(b"AT+CFUN=1", 2.9) == OK
        await trio.sleep(3)
        assert host.got() == (line(said) if said else b"")


async def test_the_service_comes_and_goes(autojump_clock):
    async with running(profile("f4")) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+WIND=192;+CREG=1;+CGREG=1")
        host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
        await trio.sleep(0.1)
        assert host.got() == line(b"+CREG: 0") + line(b"+CGREG: 0") + line(b"+WIND: 8")
        host.network.box.change(Phase.STARTING)
        await trio.sleep(0.1)
        assert host.got() == b""
        host.network.box.change(Phase.UP, address="10.0.0.3")
        await trio.sleep(0.1)
        assert host.got() == line(b"+CREG: 1") + line(b"+CGREG: 1") + line(b"+WIND: 7")


async def test_a_second_restart_cuts_the_first_short(autojump_clock):
    async with running(profile("w5")) as host:
        await host.ask(b"ATE0")
        await host.ask(b"AT+WIND=12")
        await host.ask(b"AT+CFUN=1", 1)
        host.upstream._module.reboot()
        await trio.sleep(5)
        assert host.got() == line(b"+WIND: 3") + line(b"+WIND: 4")
        assert host.network.calls["reset"] == 2


# -- the log: one event for each line


async def test_one_event_for_each_command_line(autojump_clock):
    with structlog.testing.capture_logs() as events:
        async with running(profile("f4"), baud=9600) as host:
            await host.ask(b"ATE0", 1)
            await host.ask(b"AT+CMEE=1;+CSQ", 1)
            await host.ask(b"AT+WIPCFG=1", 1)
            await host.ask(b"AT+WIPBR=1,6", 1)
            await host.ask(b'AT+WIPBR=2,6,1,"s3cret"', 1)
            await host.ask(b"AT+WIPBR=4,6,0", 5)
            await host.ask(b'AT+WIPCREATE=9,1,"h",7', 1)
            await host.ask(b"AT+NONSENSE", 1)
            await host.ask(b'AT+WIPCREATE=2,1,"h",7', 1)
            await host.ask(b"AT+WIPDATA=2,1,1", 1)
    told = [event for event in events if event["event"] == "command"]
    assert [(e["verb"], e["final"]) for e in told] == [
        ("E", "OK"),
        ("CMEE;CSQ", "OK"),
        ("WIPCFG", "OK"),
        ("WIPBR", "OK"),
        ("WIPBR", "OK"),
        ("WIPBR", "OK"),
        ("WIPCREATE", "+CME ERROR: 837"),
        ("NONSENSE", "ERROR"),
        ("WIPCREATE", "OK"),
        ("WIPDATA", "CONNECT"),
    ]
    assert told[5]["module"] == pytest.approx(2.0, abs=0.01)  # the bearer's start
    assert told[6]["log_level"] == told[7]["log_level"] == "info"
    assert told[0]["log_level"] == "debug"
    assert "s3cret" not in str(told)


async def test_a_restart_abandons_the_command_at_work(autojump_clock):
    with structlog.testing.capture_logs() as events:
        async with running(profile("f4", module_bearer_start=10.0)) as host:
            for command in (b"ATE0", b"AT+WIPCFG=1", b"AT+WIPBR=1,6"):
                await host.ask(command)
            await host.ask(b"AT+WIPBR=4,6,0")
            host.upstream._module.reboot()
            await trio.sleep(20)
            assert host.got() == b""
            assert await host.ask(b"AT") == b"AT\r" + OK
    finals = [event["final"] for event in events if event["event"] == "command"]
    assert finals == ["OK", "OK", "OK", "", "OK"]


async def test_what_a_host_may_read_back_is_not_in_the_trace(autojump_clock):
    async with running(profile("f4")) as host:
        for command in (b"ATE0", b"AT+WIPCFG=1", b"AT+WIPBR=1,6", b'AT+WIPBR=2,6,11,"private.apn"'):
            await host.ask(command)
        assert b"private.apn" in await host.ask(b"AT+WIPBR=3,6,11")
        await host.ask(b'AT+CPIN="7391"')
        shown = b"".join(record.data or b"" for record in host.records)
        assert b"private" not in shown
        assert b"7391" not in shown


# -- the carrier line


async def carrier(host, commands):
    """What our DTR was set to by each of the commands."""
    for command, pause, wanted in commands:
        host.wire.lines.clear()
        await host.ask(command, pause)
        assert (command, [lines["dtr"] for _, lines in host.wire.lines]) == (command, wanted)


@pytest.mark.parametrize("which", ["c1", "f4"])
async def test_the_carrier_line(autojump_clock, which):
    async with running(profile(which, module_dcd="dtr"), wired=True) as host:
        await trio.sleep(0.1)
        assert [lines for _, lines in host.wire.lines] == [{"dtr": which == "c1", "rts": None}]  # &C2 and &C1
        await host.ask(b"ATE0;+WIPCFG=1")
        if which == "f4":
            await host.ask(b"AT+WIPBR=1,6")
        await carrier(
            host,
            [
                (b"AT&C1", 0.1, [False] if which == "c1" else []),
                (b"AT+WIPBR=4,6", 3, [True]),
                (b"AT+WIPBR=5,6", 3, [False]),
                (b"AT&C0", 0.1, [True]),
                (b"AT+WIPBR=4,6", 3, []),
                (b"AT+WIPBR=5,6", 3, []),
                (b"AT&C2", 0.1, []),
                (b"AT+WIPBR=4,6", 3, []),
                (b"AT+WIPBR=5,6", 3, [False, True]),
            ],
        )
        (off, _), (on, _) = host.wire.lines
        assert on - off == pytest.approx(1.0)
        await carrier(host, [(b"AT+CFUN=1", 5, [] if which == "c1" else [False])])  # back to the stored setting


async def test_no_line_is_touched_where_the_table_names_none(autojump_clock):
    async with running(wired=True) as host:
        await host.up(b"AT&C1", b"AT+WIPBR=5,6")
        assert host.wire.lines == []


@pytest.mark.parametrize("quirks", [False, True])
async def test_a_simulated_modules_card_starts_after_the_module(autojump_clock, quirks):
    async with running(profile("f4"), quirks=quirks) as host:
        await host.ask(b"AT+CFUN=1", 3.1)
        await host.ask(b"ATE0+CMEE=1")
        assert await host.ask(b"AT+CPIN?", 0.5) == (cme(515) if quirks else line(b"+CPIN: READY") + OK)
        await trio.sleep(0.5)
        assert await host.ask(b"AT+CPIN?") == line(b"+CPIN: READY") + OK
