"""What goes wrong with a WIP modem, at each step, against literal module bytes."""

from __future__ import annotations

import pytest
import trio
from test_wip_downstream import HOSTILE, module_again
from wip_modem import (
    CLOSE,
    CLOSE_UDP,
    EMPTY,
    LISTEN,
    MAP,
    MAP_UDP,
    OPEN,
    OPEN_UDP,
    PEER,
    Module,
    network,
    opened,
    opened_udp,
    up,
)

from bridge.dialects.wip.downstream import WipNetwork
from bridge.model import Condition, Datagram, Phase
from bridge.network import LinkLost, NetworkError
from bridge.ports.memory import line
from bridge.tables import load
from bridge.trace import Trace

OK = b"\r\nOK\r\n"
BOOT = b"\r\n+WIND: 8\r\n"
DOWN = b"\r\n+WIPBR: 6,0\r\n"
ESCAPE_UNHEARD = (b"+++", b"")


async def told(call, *arguments, **named):
    """The condition that a call ends with; None where it succeeds."""
    try:
        await call(*arguments, **named)
    except (NetworkError, LinkLost) as error:
        return error.condition
    return None


class Outcome:
    """What a call in the background came to."""

    def __init__(self, nursery, call, *arguments, **named):
        self.done = trio.Event()
        self.condition = None
        nursery.start_soon(self._run, call, arguments, named)

    async def _run(self, call, arguments, named):
        self.condition = await told(call, *arguments, **named)
        self.done.set()

    async def is_(self, condition):
        await self.done.wait()
        assert self.condition is condition


# --- mute ---

MUTE = {
    "create": ("open_stream", ("192.0.2.1", 80), {}, [(OPEN[0][0], b"")]),
    "peer of a name": (
        "open_stream",
        ("example.net", 80),
        {},
        [
            (b'AT+WIPCREATE=2,1,"example.net",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,1\r\n"),
            (b"AT+WIPOPT=2,1,1,2\r", b""),
        ],
    ),
    "create a datagram socket": ("open_datagram", (PEER,), {"local_port": 4000}, [(OPEN_UDP[0], b"")]),
    "listen": ("listen", (8080,), {"room": 5}, [(LISTEN[0], b"")]),
    "lookup": ("resolve", ("example.net",), {}, [(b'AT+WIPCREATE=1,8,53853,"example.net",9\r', b"")]),
    "name servers": ("name_servers", (), {}, [(b"AT+WIPBR=3,6,17\r", b"")]),
}


@pytest.mark.parametrize("name", MUTE)
async def test_mute_at_each_operation(name, autojump_clock):
    call, arguments, named, script = MUTE[name]
    async with network() as (net, module, nursery):
        await up(net, module)
        outcome = Outcome(nursery, getattr(net, call), *arguments, **named)
        await module.play(*script)
        await outcome.is_(Condition.MODULE_MUTE)
        assert net.state.phase is Phase.DOWN
        await up(net, module)
        await opened(net, module, nursery)  # the index is free again


@pytest.mark.parametrize("step", ["map", "escape", "poll", "close", "accepted link's close"])
async def test_mute_at_each_step_of_a_links_life(step, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        if "close" in step:
            closing = Outcome(nursery, link.aclose)
            await module.expect(CLOSE[0])
            await closing.is_(None)  # there is nothing more to wait for
            await up(net, module)
            return
        sending = Outcome(nursery, link.send_all, b"x")
        await module.expect(MAP[0])
        if step != "map":
            await module.play((b"", MAP[1]), (b"x", b""))
            await sending.is_(None)
            other = Outcome(nursery, net.open_stream, "192.0.2.2", 80)
        if step == "escape":
            await module.play(ESCAPE_UNHEARD, ESCAPE_UNHEARD, (b"\r", b""), (b"AT\r", b""), (b"\r", b""), (b"AT\r", b""))
            await other.is_(Condition.MODULE_MUTE)
        if step == "poll":
            await module.answer_escape()
            await module.expect(EMPTY[0])
            await other.is_(Condition.MODULE_MUTE)
        if step == "map":
            await sending.is_(Condition.MODULE_MUTE)
        await module_again(net, module)
        assert link.condition is Condition.MODULE_MUTE


async def test_a_modem_that_takes_no_bytes_is_blocked(autojump_clock):
    ours, theirs = line("module")
    stuck = trio.Event()
    send = ours.send

    async def sends(data):
        if stuck.is_set() and data == b"x" * 10:
            await trio.sleep_forever()
        return await send(data)

    ours.send = sends
    net, module = WipNetwork(ours, load("wip", "c1"), Trace()), Module(theirs)
    net.shutdown_grace = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        await up(net, module)
        link = await opened(net, module, nursery)
        stuck.set()
        sending = Outcome(nursery, link.send_all, b"x" * 10)
        await module.play(MAP)
        await sending.is_(Condition.MODULE_BLOCKED)
        stuck = trio.Event()
        await module_again(net, module)
        nursery.cancel_scope.cancel()


# --- resets and bearer at each step ---


@pytest.mark.parametrize("said", [BOOT, DOWN], ids=["boot", "bearer"])
@pytest.mark.parametrize("at", ["idle", "creating", "created", "mapping", "written", "escape", "poll", "close"])
@pytest.mark.parametrize("kind", ["stream", "datagram"])
async def test_reset_and_bearer_loss_at_each_step(kind, at, said, autojump_clock):
    condition = Condition.MODULE_RESET if said is BOOT else Condition.BEARER_LOST
    create, mapping, wire = (*OPEN, MAP, b"x") if kind == "stream" else (OPEN_UDP, MAP_UDP, b"x\x03")
    async with network() as (net, module, nursery):
        await up(net, module)

        def open_it():
            if kind == "stream":
                return net.open_stream("192.0.2.1", 80)
            return net.open_datagram(PEER, local_port=4000)

        if at in {"creating", "created"}:
            outcome = Outcome(nursery, open_it)
            await module.expect(create[0])
            if at == "created":
                await module.say(OK)
            await module.say(said + (OK if at == "creating" else b""))
            await outcome.is_(condition)
        else:
            nursery.start_soon(module.play, create)
            link = await open_it()
            if at == "idle":
                await module.say(said)
            elif at == "close":
                closing = Outcome(nursery, link.aclose)
                await module.play(((CLOSE if kind == "stream" else CLOSE_UDP)[0], said + OK))
                await closing.is_(None)
            else:
                sending = Outcome(nursery, link.send_all if kind == "stream" else link.send, b"x")
                await module.expect(mapping[0])
                if at == "mapping":
                    await module.say(said)  # and no CONNECT
                    await sending.is_(condition)
                else:
                    await module.play((b"", mapping[1]), (wire, b""))
                    await trio.sleep(0.1)
                    if at == "written":
                        await module.say(said)
                        await module.play(ESCAPE_UNHEARD, (b"\r", b""), (b"AT\r", OK))
                    else:
                        nursery.start_soon(told, net.open_stream, "192.0.2.9", 80)
                        await module.expect(b"+++")
                        await trio.sleep(1.0)
                        await module.say(said + OK if at == "escape" else OK)
                        if at == "poll":
                            await module.play((EMPTY[0], said + OK))
                    await sending.is_(None)  # it was taken; what came later is the link's end
            if at != "close":
                while link.condition is None:
                    await link.wait_readable()
                assert link.condition is condition
        assert net.state.cause is condition
        await up(net, module)
        assert net.state.generation == 1  # once, although the echo is on again too


@pytest.mark.parametrize("at", ["create", "create a datagram socket", "map", "listen"])
async def test_a_silent_reset_shows_as_803(at, autojump_clock):
    refused = b"\r\n+CME ERROR: 803\r\n"
    async with network() as (net, module, nursery):
        await up(net, module)
        if at == "map":
            link = await opened(net, module, nursery)
            outcome = Outcome(nursery, link.send_all, b"x")
            await module.play((MAP[0], refused))
        elif at == "listen":
            outcome = Outcome(nursery, net.listen, 8080, room=5)
            await module.play((LISTEN[0], refused))
        elif at == "create":
            outcome = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
            await module.play((OPEN[0][0], refused))
        else:
            outcome = Outcome(nursery, net.open_datagram, PEER, local_port=4000)
            await module.play((OPEN_UDP[0], refused))
        await outcome.is_(Condition.MODULE_RESET)
        await up(net, module)
        assert net.state.generation == 1


async def test_a_silent_reset_shows_by_the_echo_of_a_mapping(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        outcome = Outcome(nursery, link.send, b"x")
        await module.play((MAP_UDP[0], b"AT+WIPDATA=1,1,1\r\r\nERROR\r\n"))
        await outcome.is_(Condition.MODULE_RESET)
        await up(net, module)


async def test_a_silent_reset_shows_by_the_echo_of_a_create(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        outcome = Outcome(nursery, net.open_datagram, PEER, local_port=4000)
        await module.play((OPEN_UDP[0], OPEN_UDP[0] + b"\r\nERROR\r\n"))
        await outcome.is_(Condition.MODULE_RESET)
        await up(net, module)


# --- old URCs and the same index again ---


@pytest.mark.parametrize(
    "stale",
    [
        b"\r\n+WIPDATA: 2,1,7\r\n",
        b"\r\n+WIPPEERCLOSE: 2,1\r\n",
        b"\r\n+WIPERROR: 2,1,843\r\n",
        b"\r\n+WIPDATA: 2,1,7\r\n\r\n+WIPPEERCLOSE: 2,1\r\n",
    ],
)
@pytest.mark.parametrize("when", ["before the OK of the close", "after it", "while the create is awaited"])
async def test_old_urcs_never_touch_the_successor(stale, when, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        old = await opened(net, module, nursery)
        nursery.start_soon(old.aclose)
        if when == "before the OK of the close":
            await module.expect(CLOSE[0])
            opening = Outcome(nursery, net.open_stream, "192.0.2.9", 80)
            await trio.sleep(0.1)
            await module.say(stale + OK)
        else:
            await module.play(CLOSE)
            if when == "after it":
                await module.say(stale)
        await trio.sleep(0.1)
        links = []

        async def again():
            links.append(await net.open_stream("192.0.2.1", 80))

        if when == "before the OK of the close":
            await module.expect(b'AT+WIPCREATE=2,2,"192.0.2.9",80\r')  # the index was not given away before
            await module.say(b"\r\n+CME ERROR: 838\r\n")
            await module.play((b"AT+WIPCLOSE=2,2\r", OK))
            await opening.is_(Condition.NO_FREE_LINK)
        nursery.start_soon(again)
        await module.expect(OPEN[0][0])
        if when == "while the create is awaited":
            await module.say(stale)
        await module.say(OK)
        await trio.sleep(1)
        assert not links
        await module.say(b"\r\n+WIPREADY: 2,1\r\n")
        await module.silent_for(3)
        assert links[0].index == 1
        assert (links[0].condition, links[0].waiting(), links[0].fin) == (None, 0, False)


async def test_data_and_close_between_the_ok_and_ready_belong_to_nobody(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(
            module.play, (OPEN[0][0], OK + b"\r\n+WIPDATA: 2,1,7\r\n\r\n+WIPPEERCLOSE: 2,1\r\n" + b"\r\n+WIPREADY: 2,1\r\n")
        )
        link = await net.open_stream("192.0.2.1", 80)
        await module.silent_for(3)
        assert (link.condition, link.waiting()) == (None, 0)


async def test_a_refused_close_keeps_the_index(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        old = await opened(net, module, nursery)
        nursery.start_soon(old.aclose)
        await module.play((CLOSE[0], b"\r\n+CME ERROR: 802\r\n"))
        opening = Outcome(nursery, net.open_stream, "192.0.2.1", 80)
        await module.play((b'AT+WIPCREATE=2,2,"192.0.2.1",80\r', OK + b"\r\n+WIPREADY: 2,2\r\n"))
        await opening.is_(None)
        await module.play(CLOSE)


@pytest.mark.parametrize("late", [b"\r\n+WIPREADY: 1,1\r\n", b"\r\n+WIPERROR: 1,1,842\r\n"])
async def test_a_late_outcome_of_a_create_given_up_is_swallowed(late, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        with trio.move_on_after(5):
            await net.open_datagram(PEER, local_port=4000)
        await module.play((OPEN_UDP[0], OK), (CLOSE_UDP[0], late + OK))
        await module.say(late)
        await module.silent_for(5)
        await opened_udp(net, module, nursery)


async def test_ready_in_the_moment_of_giving_up_is_closed(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        scope = trio.CancelScope()

        async def open_it():
            with scope:
                await net.open_stream("192.0.2.1", 80)

        nursery.start_soon(open_it)
        await module.play(*OPEN)
        scope.cancel()
        await module.play(CLOSE)


# --- payload that imitates the modem, mode 1 ---


@pytest.mark.parametrize("payload", [*HOSTILE, b"\x03", b"\r\nOK\r\n\x03\r\nOK\r\n"], ids=repr)
@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize("etx", [b"\x03", b""])
async def test_a_datagram_that_imitates_the_modem_is_delivered_whole(payload, cut, etx, autojump_clock):
    wire = payload.replace(b"\x10", b"\x10\x10").replace(b"\x03", b"\x10\x03") + etx
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened_udp(net, module, nursery)
        await module.say(b'\r\n+WIPDATA: 1,1,%d,"192.0.2.1",7\r\n' % len(payload))
        await module.play(MAP_UDP)
        for start in range(0, len(wire), cut):
            await module.say(wire[start : start + cut])
        await trio.sleep(0.2)

        async def rest():
            await module.answer_escape()
            await module.play(EMPTY)

        nursery.start_soon(rest)
        with trio.fail_after(10):
            assert await link.wait_readable()
            await link.fetch()
        assert link.take() == Datagram(payload, PEER)
        assert link.take() is None
        assert link.condition is None


@pytest.mark.parametrize("text", [b"\r\n+WIPACCEPT: 1,4\r\n", b"\r\n+WIPDATA: 2,1,9\r\n", BOOT, DOWN])
async def test_a_peers_urcs_in_a_stream_are_nobodys_urcs(text, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", text))
        await trio.sleep(0.2)

        async def rest():
            await module.answer_escape()
            await module.play(EMPTY)

        nursery.start_soon(rest)
        assert await link.receive_some() == text
        assert net.state.phase is Phase.UP
        assert link.condition is None


# --- questions ---


@pytest.mark.parametrize(("answer", "strength"), [(b"+CSQ: 0,0", -113), (b"+CSQ: 31,99", -51), (b"+CSQ: 99,99", None)])
async def test_signal(answer, strength, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+CSQ\r", b"\r\n" + answer + b"\r\n" + OK))
        assert await net.signal() == strength
        assert await net.signal() == strength  # remembered
        await trio.sleep(31)
        nursery.start_soon(module.play, (b"AT+CSQ\r", b"\r\nERROR\r\n"))
        assert await net.signal() is None


async def test_signal_never_costs_a_visit(autojump_clock):
    async with network() as (net, module, nursery):
        assert await net.signal() is None
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        assert await net.signal() is None
        await module.silent_for(5)


async def test_name_servers(autojump_clock):
    async with network() as (net, module, nursery):
        with pytest.raises(NetworkError):
            await net.name_servers()
        await up(net, module)
        nursery.start_soon(
            module.play,
            (b"AT+WIPBR=3,6,17\r", b'\r\n+WIPBR: 6,17,"192.0.2.53"\r\n' + OK),
            (b"AT+WIPBR=3,6,18\r", b'\r\n+WIPBR: 6,18,"0.0.0.0"\r\n' + OK),
        )
        assert await net.name_servers() == ["192.0.2.53"]
        assert await net.name_servers() == ["192.0.2.53"]
        await module.silent_for(1)


async def test_lookups_one_after_another(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)

        def script(name, address):
            return (
                (b'AT+WIPCREATE=1,8,53853,"%s",9\r' % name, b"\r\nOK\r\n\r\n+WIPREADY: 1,8\r\n"),
                (b"AT+WIPOPT=1,8,1,2\r", b'\r\n+WIPOPT: 1,2,"%s"\r\n\r\nOK\r\n' % address),
                (b"AT+WIPCLOSE=1,8\r", b"\r\n+CME ERROR: 802\r\n"),
                (b"AT+WIPCLOSE=1,8\r", OK),  # a refused close does not free the index
            )

        nursery.start_soon(module.play, *script(b"a.example", b"192.0.2.1"), *script(b"b.example", b"192.0.2.2"))
        assert await net.resolve("a.example") == "192.0.2.1"
        assert await net.resolve("b.example") == "192.0.2.2"
