"""What the tests of local datagram links share: a policy that lets them serve, and the ends of a conversation."""

from __future__ import annotations

import pytest
import trio

from bridge.local.policy import Policy
from bridge.model import Endpoint
from bridge.network import NetworkError

SERVING = Policy.parse(["127.0.0.0/8"], bind="127.0.0.1")


def endpoint(other):
    return Endpoint(*other.getsockname())


async def next_one(link):
    assert await link.wait_readable()
    assert await link.fetch() > 0
    return link.take()


async def failing(call):
    with pytest.raises(NetworkError) as caught:
        await call
    return caught.value


async def nothing_came(other):
    await trio.sleep(0.02)
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(9)
