"""The runner itself: each way a conversation can differ is reported as a failure, with the place and both sides."""

import textwrap
from collections import Counter

import pytest
import trio

from bridge.model import Capability, Condition, Endpoint, Limits, Phase
from bridge.network import LinkLost, Network, NetworkError, Sending, StateBox, StreamLink
from bridge.session import Upstream
from bridge.transcripts.run import Makers, TranscriptError, load, makers_of, run_file, run_script
from bridge.transcripts.script import Kind, parse, unescape


class EchoUpstream(Upstream):
    """``open`` opens a link; ``late`` answers after 60 ms; anything else is answered with itself."""

    def __init__(self, port, network, trace):
        self.port, self.network, self.counters = port, network, Counter()

    async def host_to_module(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        while True:
            data = await self.port.receive()
            if data == b"open":
                try:
                    link = await self.network.open_stream("192.0.2.1", 80)
                except NetworkError as error:
                    await self.port.send(b"no: %s" % str(error.condition).encode())
                    continue
                await self.port.send(b"yes")
                await link.send_all(b"ping")
                await self.port.send(await link.receive_some())
                await link.aclose()
            elif data == b"late":
                await trio.sleep(0.06)
                await self.port.send(b"late")
            elif data == b"die":
                raise RuntimeError("stub died")
            else:
                await self.port.send(data)

    async def module_to_host(self):
        await trio.sleep_forever()


class LineNetwork(Network):
    """``open`` writes a line and takes the next bytes as its answer; sends are written and taken at once."""

    limits = Limits(1, 0, 100, frozenset({Capability.TCP}))

    def __init__(self, port, trace):
        self.port, self.box = port, StateBox()
        self.links = []

    @property
    def state(self):
        return self.box.now

    async def wait_state(self, after):
        return await self.box.wait(after)

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        await self.port.send(b"hello\r")
        assert await self.port.receive() == b"ok"
        self.box.change(Phase.UP, address="192.0.2.7")
        task_status.started()
        self.answers, answers = trio.open_memory_channel(10)
        self.answer = answers
        while True:
            data = await self.port.receive()
            if data.startswith(b"<") and self.links:
                self.links[-1].arrive(data[1:])
            elif data == b"bye":
                self.links[-1].end(Condition.PEER_CLOSED)
            else:
                await self.answers.send(data)

    async def attach(self, login=None):
        pass

    async def detach(self):
        pass

    async def resolve(self, name):
        return "192.0.2.9"

    async def open_stream(self, host, port, *, keepalive=0):
        await self.port.send(f"open {host} {port}\r".encode())
        if await self.answer.receive() != b"ok":
            raise NetworkError(Condition.CONNECT_REFUSED)
        self.links.append(LineLink(self.port, Endpoint(host, port)))
        return self.links[-1]


class LineLink(StreamLink):
    def __init__(self, port, peer):
        self.port, self.peer, self.data, self.change = port, peer, bytearray(), trio.Event()

    def arrive(self, data):
        self.data += data
        self.change.set()

    def end(self, condition):
        self.condition = condition
        self.change.set()

    def sending(self, total):
        return LineSending(self)

    def waiting(self):
        return len(self.data)

    async def wait_readable(self):
        while not self.data and self.condition is None:
            self.change = trio.Event()
            await self.change.wait()
        return len(self.data)

    async def fetch(self):
        return len(self.data)

    def take(self, most):
        data = bytes(self.data[:most])
        del self.data[:most]
        return data

    async def aclose(self):
        self.end(Condition.LINK_CLOSED)


class LineSending(Sending):
    def __init__(self, link):
        self.link = link

    async def write(self, piece):
        if self.link.condition:
            raise LinkLost(self.link.condition)
        await self.link.port.send(piece)

    async def commit(self):
        pass

    def abort(self):
        pass


def run(text, *, upstream=True, downstream=False):
    script = parse("# Title: t\n" + textwrap.dedent(text).strip(), "t.txt")
    return run_script(script, Makers(EchoUpstream if upstream else None, LineNetwork if downstream else None))


GOOD = [
    ("host   > abc\nhost   < abc", {}),
    ("host   > abc\nhost   < a\nhost   < bc", {}),
    ("host   > late\n+60ms\nhost   < late", {}),
    ("host   > late\n+59ms\n+2ms\nhost   < late\n+5s", {}),
    ("host   > late\n...\nhost   < te", {}),
    (r"host   > \x00\xff\\ \t" + "\n" + r"host   < \x00\xff\\ \t", {}),
    ("host   > open\nnet < open 192.0.2.1 80\nnet > failed connect-refused\nhost < no: connect-refused", {}),
    (
        (
            "host > open\nnet < open 192.0.2.1 80\nnet > link 1\nhost < yes\nnet < send 1 ping\nnet > sent 1\n"
            "net > data 1 pong\nhost < pong\nnet < close 1\nnet > closed 1\nhost > x\nhost < x"
        ),
        {},
    ),
    (
        (
            "module < hello\\r\nmodule > ok\nnet < state up 192.0.2.7\nnet > open 192.0.2.1 80\nmodule < open 192.0.2.1 80\\r\n"
            "module > ok\nnet < link 1\nnet > send 1 hi\nmodule < hi\nnet < sent 1\nmodule > <in\nnet < data 1 in\n"
            "module > bye\nnet < peer-closed 1\nnet > send 1 x\nnet < send-failed 1 peer-closed\nnet > close 1\nnet < closed 1\n"
            "net > resolve n\nnet < address 192.0.2.9"
        ),
        {"upstream": False, "downstream": True},
    ),
    (
        (
            "module < hello\\r\nmodule > ok\nhost > open\nmodule < open 192.0.2.1 80\\r\nmodule > ok\nhost < yes\nmodule < ping\n"
            "module > <pong\nhost < pong"
        ),
        {"downstream": True},
    ),
]


@pytest.mark.parametrize(("text", "sides"), GOOD)
def test_what_agrees_passes(text, sides):
    assert run(text, **sides).message == ""


BAD = {
    "a wrong byte": ("host   > abc\nhost   < abd", "t.txt:3: 'host <': other bytes came"),
    "a missing line": ("host   > late\nhost   < late", "nothing came"),
    "the end of a line missing": ("host   > abc\nhost   < abc\\r\\n", "the rest did not come"),
    "extra trailing bytes": ("host   > abcd\nhost   < abc", "end: unexpected bytes on 'host <' after the last line"),
    "extra bytes later": ("host   > late\n+10s", "unexpected bytes"),
    "too late": ("host   > late\n+59ms\nhost   < late", "t.txt:4: 'host <': nothing came"),
    "too early": ("host   > late\n+60ms\n+1ms\nhost   < late", "t.txt:4: unexpected bytes on 'host <' before this line"),
    "talking over an answer": ("host   > a\nhost   > b\nhost   < ab", "t.txt:3: unexpected bytes"),
    "never after dots": ("host   > a\n...\nhost   < b", "never came after '...'"),
    "a call not made": ("host > a\nhost < a\nnet < open 192.0.2.1 80", "'net <': nothing came"),
    "a call not expected": ("host > open", "unexpected bytes on 'net <'"),
    "an answer nobody waits for": ("net > link 1", "cannot be said now: no call waits for it"),
    "an unknown answer": ("net > jump", "unknown answer 'jump'"),
    "an unknown condition": ("host > open\nnet < open 192.0.2.1 80\nnet > down nonsense", "cannot be said now"),
    "a dead bridge": ("host > die\nhost < x", "the bridge ended: RuntimeError: stub died"),
    "a bridge that dies last": ("host > die", "the bridge ended: RuntimeError: stub died"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_differs_is_reported(name):
    text, message = BAD[name]
    result = run(text)
    assert not result.ok
    assert message in result.message


def test_the_first_difference_is_shown_side_by_side():
    shown = run("host > one\\r\\ntwo\\r\\n\nhost < one\\r\\ntwX\\r\\n").message
    assert shown.splitlines()[1:] == ["    expected | got", r"    one\r\n  | one\r\n", r"  * twX\r\n  | two\r\n"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Title: t\nhost = x", "t.txt:2: not understood"),
        ("# Title: t\nhost > \\q", r"unknown escape '\q'"),
        ("# Title: t\nhost > \\x4", "unknown escape"),
        ("# Title: t\nhost > \u20ac", "not a byte"),
        ("# Title: t\n...\nhost > x", "must be followed"),
        ("# Title: t\n...", "must be followed"),
        ("host > x", "has no '# Title:'"),
        ("# Title: t\n# Profiles: wip", "write DIALECT:PROFILE"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(text, reason):
    with pytest.raises(TranscriptError) as caught:
        parse(text, "t.txt")
    assert reason in str(caught.value)


def test_headers_may_share_a_line():
    script = parse("# Title: a # b\n# Source: S000478 p.106; x     # Profiles: esp-at:espat-2.3 wip:c1\n+1.5s\n", "t")
    assert (script.title, script.source) == ("a # b", "S000478 p.106; x")
    assert script.profiles == (("esp-at", "espat-2.3"), ("wip", "c1"))
    assert [(s.kind, s.seconds) for s in script.steps] == [(Kind.WAIT, 1.5)]


def test_one_space_after_the_arrow_and_the_rest_counts():
    assert parse("# Title: t\nhost   >   a ", "t").steps[0].data == b"  a "
    assert unescape(r"\\r\r\x0d") == b"\\r\r\r"


def test_a_file_may_follow_another(tmp_path):
    (tmp_path / "a.txt").write_text("# Title: a\n# Profiles: x:y\nhost > a\nhost < a\n")
    (tmp_path / "b.txt").write_text("# Title: b\n# After: a.txt\nhost > b\nhost < c\n")
    script = load(tmp_path / "b.txt")
    assert script.profiles == (("x", "y"),)
    assert run_script(script, Makers(EchoUpstream)).message.startswith("b.txt:4: ")
    (tmp_path / "a.txt").write_text("# Title: a\n# After: b.txt\n")
    assert "circle" in run_file(tmp_path / "b.txt").message
    (tmp_path / "b.txt").write_text("# Title: b\n# After: gone.txt\n")
    assert "gone.txt" in run_file(tmp_path / "b.txt").message


@pytest.mark.parametrize(
    "text",
    ["+1s", "host > a\nnet > up x", "# Profiles: nosuch:x\nhost > a", "# Profiles: a:b c:d\nhost > a\nmodule > b\nnet > x"],
)
def test_a_script_must_say_what_it_tests(text):
    with pytest.raises(TranscriptError):
        makers_of(parse(f"# Title: t\n{text}", "t"))


def test_a_missing_file_is_a_failure(tmp_path):
    assert not run_file(tmp_path / "none.txt").ok


def test_a_script_says_whether_the_bridge_announces_itself():
    assert not parse("# Title: t\n", "t").announce
    assert parse("# Title: t  # Announce: yes\n", "t").announce
    with pytest.raises(TranscriptError, match="write yes or no"):
        parse("# Title: t\n# Announce: maybe\n", "t")
    script = parse("# Title: t\n# Profiles: esp-at:espat-2.3\n# Announce: yes\nhost   < \\r\\nready\\r\\n", "t")
    assert run_script(script, makers_of(script)).message == ""
