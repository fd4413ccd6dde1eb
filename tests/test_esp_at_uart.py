"""The speed of the host's line: OK at the old one, then the new one; and the way back when the two disagree."""

from __future__ import annotations

import pytest
import trio
from test_esp_at import ERROR, OK, PROMPT, UP, bridge
from wired_port import plugged

from bridge.model import Wire

pytestmark = pytest.mark.deadline(9000)

READY = b"\r\nready\r\n"
NOISE = b"\x00\xf8\x80\n\xe0"


def speeds(host):
    return [entry[1] for entry in host.wired.log if entry[0] == "speed"]


async def fast(host, baud=921600, how="CUR"):
    await host.ask("ATE0")
    assert await host.ask(f"AT+UART_{how}={baud},8,1,0,0") == OK
    assert host.wired.baud == baud


async def test_ok_at_the_old_speed_and_then_the_new_one(autojump_clock):
    async with plugged(baud=115200) as host:
        await host.ask("ATE0")
        del host.wired.log[:]
        assert await host.ask("AT+UART_CUR=921600,8,1,0,0") == OK
        # Tried out and taken back, because a host that was told OK will change its own speed.
        assert host.wired.log == [("speed", 921600), ("speed", 115200), ("sent", OK), ("speed", 921600)]
        assert await host.ask("AT+UART_CUR?") == b"+UART_CUR:921600,8,1,0,0\r\n" + OK
        assert await host.ask("AT+UART_DEF?") == b"+UART_DEF:115200,8,1,0,0\r\n" + OK
        assert await host.ask("AT") == OK


async def test_the_echo_is_at_the_old_speed(autojump_clock):
    async with plugged(baud=115200) as host:
        host.wired.slow = 0.01
        assert await host.ask("AT+UART_CUR=9600,8,1,0,0") == b"AT+UART_CUR=9600,8,1,0,0\r\n" + OK
        kinds = [entry for entry in host.wired.log if entry[0] == "speed" or entry[1] != OK]
        assert kinds[0] == ("sent", b"AT+UART_CUR=9600,8,1,0,0\r\n")
        assert host.wired.log[-1] == ("speed", 9600)


@pytest.mark.parametrize(
    "arguments",
    [
        "1152008,1,0,0",  # TinyGSM leaves out a comma
        "79,8,1,0,0",
        "5000001,8,1,0,0",
        "115200,7,1,0,0",
        "115200,8,2,0,0",
        "115200,8,3,0,0",
        "115200,8,1,1,0",
        "115200,8,1,2,0",
        "115200,8,1,0,1",
        "115200,8,1,0,2",
        "115200,8,1,0,3",
        "115200,8,1,0,4",
        "115200,8,1,0",
        "115200",
        "",
        "1234567,8,1,0,0",  # this port cannot
    ],
)
async def test_what_the_port_cannot_do_is_refused_and_nothing_changes(autojump_clock, arguments):
    async with plugged(baud=115200) as host:
        host.wired.refused.add(1234567)
        await host.ask("ATE0")
        for name in ("UART_CUR", "UART_DEF"):
            assert await host.ask(f"AT+{name}={arguments}") == ERROR
        assert host.wired.baud == 115200
        assert await host.ask("AT+UART_DEF?") == b"+UART_DEF:115200,8,1,0,0\r\n" + OK
        assert await host.ask("AT") == OK


@pytest.mark.parametrize("flow", [0, 1, 2, 3])
async def test_flow_control_is_granted_where_it_is_there(autojump_clock, flow):
    async with plugged(baud=115200) as host:
        host.wired.flow = True
        await host.ask("ATE0")
        assert await host.ask(f"AT+UART_CUR=115200,8,1,0,{flow}") == OK
        assert await host.ask("AT+UART_CUR?") == b"+UART_CUR:115200,8,1,0,3\r\n" + OK


async def test_a_port_without_speed_has_the_one_it_was_told(autojump_clock):
    async with bridge() as host:
        await host.ask("ATE0")
        assert await host.ask("AT+UART_CUR?") == b"+UART_CUR:115200,8,1,0,0\r\n" + OK
        assert await host.ask("AT+UART_CUR=9600,8,1,0,0") == OK
        assert await host.ask("AT+UART_CUR?") == b"+UART_CUR:9600,8,1,0,0\r\n" + OK


async def test_no_message_is_at_the_wrong_speed(autojump_clock):
    async with plugged(baud=115200) as host:
        link = (await host.join(links=(0,)))[0]
        host.wired.slow = 0.1
        del host.wired.log[:]
        await host.type(b"AT+UART_CUR=9600,8,1,0,0\r\n")
        await trio.sleep(0.05)
        link.feed(b"data")
        await trio.sleep(5)
        assert [entry[0] for entry in host.wired.log] == ["speed", "speed", "sent", "speed", "sent"]
        assert host.wired.log[-1] == ("sent", b"\r\n+IPD,0,4:data")


async def test_a_reset_goes_back_to_the_default(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host)
        assert await host.ask("AT+RST", 0.1) == OK
        assert await host.read(1) == READY
        assert host.wired.log[-2:] == [("speed", 115200), ("sent", READY)]


async def test_the_default_is_what_the_host_made_it(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host, 57600, "DEF")
        await fast(host, 921600)
        assert await host.ask("AT+UART_DEF?") == b"+UART_DEF:57600,8,1,0,0\r\n" + OK
        assert await host.ask("AT+RST", 1) == OK + READY
        assert host.wired.baud == 57600
        assert await host.ask("AT+UART_CUR?") == b"AT+UART_CUR?\r\n+UART_CUR:57600,8,1,0,0\r\n" + OK


async def test_restore_takes_the_default_back(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host, 57600, "DEF")
        assert await host.ask("AT+RESTORE", 0.1) == OK
        assert host.wired.log[-2:] == [("sent", OK), ("speed", 115200)]
        assert await host.read(1) == READY
        assert host.wired.baud == 115200
        assert await host.ask("AT+UART_DEF?") == b"AT+UART_DEF?\r\n+UART_DEF:115200,8,1,0,0\r\n" + OK


async def test_a_host_that_does_not_wait_for_the_answer(autojump_clock):
    async with plugged(baud=115200) as host:
        await host.ask("ATE0")
        await host.type(b"AT+UART_CUR=9600,8,1,0,0\r\n")
        await trio.sleep(0.25)
        assert host.wired.baud == 9600
        assert (await host.ask("AT", 0.25)).endswith(OK)


@pytest.mark.parametrize("every", [0.1, 1.0, 5.0])
async def test_garbage_falls_back_to_the_default(autojump_clock, every):
    async with plugged(baud=115200) as host:
        await fast(host)
        began = trio.current_time()
        while host.wired.baud != 115200:
            await host.type(NOISE)
            await trio.sleep(every)
            assert trio.current_time() - began < 2.5 + 2 * every
        assert trio.current_time() - began >= 2
        await host.read()
        assert (await host.ask("AT")).endswith(OK)
        assert host.upstream.counters["speed-fallbacks"] == 1


async def test_a_slow_typist_and_a_probe_are_no_garbage(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host)
        await host.type(NOISE)
        for byte in b"AT+CIPMUX?\r\n" + b"?\r\n" * 5:
            await trio.sleep(1)
            await host.type(bytes([byte]))
        assert host.wired.baud == 921600


async def test_two_disturbances_with_a_long_time_between_are_no_garbage(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host)
        for _ in range(10):
            await host.type(NOISE)
            await trio.sleep(60)
        assert host.wired.baud == 921600


async def test_a_command_between_ends_the_garbage(autojump_clock):
    async with plugged(baud=115200) as host:
        await fast(host)
        for _ in range(10):
            await host.type(NOISE + b"\r\nAT\r\n")
            await trio.sleep(1)
        assert host.wired.baud == 921600


async def test_payload_is_never_garbage(autojump_clock):
    async with plugged(baud=115200) as host:
        link = (await host.join(links=(0,)))[0]
        await fast(host)
        await host.ask("AT+CIPSEND=0,2000")
        for _ in range(20):
            await host.type(b"\x00" * 100)
            await trio.sleep(1)
        assert host.wired.baud == 921600
        assert await host.read() == b"\r\nRecv 2000 bytes\r\n\r\nSEND OK\r\n"
        assert bytes(link.sent) == b"\x00" * 2000


async def test_garbage_at_the_default_speed_is_only_garbage(autojump_clock):
    async with plugged(baud=115200) as host:
        for _ in range(10):
            await host.type(NOISE)
            await trio.sleep(1)
        assert speeds(host) == []


@pytest.mark.parametrize("where", ["line", "payload"])
async def test_a_break_falls_back_to_the_default(autojump_clock, where):
    async with plugged(baud=115200, wires=(Wire.BREAK,)) as host:
        await host.join(links=(0,))
        host.wired.send_break()
        await trio.sleep(1)
        assert speeds(host) == []
        await fast(host)
        if where == "payload":
            assert await host.ask("AT+CIPSEND=0,4") == PROMPT
        host.wired.send_break()
        await trio.sleep(1)
        assert host.wired.baud == 115200
        if where == "payload":
            await host.type(b"abcd")
            await trio.sleep(1)
            assert bytes(host.network.links[0].sent) == b"abcd"
        await host.read()
        assert await host.ask("AT") == OK


async def test_a_port_that_is_lost_in_the_change_is_at_the_default_when_it_is_back(autojump_clock):
    async with plugged(baud=115200, reopens=True) as host:
        await host.join()
        host.wired.slow = 0.1
        await host.type(b"AT+UART_DEF=9600,8,1,0,0\r\n")
        await trio.sleep(0.05)
        host.wired.lose()
        await trio.sleep(1)
        host.wired.come_back()
        assert await host.read(2) == READY + UP
        assert host.wired.log[-3][0] == "speed"
