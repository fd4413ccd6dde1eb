"""Echo: whose answers count, refusals with their remedy, limits.  One test on a real kernel in its own network."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from local_net import LOOPBACK, descriptors, local_dns, running
from trio.testing import wait_all_tasks_blocked

from bridge.local import icmp
from bridge.model import Capability, Condition
from bridge.network import NetworkError


class Echoer:
    """The far end of what `icmp._icmp` gives: a socket pair in place of the kernel's ICMP."""

    def __init__(self, monkeypatch):
        self.connected = []
        echoer = self

        class Asking(socket.socket):
            def connect(self, address):
                echoer.connected.append(address)

        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.far.setblocking(False)
        monkeypatch.setattr(icmp, "_icmp", lambda: Asking(fileno=os.dup(self.near.fileno())))

    async def asked(self):
        await trio.lowlevel.wait_readable(self.far)
        return self.far.recv(2048)

    def answer(self, message):
        self.far.send(message)


@pytest.fixture
def far(monkeypatch):
    echoer = Echoer(monkeypatch)
    yield echoer
    echoer.near.close()
    echoer.far.close()


async def failing(call):
    with pytest.raises(NetworkError) as caught:
        await call
    return caught.value


def reply(request, **changes):
    """The answer to a request, or one with other fields."""
    kind, code, sequence, payload = (
        changes.get("kind", 0),
        changes.get("code", 0),
        changes.get("sequence", request[6:8]),
        changes.get("payload", request[8:]),
    )
    return bytes([kind, code]) + b"\x12\x34\x00\x01" + sequence + payload


async def test_an_echo_and_its_time(far, autojump_clock):
    async with running() as network:
        before = descriptors()

        async def world():
            request = await far.asked()
            assert request[:2] == b"\x08\x00"
            assert len(set(request[8:])) > 8  # random: nobody can answer without having seen it
            await trio.sleep(0.25)
            far.answer(reply(request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(world)
            assert await network.ping("127.0.0.9", 5) == pytest.approx(0.25)
        assert far.connected == [("127.0.0.9", 0)]
        assert descriptors() == before


async def test_other_answers_do_not_count(far, autojump_clock):
    async with running() as network:

        async def world():
            request = await far.asked()
            for wrong in (
                b"",
                b"\x00",
                reply(request)[:7],
                reply(request)[:-1],
                reply(request) + b"x",
                reply(request, kind=8),
                reply(request, kind=3),
                reply(request, code=1),
                reply(request, sequence=b"\xff\xff"),
                reply(request, payload=bytes(24)),
            ):
                far.answer(wrong)
                await trio.sleep(0.1)
            far.answer(reply(request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(world)
            assert await network.ping("127.0.0.1", 5) == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [0.1, 3])
async def test_no_answer_within_the_limit(limit, far, autojump_clock):
    async with running() as network:
        before = descriptors()
        assert (await failing(network.ping("127.0.0.1", limit))).condition is Condition.CONNECT_TIMEOUT
        assert trio.current_time() == pytest.approx(limit)
        assert descriptors() == before


async def test_the_limit_covers_the_lookup(far, autojump_clock):
    local_dns().names["mute"] = None
    async with running() as network:
        assert (await failing(network.ping("mute.example", 2))).condition is Condition.CONNECT_TIMEOUT
        assert trio.current_time() == pytest.approx(2)
        assert far.connected == []


async def test_a_name_is_resolved_once_and_that_address_asked(far, autojump_clock):
    dns = local_dns()
    dns.names["web"] = ["127.0.0.7", "127.0.0.8"]
    async with running() as network:
        await failing(network.ping("web.example", 1))
        assert (dns.asked, far.connected) == (["web.example"], [("127.0.0.7", 0)])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT])
async def test_refused_with_the_remedy(code, monkeypatch):
    def refuse():
        raise OSError(code, "x")

    monkeypatch.setattr(icmp, "_icmp", refuse)
    async with running() as network:
        assert Capability.PING not in network.limits.capabilities
        error = await failing(network.ping("127.0.0.1", 1))
        assert error.condition is Condition.NOT_SUPPORTED
        assert "net.ipv4.ping_group_range" in error.detail


@pytest.mark.parametrize(
    ("code", "condition"),
    [(errno.ENETUNREACH, Condition.HOST_UNREACHABLE), (errno.EACCES, Condition.HOST_UNREACHABLE)],
)
async def test_a_destination_that_the_kernel_refuses(code, condition, monkeypatch):
    class Asking(socket.socket):
        def connect(self, address):
            raise OSError(code, "x")

    monkeypatch.setattr(icmp, "_icmp", lambda: Asking(socket.AF_INET, socket.SOCK_DGRAM))
    async with running() as network:
        before = descriptors()
        assert (await failing(network.ping("127.0.0.1", 1))).condition is condition
        assert descriptors() == before


async def test_no_descriptor_is_no_lack_of_icmp(monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, "x")

    monkeypatch.setattr(icmp, "_icmp", refuse)
    async with running() as network:
        assert (await failing(network.ping("127.0.0.1", 1))).condition is Condition.NO_FREE_LINK


async def test_cancelled_at_every_wait_nothing_is_left(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))

        class Asking(socket.socket):
            def connect(self, _):
                super().connect(mute.getsockname())

        monkeypatch.setattr(icmp, "_icmp", lambda: Asking(socket.AF_INET, socket.SOCK_DGRAM))
        async with running(LOOPBACK) as network:
            before = descriptors()
            for rounds in range(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(network.ping, "127.0.0.1", 60)
                    for _ in range(rounds):
                        await trio.lowlevel.checkpoint()
                    if rounds == 4:
                        await wait_all_tasks_blocked(0.01)
                        assert descriptors() == before + 1
                    nursery.cancel_scope.cancel()
                assert descriptors() == before


REAL = """
import trio
from bridge.local.network import LocalNetwork
from bridge.local.policy import Policy
from bridge.model import Capability
from bridge.network import NetworkError
from bridge.trace import Trace

async def main():
    network = LocalNetwork(Policy.parse(["127.0.0.0/8"]), Trace())
    assert Capability.PING in network.limits.capabilities
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        for _ in range(3):
            assert 0 < await network.ping("127.0.0.1", 5) < 5
        try:
            await network.ping("203.0.113.1", 5)
        except NetworkError as error:
            print(error.condition)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_a_real_kernel():
    """In a network of its own, where only loopback exists and everybody may ping."""
    if os.geteuid() or not (unshare := shutil.which("unshare")) or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip")
    prepare = "ip link set lo up && echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range || exit 77"
    done = subprocess.run(
        [unshare, "-n", "sh", "-c", f'{prepare}; exec "$0" -bb -c "$1"', sys.executable, REAL],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no network of our own: {done.stderr}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "host-unreachable\n", "")
