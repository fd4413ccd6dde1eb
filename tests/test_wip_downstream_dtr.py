"""Leaving data mode by DTR: proved once, believed with care, given up where the wire is not there."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest
import test_ports_rfc2217 as rfc2217_facts
import trio
from fake_network import FakeNetwork
from wip_fakes import WiredPort as ModuleWires
from wip_modem import BRING_UP, CLOSE, EMPTY, MAP, OPEN, Module, opened, up
from wip_modes import CLOSED, OK, SHUTDOWN, SYNC
from wip_modes import table as with_mode

from bridge.dialects.wip.downstream import WipNetwork
from bridge.dialects.wip.driver.dtr import TRIES
from bridge.dialects.wip.upstream import WipUpstream
from bridge.model import Condition, Wire
from bridge.network import LinkLost
from bridge.ports import Port
from bridge.ports.memory import line
from bridge.ports.opening import open_port
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace

pytestmark = pytest.mark.filterwarnings("ignore:set:DeprecationWarning")  # pyserial 3.5's thread
_brisk = rfc2217_facts._brisk
server = rfc2217_facts.server

DATA = b"\r\n+WIPDATA: 2,1,3\r\n"


class LinedPort(Port):
    """A line with modem wires: the test sees our DTR fall and rise, and answers."""

    name = "module"
    wires = frozenset({Wire.CTS, Wire.DSR, Wire.DCD, Wire.RI})

    def __init__(self, inner):
        self.inner = inner
        self.dtr = True
        self.pulses = []  # (off, on)
        self.changed = trio.Event()
        self.discards = None  # bytes that `discard` threw away
        self.stalled = False

    async def receive(self, most=4096):
        return await self.inner.receive(most)

    async def send(self, data):
        if self.stalled:
            await trio.sleep_forever()
        return await self.inner.send(data)

    @property
    def sent(self):
        return self.inner.sent

    async def drain(self):
        await self.inner.drain()

    async def aclose(self):
        await self.inner.aclose()

    async def discard(self):
        await trio.lowlevel.checkpoint()
        self.stalled = False
        return True

    async def set_lines(self, *, dtr=None, rts=None):
        await trio.lowlevel.checkpoint()
        assert rts is None
        assert dtr is not self.dtr
        self.dtr = dtr
        self.pulses.append((trio.current_time(), dtr))
        self.changed.set()
        self.changed = trio.Event()

    async def dropped(self):
        while self.dtr:
            await self.changed.wait()


class DtrModule(Module):
    async def by_dtr(self, said=OK, *, after=0.02):
        """The pulse is seen, and answered."""
        await self.port_of_ours.dropped()
        await trio.sleep(after)
        if said:
            await self.say(said)

    async def unheard_escape(self):
        await self.play((b"+++", b""), *SYNC)


@asynccontextmanager
async def wired(profile=None, records=None, wires=LinedPort.wires):
    ours, theirs = line("module")
    port = LinedPort(ours)
    port.wires = wires
    trace = Trace() if records is None else Trace(records.append)
    net = WipNetwork(port, profile or load("wip", "c1"), trace)
    module = DtrModule(theirs)
    module.port_of_ours = port
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        yield net, module, nursery
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


async def two(net, module, nursery):
    await up(net, module)
    first = await opened(net, module, nursery)
    nursery.start_soon(module.play, (b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n"))
    return first, await net.open_stream("192.0.2.2", 80)


async def visited(module, said, *, index=1):
    """A visit's beginning."""
    await module.play((b"AT+WIPDATA=2,%d,2\r" % index, b"\r\nCONNECT\r\n"), (said, b""))


async def proved(net, module, nursery):
    """Two links, and a first visit that showed the wire to be there."""
    first, second = await two(net, module, nursery)
    nursery.start_soon(first.send_all, b"one")
    await visited(module, b"one")
    await module.by_dtr()
    await module.unheard_escape()
    await module.play(EMPTY)
    await trio.testing.wait_all_tasks_blocked()  # the driver waits: what is asked for next, it sees all of it
    return first, second


def test_no_port_without_wires_is_tried():
    assert not Port.wires


async def test_the_first_visit_proves_it_and_the_next_pays_no_guard(autojump_clock):
    async with wired() as (net, module, nursery):
        first, second = await proved(net, module, nursery)
        assert [dtr for _, dtr in module.port_of_ours.pulses] == [False, True]
        begun = trio.current_time()
        nursery.start_soon(second.send_all, b"two")
        nursery.start_soon(first.send_all, b"three")
        await visited(module, b"two", index=2)
        await module.by_dtr()
        await module.play(EMPTY)
        await visited(module, b"three")
        assert trio.current_time() - begun < 0.5  # settle, idle_out, pulse and its silence
        off, on = (at for at, _ in module.port_of_ours.pulses[-2:])
        assert on - off == pytest.approx(0.2)


@pytest.mark.parametrize("wires", [frozenset(), frozenset({Wire.BREAK})])
async def test_without_wires_there_is_no_pulse(wires, autojump_clock):
    async with wired(wires=wires) as (net, module, nursery):
        first, _ = await two(net, module, nursery)
        nursery.start_soon(first.send_all, b"one")
        await visited(module, b"one")
        await module.answer_escape()
        await module.play(EMPTY)
        assert module.port_of_ours.pulses == []


@pytest.mark.parametrize("answer", [b"\r\nERROR\r\n", b"\r\n+CME ERROR: 4\r\n"])
async def test_a_modem_that_refuses_d1_is_never_pulsed(answer, autojump_clock):
    """By its default every socket would be closed."""
    async with wired() as (net, module, nursery):
        script = [(heard, answer if heard == b"AT&D1\r" else said) for heard, said in BRING_UP]
        await module.play(*script)
        await net.attach()
        first = await opened(net, module, nursery)
        nursery.start_soon(first.send_all, b"one")
        await visited(module, b"one")
        await trio.sleep(0.05)
        nursery.start_soon(first.aclose)
        await module.answer_escape()
        assert module.port_of_ours.pulses == []


async def test_no_effect_falls_back_to_the_escape_for_good(autojump_clock):
    async with wired() as (net, module, nursery):
        first, second = await two(net, module, nursery)
        for link, said, index in ((first, b"one", 1), (second, b"two", 2), (first, b"three", 1)):
            nursery.start_soon(link.send_all, said)
            await visited(module, said, index=index)
            await module.answer_escape()
            await module.play(EMPTY)
        assert len(module.port_of_ours.pulses) == 2
        assert module.port_of_ours.dtr
        assert first.condition is None


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_peer_that_says_ok_at_the_right_moment_proves_nothing(goes_on, autojump_clock):
    """The wire is not there, and the peer's OK is payload: an escape that is answered shows it."""
    async with wired() as (net, module, nursery):
        first, second = await two(net, module, nursery)
        nursery.start_soon(first.send_all, b"one")
        await visited(module, b"one")
        await module.by_dtr(OK)
        if goes_on:
            await trio.sleep(0.6)
            await module.say(b"more")
        await module.answer_escape()
        await module.play(EMPTY)
        got = b""
        while len(got) < (10 if goes_on else 6):
            got += await first.receive_some()
        assert got == OK + (b"more" if goes_on else b"")
        nursery.start_soon(second.send_all, b"two")
        await visited(module, b"two", index=2)
        await module.answer_escape()
        assert len(module.port_of_ours.pulses) == 2


async def test_an_ok_of_the_peer_before_the_modems_own_is_payload(autojump_clock):
    async with wired() as (net, module, nursery):
        first, _ = await proved(net, module, nursery)
        await module.say(DATA)
        await module.play(MAP)
        await module.say(b"abc")
        await module.by_dtr(OK, after=0.0)
        await trio.sleep(0.1)
        await module.say(OK)
        await module.play(EMPTY)
        assert await first.receive_some() == b"abc" + OK


@pytest.mark.parametrize("text", [b"\r\nNO CARRIER\r\n", SHUTDOWN, b"\r\nERROR\r\n"])
async def test_payload_that_imitates_a_fallback(text, autojump_clock):
    async with wired() as (net, module, nursery):
        first, _ = await proved(net, module, nursery)
        await module.say(DATA)
        await module.play(MAP)
        await module.say(b"abc" + text)
        await module.by_dtr()
        await module.play(EMPTY)
        got = b""
        while len(got) < 3 + len(text):
            got += await first.receive_some()
        assert got == b"abc" + text
        assert first.condition is None


async def test_a_true_fallback_is_told_by_a_pulse_that_says_nothing(autojump_clock):
    async with wired() as (net, module, nursery):
        first, _ = await proved(net, module, nursery)
        await module.say(DATA)
        await module.play(MAP)
        await module.say(b"abc\r\nNO CARRIER\r\n")
        begun = trio.current_time()
        await module.by_dtr(b"")
        await module.play(*SYNC, EMPTY, CLOSE)
        assert trio.current_time() - begun < 2
        assert await first.receive_some() == b"abc"
        assert await first.receive_some() == b""
        # The wire still works.
        assert module.port_of_ours.dtr


async def test_shutdown_and_the_peers_close_with_the_ok(autojump_clock):
    profile = with_mode(2)
    async with wired(profile) as (net, module, nursery):
        first, _ = await proved(net, module, nursery)
        await module.say(DATA)
        await module.play(MAP)
        await module.say(b"bye" + SHUTDOWN)
        await module.by_dtr(CLOSED + OK)
        await module.play(EMPTY, CLOSE)
        assert await first.receive_some() == b"bye"
        assert await first.receive_some() == b""


async def test_a_wire_that_comes_off_is_proved_anew_and_then_given_up(autojump_clock):
    async with wired() as (net, module, nursery):
        first, second = await proved(net, module, nursery)
        pulses = len(module.port_of_ours.pulses)
        for turn in range(TRIES + 2):
            link, index = ((first, 1), (second, 2))[turn % 2]
            nursery.start_soon(link.send_all, b"data")
            await visited(module, b"data", index=index)
            await module.answer_escape()
            await module.play(EMPTY)
        assert (len(module.port_of_ours.pulses) - pulses) // 2 == 2
        assert first.condition is second.condition is None


async def test_dtr_is_up_again_although_the_network_ends_in_the_pulse(autojump_clock):
    ours, theirs = line("module")
    port, module = LinedPort(ours), DtrModule(theirs)
    module.port_of_ours = port
    net = WipNetwork(port, load("wip", "c1"), Trace())
    net.shutdown_grace = 0.5
    async with trio.open_nursery() as nursery:
        await nursery.start(net.run)
        first, _ = await two(net, module, nursery)
        nursery.start_soon(first.send_all, b"one")
        await visited(module, b"one")
        await port.dropped()
        nursery.cancel_scope.cancel()
    assert port.dtr


async def test_a_peer_that_takes_nothing_costs_its_own_link_only(autojump_clock):
    async with wired() as (net, module, nursery):
        first, second = await proved(net, module, nursery)
        outcome = []

        async def send():
            try:
                await first.send_all(b"x" * 5000)
            except LinkLost as lost:
                outcome.append(lost.condition)

        nursery.start_soon(send)
        await module.expect(MAP[0])
        module.port_of_ours.stalled = True
        await module.say(MAP[1])
        begun = trio.current_time()
        await module.by_dtr()
        assert 10 <= trio.current_time() - begun <= 10.5
        await module.play(*SYNC, EMPTY, CLOSE)
        assert outcome == [Condition.MODULE_BLOCKED]
        nursery.start_soon(second.send_all, b"two")
        await visited(module, b"two", index=2)
        assert second.condition is None


async def test_the_last_send_has_its_time_before_a_gsm_socket_is_closed(autojump_clock):
    profile = load("wip", "c1")
    wait = msgspec.structs.replace(profile.time["close_wait"], seconds=1.0)
    async with wired(msgspec.structs.replace(profile, time=profile.time | {"close_wait": wait})) as (net, module, nursery):
        first, _ = await proved(net, module, nursery)
        nursery.start_soon(first.send_all, b"last")
        await visited(module, b"last")
        sent = trio.current_time()
        await trio.sleep(0.05)
        nursery.start_soon(first.aclose)
        await module.by_dtr()
        await module.play(EMPTY)
        await module.expect(CLOSE[0])
        assert 1.0 <= trio.current_time() - sent <= 1.1


# --- our own simulated module, whose DSR is our DTR ---


class NullModem(LinedPort):
    """Our DTR is the module's DSR."""

    def __init__(self, inner, theirs):
        super().__init__(inner)
        self.theirs = theirs

    async def set_lines(self, *, dtr=None, rts=None):
        await super().set_lines(dtr=dtr, rts=rts)
        self.theirs.dtr(dtr)


@asynccontextmanager
async def both(*, connected=True):
    ours, theirs = line("module", baud=115200)
    module_port = ModuleWires(theirs)
    port = NullModem(ours, module_port) if connected else LinedPort(ours)
    table, below = load("wip", "c1"), FakeNetwork()
    net = WipNetwork(port, table, Trace())
    async with trio.open_nursery() as nursery:
        await nursery.start(run_session, WipUpstream(module_port, below, table, Trace()), below)
        await nursery.start(net.run)
        await net.attach()
        yield net, below, port
        net.shutdown_grace = 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("connected", [True, False])
async def test_five_links_on_our_own_module(connected, autojump_clock):
    async with both(connected=connected) as (net, below, port):
        links = [await net.open_stream("192.0.2.1", 80 + number) for number in range(5)]
        payload = bytes(range(256)) * 8
        got = [b""] * 5

        async def serve(number):
            below.links[number].feed(payload)
            await links[number].send_all(payload)
            while len(got[number]) < len(payload):
                got[number] += await links[number].receive_some()

        begun = trio.current_time()
        async with trio.open_nursery() as work:
            for number in range(5):
                work.start_soon(serve, number)
        took = trio.current_time() - begun
        assert got == [payload] * 5
        assert [bytes(link.sent) for link in below.links] == [payload] * 5
        line_time = 5 * 2 * len(payload) * 10 / 115200
        assert took < line_time + (5 if connected else 15)
        assert took > line_time / 2
        assert (len(port.pulses) > 4) is connected


# --- a terminal server's wires ---


def quick():
    """The C1's table with a guard of 0.1 s: this part runs in real time."""
    profile = load("wip", "c1")
    times = {"guard": 0.11, "guard_module": 0.1, "escape_earliest": 0.09, "escape_evidence": 0.3, "sync_pause": 0.01}
    rows = {name: msgspec.structs.replace(profile.time[name], seconds=seconds) for name, seconds in times.items()}
    return msgspec.structs.replace(profile, time=profile.time | rows)


class ServedModule:
    """Literal bytes behind a terminal server; DTR off says OK, where the wire is there."""

    def __init__(self, server, *, wire):
        self.server = server
        self.at = 0
        self.pulses = 0
        if wire:
            server.line.lines = self
        self.lines = []

    def append(self, change):
        """In the server's thread: a wire of the line was set."""
        self.lines.append(change)
        if change == ("dtr", False):
            self.pulses += 1
            self.server.say(OK)

    async def play(self, *pairs):
        for heard, said in pairs:
            while len(self.server.heard) - self.at < len(heard):  # noqa: ASYNC110 - another thread's
                await trio.sleep(0.002)
            assert bytes(self.server.heard[self.at : self.at + len(heard)]) == heard
            self.at += len(heard)
            if said:
                await trio.to_thread.run_sync(self.server.say, said)


@pytest.mark.parametrize("wire", [True, False])
async def test_through_a_terminal_server(server, wire):
    port = await open_port(rfc2217_facts.spec(server), baud=115200)
    net = WipNetwork(port, quick(), Trace())
    module = ServedModule(server, wire=wire)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(net.run)
            await module.play(*BRING_UP)
            await net.attach()
            nursery.start_soon(lambda: module.play(*OPEN))
            link = await net.open_stream("192.0.2.1", 80)
            nursery.start_soon(lambda: module.play((b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', OK + b"\r\n+WIPREADY: 2,2\r\n")))
            await net.open_stream("192.0.2.2", 80)
            for turn in range(2):
                nursery.start_soon(link.send_all, b"x")
                await module.play(MAP, (b"x", b""))
                opening = trio.CancelScope()

                async def somebody_else(opening=opening):
                    with opening:
                        await net.open_stream("192.0.2.3", 80)

                nursery.start_soon(somebody_else)
                if not wire:
                    await module.play((b"+++", b""))
                    await trio.sleep(0.1)
                    await trio.to_thread.run_sync(server.say, OK)
                elif not turn:
                    await module.play((b"+++", b""), *SYNC)
                await module.play(EMPTY)
                assert link.condition is None
                opening.cancel()
                with trio.move_on_after(0.3):
                    await module.play((b'AT+WIPCREATE=2,3,"192.0.2.3",80\r', OK), (b"AT+WIPCLOSE=2,3\r", OK))
            assert module.pulses == (2 if wire else 0)
            net.shutdown_grace = 0
            nursery.cancel_scope.cancel()
    await port.aclose()
