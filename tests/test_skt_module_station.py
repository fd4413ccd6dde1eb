"""The SKT module's station and its other commands; its port; and the module on the gateway's own sockets."""

from __future__ import annotations

import local_net
import pytest
import trio
from skt_module_host import FakeNetwork, profile, running
from wired_port import WiredPort

from bridge.dialects.skt.upstream import SktUpstream
from bridge.local.policy import Policy
from bridge.model import Condition, HostSettings, Identity, Login, Phase
from bridge.network import NetworkError
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace


@pytest.mark.parametrize(
    ("fields", "login"),
    [
        (b"ssid,home,pw,hush", Login("home", "hush")),
        (b"ssid,home", Login("home", "")),
        (b"pw,a=b,ssid,my home,ch,6", Login("my home", "a=b")),
    ],
)
async def test_joining(autojump_clock, fields, login):
    async with running() as host:
        assert await host.ask(b"AT+WLCONN=" + fields) == b"\r\n+WLCONN:OK\r\n"
        assert host.network.logins == [login]


@pytest.mark.parametrize(
    ("fields", "number"),
    [(b"", 1), (b"=", 1), (b"=ssid", 1), (b"=ssid,a,pw", 1), (b"=name,a", 2), (b"=pw,hush", 3), (b"=ssid,,pw,hush", 3)],
)
async def test_joining_refused(autojump_clock, fields, number):
    async with running() as host:
        assert await host.ask(b"AT+WLCONN" + fields) == b"\r\n+WLCONN:ERROR:%d\r\n" % number
        assert host.network.logins == []


async def test_only_the_network_that_the_operator_named(autojump_clock):
    settings = HostSettings(announce=False, ssid="home", password="hush")
    async with running(settings=settings) as host:
        assert await host.ask(b"AT+WLCONN=ssid,away,pw,hush") == b"\r\n+WLCONN:ERROR:4\r\n"
        assert await host.ask(b"AT+WLCONN=ssid,home,pw,loud") == b"\r\n+WLCONN:ERROR:4\r\n"
        assert await host.ask(b"AT+WLCONN=ssid,home,pw,hush") == b"\r\n+WLCONN:OK\r\n"
        said = await host.ask(b"AT+WLSCAN", 2)
        assert said.startswith(b"\r\n+WLSCAN:OK\r\n1\t ")
        assert said.endswith(b" home \r\n")
        assert b"hush" not in await host.ask(b"AT+WLSTATE")


async def test_a_join_that_takes_too_long(autojump_clock):
    async with running() as host:
        host.network.delay["attach"] = 1000
        assert await host.ask(b"AT+WLCONN=ssid,home", 59) == b"\r\n+WLCONN:ERROR:4\r\n"


async def test_a_host_that_never_joins(autojump_clock):
    async with running(settings=HostSettings(announce=False, joined_at_start=True)) as host:
        await trio.sleep(0.1)
        assert host.network.logins == [None]


async def test_a_module_that_must_be_joined_first(autojump_clock):
    async with running(module_joined=False) as host:
        assert b"\tIP  => 0.0.0.0\r\n" in await host.ask(b"AT+WLSTATE")
        assert (await host.ask(b"AT+SKTCLIENT=0,192.0.2.1,80", 2)).endswith(b"ERROR:9\r\n")
        await host.ask(b"AT+WLCONN=ssid,home")
        assert b"\tIP  => 10.0.0.2\r\n" in await host.ask(b"AT+WLSTATE")


async def test_station_lines_of_the_later_generations(autojump_clock):
    joined = b'[$]wifi connected\r\n[$]wifi got ip:"10.0.0.2"\r\n'
    for name in ("s1b", "s2"):
        async with running(name) as host:
            assert await host.ask(b"AT+WLCONN=ssid,home") == b"\r\nOK\r\n" + joined
            host.network.box.change(Phase.DOWN, cause=Condition.BEARER_LOST)
            await trio.sleep(0.1)
            assert host.got() == b"[$]wifi disconnected\r\n"
            host.network.box.change(Phase.UP, address="10.0.0.2")
            await trio.sleep(0.1)
            assert host.got() == joined
            assert await host.ask(b"AT+WLDISCONN") == b"\r\nOK\r\n[$]wifi disconnected\r\n"
            host.network.error["attach"] = NetworkError(Condition.BEARER_REFUSED)
            assert await host.ask(b"AT+WLCONN=ssid,home") == b"\r\nERROR: 4\r\n[$]wifi connect failed\r\n"


async def test_the_rest_of_the_commands(autojump_clock):
    async with running() as host:
        assert await host.ask(b"AT+GMR") == b"\r\n+GMR:bridge,bridge,-\r\n"
        assert await host.ask(b"AT+WLRSSI") == b"rssi = -71\r\ndata rssi = -71\r\nbeacon rssi = -71\r\n\r\n+WLRSSI:OK\r\n"
        assert await host.ask(b"AT+IPDOMAIN=example.com") == b"\r\n+IPDOMAIN:93.184.216.34\r\n\r\n+IPDOMAIN:OK\r\n"
        assert await host.ask(b"AT+IPDOMAIN=no.such.name") == b"\r\n+IPDOMAIN:ERROR:2\r\n"
        assert await host.ask(b"AT+IPDOMAIN") == b"\r\n+IPDOMAIN:ERROR:1\r\n"
        assert await host.ask(b"AT+PING=192.0.2.1,-n,4") == b"\r\n+PING:OK\r\n"
        assert await host.ask(b"AT+WLRECONN=auto,1") == b"\r\n+WLRECONN:OK\r\n"
        assert await host.ask(b"AT+WLRECONN=often,1") == b"\r\n+WLRECONN:ERROR:1\r\n"
        assert await host.ask(b"AT+WLSTATICIP=10.0.0.7,10.0.0.1,255.0.0.0") == b"\r\n+WLSTATICIP:OK\r\n"
        assert await host.ask(b"AT+WLSTATICIP=10.0.0.7,10.0.0.1") == b"\r\n+WLSTATICIP:ERROR:1\r\n"
        said = await host.ask(b"AT+LIST")
        assert said.endswith(b"\r\n\r\n+LIST:OK\r\n")
        assert {b"AT+SKTTT", b"AT+IPDOMAIN", b"AT+TEST"} < set(said.split(b"\r\n"))
        assert b"AT+WLSTARTAP" not in said


async def test_who_the_module_is(autojump_clock):
    class Named(FakeNetwork):
        async def identity(self):
            return Identity("Vendor", "Model", "1.2,3")

    async with running(network=Named()) as host:
        assert await host.ask(b"AT+GMR") == b"\r\n+GMR:1.2 3,1.2 3,-\r\n"


@pytest.mark.deadline(2000)
@pytest.mark.parametrize("name", ["s1-uart", "s1-log", "s1b", "s2", "guide"])
async def test_every_command_answers_without_a_network(autojump_clock, name):
    """One final result and no crash, with no fields, empty ones and too many."""
    network = FakeNetwork()
    for call in ("attach", "detach", "resolve", "open_stream", "open_datagram", "listen", "signal", "reset"):
        network.error[call] = NetworkError(Condition.MODULE_MUTE)
    final = {"s1b": b"OK\r\n", "s2": b"OK\r\n"}.get(name, b":OK\r\n")
    async with running(name, network=network) as host:
        for command in load("skt", name).command:
            for fields in ("", "=", "=1", "=0,1,2,3", "=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v", "=1,1,,10.0.0.1,80,,1"):
                said = await host.ask(f"AT+{command}{fields}".encode(), 5)
                if command == "GMR" and name not in {"s1b", "s2"}:
                    assert said.count(b"+GMR:") == 1
                else:
                    results = said.count(final) + said.count(b"ERROR")
                    late = said.count(b"+SKTCLIENT:OK") + said.count(b"+SKTSERVER:OK")
                    late += command in {"SKTCLIENT", "SKTSERVER"} and name == "s1b" and final in said
                    assert results == 1 + late, (command, fields, said)
                await host.say(b"\r\n" * 3)


# -- the port


async def test_a_port_that_comes_back(autojump_clock):
    ours, theirs = line("host")
    port = WiredPort(ours, reopens=True)
    network = FakeNetwork()
    upstream = SktUpstream(port, network, profile(), Trace(), HostSettings(announce=False))
    heard = bytearray()

    async def listen():
        while True:
            heard.extend(await theirs.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await nursery.start(run_session, upstream, network)
        await theirs.send(b"AT+SKTCLIENT=0,192.0.2.1,80\r\n")
        await trio.sleep(1)
        await theirs.send(b"AT+SKTSE")
        await trio.sleep(0.1)
        port.lose()
        await trio.sleep(1)
        port.come_back()
        await trio.sleep(0.1)
        heard.clear()
        await theirs.send(b"AT+SKTSEND=2,1:hi\r\n")
        await trio.sleep(0.1)
        assert bytes(heard) == b"\r\n+SKTSEND:OK\r\n"  # its connections live on, what was half typed does not
        nursery.cancel_scope.cancel()


# -- on the gateway's own sockets


class _Running:
    """A network that runs already, for a session that wants to run it."""

    def __init__(self, network):
        self.network = network

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await trio.sleep_forever()


class RealHost:
    def __init__(self, port):
        self.port, self.heard, self.more = port, bytearray(), trio.Event()

    async def collect(self):
        while True:
            self.heard += await self.port.receive()
            self.more.set()
            self.more = trio.Event()

    async def ask(self, text, end):
        await self.port.send(text)
        with trio.fail_after(5):
            while not self.heard.endswith(end):
                await self.more.wait()
        said = bytes(self.heard)
        self.heard.clear()
        return said


@pytest.mark.parametrize("name", ["s1-uart", "guide"])
async def test_on_local(nursery, name):
    """A client and a server of the same module talk to each other, over real sockets."""
    ours, theirs = line("host")
    async with local_net.running(Policy.parse(["127.0.0.0/8"], bind="127.0.0.1")) as network:
        table = profile(name, module_open_gap=0.01)
        upstream = SktUpstream(ours, network, table, Trace(), HostSettings(announce=False))
        host = RealHost(theirs)
        nursery.start_soon(host.collect)
        await nursery.start(run_session, upstream, _Running(network))
        with trio.socket.socket() as probe:
            await probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        await host.ask(b"AT+SKTSERVER=0,%d\r\n" % port, b"con_id=1\r\n")
        await host.ask(b"AT+SKTCLIENT=0,127.0.0.1,%d\r\n" % port, b"")
        await trio.sleep(0.3)
        said = bytes(host.heard)
        host.heard.clear()
        assert b"con_id=2\r\n" in said
        assert (b"seed, tcp, address:127.0.0.1" in said) == (name == "s1-uart")
        for number in range(20):
            await host.ask(b"AT+SKTSEND=100,2:%s\r\n" % (b"%03d " % number * 25), b"OK\r\n" if name == "s1-uart" else b"OK,2\r\n")
        got = b""
        while len(got) < 2000:
            said = await host.ask(b"AT+SKTREAD=3,1500\r\n", b"\r\n")
            head, _, data = said.partition(b":OK,")
            assert head == b"+SKTREAD"
            got += data.partition(b":")[2].removesuffix(b"\r\n")
        assert got == b"".join(b"%03d " % number * 25 for number in range(20))
        await host.ask(b"AT+SKTDEL=2\r\n", b"+SKTDEL:OK\r\n")
        await trio.sleep(0.1)
        assert await host.ask(b"AT+SKTREAD=3,100\r\n", b"\r\n") == b"\r\n+SKTREAD:ERROR:7\r\n"
        await host.ask(b"AT+SKTDEL=0\r\n", b"+SKTDEL:OK\r\n")
        nursery.cancel_scope.cancel()
