"""The WIP downstream against literal module bytes: no simulator, so that nobody's misreading is shared."""

from __future__ import annotations

import pytest
import trio
from wip_modem import BRING_UP, CLOSE, EMPTY, MAP, OPEN, Module, network, opened, up

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Condition, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace


async def test_bring_up(autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        assert net.state.phase is Phase.UP


async def test_restart_while_mapped_leaves_data_mode_first_and_cleans(autojump_clock):
    async with network() as (net, module, _):
        await module.say(b"peer data of a former life\r\nAT\r\n")
        await module.answer_escape()
        script = [*BRING_UP[1:]]
        script[10] = (b"AT+WIPCREATE?\r", b'\r\n+WIPCREATE: 2,3,1024,"192.0.2.9",80\r\n\r\nOK\r\n')
        script.insert(11, (b"AT+WIPCLOSE=2,3\r", b"\r\nOK\r\n"))
        script[12] = (b"AT+WIPBR=4,6\r", b"\r\n+CME ERROR: 803\r\n")
        await module.play(*script)
        await net.attach()


async def test_send_is_forwarded_at_once_and_settles_before_it_is_ok(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        done = []

        async def send():
            await link.send_all(b"hello")
            done.append(trio.current_time())

        nursery.start_soon(send)
        await module.play(MAP)
        await module.expect(b"hello")
        before = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert not done
        await trio.sleep(0.06)
        assert before + 0.019 <= done[0] <= before + 0.05
        # A second send on the lone link pays no escape.
        await link.send_all(b" again")
        await module.expect(b" again")


async def test_first_bytes_follow_the_lf_of_connect(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPDATA: 2,1,3\r\n")
        assert await link.wait_readable() == 3
        await module.expect(MAP[0])
        await module.say(b"\r\nCONNECT\r\nabc\r\nOK")
        assert await link.receive_some(3) == b"abc"
        await trio.sleep(0.2)
        assert await link.receive_some() == b"\r\nOK"


HOSTILE = (
    b"\r\nNO CARRIER\r\n",
    b"\r\nSHUTDOWN\r\n",
    b"\r\nOK\r\n",
    b"\r\n+WIPPEERCLOSE: 2,1\r\n",
    b"\r\nNO CARRIER\r\n\r\n+WIPPEERCLOSE: 2,1\r\n",
    b"\r\n+CME ERROR: 843\r\n",
    b"\r\n+IPD,0,5:hello",
    bytes(range(256)),
    b"\r\r\r\n\n\n",
    b"+++",
)


@pytest.mark.parametrize("payload", HOSTILE, ids=repr)
@pytest.mark.parametrize("cut", [1, 3, 1000])
async def test_payload_that_imitates_the_modem_is_delivered_whole(payload, cut, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPDATA: 2,1,9\r\n")
        await module.expect(MAP[0])
        await module.say(b"\r\nCONNECT\r\n")
        for start in range(0, len(payload), cut):
            await module.say(payload[start : start + cut])
        await trio.sleep(0.2)

        async def rest():
            await module.answer_escape()
            await module.play(EMPTY)

        nursery.start_soon(rest)
        got = b""
        while len(got) < len(payload):
            got += await link.receive_some()
        assert got == payload
        assert link.condition is None


async def test_carrier_loss_while_mapped_is_believed_only_after_an_unanswered_escape(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPDATA: 2,1,5\r\n")
        await module.expect(MAP[0])
        await module.say(b"\r\nCONNECT\r\nbye\r\n\r\nNO CARRIER\r\n")
        await trio.sleep(0.1)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b"\r\nOK\r\n"), EMPTY, CLOSE)
        assert await link.receive_some() == b"bye\r\n"
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_peer_close_in_command_state(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play(EMPTY, CLOSE)
        assert await link.receive_some() == b""
        assert link.condition is Condition.PEER_CLOSED


async def test_unread_data_at_peer_close_are_read_first(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play((b"AT+WIPDATA?\r", b"\r\n+WIPDATA: 2,1,4\r\n\r\nOK\r\n"), MAP)
        await module.say(b"last\r\nNO CARRIER\r\n")
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b"\r\nOK\r\n"), EMPTY, CLOSE)
        assert await link.receive_some() == b"last"
        assert await link.receive_some() == b""


async def test_announced_bytes_that_cannot_be_read_are_reported_not_hidden(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\n+WIPPEERCLOSE: 2,1\r\n")
        await module.play((b"AT+WIPDATA?\r", b"\r\n+WIPDATA: 2,1,4\r\n\r\nOK\r\n"), (MAP[0], b"\r\n+CME ERROR: 831\r\n"), CLOSE)
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        assert lost.value.condition is Condition.LINK_RESET


async def test_urcs_flushed_before_the_ok_of_an_escape(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(lambda: link.send_all(b"x"))
        await module.play(MAP, (b"x", b""))
        nursery.start_soon(lambda: net.open_stream("192.0.2.2", 81))
        await module.expect(b"+++")
        await trio.sleep(1.0)
        await module.say(b"\r\n+WIPDATA: 2,1,7\r\n\r\nOK\r\n")
        await module.play((b"AT+WIPDATA?\r", b"\r\n+WIPDATA: 2,1,7\r\n\r\nOK\r\n"))
        assert await link.wait_readable() == 7
        await module.play((b'AT+WIPCREATE=2,2,"192.0.2.2",81\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n"))


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        (b"\r\nOK\r\n\r\n+WIPERROR: 2,1,842\r\n", Condition.CONNECT_TIMEOUT),
        (b"\r\nOK\r\n\r\n+WIPERROR: 2,1,839\r\n", Condition.NAME_NOT_FOUND),
        (b"\r\nOK\r\n\r\n+WIPERROR: 2, 1, 843\r\n", Condition.CONNECT_REFUSED),
        (b"\r\n+CME ERROR: 845\r\n", Condition.NO_FREE_LINK),
        (b"\r\nERROR\r\n", Condition.MODULE_ERROR),
    ],
)
async def test_create_failures(answer, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(lambda: module.play((OPEN[0][0], answer), CLOSE, *OPEN))
        with pytest.raises(NetworkError) as failed:
            await net.open_stream("192.0.2.1", 80)
        assert failed.value.condition is condition
        await trio.sleep(1)
        await net.open_stream("192.0.2.1", 80)


async def test_a_cancelled_create_leaves_nothing_behind(autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        with trio.move_on_after(5):
            await net.open_stream("192.0.2.1", 80)
        await module.play((OPEN[0][0], b"\r\nOK\r\n"), CLOSE)
        await module.say(b"\r\n+WIPREADY: 2,1\r\n")
        await module.silent_for(5)


async def test_lookup(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(
            lambda: module.play(
                (b'AT+WIPCREATE=1,8,53853,"example.net",9\r', b"\r\nOK\r\n\r\n+WIPREADY: 1,8\r\n"),
                (b"AT+WIPOPT=1,8,1,2\r", b'\r\n+WIPOPT: 1,2,"192.0.2.7"\r\n\r\nOK\r\n'),
                (b"AT+WIPCLOSE=1,8\r", b"\r\nOK\r\n"),
            )
        )
        assert await net.resolve("example.net") == "192.0.2.7"
        assert await net.resolve("192.0.2.8") == "192.0.2.8"


@pytest.mark.parametrize(
    "name",
    [
        'a"b',
        "a\rAT+WIPCFG=0",
        "a,b",
        "a\nb",
        "x" * 300,
        "",
        "a b",
        "ä",
        "192.168.010.1",
        "192.168.001.1",
        "10.1",
        "192.0.2.256",
        "0x1",
    ],
)
async def test_a_name_is_never_a_second_command_or_another_number(name, autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        for operation in (net.open_stream(name, 80), net.resolve(name)):
            with pytest.raises(NetworkError) as refused:
                await operation
            assert refused.value.condition is Condition.BAD_ARGUMENT
        await module.silent_for(3)


@pytest.mark.parametrize("noise", [b"\r\n+WIND: 8\r\n", b"\r\n+WIPBR: 6,0\r\n"])
async def test_reset_and_bearer_loss_end_links_and_start_again(noise, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        generation = net.state.generation
        await module.say(noise)
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        reset = b"WIND" in noise
        assert lost.value.condition is (Condition.MODULE_RESET if reset else Condition.BEARER_LOST)
        assert net.state.generation == generation + reset
        await up(net, module)


async def test_mute_module_loses_the_links_and_is_tried_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.expect, MAP[0])
        with pytest.raises(LinkLost) as lost:
            await link.send_all(b"x")
        assert lost.value.condition is Condition.MODULE_MUTE
        await up(net, module)


async def test_a_lone_escape_in_payload_is_broken_by_a_pause(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(lambda: link.send_all(b"a"))
        await module.play(MAP, (b"a", b""))
        await trio.sleep(1.5)
        nursery.start_soon(lambda: link.send_all(b"+++"))
        await module.expect(b"+")
        await module.silent_for(1.0)
        await module.expect(b"++")


async def test_an_ok_that_seems_early_because_the_drain_was_seen_late_is_the_modems(autojump_clock):
    """A busy gateway learns late that its escape has left; the modem counts its guard from when it had."""
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)

        async def seen_late():
            await trio.sleep(0.2)

        net._port.drain = seen_late
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        await module.answer_escape()
        await module.play(EMPTY)
        assert link.condition is None
        assert link.waiting() == 0


async def test_two_links_take_turns(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        first = await opened(net, module, nursery)
        nursery.start_soon(lambda: module.play((b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n")))
        second = await net.open_stream("192.0.2.2", 80)
        await trio.testing.wait_all_tasks_blocked()  # the driver waits: it sees both sends
        nursery.start_soon(lambda: first.send_all(b"one"))
        nursery.start_soon(lambda: second.send_all(b"two"))
        await module.play(MAP, (b"one", b""))
        await module.answer_escape()
        await module.play(EMPTY, (b"AT+WIPDATA=2,2,2\r", b"\r\nCONNECT\r\n"), (b"two", b""))


async def test_port_lost(autojump_clock):
    ours, theirs = line("module")
    net = WipNetwork(ours, load("wip", "c1"), Trace())
    await theirs.aclose()
    with pytest.raises(NetworkError) as lost:
        await net.run()
    assert lost.value.condition is Condition.PORT_LOST
    assert net.state.phase is Phase.FAILED


@pytest.mark.deadline(300)
@pytest.mark.parametrize("step", range(2, len(BRING_UP)), ids=lambda step: BRING_UP[step][0].decode().strip())
async def test_mute_at_each_step_of_bring_up_starts_again(step, autojump_clock):
    async with network() as (net, module, _):
        await module.play(*BRING_UP[:step], (BRING_UP[step][0], b""))
        if step == 2:  # sync asks twice
            await module.play((b"\r", b""), (b"AT\r", b""))
        await up(net, module)
        assert net.state.phase is Phase.UP


@pytest.mark.parametrize(
    "noise", [b"\xff\x00garbage\r\n", b"\r\n+WIPPEERCLOSE: \r\n", b"\r\n+WIPDATA: 2,7,9\r\n", b"\r\nRING\r\n"]
)
@pytest.mark.parametrize("glued", [True, False])
async def test_noise_between_any_two_answers_changes_nothing(noise, glued, autojump_clock):
    async with network() as (net, module, nursery):
        await module.play(*[(heard, noise + said if said and glued else said) for heard, said in BRING_UP])
        await net.attach()
        link = await opened(net, module, nursery)
        await module.say(noise)
        nursery.start_soon(lambda: link.send_all(b"x"))
        await module.play((MAP[0], noise + MAP[1]), (b"x", b""))
        assert link.condition is None


@pytest.mark.parametrize("said", [b"", b"\r\n+WIND: 8\r\n"])
@pytest.mark.parametrize("at", ["before the mapping", "before CONNECT", "while mapped"])
async def test_a_reset_at_each_step_of_a_send_ends_the_link_and_starts_again(at, said, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        ended = []

        async def send():
            try:
                await link.send_all(b"x" * 100)
                await link.receive_some()
            except LinkLost as lost:
                ended.append(lost.condition)

        if at == "before the mapping":
            await module.say(said)
        nursery.start_soon(send)
        if at != "before the mapping" or not said:
            await module.expect(MAP[0])
        if at == "before CONNECT":
            await module.say(said)
        elif at == "while mapped":
            await module.say(MAP[1])
            await module.expect(b"x" * 100)
            await module.say(said)
            # Nothing answers the escape: twice where there is no evidence, once where a boot line was seen.
            await module.play((b"+++", b""), *([] if said else [(b"+++", b"")]), (b"\r", b""))
            await module.play((b"AT\r", b"AT\r\r\nOK\r\n"))  # the echo is on again
        await module_again(net, module)
        assert ended == [link.condition]
        if said or at == "while mapped":
            assert ended == [Condition.MODULE_RESET]


async def module_again(net, module):
    """Whatever it was told before, bring-up comes."""
    data = b""
    while not data.endswith(b"+++"):
        data += module.spare or await module.port.receive()
        module.spare = b""
    module.spare = b"+++"
    await up(net, module)


async def test_an_unexplained_ok_is_looked_into_before_any_command(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\nOK\r\n")
        await module.play((b"+++", b""), (b"\r", b""), (b"AT\r", b"\r\nOK\r\n"), EMPTY)
        assert link.condition is None


async def test_bytes_that_come_in_an_unknown_state_are_never_silently_lost(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        await module.say(b"\r\nOK\r\n")
        await trio.sleep(0.1)
        await module.say(b"a peer's bytes")
        await module.answer_escape()
        await module.play((b"\r", b""), (b"AT\r", b"\r\nOK\r\n"))
        with pytest.raises(LinkLost):
            await link.receive_some()
        await up(net, module)


async def test_a_send_given_up_while_its_first_block_goes_out_loses_the_link(autojump_clock):
    ours, theirs = line("module", baud=9600)
    net, module = WipNetwork(ours, load("wip", "c1"), Trace()), Module(theirs)
    net.shutdown_grace = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        await up(net, module)
        link = await opened(net, module, nursery)
        sending = link.sending(400)
        await sending.write(b"x" * 400)
        await module.play(MAP, (b"x" * 16, b""))  # 400 bytes take 0.4 s: none of the block is counted yet
        sending.abort()
        assert link.condition is Condition.ABORTED
        nursery.cancel_scope.cancel()
