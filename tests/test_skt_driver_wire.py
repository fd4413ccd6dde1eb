"""The wire to an SKT module at its edges: broken lines, late timers, the middle of a send when the bridge ends, raw mode."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
import trio
from skt_driven import (
    BRING_UP,
    DELETE,
    EMPTY,
    FIND,
    IDLE,
    NO_ROWS,
    NOT_JOINED,
    OPEN,
    READ,
    RECEIVE_OFF,
    TEST,
    SktModule,
    network,
    opened,
    up,
)
from test_skt_driver_profiles import OK, S1B_UP, S2_DELETE, S2_STATE, S2_UP, logged, s1b_link, s2_link
from trio.testing import wait_all_tasks_blocked

from bridge.dialects.skt.downstream import SktNetwork
from bridge.model import Condition, Login
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load, profiles
from bridge.trace import Trace

# --- lines ---


async def test_a_space_behind_the_plus_is_understood_in_what_comes_later_too(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (OPEN[0], b"\r\n+ SKTCLIENT:OK\r\n\r\n+ SKTCLIENT:ERROR:9\r\n"))
        with trio.fail_after(5), pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition is Condition.CONNECT_REFUSED


async def test_the_log_port_is_found_out_behind_the_prompt_of_an_empty_line(autojump_clock):
    """An empty line is answered by CR and #, and no line end follows."""
    async with network() as (net, module, _):
        await module.play((b"\r\n", b"\r#"), logged(*TEST))
        await trio.sleep(0.1)
        assert net._profile.profile == "s1-log"


async def test_a_raw_mode_is_left_before_it_is_known_which_generation_it_is(autojump_clock):
    """A bridge that was killed in a raw send: the module waits for the rest, and AT+TEST would go to the peer."""
    ours, theirs = line("module")
    module = SktModule(theirs)
    others = [load("skt", name) for name in profiles("skt") if name != "s1-uart"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(SktNetwork(ours, load("skt", "s1-uart"), Trace(), others=others).run)
        times = []
        for mark in (b"<", b"<", b"<", b"\r\nAT+TEST\r\n"):
            await module.expect(mark)
            times.append(trio.current_time())
        nursery.cancel_scope.cancel()
    assert all(later - earlier >= 0.03 for earlier, later in pairwise(times))


@pytest.mark.parametrize("broken", [b",pw,se\r\n[WLAN-A] scan\r\ncret", b",p\r\n[WLAN-A] scan\r\nw,secret"])
async def test_an_echo_that_a_log_line_breaks_shows_no_password(broken, autojump_clock):
    records = []
    async with network("s1-log", records=records) as (net, module, nursery):
        await module.play((b"\r\n", b"\r#"), logged(*TEST), logged(*RECEIVE_OFF), logged(*NO_ROWS), logged(*NOT_JOINED))
        await trio.sleep(0.1)
        nursery.start_soon(net.attach, Login("field", "secret"))
        await module.expect(b"AT+WLCONN=ssid,field,pw,secret\r\n")
        await module.say(b"AT+WLCONN=ssid,field" + broken + b"\r\r\n\r\n+WLCONN:OK\r\n\r\n\n#\r\n")
        await module.expect(b"AT+WLSTATE\r\n")
        shown = b"\n".join((record.data or b"") + str(record.rule).encode() + repr(record).encode() for record in records)
        assert b"cret" not in shown
        assert b"+WLCONN:OK" in shown


async def test_the_help_that_follows_a_refused_join_is_waited_for(autojump_clock):
    """While the module prints, it hears nothing."""
    async with network() as (net, module, nursery):
        await module.play(*FIND, RECEIVE_OFF, NO_ROWS, NOT_JOINED)
        await trio.sleep(0.1)

        async def join_and_ask():
            with pytest.raises(NetworkError):
                await net.attach(Login("field", "secret"))
            await net.identity()

        nursery.start_soon(join_and_ask)
        await module.play((b"AT+WLCONN=ssid,field,pw,secret\r\n", b"\r\n+WLCONN:ERROR:2\r\n"))
        for _ in range(5):
            await trio.sleep(0.1)
            await module.say(b"  AT+WLCONN=ssid,<ssid>[,pw,<pw>]\r\n")
        said = trio.current_time()
        await module.expect(b"AT+GMR\r\n")
        assert trio.current_time() - said >= 0.15


# --- payload ---


async def test_who_is_woken_late_takes_no_payload_for_lost(autojump_clock):
    """Its timer says that the line was idle, but what came meanwhile may not have been read yet."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:he"))
        await wait_all_tasks_blocked()
        autojump_clock.jump(0.5)
        await wait_all_tasks_blocked()  # the driver has looked, 400 ms too late
        await module.say(b"llo\r\n")
        assert await link.receive_some() == b"hello"
        await module.play(EMPTY)
        assert link.condition is None


async def test_who_is_woken_late_sees_a_loss_all_the_same(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.play((READ, b"+SKTREAD:OK,5,1:he"))
        await wait_all_tasks_blocked()
        autojump_clock.jump(0.5)
        late = trio.current_time()
        assert await link.wait_readable() == 0
        assert trio.current_time() == pytest.approx(late + 0.1)
        assert link.condition is Condition.DATA_LOST


@pytest.mark.parametrize(("count", "shown"), [(3, b"ab"), (4, b"ab"), (2, b""), (1, b"")])
@pytest.mark.parametrize("size", [1, 100])
async def test_s1b_the_line_end_of_the_answer_is_never_taken_for_the_rest_of_a_cut_payload(count, shown, size, autojump_clock):
    """A NUL as the last byte but one, or the last: what the module left out is as long as the CR LF that follows."""
    async with network("s1b") as (net, module, nursery):
        await up(net, module, S1B_UP)
        link = await s1b_link(net, module, nursery)
        await module.expect(READ)
        answer = b"+SKTREAD:%d,1:" % count + shown + OK
        for start in range(0, len(answer), size):
            await module.say(answer[start : start + size])
        await trio.sleep(2.5)
        assert link.take(10) == b""
        assert link.condition is Condition.DATA_LOST


async def test_a_console_that_drops_a_lf_is_found_out(autojump_clock):
    """Line editor B: the text is shorter than its count, and nothing was sent."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b"\r\n+SKTSEND:ERROR:1\r\n"})
        for data, sent in ((b"a\nb", 1), (b"c\nd", 1)):
            with pytest.raises(NetworkError) as refused:
                await link.send_all(data)
            assert refused.value.condition is Condition.BAD_ARGUMENT
            assert sum(text.startswith(b"AT+SKTSEND") for text in module.heard) == sent
        assert link.condition is None
        assert not {0x0D, 0x0A} & net.limits.alphabet


# --- raw mode, and the end ---


async def test_s2_a_module_that_stays_full_is_given_no_more(autojump_clock):
    """What it has no room for it drops, and what came after would close the gap at the peer."""
    async with network("s2") as (net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        failed = []

        async def send():
            try:
                await link.send_all(b"x" * 3000)
            except LinkLost as lost:
                failed.append(lost.condition)

        nursery.start_soon(send)
        await module.play((b"AT+SKTSENDRAW=9,3000\r\n", b">>>\r\n[$][TT]:High Watermark\r\n"))
        begun = trio.current_time()
        await module.expect(b"<<<\r\nAT+TEST\r\n")
        assert 10 <= trio.current_time() - begun < 11
        await module.play((b"", OK), S2_STATE, S2_DELETE)
        assert failed == [Condition.MODULE_MUTE]


async def leave_in_the_middle(profile, begin, slowly=False):
    """A bridge that ends once ``begin`` has brought it to the middle of something; returns what the module hears then."""
    ours, theirs = line("module")
    net, module = SktNetwork(ours, load("skt", profile), Trace()), SktModule(theirs)
    at_once = ours.send

    async def byte_by_byte(data):
        for byte in data:
            await at_once(bytes([byte]))
            await trio.sleep(0.0003)

    if slowly:
        ours.send = byte_by_byte
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run(task_status):
            with scope:
                await net.run(task_status=task_status)

        await nursery.start(run)
        await begin(net, module, nursery)
        module.spare = b""
        scope.cancel()
        with trio.move_on_after(5):
            while True:
                module.spare += await module.port.receive()
        nursery.cancel_scope.cancel()
    return module.spare


async def try_to_send(link, data):
    with suppress(LinkLost):
        await link.send_all(data)


async def test_s2_leaving_in_the_middle_of_a_raw_send_writes_no_command_into_the_payload(autojump_clock):
    async def begin(net, module, nursery):
        await up(net, module, S2_UP)
        link = await s2_link(net, module, nursery)
        nursery.start_soon(try_to_send, link, b"x" * 3000)
        await module.play((b"AT+SKTSENDRAW=9,3000\r\n", b">>>\r\n[$][TT]:High Watermark\r\n"))
        await trio.sleep(0.1)

    assert await leave_in_the_middle("s2", begin) == b"<<<\r\nAT+SKTDEL=9\r\n"


async def test_leaving_in_the_middle_of_a_line_ends_that_line_first(autojump_clock):
    async def begin(net, module, nursery):
        await up(net, module, BRING_UP)
        link = await opened(net, module, nursery)
        nursery.start_soon(try_to_send, link, b"x" * 100)
        await module.expect(b"AT+SKTSEND=100,1:xxxxx")

    heard = await leave_in_the_middle("s1-uart", begin, slowly=True)
    rest, deletion = heard.split(b"\r\n", 1)
    assert rest.strip(b"x") == b""
    assert deletion == DELETE[0]


async def test_leaving_the_guides_module_in_the_middle_of_a_payload_adds_nothing_to_it(autojump_clock):
    """It counts: whatever came now would be payload.  What is open is closed by the next bring-up."""

    async def begin(net, module, nursery):
        await up(net, module, BRING_UP)
        link = await opened(net, module, nursery)
        nursery.start_soon(try_to_send, link, b"x" * 1000)
        await module.expect(b"AT+SKTSEND=1000,1:xxxxx")

    assert (await leave_in_the_middle("guide", begin, slowly=True)).strip(b"x") == b""
