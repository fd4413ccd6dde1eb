import pytest

from bridge.endpoint import EndpointError, EndpointSpec, parse
from bridge.model import HostSettings, Wire


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
        ("local,ack=bridge", {"dialect": "local", "ack": "bridge"}),
        ("wip@pty:m,ack=bridge", {"dialect": "wip", "port": "pty:m", "ack": "bridge"}),
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
        ("a@x,ack=host", "module or bridge"),
        ("a@pty:x,flow=rtscts", "a pty has no flow"),
        ("a@unix:x,parity=odd", "a socket file has no parity"),
        ("a@listen:127.0.0.1:5,dtr=drop", "a TCP listener has no dtr"),
        ("a@socket://h:1,stop=2", "a plain TCP connection has no stop"),
        ("a@SOCKET://h:1,rts=drop", "a plain TCP connection has no rts"),
        ("a@listen:", "PORT is empty"),
        ("a@unix:", "PORT is empty"),
        ("a@listen:5000", "listen:127.0.0.1:5000"),
        ("a@listen:localhost:5000", "no address to listen on"),
        ("a@listen:127.0.0.1:", "no port number"),
        ("a@listen:127.0.0.1:65536", "no port number"),
        ("a@listen:127.0.0.1:-1", "no port number"),
        ("a@listen:127.0.0.1:\u0665", "no port number"),
        ("a@http://h:1", "rfc2217:// and socket://"),
        ("a@loop://", "no kind of port"),
        ("a@x,flow=rtscts,rts=drop", "leave out one"),
        ("a@x,joined=yes", "put it on the upstream"),
        ("local,ssid=x", "put it on the upstream"),
        ("a@x,password=hunter2", "no place on a command line"),
        ("a@x,PSK=hunter2,zzz=1", "no place on a command line"),
        ("a@rfc2217://h:1,password=hunter2,baud=9600", "no place on a command line"),
        ("a@x,ack=module,y", "stands inside PORT"),
    ],
)
def test_refuses(text, says):
    with pytest.raises(EndpointError) as refused:
        parse(text, side="downstream")
    assert says in str(refused.value)
    assert refused.value.remedy in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("ack", ["module", "bridge"])
def test_ack_stands_on_the_downstream_only(ack):
    with pytest.raises(EndpointError, match="put it on the downstream"):
        parse(f"esp-at@/dev/ttyUSB0,ack={ack}", side="upstream")


def test_local_is_no_upstream():
    with pytest.raises(EndpointError, match="downstream"):
        parse("local", side="upstream")
    assert parse("local", side="downstream").is_local


def test_pty_path():
    assert parse("a@pty:/tmp/x", side="upstream").pty_path == "/tmp/x"
    assert parse("a@/tmp/pty:x", side="upstream").pty_path == ""


@pytest.mark.parametrize(
    ("keys", "want"),
    [
        ("", {}),
        (",joined=yes", {"joined_at_start": True}),
        (",joined=no,announce=no", {"announce": False}),
        (",announce=yes", {"announce": True}),
        (",quirks=yes", {"quirks": True}),
        (",quirks=no", {"quirks": False}),
        (",ssid=my net = old", {"ssid": "my net = old"}),
        (",ssid=" + "\u00e9" * 16, {"ssid": "\u00e9" * 16}),
        (",reset_on=dsr", {"reset_on": Wire.DSR, "reset_level": True}),
        (",reset_on=!cts", {"reset_on": Wire.CTS, "reset_level": False}),
        (",reset_on=!dcd", {"reset_on": Wire.DCD, "reset_level": False}),
        (",reset_on=break", {"reset_on": Wire.BREAK, "reset_level": True}),
        (",connect=7.5,payload=30", {"connect": 7.5, "payload": 30.0}),
        (",baud=9600,connect=3600,dtr=drop", {"connect": 3600.0}),
    ],
)
def test_settings_of_the_host(keys, want):
    assert parse(f"esp-at@/dev/ttyS0{keys}", side="upstream").host == HostSettings(**want)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("joined=true", "joined can be yes or no"),
        ("announce=", "announce cannot be"),
        ("ssid=", "no network name"),
        ("ssid=" + "\u00e9" * 17, "1 to 32 bytes"),
        ("ssid=a\tb", "no network name"),
        ("ssid=a\udcffb", "no network name"),
        ("ssid=a,b", "a value has no comma"),
        ("reset_on=!break", "did you mean reset_on=break"),
        ("reset_on=ri", "reset_on can be"),
        ("reset_on=!!dsr", "did you mean reset_on=!dsr"),
        ("reset_on=!cts,flow=rtscts", "leave out one"),
        ("connect=0", "more than 0"),
        ("connect=3600.001", "at most 3600"),
        ("payload=1e3", "no time"),
        ("payload=inf", "no time"),
        ("payload=-1", "no time"),
        ("payload=\u0665", "no time"),
        ("conect=5", "did you mean connect="),
    ],
)
def test_refuses_settings_of_the_host(keys, says):
    with pytest.raises(EndpointError) as refused:
        parse(f"esp-at@/dev/ttyS0,{keys}", side="upstream")
    assert says in str(refused.value)


@pytest.mark.parametrize("port", ["pty:x", "unix:x", "listen:127.0.0.1:5", "socket://h:1"])
def test_a_reset_wire_needs_wires(port):
    with pytest.raises(EndpointError, match="has no reset_on"):
        parse(f"esp-at@{port},reset_on=dsr", side="upstream")
    assert parse(f"esp-at@{port},joined=yes,baud=9600", side="upstream").host.joined_at_start


def test_where_it_listens():
    assert parse("a@listen:127.0.0.1:5000", side="upstream").listen_at == ("127.0.0.1", 5000)
    assert parse("a@listen:[::1]:0", side="downstream").listen_at == ("::1", 0)
    assert parse("a@/tmp/listen:x", side="upstream").listen_at is None
    assert parse("a@unix:/run/x:y,baud=9600", side="upstream").unix_path == "/run/x:y"
    assert parse("a@rfc2217://h:1,reset_on=dsr", side="upstream").host.reset_on is Wire.DSR


def test_a_simulated_module_has_its_quirks_unless_the_text_says_otherwise():
    usual = HostSettings(quirks=True)
    assert parse("skt@pty:x", side="upstream", usual=usual).host.quirks
    assert not parse("skt@pty:x,quirks=no", side="upstream", usual=usual).host.quirks
    assert not parse("skt@pty:x", side="upstream").host.quirks
