"""What the tests of `local` share: a running network, servers, a DNS, other programs' sockets."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.trace import Trace

LOOPBACK = Policy.parse(["127.0.0.0/8"])


@asynccontextmanager
async def running(policy=LOOPBACK, *, trace=None, **limits):
    network = LocalNetwork(policy, trace or Trace(), **limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield network
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(address="127.0.0.1", backlog=16):
    with trio.socket.socket() as server:
        await server.bind((address, 0))
        server.listen(backlog)
        yield server, server.getsockname()[1]


class Resolver(trio.abc.HostnameResolver):
    """A DNS that says what it is told to."""

    def __init__(self, **names):
        self.names = names
        self.asked = []

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002, PLR0917 - trio's signature
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        answer = self.names[name.partition(".")[0].lower()]
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        assert family == socket.AF_INET
        return [(family, type, 6, "", (address, port or 0)) for address in answer]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


def local_dns():
    """In place of the gateway's resolver for this test's trio run."""
    resolver = Resolver()
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


def descriptors():
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def udp(address="127.0.0.1", port=0):
    """Some other program's UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((address, port))
        other.settimeout(5)
        yield other
