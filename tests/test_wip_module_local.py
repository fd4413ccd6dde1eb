"""The simulated modem on the gateway's own sockets: UDP and servers with real peers, in real time."""

from __future__ import annotations

import local_net
import pytest
import trio
from wip_fakes import Host, profile

from bridge.dialects.wip.upstream import WipUpstream
from bridge.local.policy import Policy
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.trace import Trace

OK = b"\r\nOK\r\n"
CONNECT = b"\r\nCONNECT\r\n"
QUICK = {
    "module_guard": 0.05,
    "module_bearer_start": 0.01,
    "module_connect": 0.002,
    "module_create": 0.001,
    "module_peerclose_delay": 0.01,
}


class RealHost(Host):
    """Waits for what it expects, because real time has no autojump."""

    async def hear(self, expected):
        with trio.move_on_after(5):
            while len(self._got) < len(expected):
                await self.heard.wait()
            await trio.sleep(0.005)
        assert self.got() == expected

    async def tell(self, data, expected):
        await self.port.send(data)
        await self.hear(expected)

    async def leave(self, before=b""):
        await trio.sleep(0.06)
        await self.tell(b"+++", before + OK)


@pytest.fixture
async def host(nursery):
    ours, theirs = line()
    async with local_net.running(Policy.parse(["127.0.0.0/8"], bind="127.0.0.1")) as network:
        host = RealHost(theirs, network, WipUpstream(ours, network, profile(**QUICK), Trace()), [])
        await nursery.start(run_session, host.upstream, _Running(network))
        nursery.start_soon(host.collect)
        await host.tell(b"ATE0\r", b"ATE0\r" + OK)
        await host.tell(b"AT+CMEE=1;+WIPCFG=1\r", OK)
        await host.tell(b"AT+WIPBR=4,6\r", OK + b"\r\n+WIPBR: 6,1\r\n")
        yield host
        nursery.cancel_scope.cancel()


class _Running:
    """A network that runs already."""

    def __init__(self, network):
        self.network = network

    async def run(self, *, task_status):
        task_status.started()
        await trio.sleep_forever()


async def udp():
    peer = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await peer.bind(("127.0.0.1", 0))
    return peer, peer.getsockname()[1]


async def test_a_bound_socket_keeps_borders_both_ways(host):
    peer, port = await udp()
    with peer:
        await host.tell(b'AT+WIPCREATE=1,1,,"127.0.0.1",%d\r' % port, OK + b"\r\n+WIPREADY: 1,1\r\n")
        await host.tell(b"AT+WIPDATA=1,1,1\r", CONNECT)
        await host.port.send(b"one\x03\x10\x03\x10\x10\x03\x03" + b"x" * 1472 + b"\x03")
        got = [await peer.recvfrom(4096) for _ in range(4)]
        assert [data for data, _ in got] == [b"one", b"\x03\x10", b"", b"x" * 1472]
        for data in (b"back", b"", b"\x03\x10"):
            await peer.sendto(data, got[0][1])
        await host.hear(b"back\x03\x03\x10\x03\x10\x10\x03")
        await host.leave()


async def test_a_listening_socket_tells_the_first_sender(host):
    peer, port = await udp()
    other, _ = await udp()
    with peer, other:
        await host.tell(b"AT+WIPCREATE=1,1\r", OK + b"\r\n+WIPREADY: 1,1\r\n")
        local, _ = await host.upstream._module.sockets[1, 1].ends()
        await peer.sendto(b"hello", ("127.0.0.1", local))
        await host.hear(b'\r\n+WIPDATA: 1,1,5,"127.0.0.1",%d\r\n' % port)
        await other.sendto(b"me too", ("127.0.0.1", local))
        await trio.sleep(0.02)
        await host.tell(b"AT+WIPDATA=1,1,1\r", CONNECT + b"hello\x03me too\x03")
        await host.leave()
        await host.tell(b"AT+WIPCLOSE=1,1\r", OK)
        await host.tell(b"AT+WIPCREATE=1,1,%d\r" % local, OK + b"\r\n+WIPREADY: 1,1\r\n")  # the port is free at OK
        await host.tell(b"AT+WIPCREATE=1,2,%d\r" % local, OK + b"\r\n+WIPERROR: 1,2,833\r\n")


async def test_ten_clients_on_a_range_of_four(host):
    await host.tell(b"AT+WIPCREATE=3,1,0,5,8\r", OK)
    port = host.upstream._module.servers[1].listener.local.port
    peers = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(10)]
    await host.hear(b"".join(b"\r\n+WIPACCEPT: 1,%d\r\n" % index for index in (5, 6, 7, 8)))
    for peer in peers[4:]:
        with trio.fail_after(5):
            assert await peer.receive_some() == b""  # accepted, then closed
    for index, peer in enumerate(peers[:4], 5):
        await peer.send_all(b"I am %d" % index)
        await host.hear(b"\r\n+WIPDATA: 2,%d,6\r\n" % index)
    await host.tell(b"AT+WIPDATA=2,6,2\r", CONNECT + b"I am 6")
    await host.port.send(b"hello 6")
    assert await peers[1].receive_some() == b"hello 6"
    await host.leave()
    await host.tell(b"AT+WIPCLOSE=3,1\r", OK)
    await host.tell(b"AT+WIPCLOSE=2,6\r", OK)
    assert await peers[1].receive_some() == b""
    await host.tell(b"AT+WIPCREATE=3,2,%d,1,2\r" % port, OK)  # the port is free at OK, though peers still live
    for peer in peers:
        await peer.aclose()
