"""A live session with an SKT module, on either side, becomes a transcript: its trace has all that was on the wire, in order."""

import pytest
from recorded import CALL, ESP_AT, HELLO, feeds, head, made, taken, text_of

from bridge.transcripts.script import Kind, parse

SKT = {
    "sends with escapes, a colon and CR LF": (*CALL, b"AT+CIPSEND=0,12\r\n", 0.2, b"a,b\\c", 1, b":d\r\n\r\ne", 3),
    "a payload that looks like the module's own text": (*CALL, 4, feeds(b"\r\n+SKTREAD:OK,5,1:\r\nOK\r\n" * 20), 4, b"AT\r\n", 1),
    "both ways at once, two links": (
        *CALL,
        b'AT+CIPSTART=1,"TCP","192.0.2.2",81\r\n',
        3,
        feeds(bytes(range(32, 127)) * 9),
        b"AT+CIPSEND=1,3\r\n",
        0.1,
        b"abc",
        2,
        b"AT+CIPCLOSE=0\r\n",
        2,
    ),
    "datagrams": (*HELLO, b'AT+CIPSTART=0,"UDP","192.0.2.1",7,4000\r\n', 3, b"AT+CIPSEND=0,3\r\n", 0.2, b"one", 2),
    "passive, and the peer leaves": (
        *HELLO,
        b"AT+CIPRECVMODE=1\r\n",
        0.1,
        b'AT+CIPSTART=0,"TCP","192.0.2.1",80\r\n',
        3,
        feeds(b"x" * 700),
        2,
        b"AT+CIPRECVDATA=0,100\r\n",
        1,
        b"AT+CIPRECVDATA=0,2000\r\n",
        lambda below: below.links[0].peer_close(),
        3,
    ),
}


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("profile", ["s1-uart", "s1-log", "s1b", "s2"])
@pytest.mark.parametrize("name", SKT)
def test_a_session_on_skt_is_recorded_and_played_again(name, profile, quirks):
    rows, heard = taken(SKT[name], downstream=("skt", profile), quirks=quirks)
    text = made(text_of(rows, head(downstream=("skt", profile))))
    script = parse(text, "recorded")
    assert script.profiles == (ESP_AT, ("skt", profile))
    masked = heard.replace(b"hush-hush", b"***")
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.HEAR)) == masked
    assert "hush" not in text


def test_a_send_escaped_by_the_host_is_recorded_as_it_was_typed():
    typed = rb"a\\b\x\0"
    rows, _ = taken((*CALL, b"AT+CIPSENDEX=0,50\r\n", 0.2, typed[:2], 0.5, typed[2:], 2), downstream=("skt", "s2"))
    script = parse(made(text_of(rows, head(downstream=("skt", "s2")))), "recorded")
    said = b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.SAY))
    assert said.endswith(b"AT+CIPSENDEX=0,50\r\n" + typed)


HOSTS = {
    "s1-uart": (
        8,
        b"AT+SKTCLIENT=0,192.0.2.1,80\r\n",
        5,
        b"AT+SKTSEND=6,1:a\\,b\\\\:c\r\n",
        3,
        feeds(b"hello\r\n"),
        b"AT+SKTREAD=1,100\r\n",
        5,
        b"AT+SKTREAD=1,100\r\n",
        2,
        b"AT+SKTRECVCFG=1\r\n",
        1,
        feeds(b"pushed"),
        3,
    ),
    "s2": (
        8,
        b"AT+SKTCLIENT=7,1,,192.0.2.1,80,,1\r\n",
        5,
        b"AT+SKTSEND=7,3,,,a:b\r\n",
        3,
        b"AT+SKTSENDRAW=7,6\r\n",
        1,
        b"ab\0",
        1,
        b"\r\ncAT+SKTSTATE\r\n",
        3,
        feeds(b"pushed\0\r\n"),
        3,
    ),
}


@pytest.mark.parametrize("profile", HOSTS)
def test_a_host_of_skt_is_recorded_and_played_again(profile):
    steps = HOSTS[profile]
    rows, heard = taken(steps, upstream=("skt", profile))
    text = made(text_of(rows, head(upstream=("skt", profile))))
    script = parse(text, "recorded")
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.HEAR)) == heard
    typed = b"".join(step for step in steps if isinstance(step, bytes))
    assert b"".join(step.data for step in script.steps if (step.lane, step.kind) == ("host", Kind.SAY)) == typed


@pytest.mark.parametrize("profile", HOSTS)
def test_without_payload_a_trace_has_its_length_alone(profile):
    steps = (*CALL, 5, b"AT+CIPSEND=0,6\r\n", 0.2, b"pri,va", 3, feeds(b"te-words"), 3)
    rows, heard = taken(steps, payload=False, downstream=("skt", profile))
    shown = "".join(row.get("data", "") for row in rows)
    assert "va" not in shown
    assert "word" not in shown
    hidden = [(row["lane"], row["length"]) for row in rows if "data" not in row]
    assert hidden == [
        ("host >", 6),
        ("module <", 7 if profile == "s1-uart" else 6),
        ("module >", 8),
        ("host <", 8),
    ]
    assert heard.endswith(b"+IPD,0,8:te-words")
