"""The gateway's name servers, out of whatever stands in resolv.conf."""

from __future__ import annotations

import pytest
from local_net import running

from bridge.local import resolvers


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        (b"nameserver 10.0.0.53\n", ["10.0.0.53"]),
        (b"# nameserver 1.1.1.1\n;nameserver 2.2.2.2\nsearch a.b\nnameserver\t9.9.9.9  # ours\r\n", ["9.9.9.9"]),
        (b"nameserver 1.1.1.1", ["1.1.1.1"]),
        (b"nameserver ::1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n", ["10.0.0.1"]),
        (b"".join(b"nameserver 10.0.0.%d\n" % last for last in range(9)), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]),
        (b"nameserver\nnameserver 010.0.0.1\nnameserver 0x7f.1\nnameserver 1\n nameserver 1.1.1.1\n", []),
        (b"nameservers 1.1.1.1\nNAMESERVER 1.1.1.1\n\xff\xfe nameserver 1.1.1.1\n", []),
        (b"", []),
    ],
)
def test_what_it_says(text, servers, tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_bytes(text)
    assert resolvers.name_servers(file) == servers


def test_no_file(tmp_path):
    assert resolvers.name_servers(tmp_path / "none") == []
    assert resolvers.name_servers(tmp_path) == []


@pytest.mark.parametrize("cut", range(12))
def test_an_address_is_never_read_by_half(cut, tmp_path):
    line = b"nameserver 10.0.0.123\n"
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"#" * (resolvers.BOUND - len(line) - 1 + cut) + b"\n" + line + b"nameserver 1.1.1.1\n")
    assert resolvers.name_servers(file) == ([] if cut else ["10.0.0.123"])


async def test_the_network_tells_them_and_has_no_signal(monkeypatch):
    monkeypatch.setattr(resolvers, "name_servers", lambda: ["10.0.0.53"])
    async with running() as network:
        assert await network.name_servers() == ["10.0.0.53"]
        assert await network.signal() is None
