import pytest

from bridge.endpoint import EndpointError, EndpointSpec, parse


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("esp-at@pty:host", {"dialect": "esp-at", "port": "pty:host"}),
        ("wip:c1@modem", {"dialect": "wip", "profile": "c1", "port": "modem"}),
        ("wip:c1@pty:m,baud=115200", {"dialect": "wip", "profile": "c1", "port": "pty:m", "baud": 115200}),
        (
            "wip@/dev/ttyS0,flow=rtscts,parity=even,stop=2,dtr=drop,rts=assert,ack=module",
            {
                "dialect": "wip",
                "port": "/dev/ttyS0",
                "flow": "rtscts",
                "parity": "even",
                "stop": 2,
                "dtr": "drop",
                "rts": "assert",
            },
        ),
        ("a@x@y:z,w,baud=9600", {"dialect": "a", "port": "x@y:z,w", "baud": 9600}),
        ("a@rfc2217://h:1?x,logging=debug,baud=9600", {"dialect": "a", "port": "rfc2217://h:1?x,logging=debug", "baud": 9600}),
        ("local", {"dialect": "local"}),
        ("local,ack=module", {"dialect": "local"}),
    ],
)
def test_reads(text, want):
    assert parse(text, side="downstream") == EndpointSpec(text, **want)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("esp-at", "write esp-at@PORT"),
        ("", "no '@'"),
        ("lokal", "did you mean local"),
        ("local@x", "write just local"),
        ("local,baud=9600", "leave out baud="),
        ("@x", "no dialect name"),
        ("a:@x", "no profile name"),
        ("a@", "PORT is empty"),
        ("a@pty:", "PORT is empty"),
        ("a@,baud=9600", "PORT is empty"),
        ("a@x\0y", "NUL"),
        ("a@x,buad=9600", "did you mean baud="),
        ("a@x,zzz=1,baud=9600", "the keys are baud"),
        ("a@x,baud=9600,baud=9600", "twice"),
        ("a@x,baud=49", "from 50 to 4000000"),
        ("a@x,baud=fast", "no speed"),
        ("a@x,baud=\u0661\u0661\u0661", "no speed"),
        ("a@x,baud=-9600", "no speed"),
        ("a@x,flow=rtsctx", "did you mean flow=rtscts"),
        ("a@x,parity=mark", "none or even or odd"),
        ("a@x,stop=1.5", "stop cannot be"),
        ("a@x,ack=bridge", "not there yet"),
        ("a@pty:x,flow=rtscts", "a pty has no flow"),
    ],
)
def test_refuses(text, says):
    with pytest.raises(EndpointError) as refused:
        parse(text, side="downstream")
    assert says in str(refused.value)
    assert refused.value.remedy in str(refused.value)


def test_local_is_no_upstream():
    with pytest.raises(EndpointError, match="downstream"):
        parse("local", side="upstream")
    assert parse("local", side="downstream").is_local


def test_pty_path():
    assert parse("a@pty:/tmp/x", side="upstream").pty_path == "/tmp/x"
    assert parse("a@/tmp/pty:x", side="upstream").pty_path == ""
