"""Five links at once, as a new user would try them: identical bytes both ways on every module, whatever its links do.

The bridge and the simulated module are processes on ptys, at 115200 and with a modem's real guards.
``AT_BRIDGE_ACCEPT_BYTES`` says how much each of the five links carries; `make acceptance` makes it 20 kB.
"""

import os
import random
import re
import socket
import struct

import pytest
import trio
from real_host.running import Host, bridge, open_tty

TOTAL = int(os.environ.get("AT_BRIDGE_ACCEPT_BYTES", "1200"))
LINKS = 5
LONGEST = 2048  # bytes of one CIPSEND
PIECE = min(LONGEST, TOTAL * 2 // 3)  # two visits of each link, at least
OPEN = ("--allow", "127.0.0.0/8", "--bind", "127.0.0.1")
# Every value the console of skt:s1-uart can carry: no NUL, TAB, BS, DEL, 0xFF; what it escapes, and both halves of CRLF.
PRINTABLE = bytes(range(0x20, 0x7F)) + b",\\,\\\\::\r\n"
LINES = (
    b"+SKTREAD:OK,5,1:",
    b"\r\n+SKTSEND:OK\r\n",
    b"----",
    b"AT+SKTDEL=0",
    b"+++",
    b"\r\nSHUTDOWN\r\n",
    b"\r\n+IPD,0,5:",
    b"\r\n0,CLOSED\r\n",
)
WIP = ("wip:c1", "wip:f4")


def binary(seed, total):
    """Random bytes, every value among them, and lines of all the dialects on the way."""
    rng = random.Random(seed)
    data = bytearray(rng.sample(bytes(range(256)), 256) + list(rng.randbytes(total - 256)))
    for text in LINES:
        at = rng.randrange(256, total - len(text))
        data[at : at + len(text)] = text
    return bytes(data)


def printable(seed, total):
    """What a console carries: printable characters, commas and backslashes to escape, ends of lines."""
    rng = random.Random(seed)
    data = bytearray(rng.choices(PRINTABLE, k=total))
    for text in LINES:
        at = rng.randrange(total - len(text))
        data[at : at + len(text)] = text
    return bytes(data)


async def echo(stream):
    async with stream:
        async for piece in stream:
            await stream.send_all(piece)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Reader(Host):
    """A host in passive mode: it asks for what it was told of."""

    asked = 0  # the link whose bytes the answer holds, which does not say it
    _DATA = re.compile(rb"\+CIPRECVDATA[:,](\d+)[,:]")

    def _step(self):
        text = self._buffer.lstrip(b"\r\n")
        found = self._DATA.match(text)
        if not found:
            return super()._step()
        end = found.end() + int(found[1])
        if len(text) < end:
            self._buffer = text
            return False
        self.received.setdefault(self.asked, bytearray()).extend(text[found.end() : end])
        self._buffer = text[end:]
        return True

    async def read(self, link, most):
        """Up to ``most`` bytes of a link; those it holds are asked for first, as no host asks blindly."""
        self.forget()
        await self.command("AT+CIPRECVLEN?")
        lengths = next(line for line in self.said if line.startswith("+CIPRECVLEN:")).removeprefix("+CIPRECVLEN:").split(",")
        waiting = int(lengths[link])
        if waiting <= 0:
            await trio.sleep(0.2)
            return
        self.asked = link
        await self.command(f"AT+CIPRECVDATA={link},{min(most, waiting)}")


async def join(host, nursery):
    await nursery.start(host.listen)
    await host.command("ATE0")
    host.forget()
    for line in ("AT", "AT+CWMODE=1", 'AT+CWJAP="orchard","pippin-seed"', "AT+CIPMUX=1"):
        await host.command(line)
    return ["OK", "OK", "WIFI CONNECTED", "WIFI GOT IP", "OK", "OK"]


async def five(host, nursery, port):
    """One link that a server got, four that the host opens.  Returns what the host was told.

    The host says that its server serves one: a WIP modem keeps as many of its eight indexes free for a server's clients.
    """
    serving = free_port()
    await host.command("AT+CIPSERVERMAXCONN=1")
    await host.command(f"AT+CIPSERVER=1,{serving}")
    nursery.start_soon(echo, await trio.open_tcp_stream("127.0.0.1", serving))
    await host.until(lambda: "0,CONNECT" in host.said, 30, "a client of the server")
    said = ["OK", "OK", "0,CONNECT"]
    for link in range(1, LINKS):
        await host.command(f'AT+CIPSTART={link},"TCP","127.0.0.1",{port}', seconds=60)
        said += [f"{link},CONNECT", "OK"]
    return said


async def send_all(host, data):
    """A piece of each link in turn, while the echo of those before is coming.  Returns what the host was told."""
    said = []
    for start in range(0, TOTAL, PIECE):
        for link, whole in data.items():
            piece = whole[start : start + PIECE]
            await host.send(link, piece, seconds=60)
            said += ["OK", ">", f"Recv {len(piece)} bytes", "SEND OK"]
    return said


def all_there(host, data):
    return all(len(host.received.get(link, b"")) >= len(whole) for link, whole in data.items())


def same(host, data):
    for link, whole in data.items():
        assert host.received[link] == whole, f"link {link} differs"


async def carry(directory, dialect, module, port, nursery):
    """Whole and identical both ways, and the host hears the same whichever module is below."""
    make = printable if module == "skt:s1-uart" else binary
    data = {link: make(f"{module}-{link}", TOTAL) for link in range(LINKS)}
    async with bridge(directory, module, directory / "trace", host=dialect, network=OPEN) as path, open_tty(path) as stream:
        host = Host(stream)
        expected = await join(host, nursery)
        expected += await five(host, nursery, port)
        expected += await send_all(host, data)
        await host.until(lambda: all_there(host, data), 60 + TOTAL / 50, "all of the echo")
        for link in data:
            await host.command(f"AT+CIPCLOSE={link}")
            expected += [f"{link},CLOSED", "OK"]
        same(host, data)
        assert host.said == expected


async def carry_when_asked(directory, dialect, module, port, nursery):
    """The same for a host in passive mode."""
    data = {link: binary(f"passive-{link}", TOTAL) for link in range(LINKS)}
    async with bridge(directory, module, directory / "trace", host=dialect, network=OPEN) as path, open_tty(path) as stream:
        host = Reader(stream)
        await join(host, nursery)
        await host.command("AT+CIPRECVMODE=1")
        await five(host, nursery, port)
        for start in range(0, TOTAL, PIECE):
            for link, whole in data.items():
                await host.send(link, whole[start : start + PIECE], seconds=60)
                # What it does not read stays in the bridge, which has room for so much only.
                await host.read((link + 1) % LINKS, LONGEST)
        with trio.fail_after(60 + TOTAL / 50):
            while not all_there(host, data):
                for link, whole in data.items():
                    if len(host.received.get(link, b"")) < len(whole):
                        await host.read(link, 700)
        assert not any("CLOSED" in line for line in host.said)
        for link in data:
            await host.command(f"AT+CIPCLOSE={link}")
        same(host, data)


async def side_by_side(tmp_path, runs):
    """Each run in its own processes; most of their time is a modem's guards, which they can wait for together."""
    async with trio.open_nursery() as sessions:
        for number, (run, *arguments) in enumerate(runs):
            directory = tmp_path / str(number)
            directory.mkdir()
            sessions.start_soon(_named, run, directory, *arguments)


async def _named(run, directory, *arguments):
    try:
        async with trio.open_nursery() as helpers:
            await run(directory, *arguments, helpers)
            helpers.cancel_scope.cancel()
    except BaseException as error:
        error.add_note(f"this was {run.__name__}{arguments}")
        raise


FAST = tuple((carry, "esp-at", module) for module in ("local", "skt:s1-uart", "skt:s2", "skt:guide"))
SLOW = (
    *((carry, "esp-at", module) for module in WIP),
    (carry, "esp-at:nonos-1.7", "wip:c1"),
    (carry_when_asked, "esp-at", "wip:c1"),
)


@pytest.mark.deadline(150 + TOTAL / 20)
@pytest.mark.parametrize("runs", [FAST, SLOW], ids=["local and skt", "wip"])
async def test_five_links_at_once_are_identical_both_ways(runs, tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]
    await side_by_side(tmp_path, [(*run, port) for run in runs])
    nursery.cancel_scope.cancel()


@pytest.mark.deadline(90)
async def test_a_console_that_cannot_carry_a_payload_refuses_it_and_the_link_goes_on(tmp_path, nursery):
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]
    sent = b""
    async with bridge(tmp_path, "skt:s1-uart", network=OPEN) as path, open_tty(path) as stream:
        host = Host(stream)
        await join(host, nursery)
        await host.command(f'AT+CIPSTART=3,"TCP","127.0.0.1",{port}')
        for bad in (b"\x00", b"\x09", b"\x08", b"\x7f", b"\xff"):
            whole = b"a" * 300 + bad + b"b" * 300  # what is bad is far behind the first line of the module
            await host.command(f"AT+CIPSEND=3,{len(whole)}")
            await host.wait_for(">")
            await stream.send_all(whole)
            assert await host.wait_for("SEND OK", "SEND FAIL", "ERROR") == "SEND FAIL"
            good = b"after %02x, fine" % bad[0]
            await host.send(3, good)
            sent += good
        await host.until(lambda: len(host.received.get(3, b"")) >= len(sent), 20, "the echo")
        await trio.sleep(1)  # for what must not come
        assert host.received[3] == sent
        assert "3,CLOSED" not in host.said
        nursery.cancel_scope.cancel()


VICTIM = 2
GONE = f"{VICTIM},CLOSED"
LAST_WORDS = b"last words, +++ and all" * 20


def reset(stream):
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


class Session:
    """A host with two echoing links, and a third whose peer is the test itself."""

    def __init__(self, host, stream, port, peers):
        self.host = host
        self._stream = stream
        self._port = port
        self._peers = peers
        self.sent = {0: b"", 1: b""}
        self.ended = 0

    async def others_work(self):
        for link in self.sent:
            piece = f"still link {link} after {self.ended}, ".encode() * 8
            await self.host.send(link, piece)
            self.sent[link] += piece
        await self.host.until(lambda: all_there(self.host, self.sent), 30, f"the others' echo after {self.ended}")
        same(self.host, self.sent)

    async def victim(self):
        self.host.received.pop(VICTIM, None)
        await self.host.command(f'AT+CIPSTART={VICTIM},"TCP","127.0.0.1",{self._port}')
        return await self._peers.receive()

    async def mapped(self):
        """It is the link that the module just served."""
        peer = await self.victim()
        await self.host.send(VICTIM, b"x" * 100)
        assert await peer.receive_some() != b""
        await peer.send_all(LAST_WORDS)
        return peer

    async def unmapped(self):
        """Another link is being served, and this one was before."""
        peer = await self.victim()
        await self.others_work()
        await peer.send_all(LAST_WORDS)
        return peer

    async def sent_to(self):
        """Half of a send is with its peer, the other half has yet to come."""
        peer = await self.victim()
        await self.host.command(f"AT+CIPSEND={VICTIM},{LONGEST}")
        await self.host.wait_for(">")
        await self._stream.send_all(b"y" * (LONGEST * 3 // 4))
        assert await peer.receive_some() != b""
        await peer.send_all(LAST_WORDS)
        return peer

    async def end(self, state, how):
        peer = await getattr(self, state)()
        if how == "close":
            await peer.send_eof()  # it still takes what comes: closing with bytes unread would be a reset
        else:
            reset(peer)
        if state == "sent_to":
            await self._stream.send_all(b"y" * (LONGEST - LONGEST * 3 // 4))
            await self.host.wait_for("SEND OK", "SEND FAIL", seconds=30)
        self.ended += 1
        await self.host.until(lambda: self.host.said.count(GONE) >= self.ended, 45, f"the end of {state}/{how}")
        got = bytes(self.host.received.get(VICTIM, b""))
        assert LAST_WORDS.startswith(got)
        if how == "close":
            assert got == LAST_WORDS
            await peer.aclose()
        await self.others_work()


async def ends(directory, module, nursery):
    """Every way in which a link can end, one after the other."""
    opening, peers = trio.open_memory_channel(1)

    async def meet(stream):
        await opening.send(stream)
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    meeting = await nursery.start(trio.serve_tcp, meet, 0)
    port = listeners[0].socket.getsockname()[1]
    async with bridge(directory, module, network=OPEN) as path, open_tty(path) as stream:
        host = Host(stream)
        await join(host, nursery)
        for link in (0, 1):
            await host.command(f'AT+CIPSTART={link},"TCP","127.0.0.1",{port}')
        session = Session(host, stream, meeting[0].socket.getsockname()[1], peers)
        for state in ("mapped", "unmapped", "sent_to"):
            for how in ("close", "reset"):
                await session.end(state, how)
        await trio.sleep(3)  # for what must not come
        assert [line for line in host.said if "CLOSED" in line] == [GONE] * session.ended


@pytest.mark.deadline(240)
async def test_the_end_of_one_link_is_told_once_and_the_others_go_on(tmp_path):
    await side_by_side(tmp_path, [(ends, module) for module in WIP])
