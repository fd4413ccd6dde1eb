import os
import random
import socket
import stat

import pytest
import structlog
import trio

from bridge.endpoint import parse
from bridge.ports import PortLost
from bridge.ports.listening import listen_tcp, listen_unix
from bridge.ports.opening import open_port
from bridge.ports.pacing import PacedPort
from bridge.ports.pty import PortError
from bridge.ports.sockets import ConnectPort

MUCH = 400_000  # more than the kernel keeps


def spec(port, options="", side="upstream"):
    return parse(f"esp-at@{port}{options}", side=side)


async def exactly(read, count):
    data = b""
    while len(data) < count:
        data += await read()
    return data


@pytest.fixture
async def server():
    """A TCP server; `accept` gives its next connection."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        yield listeners[0]


def url(listener):
    return f"socket://127.0.0.1:{listener.socket.getsockname()[1]}"


async def shuffle_both_ways(port, peer):
    """Random sizes, and calls given up at any moment: nothing lost, nothing doubled."""
    chance = random.Random(7)
    down, up = os.urandom(MUCH), os.urandom(MUCH)
    heard, got, at, given_up = bytearray(), bytearray(), 0, 0

    async def peer_sends():
        for start in range(0, MUCH, 7001):
            await peer.send_all(up[start : start + 7001])
            await trio.sleep(chance.random() * 0.002)

    async def peer_hears():
        while len(heard) < MUCH:
            await trio.sleep(0.002)  # let the line fill
            heard.extend(await peer.receive_some(chance.randint(1, 10_000)))

    async def port_hears():
        while len(got) < MUCH:
            with trio.move_on_after(chance.random() * 0.002):
                while len(got) < MUCH:
                    got.extend(await port.receive(chance.randint(1, 5000)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer_sends)
        nursery.start_soon(peer_hears)
        nursery.start_soon(port_hears)
        await port.send(b"")  # a listener's peer is known by now
        port._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        base = port.sent
        while at < MUCH:
            with trio.move_on_after(chance.random() * 0.001) as scope:
                await port.send(down[at : at + chance.randint(1, 40_000)])
            given_up += scope.cancelled_caught
            at = port.sent - base
    assert bytes(heard) == down
    assert bytes(got) == up
    assert given_up > 3  # in the middle of a send


async def test_a_connection_carries_every_byte(server):
    port = await open_port(spec(url(server)), baud=9600)
    peer = await server.accept()
    assert isinstance(port, ConnectPort)
    assert port.baud == 0
    await shuffle_both_ways(port, peer)
    await port.aclose()
    await peer.aclose()


async def test_a_connection_comes_back(server):
    port = await open_port(spec(url(server), ",baud=115200"), baud=9600)
    assert isinstance(port, PacedPort)
    assert port.reopens
    for _ in range(2):
        peer = await server.accept()
        await peer.send_all(b"hello")
        assert await exactly(port.receive, 5) == b"hello"
        await peer.send_all(b"last words")
        await peer.aclose()
        assert await exactly(port.receive, 10) == b"last words"
        with pytest.raises(PortLost):
            await port.receive()
        with pytest.raises(PortLost):
            await port.send(b"x")
        with structlog.testing.capture_logs() as logs, trio.fail_after(2):
            await port.reopen()
        assert [entry["event"] for entry in logs] == ["port lost", "port back"]
    await port.aclose()
    with pytest.raises(PortLost):
        await port.reopen()


async def test_waiting_for_a_server_that_is_away_is_quiet(server):
    port = await open_port(spec(url(server)), baud=9600)
    where = server.socket.getsockname()
    (await server.accept()).socket.close()
    await server.aclose()
    with pytest.raises(PortLost):
        await port.receive()
    back = []

    async def listen_again():
        await trio.sleep(0.5)
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            raw.bind(where)
            raw.listen()
            back.append(True)
            await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen_again)
        with structlog.testing.capture_logs() as logs:
            await port.reopen()
        assert back
        assert len(logs) == 2
        nursery.cancel_scope.cancel()
    await port.aclose()


async def test_nobody_to_connect_to():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PortError, match="start what listens there"):
            await open_port(spec(f"socket://127.0.0.1:{taken.getsockname()[1]}"), baud=9600)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("socket://h", "PORT is missing"),
        ("socket://:1", "HOST or PORT"),
        ("socket://h:99999", "no URL"),
        ("socket://h:1/x", "no options"),
        ("socket://h:1?logging=debug", "no options"),
        ("socket://me:hidden@h:1", "no login"),
        ("rfc2217://h", "PORT is missing"),
    ],
)
async def test_urls_that_mean_nothing(text, says):
    with pytest.raises(PortError, match=says) as refused:
        await open_port(spec(text), baud=9600)
    assert "hidden" not in str(refused.value)


async def dial(port):
    inner = getattr(port, "inner", port)
    return await trio.open_tcp_stream(*inner.address)


async def test_a_listener_carries_every_byte():
    port = await open_port(spec("listen:127.0.0.1:0"), baud=9600)
    peer = await dial(port)
    await shuffle_both_ways(port, peer)
    await port.aclose()
    await peer.aclose()


async def test_everything_waits_for_the_first_peer():
    port = listen_tcp("listen:test", "127.0.0.1", 0)
    with trio.move_on_after(0.02) as scope:
        await port.receive()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.send, b"ready")
        nursery.start_soon(port.send, b"ready")
        with trio.move_on_after(0.02):
            await port.receive()
        peer = await dial(port)
        assert await exactly(lambda: peer.receive_some(100), 10) == b"readyready"
    await port.aclose()
    assert await peer.receive_some(1) == b""
    await peer.aclose()


async def test_one_peer_at_a_time_and_the_next_one_is_the_port_coming_back():
    port = listen_tcp("listen:test", "127.0.0.1", 0)
    first = await dial(port)
    await first.send_all(b"one")
    assert await exactly(port.receive, 3) == b"one"
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            received = []

            @nursery.start_soon
            async def receive():
                received.append(await port.receive())

            second = await dial(port)
            with trio.fail_after(2):
                assert await second.receive_some(1) == b""
            await first.send_all(b"still me")
    assert received == [b"still me"]
    assert [entry["event"] for entry in logs] == ["second peer refused: one is connected"]
    await first.aclose()
    with pytest.raises(PortLost):
        await port.receive()
    with pytest.raises(PortLost):
        await port.send(b"x")
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.reopen)
            nursery.start_soon(port.reopen)  # both directions may ask
            await trio.sleep(0.05)
            third = await dial(port)
    assert [entry["event"] for entry in logs] == ["port lost", "port back"]
    await port.send(b"welcome")
    assert await exactly(lambda: third.receive_some(100), 7) == b"welcome"
    await port.aclose()
    for stream in (second, third):
        await stream.aclose()


async def test_closing_wakes_whoever_waits():
    for state in ("no peer", "peer", "lost"):
        port = listen_tcp("listen:test", "127.0.0.1", 0)
        calls = [port.receive]
        if state != "no peer":
            peer = await dial(port)
            await port.send(b"x")
            if state == "lost":
                await peer.aclose()
                with pytest.raises(PortLost):
                    await port.receive()
                calls = [port.reopen]

        async def ends_by_loss(call):
            with pytest.raises(PortLost):
                await call()

        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(ends_by_loss, call)
            await trio.sleep(0.02)
            await port.aclose()
            await port.aclose()
        if state == "peer":
            await peer.aclose()


async def test_a_listener_warns_once_of_an_open_address():
    for host, warned in (("127.0.0.1", 0), ("::1", 0), ("0.0.0.0", 1)):
        with structlog.testing.capture_logs() as logs:
            port = listen_tcp("listen:test", host, 0)
        await port.aclose()
        assert len([entry for entry in logs if "no authentication" in entry["event"]]) == warned


async def test_an_address_in_use_is_refused():
    port = listen_tcp("listen:test", "127.0.0.1", 0)
    with pytest.raises(PortError, match="free port"):
        listen_tcp("listen:other", *port.address)
    await port.aclose()


async def test_a_socket_file_is_private_and_goes_with_the_port(tmp_path):
    path = tmp_path / "host"
    port = await open_port(spec(f"unix:{path}"), baud=9600)
    kind = path.lstat().st_mode
    assert stat.S_ISSOCK(kind)
    assert stat.S_IMODE(kind) == 0o600
    peer = await trio.open_unix_socket(path)
    await shuffle_both_ways(port, peer)
    await peer.aclose()
    with pytest.raises(PortLost):
        await port.receive()
    peer = await trio.open_unix_socket(path)
    await port.reopen()
    await port.aclose()
    assert not path.exists()
    await peer.aclose()


async def test_a_socket_file_of_a_killed_bridge_is_replaced_and_no_other(tmp_path):
    path = tmp_path / "host"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    port = await listen_unix("unix:test", str(path))
    peer = await trio.open_unix_socket(path)
    await port.send(b"alive")
    with pytest.raises(PortError, match="another program listens"):
        await listen_unix("unix:test", str(path))
    await port.send(b"!")  # asking did not disturb it
    assert await exactly(lambda: peer.receive_some(100), 6) == b"alive!"
    await peer.aclose()
    path.unlink()
    path.write_text("precious")
    await port.aclose()
    assert path.read_text() == "precious"
    with pytest.raises(PortError, match="not ours to replace"):
        await listen_unix("unix:test", str(path))
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PortError, match="not ours to replace"):
        await listen_unix("unix:test", str(path))
    with pytest.raises(PortError, match="create it"):
        await listen_unix("unix:test", str(tmp_path / "no" / "host"))
    with pytest.raises(PortError, match="shorter"):
        await listen_unix("unix:test", str(tmp_path / ("x" * 100)))


async def test_a_listener_with_a_speed_is_paced():
    port = await open_port(spec("listen:127.0.0.1:0", ",baud=9600"), baud=115200)
    peer = await dial(port)
    assert isinstance(port, PacedPort)
    assert port.baud == 9600
    await port.send(b"x")
    assert await peer.receive_some(9) == b"x"
    await port.aclose()
    await peer.aclose()
