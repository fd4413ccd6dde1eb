"""The SKT module side: the thin path on S1, with and without the real module's weaknesses."""

from __future__ import annotations

import pytest
from skt_module_host import running


@pytest.mark.parametrize("quirks", [False, True])
async def test_open_send_read_close(autojump_clock, quirks):
    async with running(quirks=quirks) as host:
        assert await host.ask(b"AT+TEST") == b"\r\n+TEST:OK\r\n"
        said, link = await host.client()
        assert said == b"\r\n+SKTCLIENT:OK\r\n+SKTCLIENT:con_id=1\r\n"
        assert host.network.opened == [("192.0.2.1", 80, 0)]
        assert await host.ask(b"AT+SKTSEND=5,1:hello") == b"\r\n+SKTSEND:OK\r\n"
        assert bytes(link.sent) == b"hello"
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,0,1:\r\n"
        link.feed(b"world\r\n!")
        assert await host.ask(b"AT+SKTREAD=1,5") == b"+SKTREAD:OK,5,1:world\r\n"
        assert await host.ask(b"AT+SKTREAD=1,100") == b"+SKTREAD:OK,3,1:\r\n!\r\n"
        assert await host.ask(b"AT+SKTSTATE") == b"con_id:1,client,tcp,address:192.0.2.1,port:80,socket:0\r\n\r\n+SKTSTATE:OK\r\n"
        assert await host.ask(b"AT+SKTDEL=1") == b"\r\n+SKTDEL:OK\r\n"
        assert link.closed
        assert await host.ask(b"AT+SKTSTATE") == b"\r\n+SKTSTATE:OK\r\n"
