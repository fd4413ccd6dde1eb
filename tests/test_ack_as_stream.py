"""`ack=bridge`: a link is a stream of trio's, on the gateway's own sockets."""

from __future__ import annotations

import contextlib

import pytest
import trio
from fake_network import FakeNetwork
from test_local_links import clog, make_pair
from trio.testing import check_half_closeable_stream, check_one_way_stream, wait_all_tasks_blocked

from bridge.emulation.ack import AckNetwork
from bridge.emulation.ack_link import QUEUE
from bridge.trace import Trace


@contextlib.asynccontextmanager
async def streams():
    """Makers of (link, peer) and (peer, link), with a link of the gateway's own below."""
    network = AckNetwork(FakeNetwork(), Trace())

    async def pair():
        link, peer = await make_pair()
        return network.stream_around(link), peer

    async def reverse():
        link, peer = await pair()
        return peer, link

    async def clogged():
        link, peer = await make_pair()
        await clog(link)
        around = network.stream_around(link)
        with around.sending(QUEUE) as sending:
            await sending.write(bytes(QUEUE))
            await sending.commit()
        await wait_all_tasks_blocked()
        return around, peer

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield pair, reverse, clogged
        nursery.cancel_scope.cancel()


@pytest.mark.deadline(20)
async def test_trio_checks_it_as_a_sender():
    async with streams() as (pair, _, clogged):
        await check_one_way_stream(pair, clogged)


@pytest.mark.deadline(20)
async def test_trio_checks_it_as_a_receiver():
    async with streams() as (_, reverse, _):
        await check_one_way_stream(reverse, None)


@pytest.mark.deadline(20)
async def test_trio_checks_half_close():
    async with streams() as (pair, _, _):
        await check_half_closeable_stream(pair, None)
