"""Every error number of the S1 guide, both ways: what the driver makes of it, and what makes the module side say it."""

import pytest
import trio
from skt_driven import BRING_UP, DELETE, FIND, IDLE, READ, network, opened, up
from skt_module_host import running

from bridge.dialects.skt.module import runner as module_runner
from bridge.model import Condition
from bridge.network import LinkLost, NetworkError
from bridge.tables import load, profiles

# The guide's numbers (1, 2, ...) of each command, as what they mean to whoever drives the module.
BAD, NO_ID, BIND, BROKEN = "bad-argument", "no-free-link", "port-in-use", "module-error"
MEANS = {
    "SKTSERVER": [
        *(BAD, BAD, NO_ID, BROKEN, BROKEN, BROKEN, BIND, BIND, BIND, BROKEN, NO_ID, BIND, "wrong-state", "not-supported"),
        *(BIND, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BIND, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN),
    ],
    "SKTCLIENT": [
        *(BAD, "name-not-found", BAD, NO_ID, BROKEN, BAD, BROKEN, BROKEN, "connect-refused", BROKEN, BAD, BIND, "wrong-state"),
        *(BROKEN, BROKEN, BROKEN, "not-supported", "connect-refused", BROKEN, BROKEN, BROKEN, BROKEN),
    ],
    "SKTDEL": [BAD],
    "SKTSEND": [BAD, "too-long", "wrong-state", BAD, "host-unreachable", "host-unreachable", BAD, "link-reset"],
    "SKTREAD": [BAD, "too-long", "wrong-state", "link-reset", "link-reset", BAD, "peer-closed", "link-reset"],
    "SKTRECVCFG": [BAD, BROKEN],
}
HOW_MANY = {"SKTSERVER": 27, "SKTCLIENT": 22, "SKTDEL": 1, "SKTTT": 5, "SKTSEND": 8, "SKTREAD": 8, "SKTRECVCFG": 2}
S1 = [name for name in profiles("skt") if name != "s2"]


def numbers(command):
    return [(code, means) for code, means in enumerate(MEANS[command], 1)]


@pytest.mark.parametrize("name", S1)
def test_every_number_has_its_rows(name):
    table = load("skt", name)
    for command, many in HOW_MANY.items():
        wanted = set(range(1, many + 1))
        assert command in table.command
        assert wanted <= {int(row.text) for row in table.refusal if row.during == command}, command
        if command in MEANS:  # the driver never says AT+SKTTT
            assert len(MEANS[command]) == many
            assert wanted <= {row.code for row in table.error if row.during == command}, command
            if name != "s1b":  # its own numbers differ, and have their own rows
                assert [str(table.condition_of(code, command)) for code in sorted(wanted)] == MEANS[command]


# -- what the driver makes of it


@pytest.mark.parametrize("moment", ["at once", "after OK"])
@pytest.mark.parametrize(("code", "means"), numbers("SKTCLIENT"))
async def test_a_client_that_fails(code, means, moment, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        ok = b"\r\n+SKTCLIENT:OK\r\n" if moment == "after OK" else b""
        answer = ok + b"\r\n+SKTCLIENT:ERROR:%d\r\n" % code
        nursery.start_soon(module.play, (b"AT+SKTCLIENT=0,192.0.2.1,80\r\n", answer))
        with pytest.raises(NetworkError) as refused:
            await net.open_stream("192.0.2.1", 80)
        assert refused.value.condition == means
        assert (await opened(net, module, nursery)).id == 1  # nothing is left behind


@pytest.mark.parametrize("moment", ["at once", "after OK"])
@pytest.mark.parametrize(("code", "means"), numbers("SKTSERVER"))
async def test_a_server_that_fails(code, means, moment, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        ok = b"\r\n+SKTSERVER:OK\r\n" if moment == "after OK" else b""
        nursery.start_soon(module.play, (b"AT+SKTSERVER=0,5001\r\n", ok + b"\r\n+SKTSERVER:ERROR:%d\r\n" % code))
        with pytest.raises(NetworkError) as refused:
            await net.listen(5001, room=1)
        assert refused.value.condition == means
        await module.silent_for(2)


@pytest.mark.parametrize(("code", "means"), numbers("SKTSEND"))
async def test_a_send_that_fails_is_never_repeated(code, means, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTSEND=": b"\r\n+SKTSEND:ERROR:%d\r\n" % code})
        lives = code in {1, 2, 4, 7}  # it took nothing, and says so
        with pytest.raises(NetworkError if lives else LinkLost) as lost:
            await link.send_all(b"hello")
        assert lost.value.condition == means
        await trio.sleep(3)
        assert (link.condition is None) is lives
        assert [text for text in module.heard if text.startswith(b"AT+SKTSEND")] == [b"AT+SKTSEND=5,1:hello"]


@pytest.mark.parametrize(("code", "means"), numbers("SKTREAD"))
async def test_a_read_that_fails(code, means, autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTREAD=1,": b"\r\n+SKTREAD:ERROR:%d\r\n" % code})
        assert await link.wait_readable() == 0
        await trio.sleep(2)
        assert link.condition == ("link-reset" if code == 3 else means)  # 3: what SKTSTATE says afterwards
        reads = [text for text in module.heard if text.startswith(b"AT+SKTREAD")]
        assert reads == [READ.strip(), b"AT+SKTREAD=1,127"][: 1 + (code == 2)]
        assert module.heard.count(b"AT+SKTDEL=1") == 1


async def test_a_deletion_that_is_refused_is_tried_again_before_its_id_is_free(autojump_clock):
    async with network("s1-uart") as (net, module, nursery):
        await up(net, module)
        link = await opened(net, module, nursery)
        answers = [b"\r\n+SKTDEL:ERROR:1\r\n", DELETE[1]]
        nursery.start_soon(module.serve, IDLE | {b"AT+SKTDEL=1": lambda _: answers.pop(0)})
        await link.aclose()
        assert answers == []


@pytest.mark.parametrize(("code", "means"), numbers("SKTRECVCFG"))
async def test_automatic_receiving_that_is_refused_is_no_bring_up(code, means, autojump_clock):
    async with network("s1-uart") as (net, module, _):
        await module.play(*FIND, (b"AT+SKTRECVCFG=0\r\n", b"\r\n+SKTRECVCFG:ERROR:%d\r\n" % code))
        await trio.sleep(0.5)
        assert net.state.address is None
        await up(net, module, BRING_UP)


# -- what makes the module side say it

SEED_OF_NONE = "a TLS connection, which this module side refuses as a build without TLS does"
PAYLOAD = "a command in transparent mode, where every line is payload"
NEVER = {
    "SKTSERVER": {13: PAYLOAD} | dict.fromkeys(range(15, 28), SEED_OF_NONE),
    "SKTCLIENT": {13: PAYLOAD} | dict.fromkeys(range(18, 23), SEED_OF_NONE),
}
TCP, UDP = b"AT+SKTCLIENT=0,192.0.2.1,80", b"AT+SKTCLIENT=1,192.0.2.1,80,9"
SERVE, SERVE_UDP = b"AT+SKTSERVER=0,80", b"AT+SKTSERVER=1,80"
AUTO = b"AT+SKTRECVCFG=1"


def fails(operation, condition):
    def tell(host):
        host.network.error[operation] = NetworkError(condition)

    return tell


def crashes(hook):
    def tell(host):
        host.crashing = hook

    return tell


def link(end):
    return lambda host: end(host.network.links[-1])


def datagrams(end):
    return lambda host: end(host.network.datagrams[-1])


def lost(item):
    item.lose(Condition.LINK_RESET)


# Lines of the host and things that happen, in turn; the last line is what is refused with the number.
SAID = {
    "SKTSERVER": {
        1: [b"AT+SKTSERVER=0"],
        2: [b"AT+SKTSERVER=0,0"],
        3: [*[TCP] * 9, SERVE],
        4: [crashes("skt_server"), SERVE],
        5: [fails("listen", Condition.NO_FREE_LINK), SERVE],
        6: [fails("listen", Condition.BAD_ARGUMENT), SERVE],
        7: [fails("listen", Condition.PORT_IN_USE), SERVE],
        8: [fails("listen", Condition.NOT_SUPPORTED), SERVE],
        9: [SERVE, SERVE],
        10: [SERVE, lambda host: lost(host.network.listeners[-1])],
        11: [*[TCP] * 8, SERVE, lambda host: host.network.listeners[-1].knock()],
        12: [SERVE_UDP, SERVE_UDP],
        14: [b"AT+SKTSERVER=2,80"],
    },
    "SKTCLIENT": {
        1: [b"AT+SKTCLIENT=0,192.0.2.1"],
        2: [b"AT+SKTCLIENT=0,no.such.name,80"],
        3: [b"AT+SKTCLIENT=0,192.0.2.1,"],
        4: [*[TCP] * 9, TCP],
        5: [crashes("skt_client"), TCP],
        6: [fails("open_stream", Condition.BAD_ARGUMENT), TCP],
        7: [fails("open_stream", Condition.NO_FREE_LINK), TCP],
        8: [fails("open_stream", Condition.INDEX_IN_USE), TCP],
        9: [fails("open_stream", Condition.CONNECT_REFUSED), TCP],
        10: [fails("open_datagram", Condition.INDEX_IN_USE), UDP],
        11: [b"AT+SKTCLIENT=1,192.0.2.1,80,0"],
        12: [fails("open_datagram", Condition.PORT_IN_USE), UDP],
        14: [fails("open_datagram", Condition.ADDRESS_REFUSED), b"AT+SKTCLIENT=1,255.255.255.255,80,9"],
        15: [fails("open_datagram", Condition.ADDRESS_REFUSED), b"AT+SKTCLIENT=1,224.0.0.251,80,9"],
        16: [fails("open_datagram", Condition.NOT_SUPPORTED), b"AT+SKTCLIENT=1,224.0.0.251,80,9"],
        17: [b"AT+SKTCLIENT=2,192.0.2.1,80"],
    },
    "SKTDEL": {1: [b"AT+SKTDEL"]},
    "SKTTT": {
        1: [TCP, b"AT+SKTTT=0"],
        2: [b"AT+SKTTT=1"],
        3: [SERVE, b"AT+SKTTT=1"],
        4: [TCP, TCP, b"AT+SKTTT=1"],
        5: [TCP, crashes("skt_tt"), b"AT+SKTTT=1"],
    },
    "SKTSEND": {
        1: [TCP, b"AT+SKTSEND=3,1:four"],
        2: [TCP, b"AT+SKTSEND=2049,1:four"],
        3: [TCP, b"AT+SKTSEND=4,2:four"],
        4: [SERVE_UDP, b"AT+SKTSEND=4,1,nowhere,80:four"],
        5: [SERVE_UDP, fails("send_datagram", Condition.HOST_UNREACHABLE), b"AT+SKTSEND=4,1,192.0.2.1,80:four"],
        6: [UDP, fails("send_datagram", Condition.HOST_UNREACHABLE), b"AT+SKTSEND=4,1:four"],
        7: [SERVE, b"AT+SKTSEND=4,1:four"],
        8: [TCP, link(lost), b"AT+SKTSEND=4,1:four"],
    },
    "SKTREAD": {
        1: [TCP, b"AT+SKTREAD=1"],
        2: [TCP, b"AT+SKTREAD=1,0"],
        3: [TCP, b"AT+SKTREAD=2,9"],
        4: [SERVE_UDP, datagrams(lost), b"AT+SKTREAD=1,9"],
        5: [UDP, datagrams(lost), b"AT+SKTREAD=1,9"],
        6: [SERVE, b"AT+SKTREAD=1,9"],
        7: [TCP, link(lambda item: item.peer_close()), b"AT+SKTREAD=1,9"],
        8: [TCP, link(lost), b"AT+SKTREAD=1,9"],
    },
    "SKTRECVCFG": {1: [b"AT+SKTRECVCFG=2"], 2: [crashes("skt_recvcfg"), AUTO]},
}  # fmt: skip


def test_no_number_is_left_out():
    for command, many in HOW_MANY.items():
        assert sorted([*SAID[command], *NEVER.get(command, ())]) == list(range(1, many + 1)), command


@pytest.mark.parametrize(("command", "number"), [(command, number) for command, rows in SAID.items() for number in rows])
async def test_what_makes_the_module_say_it(command, number, monkeypatch, autojump_clock):
    async def crash(_module, _request):
        raise RuntimeError("as a task that cannot be started")

    real = command == "SKTSERVER" and number == 11  # otherwise the peer is refused, and the server lives
    async with running(quirks=real) as host:
        host.crashing = None
        said = b""
        for step in SAID[command][number]:
            if isinstance(step, bytes):
                assert b"ERROR" not in said
                said = await host.ask(step, 3)
            else:
                said = b""
                step(host)
                if host.crashing:
                    monkeypatch.setitem(module_runner.HOOKS, host.crashing, crash)
        said += await host.say(b"", 3)
        assert said.endswith(b"\r\n+%s:ERROR:%d\r\n" % (command.encode(), number))
        assert said.count(b"ERROR") == 1
        if host.crashing:
            assert host.upstream.counters.pop("crashes") == 1


@pytest.mark.parametrize(("command", "refused"), [("SKTSERVER", b"14"), ("SKTCLIENT", b"17")])
async def test_tls_is_refused_so_that_none_of_its_numbers_can_come(command, refused, autojump_clock):
    line = {"SKTSERVER": b"AT+SKTSERVER=2,443", "SKTCLIENT": b"AT+SKTCLIENT=2,192.0.2.1,443"}[command]
    async with running() as host:
        assert await host.ask(line, 5) == b"\r\n+%s:ERROR:%s\r\n" % (command.encode(), refused)
        assert host.network.opened == host.network.listeners == []


async def test_in_transparent_mode_no_command_is_one(autojump_clock):
    async with running() as host:
        _, item = await host.client()
        assert await host.ask(b"AT+SKTTT=1") == b"\r\n+SKTTT:OK\r\n"
        assert await host.ask(b"AT+SKTSERVER=0,80", 2) == b""
        assert bytes(item.sent) == b"AT+SKTSERVER=0,80"
