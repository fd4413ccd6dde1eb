"""Where a host may go: hostile forms of an address, the operator's allowances and mappings."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from bridge.local.policy import Policy, own_address, parse_host
from bridge.model import Condition
from bridge.network import NetworkError


def never_own(_):
    return False


STRICT = Policy(is_own=never_own)


@pytest.mark.parametrize(
    "host",
    [
        "0177.0.0.1",  # octal
        "127.0.0.01",
        "0x7f.1",
        "0x7f.0.0.1",
        "0X7F000001",
        "0x",
        "2130706433",  # one 32-bit number
        "127.1",  # inet_aton's short forms
        "127.0.1",
        "0",
        "127.0.0.1.",  # a root label does not make it a name
        "1.2.3.4.5",
        "256.0.0.1",
        "example.0x7f",
        "example.1",
        "127.0.0.1 ",  # inet_aton stops at the blank
        " 127.0.0.1",
        "127.0.0.1\n",
        "127.0.0.1\x00.example.com",
        "127.0.0.1:80",
        "127.0.0.1/8",
        "[::1]",
        "\uff11\uff12\uff17.0.0.1",  # full-width digits: IDNA makes 127.0.0.1 of them
        "127\u30020\u30020\u30021",  # ideographic full stops
        "\u0661.1.1.1",
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a\rAT+RST",
        "a\nb",
        'a"b',
        "a'b",
        "a,b",
        "a b",
        "a\x00",
        "a/b",
        "user@a",
        "a%b",
        "\udcff",
        "a" * 64,
        ("a" * 60 + ".") * 4 + "b" * 20,
        "1" * 300,
    ],
)
def test_is_neither_an_address_nor_a_name(host):
    with pytest.raises(NetworkError) as caught:
        parse_host(host)
    assert caught.value.condition is Condition.BAD_ARGUMENT


@pytest.mark.parametrize(
    ("host", "parsed"),
    [
        ("192.0.2.7", IPv4Address("192.0.2.7")),
        ("::1", IPv6Address("::1")),
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("cafe.de", "cafe.de"),  # hexadecimal digits alone do not make a number
        ("0x7f.example", "0x7f.example"),
        ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
        ("_sip.a-b.example", "_sip.a-b.example"),
        ("localhost", "localhost"),  # a good name; what it resolves to is not
        ("a" * 63, "a" * 63),
    ],
)
def test_parses(host, parsed):
    assert parse_host(host) == parsed


REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("169.254.169.254", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("169.254.0.1", "link-local"),
    ("224.0.0.251", "multicast"),
    ("239.255.255.255", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("240.0.0.1", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:7f00:1", "loopback"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::7f00:1", "loopback"),
    ("2002:7f00:1::", "loopback"),
    ("fd00:ec2::254", "metadata"),
    ("fe80::1", "link-local"),
    ("fe80::1%lo", "link-local"),
    ("ff02::1", "multicast"),
]


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_refused(address, why):
    assert STRICT.refusal(ip_address(address)) == why


@pytest.mark.parametrize("address", [text for text, _ in REFUSED])
def test_refused_until_allowed(address):
    parsed = ip_address(address)
    everything = "0.0.0.0/0" if parsed.version == 4 else "::/0"
    assert Policy.parse([everything]).refusal(parsed) is None


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "128.0.0.1", "126.255.255.255", "1.0.0.0"]
)
def test_allowed_by_default(address):
    assert STRICT.refusal(IPv4Address(address)) is None


def test_an_allowance_reaches_no_further_than_its_network():
    policy = Policy.parse(["127.0.0.2/31"])
    assert policy.refusal(IPv4Address("127.0.0.3")) is None
    assert policy.refusal(IPv4Address("127.0.0.1")) == "loopback"
    assert policy.refusal(IPv4Address("169.254.169.254")) == "metadata"


def test_own_addresses_are_refused():
    policy = Policy(is_own=lambda address: address == IPv4Address("10.0.0.5"))
    assert policy.refusal(IPv4Address("10.0.0.5")) == "an address of the gateway"
    assert policy.refusal(IPv4Address("10.0.0.6")) is None


def test_own_address_asks_the_kernel():
    assert own_address(IPv4Address("127.0.0.1"))
    assert not own_address(IPv4Address("203.0.113.77"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("no route out")
        assert own_address(IPv4Address(probe.getsockname()[0]))


def test_an_own_address_that_is_no_loopback_is_refused_by_the_default_policy(monkeypatch):
    monkeypatch.setattr("bridge.local.policy._REFUSED", ())
    assert Policy().refusal(IPv4Address("127.0.0.1")) == "an address of the gateway"


def test_maps():
    policy = Policy.parse(maps=["192.0.2.80=127.0.0.1", "Web.Example.=127.0.0.2"])
    assert policy.target(IPv4Address("192.0.2.80")) == IPv4Address("127.0.0.1")
    assert policy.target("web.example") == IPv4Address("127.0.0.2")
    assert policy.target("other.example") is None
    # The target of a mapped name is given to the host by a lookup; the target of an address never is.
    assert policy.refusal(IPv4Address("127.0.0.2")) is None
    assert policy.refusal(IPv4Address("127.0.0.1")) == "loopback"


@pytest.mark.parametrize(
    "maps",
    [
        ["192.0.2.80"],
        ["192.0.2.80="],
        ["=127.0.0.1"],
        ["192.0.2.80=localhost"],  # a name could resolve to anything tomorrow
        ["192.0.2.80=0x7f.1"],
        ["0300.0.2.80=127.0.0.1"],
        ["::1=127.0.0.1"],
        ["a=127.0.0.1", "A.=127.0.0.2"],
    ],
)
def test_bad_maps(maps):
    with pytest.raises(ValueError, match="--map"):
        Policy.parse(maps=maps)


@pytest.mark.parametrize("network", ["", "loopback", "127.0.0.1/8", "127.0.0.0/33", "127.1/8"])
def test_bad_allowances(network):
    with pytest.raises(ValueError, match="--allow"):
        Policy.parse([network])


def test_bind_and_listen():
    assert Policy().bound(80) is None
    policy = Policy.parse(bind="192.168.1.5", listen=["80=192.168.1.6:8080", "443=0.0.0.0:443"])
    assert policy.bound(80) == (IPv4Address("192.168.1.6"), 8080)
    assert policy.bound(443) == (IPv4Address("0.0.0.0"), 443)
    assert policy.bound(8080) == (IPv4Address("192.168.1.5"), 8080)
    assert policy.bound(0) == (IPv4Address("192.168.1.5"), 0)
    assert Policy.parse(listen=["80=127.0.0.1:8080"]).bound(8080) is None
    assert Policy.parse(bind="0.0.0.0").bound(5) == (IPv4Address("0.0.0.0"), 5)


def test_where_servers_bind_allows_no_destination():
    policy = Policy.parse(bind="127.0.0.1", listen=["80=127.0.0.2:8080"])
    assert policy.refusal(IPv4Address("127.0.0.1")) == policy.refusal(IPv4Address("127.0.0.2")) == "loopback"


@pytest.mark.parametrize(
    "bind",
    ["", "eth0", "localhost", "0x7f.1", "0300.0.2.80", "127.1", "::1", "127.0.0.1:80", "224.0.0.1", "255.255.255.255", "0"],
)
def test_bad_bindings(bind):
    with pytest.raises(ValueError, match=r"^--bind "):
        Policy.parse(bind=bind)


@pytest.mark.parametrize(
    "listen",
    [
        [""],
        ["80"],
        ["80=8080"],
        ["80=127.0.0.1"],
        ["=127.0.0.1:80"],
        ["80=:8080"],
        ["80=127.0.0.1:"],
        ["80=localhost:8080"],
        ["80=127.1:8080"],
        ["80=::1:8080"],
        ["80=239.1.1.1:8080"],
        ["0=127.0.0.1:8080"],
        ["80=127.0.0.1:0"],
        ["65536=127.0.0.1:8080"],
        ["80=127.0.0.1:65536"],
        ["-1=127.0.0.1:8080"],
        ["+80=127.0.0.1:8080"],
        ["8_0=127.0.0.1:8080"],
        [" 80=127.0.0.1:8080"],
        ["\u0668\u0660=127.0.0.1:8080"],
        ["80=127.0.0.1:8080", "80=127.0.0.1:8081"],
    ],
)
def test_bad_listens(listen):
    with pytest.raises(ValueError, match=r"^--listen "):
        Policy.parse(listen=listen)
