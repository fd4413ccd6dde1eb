"""TCP servers on a WIP modem, against literal module bytes."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from wip_modem import BRING_UP, CLOSE, EMPTY, LISTEN, MAP, OPEN, listening, network, opened, up

from bridge.model import Capability, Condition, Endpoint
from bridge.network import LinkLost, NetworkError

OK = b"\r\nOK\r\n"
CLOSE_SERVER = (b"AT+WIPCLOSE=3,1\r", OK)


def accept(index):
    return b"\r\n+WIPACCEPT: 1,%d\r\n" % index


def close(index):
    return b"AT+WIPCLOSE=2,%d\r" % index, OK


async def accepted(listener, module, index):
    await module.say(accept(index))
    return await listener.accept()


async def test_listen_and_accept(autojump_clock):
    async with network() as (net, module, nursery):
        assert Capability.LISTEN in net.limits.capabilities
        await up(net, module)
        listener = await listening(net, module, nursery)
        assert listener.local == Endpoint("66.193.79.243", 8080)
        link = await accepted(listener, module, 4)
        assert (link.local, link.peer) == (None, None)
        await module.say(b"\r\n+WIPDATA: 2,4,2\r\n")
        await module.play((b"AT+WIPDATA=2,4,2\r", b"\r\nCONNECT\r\nhi"))
        assert await link.receive_some() == b"hi"
        nursery.start_soon(link.send_all, b"ho")
        await module.expect(b"ho")


async def test_endpoints_are_asked_only_when_somebody_wants_them(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        await module.silent_for(1)
        nursery.start_soon(
            module.play,
            (b"AT+WIPOPT=2,4,1,0\r", b"\r\n+WIPOPT: 2,0,8080\r\n\r\nOK\r\n"),
            (b"AT+WIPOPT=2,4,1,1\r", b"\r\n+WIPOPT: 2,1,50123\r\n\r\nOK\r\n"),
            (b"AT+WIPOPT=2,4,1,2\r", b'\r\n+WIPOPT: 2,2,"198.51.100.7"\r\n\r\nOK\r\n'),
        )
        wanted = (Endpoint("66.193.79.243", 8080), Endpoint("198.51.100.7", 50123))
        assert await link.find_endpoints() == wanted
        assert await link.find_endpoints() == wanted  # and only once


async def test_endpoints_that_the_modem_does_not_tell_are_unknown(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        nursery.start_soon(
            module.play, (b"AT+WIPOPT=2,4,1,0\r", b"\r\nERROR\r\n"), (b"AT+WIPOPT=2,4,1,1\r", b"\r\n+CME ERROR: 835\r\n")
        )
        assert await link.find_endpoints() == (None, None)


@pytest.mark.parametrize("tail", [b"", b"\r\n+WIPREADY: 3,1\r\n"])
async def test_accepts_glued_to_the_ok_of_listening(tail, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (LISTEN[0], OK + tail + accept(4) + accept(5)))
        listener = await net.listen(8080, room=5)
        assert [(await listener.accept()).index, (await listener.accept()).index] == [4, 5]


@pytest.mark.parametrize("gap", ["before the OK of a create", "after it", "before the OK of an escape", "in a poll"])
async def test_an_accept_in_every_gap(gap, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        ready = b"\r\n+WIPREADY: 2,1\r\n"
        if gap == "before the OK of a create":
            nursery.start_soon(module.play, (OPEN[0][0], accept(4) + OK + ready))
        elif gap == "after it":
            nursery.start_soon(module.play, (OPEN[0][0], OK + accept(4) + ready))
        else:
            nursery.start_soon(module.play, *OPEN)
        link = await net.open_stream("192.0.2.1", 80)
        if "create" not in gap and gap != "after it":
            nursery.start_soon(link.send_all, b"x")
            await module.play(MAP, (b"x", b""))
            await module.expect(b"+++")  # the server would not be heard
            await trio.sleep(1.0)
            await module.say(accept(4) + OK if "escape" in gap else OK)
            await module.play((EMPTY[0], OK if "escape" in gap else accept(4) + OK))
        assert (await listener.accept()).index == 4
        assert link.condition is None


async def test_a_mapped_socket_beside_a_server_is_left_to_hear_it(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await listening(net, module, nursery)
        link = await opened(net, module, nursery)
        nursery.start_soon(link.send_all, b"x")
        await module.play(MAP, (b"x", b""))
        begun = trio.current_time()
        await module.expect(b"+++")
        assert trio.current_time() - begun < 2.1 + 0.1  # linger, not lone


async def test_the_range_is_chosen_from_what_is_free(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await opened(net, module, nursery)
        nursery.start_soon(module.play, (b'AT+WIPCREATE=2,2,"192.0.2.1",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,2\r\n"))
        await net.open_stream("192.0.2.1", 80)
        await listening(net, module, nursery)  # 4..8
        nursery.start_soon(module.play, (b"AT+WIPCREATE=3,2,81,3,3\r", OK))
        await net.listen(81, room=1)
        with pytest.raises(NetworkError) as refused:
            await net.listen(82, room=1)
        assert refused.value.condition is Condition.NO_FREE_LINK


async def test_what_does_not_fit_is_refused_by_us(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        for index in range(1, 5):
            create = b'AT+WIPCREATE=2,%d,"192.0.2.1",80\r' % index
            nursery.start_soon(module.play, (create, b"\r\nOK\r\n\r\n+WIPREADY: 2,%d\r\n" % index))
            await net.open_stream("192.0.2.1", 80)
        with pytest.raises(NetworkError) as refused:
            await net.listen(8080, room=5)
        assert refused.value.condition is Condition.NO_FREE_LINK
        await module.silent_for(1)
        nursery.start_soon(module.play, (b"AT+WIPCREATE=3,1,8080,5,8\r", OK))
        await net.listen(8080, room=4)


async def test_the_range_is_reserved_until_the_server_and_all_it_spawned_are_closed(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        spawned = await accepted(listener, module, 4)
        nursery.start_soon(module.play, CLOSE_SERVER)
        begun = trio.current_time()
        await listener.aclose()
        assert trio.current_time() - begun < 1  # it does not wait for the driver's next look
        assert spawned.condition is None
        for index in (1, 2, 3):
            create = b'AT+WIPCREATE=2,%d,"192.0.2.1",80\r' % index
            nursery.start_soon(module.play, (create, b"\r\nOK\r\n\r\n+WIPREADY: 2,%d\r\n" % index))
            await net.open_stream("192.0.2.1", 80)
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)  # 4..8 are not free, whatever is open
        assert refused.value.condition is Condition.NO_FREE_LINK
        nursery.start_soon(module.play, close(4))
        await spawned.aclose()
        nursery.start_soon(module.play, (b'AT+WIPCREATE=2,4,"192.0.2.1",80\r', b"\r\nOK\r\n\r\n+WIPREADY: 2,4\r\n"))
        await net.open_stream("192.0.2.1", 80)


async def test_spawned_closed_first_then_the_server(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        spawned = await accepted(listener, module, 4)
        nursery.start_soon(module.play, close(4), CLOSE_SERVER, LISTEN)
        await spawned.aclose()
        await listener.aclose()
        await net.listen(8080, room=5)


async def test_closing_a_server_closes_what_nobody_took(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(accept(4) + accept(5))
        await trio.sleep(0.1)
        nursery.start_soon(listener.aclose)
        await module.play(CLOSE_SERVER, close(4), close(5))
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await module.silent_for(1)


@pytest.mark.parametrize(("where", "index"), [(b"1,3", 3), (b"2,4", 4)])
async def test_an_accept_nobody_can_take_is_closed_at_once(where, index, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        await listening(net, module, nursery)
        await module.say(b"\r\n+WIPACCEPT: " + where + b"\r\n")
        await module.play(close(index))


async def test_more_accepts_than_anybody_takes_are_bounded(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(b"".join(accept(index) for index in range(4, 9)))
        await trio.sleep(0.1)
        # A modem gone mad: the same index again, and one outside of the range.
        await module.say(accept(4) + accept(9))
        await module.play(close(9))
        assert [(await listener.accept()).index for _ in range(5)] == [4, 5, 6, 7, 8]


async def test_a_refused_link_is_an_accept_and_a_close(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        nursery.start_soon(module.play, close(4))
        await link.aclose()
        assert (await accepted(listener, module, 4)).index == 4


@pytest.mark.parametrize("said", [b"\r\n+WIND: 8\r\n", b"\r\n+WIPBR: 6,0\r\n"])
async def test_a_listener_survives_and_its_links_do_not(said, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        await module.say(accept(5))
        await trio.sleep(0.1)
        await module.say(said)
        with pytest.raises(LinkLost) as lost:
            await link.receive_some()
        assert lost.value.condition is (Condition.MODULE_RESET if b"WIND" in said else Condition.BEARER_LOST)
        await module.play(*BRING_UP, (LISTEN[0], OK + accept(6)))
        await net.attach()
        assert (await listener.accept()).index == 6  # not 5, which nobody had taken


async def test_a_module_that_refuses_to_listen_again_ends_the_listener(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(b"\r\n+WIND: 8\r\n")
        await module.play(*BRING_UP, (LISTEN[0], b"\r\n+CME ERROR: 838\r\n"), CLOSE_SERVER)
        with pytest.raises(LinkLost) as lost:
            await listener.accept()
        assert lost.value.condition is Condition.NO_FREE_LINK
        await net.attach()


async def test_a_listener_closed_while_the_module_is_away_is_not_listened_for_again(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await module.say(b"\r\n+WIND: 8\r\n")
        await trio.sleep(0.1)
        await listener.aclose()
        await up(net, module)
        await module.silent_for(3)


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        (b"\r\n+CME ERROR: 845\r\n", Condition.NO_FREE_LINK),
        (b"\r\n+CME ERROR: 833\r\n", Condition.PORT_IN_USE),
        (b"\r\nERROR\r\n", Condition.MODULE_ERROR),
    ],
)
async def test_a_refused_server(answer, condition, autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (LISTEN[0], answer), CLOSE_SERVER, LISTEN)
        with pytest.raises(NetworkError) as refused:
            await net.listen(8080, room=5)
        assert refused.value.condition is condition
        await trio.sleep(0.1)
        await net.listen(8080, room=5)


async def test_a_server_given_up_is_closed(autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        with trio.move_on_after(5):
            await net.listen(8080, room=5)
        await module.play((LISTEN[0], OK + accept(4)), CLOSE_SERVER, close(4))
        await module.silent_for(3)


async def test_local_port_0_is_one_of_ours(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        nursery.start_soon(module.play, (b"AT+WIPCREATE=3,1,50000,4,8\r", OK))
        listener = await net.listen(0, room=5)
        assert listener.local.port == 50000
        with pytest.raises(NetworkError) as refused:
            await net.listen(50000, room=1)
        assert refused.value.condition is Condition.PORT_IN_USE


@pytest.mark.parametrize(("port", "room"), [(65536, 1), (-1, 1), (80, 0), (80, 6)])
async def test_arguments_out_of_range(port, room, autojump_clock):
    async with network() as (net, module, _):
        await up(net, module)
        with pytest.raises(NetworkError) as refused:
            await net.listen(port, room=room)
        assert refused.value.condition is Condition.BAD_ARGUMENT


async def test_reset_by_the_host_closes_servers_and_links(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        await accepted(listener, module, 4)
        await opened(net, module, nursery)
        await net.reset()
        await module.play(CLOSE_SERVER, close(4), CLOSE)
        with pytest.raises(LinkLost):
            await listener.accept()


async def test_an_accept_behind_the_ok_of_the_close_is_the_successors(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        nursery.start_soon(link.aclose)
        await module.play((close(4)[0], OK + accept(4) + b"\r\n+WIPDATA: 2,4,3\r\n"))
        second = await listener.accept()
        assert second is not link
        await module.play((b"AT+WIPDATA=2,4,2\r", b"\r\nCONNECT\r\nnew"))
        assert await second.receive_some() == b"new"


async def test_an_accept_before_the_ok_of_the_close_is_closed_too(autojump_clock):
    """No modem may do so; if one does, nothing of it is forgotten."""
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        link = await accepted(listener, module, 4)
        nursery.start_soon(link.aclose)
        await module.play((close(4)[0], accept(4) + OK), close(4))
        await module.silent_for(1)
        assert (await accepted(listener, module, 4)).index == 4


async def test_whoever_opens_while_indexes_are_being_closed_waits_for_them(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        links = []
        for index in range(1, 6):
            create = b'AT+WIPCREATE=2,%d,"192.0.2.1",80\r' % index
            nursery.start_soon(module.play, (create, b"\r\nOK\r\n\r\n+WIPREADY: 2,%d\r\n" % index))
            links.append(await net.open_stream("192.0.2.1", 80))
        for link in links:
            nursery.start_soon(link.aclose)
        await trio.testing.wait_all_tasks_blocked()
        listeners = []

        async def listen():
            listeners.append(await net.listen(8080, room=5))

        nursery.start_soon(listen)
        await module.play(*[close(index) for index in range(1, 6)], LISTEN)
        await trio.sleep(0.1)
        assert listeners


async def test_a_modem_that_does_not_close_leaves_nothing_free(autojump_clock):
    async with network() as (net, module, nursery):
        await up(net, module)
        listener = await listening(net, module, nursery)
        nursery.start_soon(listener.aclose)
        await module.expect(CLOSE_SERVER[0])
        with pytest.raises(NetworkError) as refused:
            await net.listen(8080, room=5)
        assert refused.value.condition in {Condition.NO_FREE_LINK, Condition.BEARER_UNAVAILABLE}
