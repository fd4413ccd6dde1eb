"""What `second_opinion` found against the bridge, each as the literal bytes that showed it."""

from __future__ import annotations

import pytest
import trio
from skt_driven import IDLE, NO_ROWS, OPEN, READ, listening, network, opened, up

from bridge.model import Condition
from bridge.network import NetworkError

REFUSED = b"\r\n+SKTCLIENT:ERROR:9\r\n"
ARRIVAL = (
    b"\r\n+SKTSERVER: A client connected to server[1]\r\n",
    b"con_id:2, seed, tcp, address:192.168.1.9, port:600, socket:1\r\n",
)


@pytest.mark.parametrize("between", [(), ARRIVAL, (b"",)])
async def test_the_guard_counts_from_the_end_of_an_empty_answer_too(between, autojump_clock):
    """Its head, its end and what another task prints are prints of their own, and the handler returns behind the last."""
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        await module.expect(READ)
        for text in (b"+SKTREAD:OK,0,1:", *between, b"\r\n"):
            await module.say(text)
            await trio.sleep(0.015)
        ended = trio.current_time() - 0.015
        nursery.start_soon(net.open_stream, "192.0.2.2", 80)
        await module.line()
        assert trio.current_time() >= ended + 0.02
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(500)
async def test_a_refusal_is_told_to_who_waits_and_not_to_one_that_was_given_up(autojump_clock):
    """A SKTCLIENT that the module never heard is never answered: the next one's error is its own."""
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {**IDLE, b"AT+SKTCLIENT=0,192.0.2.1,": b"", b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("192.0.2.1", 80)
        rules |= {b"AT+SKTCLIENT=0,192.0.2.2,": OPEN[1] + REFUSED}
        with trio.fail_after(1), pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.2", 80)
        assert refused.value.condition is Condition.CONNECT_REFUSED


@pytest.mark.deadline(500)
async def test_an_id_that_comes_after_a_refusal_of_one_of_two_is_not_the_next_ones(autojump_clock):
    """Which of the two was refused the line does not say: the other's id may come while a third is asked for."""
    async with network() as (net, module, nursery):
        await up(net, module)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1], b"AT+SKTCLIENT=0,192.0.2.1,": b"", b"AT+SKTSTATE": NO_ROWS[1]}
        nursery.start_soon(module.serve, rules)
        with pytest.raises(NetworkError):
            await net.open_stream("192.0.2.1", 80)  # taken, and its answer was lost
        rules |= {b"AT+SKTCLIENT=0,192.0.2.2,": OPEN[1] + REFUSED}  # which was the first one's
        with pytest.raises(NetworkError):
            await net.open_stream("192.0.2.2", 80)
        got = []

        async def third():
            got.append(await net.open_stream("192.0.2.3", 80))

        nursery.start_soon(third)
        await trio.sleep(0.5)
        second = b"con_id:1,client,tcp,address:192.0.2.2,port:80,socket:0\r\n"
        rules |= {b"AT+SKTSTATE": second + NO_ROWS[1]}
        await module.say(b"+SKTCLIENT:con_id=1\r\n")
        await trio.sleep(0.5)
        assert not got
        assert b"AT+SKTDEL=1" in module.heard
        rules |= {b"AT+SKTSTATE": b"con_id:2,client,tcp,address:192.0.2.3,port:80,socket:0\r\n" + NO_ROWS[1]}
        rules |= {b"AT+SKTREAD=2": b"+SKTREAD:OK,0,2:\r\n"}
        await module.say(b"+SKTCLIENT:con_id=2\r\n")
        await trio.sleep(0.5)
        assert [link.id for link in got] == [2]


@pytest.mark.deadline(200)
async def test_a_silent_reset_is_one_where_the_first_that_vanishes_is_a_server(autojump_clock):
    """A server may die with its seeds, but not with a connection of ours: what is being opened would be waited for in vain."""
    async with network() as (net, module, nursery):
        await up(net, module)
        await listening(net, module, nursery)
        rules = {**IDLE, b"AT+SKTCLIENT": OPEN[1] + b"+SKTCLIENT:con_id=2\r\n", b"AT+SKTREAD=2": b"+SKTREAD:OK,0,2:\r\n"}
        nursery.start_soon(module.serve, rules)
        link = await net.open_stream("192.0.2.1", 80)
        rules |= {
            b"AT+SKTCLIENT": OPEN[1],
            b"AT+SKTREAD": b"",
            b"AT+SKTSTATE": NO_ROWS[1],
            b"AT+SKTRECVCFG": b"\r\n+SKTRECVCFG:OK\r\n",
        }
        with trio.fail_after(10), pytest.raises(NetworkError) as lost:
            await net.open_stream("192.0.2.2", 80)  # accepted, and then the module was reset
        assert lost.value.condition is Condition.MODULE_RESET
        assert link.condition is Condition.MODULE_RESET
