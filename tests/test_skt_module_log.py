"""SKT, module side: one event in the log for each command of the host, and nothing of a payload or a login in it."""

import structlog
import trio
from skt_module_host import running

from bridge.model import HostSettings


def told(events):
    return [event for event in events if event["event"] == "command"]


async def test_one_event_for_each_command(autojump_clock):
    with structlog.testing.capture_logs() as events:
        async with running() as host:
            await host.ask(b"AT+TEST")
            _, link = await host.client()
            await host.ask(b"AT+SKTSEND=5,1:fresh")
            link.feed(b"ripe\r\nfruit")
            await host.ask(b"AT+SKTREAD=1,100")
            await host.ask(b"AT+SKTREAD=2,100")
            await host.ask(b"AT+WLCONN=ssid,plant,pw,hush")
            await host.ask(b"AT+NOSUCH=hush")
            await host.ask(b"no command of any kind")
            await host.ask(b"")
    commands = told(events)
    assert [(e["verb"], e["form"], e["final"]) for e in commands] == [
        ("TEST", "execute", "+TEST:OK"),
        ("SKTCLIENT", "set", "+SKTCLIENT:OK"),
        ("SKTSEND", "set", "+SKTSEND:OK"),
        ("SKTREAD", "set", "+SKTREAD:OK,11,1:"),
        ("SKTREAD", "set", "+SKTREAD:ERROR:3"),
        ("WLCONN", "set", "+WLCONN:OK"),
        ("NOSUCH", "set", ""),
    ]
    assert [(e["condition"], e["reason"]) for e in commands if "condition" in e] == [
        ("wrong-state", "id"),
        ("not-supported", "unknown"),
    ]
    assert commands[2]["bytes_in"] == len(b"AT+SKTSEND=5,1:fresh\r\n")
    assert commands[3]["bytes_out"] == len(b"+SKTREAD:OK,11,1:ripe\r\nfruit\r\n")
    for word in ("fresh", "ripe", "fruit", "hush"):
        assert word not in str(commands)


async def test_a_raw_send_is_one_event_with_its_payload_counted(autojump_clock):
    with structlog.testing.capture_logs() as events:
        async with running("s2") as host:
            await host.ask(b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,0")
            await host.ask(b"AT+SKTSENDRAW=1,6")
            await trio.sleep(3)
            assert await host.say(b"abcdef") == b"\r\nOK\r\n"
            host.network.links[0].feed(b"secret")
            await host.ask(b"AT+SKTREAD=1,100")
    commands = told(events)
    assert [(e["verb"], e["final"]) for e in commands] == [("SKTCLIENT", "OK"), ("SKTSENDRAW", "OK"), ("SKTREAD", "OK")]
    assert commands[1]["bytes_in"] == len(b"AT+SKTSENDRAW=1,6\r\nabcdef")
    assert commands[1]["wire"] >= 3
    assert "secret" not in str(commands)


async def test_a_restart_answers_and_a_reset_abandons(autojump_clock):
    settings = HostSettings(announce=False, payload=None)
    with structlog.testing.capture_logs() as events:
        async with running("s2", settings=settings) as host:
            await host.ask(b"AT+RST", 3)
            await host.ask(b"AT+SKTCLIENT=1,1,,192.0.2.1,80,,0")
            await host.ask(b"AT+SKTSENDRAW=1,6")
            host.upstream.reset()
            await trio.sleep(3)
    assert [(e["verb"], e["final"]) for e in told(events)] == [("RST", "OK"), ("SKTCLIENT", "OK"), ("SKTSENDRAW", "")]
