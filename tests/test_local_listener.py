"""LocalListener: where it binds, room, hostile peers, shortages, the end.  On real loopback sockets."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
import trio
from local_net import LOOPBACK, descriptors, running
from trio.testing import wait_all_tasks_blocked

from bridge.local import binding
from bridge.local.listener import ACCEPT_PAUSE
from bridge.local.network import LISTENERS
from bridge.local.policy import Policy
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError
from bridge.trace import Trace

SERVING = Policy.parse(["127.0.0.0/8"], bind="127.0.0.1")


async def failing(call):
    with pytest.raises(NetworkError) as caught:
        await call
    return caught.value


async def knock(listener):
    return await trio.open_tcp_stream("127.0.0.1", listener.local.port)


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


def raising(accept, *codes):
    """``socket.accept`` that fails with each of these first."""
    left = list(codes)

    def accept_or_fail(self):
        if left:
            raise OSError(left.pop(0), "x")
        return accept(self)

    return accept_or_fail, left


# --- where ---


async def test_without_an_address_nothing_listens():
    async with running(LOOPBACK) as network:
        before = descriptors()
        for port in (0, 80, 8080):
            error = await failing(network.listen(port, room=1))
            assert error.condition is Condition.ADDRESS_REFUSED
            assert "--bind ADDRESS" in error.detail
        assert descriptors() == before


async def test_it_is_reached_at_the_configured_address_and_at_no_other():
    async with running(Policy.parse(bind="127.0.0.2")) as network:
        listener = await network.listen(0, room=1)
        assert listener.local.host == "127.0.0.2"
        assert listener.local.port > 0
        with socket.socket() as peer:
            assert peer.connect_ex(("127.0.0.1", listener.local.port)) == errno.ECONNREFUSED
        with socket.socket() as peer:
            assert peer.connect_ex(("127.0.0.2", listener.local.port)) == 0


async def test_listen_moves_a_port_and_bind_the_others():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    async with running(Policy.parse(bind="127.0.0.2", listen=[f"80=127.0.0.1:{free}"])) as network:
        assert (await network.listen(80, room=1)).local == Endpoint("127.0.0.1", free)
        assert (await network.listen(0, room=1)).local.host == "127.0.0.2"
    async with running(Policy.parse(listen=[f"80=127.0.0.1:{free}"])) as network:  # again: no waiting for TIME_WAIT
        assert (await network.listen(80, room=1)).local == Endpoint("127.0.0.1", free)
        for port in (0, free):
            assert (await failing(network.listen(port, room=1))).condition is Condition.ADDRESS_REFUSED


async def test_a_port_in_use_and_free_again_while_a_link_of_it_lives():
    async with running(SERVING) as network:
        first = await network.listen(0, room=1)
        port = first.local.port
        before = descriptors()
        assert (await failing(network.listen(port, room=1))).condition is Condition.PORT_IN_USE
        assert descriptors() == before
        async with await knock(first) as peer:
            link = await first.accept()
            await first.aclose()
            second = await network.listen(port, room=1)
            assert second.local == first.local
            await link.send_all(b"alive")
            assert await peer.receive_some() == b"alive"


@pytest.mark.parametrize(
    ("code", "condition", "remedy"),
    [
        (errno.EACCES, Condition.ADDRESS_REFUSED, "--listen 80=ADDRESS:PORT"),
        (errno.EADDRNOTAVAIL, Condition.ADDRESS_REFUSED, "--bind ADDRESS"),
        (errno.EADDRINUSE, Condition.PORT_IN_USE, ""),
        (errno.ENOBUFS, Condition.NO_FREE_LINK, ""),
    ],
)
@pytest.mark.parametrize("step", ["bind", "listen"])
async def test_what_the_kernel_does_not_give(step, code, condition, remedy, monkeypatch):
    def refuse(*_):
        raise OSError(code, "x")

    async with running(SERVING) as network:
        before = descriptors()
        monkeypatch.setattr(socket.socket, step, refuse)
        error = await failing(network.listen(80, room=1))
        assert error.condition is condition
        assert remedy in error.detail
        assert descriptors() == before


async def test_no_descriptor_for_a_server(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, "x")

    async with running(SERVING) as network:
        monkeypatch.setattr("bridge.local.binding.socket.socket", refuse)
        assert (await failing(network.listen(80, room=1))).condition is Condition.NO_FREE_LINK


@pytest.mark.parametrize(("port", "room"), [(-1, 1), (65536, 1), (0, 0), (0, -1), (0, 3)])
async def test_bad_arguments(port, room):
    async with running(SERVING, stream_links=2) as network:
        assert (await failing(network.listen(port, room=room))).condition is Condition.BAD_ARGUMENT


async def test_servers_are_bounded_and_their_slots_come_back():
    async with running(SERVING) as network:
        listeners = [await network.listen(0, room=1) for _ in range(LISTENERS)]
        assert (await failing(network.listen(0, room=1))).condition is Condition.NO_FREE_LINK
        await listeners[2].aclose()
        await network.listen(0, room=1)


# --- peers ---


async def test_a_session_with_a_peer():
    async with running(SERVING) as network:
        listener = await network.listen(0, room=2)
        async with await knock(listener) as peer:
            link = await listener.accept()
            assert link.local == listener.local
            assert link.peer == Endpoint(*peer.socket.getsockname())
            assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert link._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65536
            assert not link._socket.getblocking()
            await peer.send_all(b"GET")
            assert await link.receive_some() == b"GET"
            await link.send_all(b"page")
            await link.aclose()
            assert await peer.receive_some() == b"page"
            assert await peer.receive_some() == b""


async def test_peers_come_in_order_and_early_ones_are_kept():
    async with running(SERVING) as network:
        listener = await network.listen(0, room=5)
        peers = [await knock(listener) for _ in range(5)]
        links = [await listener.accept() for _ in peers]
        assert [link.peer.port for link in links] == [peer.socket.getsockname()[1] for peer in peers]
        for peer in peers:
            await peer.aclose()


async def test_ten_peers_where_there_is_room_for_four():
    async with running(SERVING) as network, trio.open_nursery() as nursery:
        listener = await network.listen(0, room=4)
        links = []

        async def accept():
            while True:
                links.append(await listener.accept())

        nursery.start_soon(accept)
        peers = []
        for _ in range(10):
            peer = await knock(listener)
            await peer.send_all(b"hello")  # unread bytes must not make a reset of the refusal
            await wait_all_tasks_blocked(0.01)
            peers.append(peer)
        assert len(links) == 4
        assert listener.refused == 6
        for peer in peers[4:]:
            assert await peer.receive_some() == b""  # an end in order
        for link, peer in zip(links, peers, strict=False):
            assert await link.receive_some() == b"hello"
            await link.send_all(b"served")
            assert await peer.receive_some() == b"served"
        await links[1].aclose()
        peers.append(await knock(listener))
        await wait_all_tasks_blocked(0.01)
        assert (len(links), listener.refused) == (5, 6)
        for peer in peers:
            await peer.aclose()
        nursery.cancel_scope.cancel()


async def test_a_slot_is_free_when_the_link_is_gone_by_an_abort():
    async with running(SERVING) as network:
        listener = await network.listen(0, room=1)
        for _ in range(3):
            async with await knock(listener):
                link = await listener.accept()
                with link.sending(6) as sending:
                    await sending.write(b"abc")
                assert link.condition is Condition.ABORTED
        assert (listener.refused, network._links) == (0, set())


async def test_the_links_of_the_network_are_counted_together():
    async with running(SERVING, stream_links=2) as network:
        listener = await network.listen(0, room=2)
        async with await knock(listener), await knock(listener) as second:
            first = await listener.accept()
            calling = await network.open_stream("127.0.0.1", listener.local.port)
            assert (await failing(network.open_stream("127.0.0.1", listener.local.port))).condition is Condition.NO_FREE_LINK
            with trio.move_on_after(0.05):
                await listener.accept()
                pytest.fail("a third link of two")
            assert listener.refused == 2  # the second, and the one that we called ourselves with
            assert await second.receive_some() == b""
            await calling.aclose()
            await first.aclose()
            async with await knock(listener):
                await (await listener.accept()).aclose()


async def test_a_peer_that_was_reset_before_it_was_accepted_ends_only_itself():
    async with running(SERVING) as network:
        listener = await network.listen(0, room=1)
        for _ in range(3):
            reset(await knock(listener))
        peer = await knock(listener)
        while (link := await listener.accept()).peer.port != peer.socket.getsockname()[1]:
            with pytest.raises(LinkLost, match="link-reset"):
                await link.receive_some()
            await link.aclose()
        await link.send_all(b"alive")
        assert await peer.receive_some() == b"alive"
        await peer.aclose()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH, errno.ENETDOWN])
async def test_an_error_of_one_peer_does_not_end_the_server(code, monkeypatch):
    async with running(SERVING) as network:
        listener = await network.listen(0, room=1)
        accept, _ = raising(socket.socket.accept, code, code)
        monkeypatch.setattr(socket.socket, "accept", accept)
        async with await knock(listener):
            await listener.accept()
        assert listener.vanished == 2


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_is_waited_out(code, monkeypatch, autojump_clock):
    notes = []
    async with running(SERVING, trace=Trace(notes.append)) as network:
        listener = await network.listen(0, room=1)
        accept, left = raising(socket.socket.accept, *[code] * 4)
        with socket.create_connection(("127.0.0.1", listener.local.port)):
            start = trio.current_time()
            monkeypatch.setattr(socket.socket, "accept", accept)
            await listener.accept()
        assert left == []
        assert trio.current_time() - start == pytest.approx(4 * ACCEPT_PAUSE)
        assert listener.shortages == 4
    assert len([note for note in notes if note.rule == "local-refused"]) == 4


async def test_an_error_that_stays_ends_the_server_and_says_so(monkeypatch):
    async with running(SERVING) as network:
        listener = await network.listen(0, room=1)
        accept, _ = raising(socket.socket.accept, errno.EINVAL, errno.EINVAL)
        monkeypatch.setattr(socket.socket, "accept", accept)
        for _ in range(2):
            with pytest.raises(LinkLost, match="module-error"):
                await listener.accept()
        assert network._listeners == set()


async def test_turned_away_is_in_the_trace():
    notes = []
    async with running(SERVING, trace=Trace(notes.append)) as network:
        listener = await network.listen(0, room=1)
        async with await knock(listener), await knock(listener):
            await listener.accept()
            with trio.move_on_after(0.02):
                await listener.accept()
        await listener.aclose()
    assert [note.rule for note in notes] == ["local-listen", "local-accept", "local-refused", "local-end", "local-end"]


# --- the end ---


async def test_aclose_leaves_accepted_links_and_closes_those_nobody_took():
    async with running(SERVING) as network:
        before = descriptors()
        listener = await network.listen(0, room=3)
        async with await knock(listener) as taken:
            link = await listener.accept()
            waiting = await knock(listener)
            await waiting.send_all(b"anybody?")
            await trio.sleep(0.01)
            await listener.aclose()
            assert await waiting.receive_some() == b""
            await waiting.aclose()
            await link.send_all(b"alive")
            assert await taken.receive_some() == b"alive"
            with socket.socket() as late:
                assert late.connect_ex(("127.0.0.1", listener.local.port)) == errno.ECONNREFUSED
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()
            await listener.aclose()
            await link.aclose()
        assert descriptors() == before


@pytest.mark.parametrize(
    ("how", "expected"), [("aclose", trio.ClosedResourceError), ("reset", LinkLost), ("end", LinkLost), ("pause", LinkLost)]
)
async def test_a_waiting_accept_hears_of_the_end(how, expected, monkeypatch):
    ended = trio.Event()
    async with trio.open_nursery() as nursery:  # outside: it hears of the network's end
        async with running(SERVING) as network:
            listener = await network.listen(0, room=1)

            async def accept():
                with pytest.raises(expected):
                    await listener.accept()
                ended.set()

            if how == "pause":
                accept_or_fail, _ = raising(socket.socket.accept, errno.EMFILE)
                monkeypatch.setattr(socket.socket, "accept", accept_or_fail)
            nursery.start_soon(accept)
            await wait_all_tasks_blocked(0.01)
            match how:
                case "aclose":
                    await listener.aclose()
                case "reset":
                    await network.reset()
        await ended.wait()
    assert listener.condition is Condition.LINK_CLOSED


async def test_reset_closes_servers_and_accepted_links_in_order():
    async with running(SERVING) as network:
        before = descriptors()
        listener = await network.listen(0, room=2)
        async with await knock(listener) as peer:
            link = await listener.accept()
            await network.reset()
            assert await peer.receive_some() == b""
            assert link.condition is Condition.LINK_CLOSED
        assert descriptors() == before
        again = await network.listen(listener.local.port, room=1)
        async with await knock(again):
            await again.accept()


async def test_two_tasks_cannot_accept():
    async with running(SERVING) as network, trio.open_nursery() as nursery:
        listener = await network.listen(0, room=1)
        nursery.start_soon(listener.accept)
        await wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError):
            await listener.accept()
        nursery.cancel_scope.cancel()


async def test_cancelled_at_every_wait_no_peer_is_lost_and_nothing_is_left():
    async with running(SERVING) as network:
        before = descriptors()
        for rounds in range(6):
            got = []
            listener = await network.listen(0, room=1)
            async with await knock(listener) as peer:

                async def accept(listener=listener, got=got):
                    got.append(await listener.accept())

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(accept)
                    for _ in range(rounds):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                if not got:
                    await accept()
                await got[0].send_all(b"alive")
                assert await peer.receive_some() == b"alive"
                await got[0].aclose()
            await listener.aclose()
            with trio.CancelScope() as scope:
                scope.cancel()
                await network.listen(0, room=1)
            assert network._listeners == set()
        assert descriptors() == before


async def test_a_peer_that_connects_without_pause_does_not_stop_the_others():
    """Everybody is refused; the task that accepts must still let others run, and be cancellable."""
    async with running(SERVING) as network:
        listener = await network.listen(0, room=1)
        async with await knock(listener):
            await listener.accept()
            flood = [await knock(listener) for _ in range(binding.BACKLOG)]
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                with trio.move_on_after(0.05):
                    await listener.accept()
                nursery.cancel_scope.cancel()
            assert listener.refused == len(flood)
            assert ticks > len(flood)
            for peer in flood:
                await peer.aclose()
