"""A host that pauses in the middle of its payload, and payload that looks like the escape."""

from __future__ import annotations

import msgspec
import pytest
import trio
from wip_modem import EMPTY, MAP, network, opened, up

from bridge.tables import load

OPEN_2 = (b'AT+WIPCREATE=2,2,"192.0.2.2",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n")
MAP_2 = (b"AT+WIPDATA=2,2,2\r", b"\r\nCONNECT\r\n")


async def two(net, module, nursery):
    await up(net, module)
    first = await opened(net, module, nursery)
    nursery.start_soon(module.play, OPEN_2)
    return first, await net.open_stream("192.0.2.2", 80)


async def test_a_pause_ends_the_visit_and_the_rest_goes_in_a_later_one(autojump_clock):
    async with network() as (net, module, nursery):
        first, second = await two(net, module, nursery)
        sending = first.sending(10)
        await sending.write(b"hello")
        await module.play(MAP, (b"hello", b""))
        begun = trio.current_time()
        nursery.start_soon(second.send_all, b"other")
        await module.answer_escape()
        assert 2.0 <= trio.current_time() - begun <= 2.3  # 500 ms of silence are inside of the leading guard
        await module.play(EMPTY, MAP_2, (b"other", b""))
        await sending.write(b"there")
        await module.answer_escape()
        await module.play(EMPTY, MAP, (b"there", b""))
        with trio.fail_after(0.1):
            await sending.commit()


async def test_nobody_has_to_wait_for_it_to_be_left(autojump_clock):
    """The wire says nothing of the other link while it is mapped: it is left after the pause all the same."""
    async with network() as (net, module, nursery):
        first, _second = await two(net, module, nursery)
        sending = first.sending(10)
        await sending.write(b"hello")
        await module.play(MAP, (b"hello", b""))
        begun = trio.current_time()
        await module.expect(b"+++")
        assert 1.0 <= trio.current_time() - begun <= 1.2


async def test_a_shorter_pause_costs_no_escape(autojump_clock):
    async with network() as (net, module, nursery):
        first, second = await two(net, module, nursery)
        sending = first.sending(20)
        nursery.start_soon(_write_slowly, sending, 0.4)
        await module.play(MAP)
        await trio.sleep(0.1)
        nursery.start_soon(second.send_all, b"other")
        await module.expect(b"aa" * 10)
        await sending.commit()
        await module.expect(b"+++")


async def _write_slowly(sending, pause):
    for _ in range(10):
        await sending.write(b"aa")
        await trio.sleep(pause)


@pytest.mark.parametrize("before", [b"", b"x", b"xy+"])
@pytest.mark.parametrize("pluses", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_pause_inside_a_run_of_pluses(before, pluses, alone, autojump_clock):
    """They wait until more follows: while the host is silent the last bytes on the wire are no escape of ours to be."""
    async with network() as (net, module, nursery):
        first, second = await two(net, module, nursery)
        if alone:
            nursery.start_soon(module.play, (b"AT+WIPCLOSE=2,2\r", b"\r\nOK\r\n"))
            await second.aclose()
        body = before.rstrip(b"+")
        rest = before[len(body) :] + b"+" * pluses
        sending = first.sending(len(before) + pluses + 3)
        await sending.write(before + b"+" * pluses)
        await module.play(MAP, (body, b""))
        if alone:
            await module.silent_for(20)
        else:
            await module.answer_escape()
            await module.play(EMPTY)
            await module.silent_for(20)  # and it is not mapped again for bytes that must wait
        nursery.start_soon(sending.write, b"end")
        if not alone:
            await module.play(MAP)
        await module.expect(rest + b"end")
        await sending.commit()


async def test_a_send_that_ends_in_an_escape_after_a_pause_is_broken(autojump_clock):
    async with network() as (net, module, nursery):
        first, _second = await two(net, module, nursery)
        sending = first.sending(4)
        await sending.write(b"x")
        await module.play(MAP, (b"x", b""))
        await module.answer_escape()
        await module.play(EMPTY)
        nursery.start_soon(sending.write, b"+++")
        await module.play(MAP)
        await module.expect(b"+")
        await module.silent_for(1.0)
        await module.expect(b"++")
        await sending.commit()


async def test_with_a_short_guard_it_is_the_pause_that_counts(autojump_clock):
    """With the usual guard its own second hides the half second of the pause."""
    table = load("wip", "c1")
    times = {"guard": 0.1, "guard_module": 0.1, "escape_earliest": 0.09}
    quick = {name: msgspec.structs.replace(table.time[name], seconds=seconds) for name, seconds in times.items()}
    async with network(msgspec.structs.replace(table, time=table.time | quick)) as (net, module, nursery):
        first, second = await two(net, module, nursery)
        sending = first.sending(6)
        await sending.write(b"ab")
        await module.play(MAP, (b"ab", b""))
        nursery.start_soon(second.send_all, b"other")
        await module.silent_for(0.4)
        await sending.write(b"cd")
        await module.expect(b"cd")
        begun = trio.current_time()
        await module.expect(b"+++")
        assert 0.5 <= trio.current_time() - begun <= 0.6
        await trio.sleep(0.1)
        await module.say(b"\r\nOK\r\n")
        await module.play(EMPTY, MAP_2, (b"other", b""))
        begun = trio.current_time()
        await module.expect(b"+++")  # its send is whole: nobody waits for half a second
        await sending.write(b"ef")
        assert trio.current_time() - begun <= 2.1
