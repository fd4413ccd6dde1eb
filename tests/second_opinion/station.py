"""Wi-Fi and the basic commands, the same in all generations but for their success and failure lines."""

from __future__ import annotations

from .loop import Pause

NAMES = {"peer.test": "127.0.0.1"}  # all that this network's name server knows


class Station:
    """Station mode on one network.  A mixin of `module.Module`."""

    def __init__(self, joined):
        self.joined = joined  # it would join by itself after power-up
        self.up = joined

    def succeed(self, name):
        raise NotImplementedError

    def fail(self, name, number):
        raise NotImplementedError

    def _rejoin(self, after):
        self.up = False
        yield Pause(after)
        self.up = True

    def at__test(self, rest):
        yield from self.succeed("TEST")

    def at__gmr(self, rest):
        yield from self.reply(b"\r\n+GMR:v1.0,v2.0,2023/01/01-12:00:00\r\n")

    def at__rst(self, rest):
        yield from self.succeed("RST")
        self.reset(0.05)

    def at__list(self, rest):
        names = sorted(self.commands)
        yield from self.reply(*(f"{name}\r\n".encode() for name in names))
        yield from self.succeed("LIST")

    def at__wlconn(self, rest):
        pairs = (rest or "").split(",")
        if len(pairs) < 2 or len(pairs) % 2 or pairs[0] != "ssid":
            yield from self.fail("WLCONN", 1)
            return
        yield Pause(0.5)
        self.joined = self.up = True
        yield from self.succeed("WLCONN")

    def at__wldisconn(self, rest):
        self.joined = self.up = False
        yield from self.succeed("WLDISCONN")

    def at__wlstate(self, rest):
        address = b"127.0.0.1" if self.up else b"0.0.0.0"
        yield from self.reply(
            b"WLAN0 Status: Running\r\n==============================\r\n",
            b"WLAN0 Setting:\r\n==============================\r\n      MODE => STATION\r\n      SSID => orchard\r\n",
            b"   CHANNEL => 6\r\n  SECURITY => AES\r\n  PASSWORD => pippin-seed\r\n\r\n",
            b"Interface (0)\r\n==============================\r\n",
            b"\tMAC => 00:e0:4c:01:02:03\r\n\tIP  => " + address + b"\r\n\tGW  => 127.0.0.1\r\n\tmsk  => 255.0.0.0\r\n\r\n",
        )
        yield from self.succeed("WLSTATE")

    def at__wlrssi(self, rest):
        yield from self.reply(b"rssi = -53\r\n", b"data rssi = -54\r\n", b"beacon rssi = -52\r\n")
        yield from self.succeed("WLRSSI")

    def at__ipdomain(self, rest):
        if not rest:
            yield from self.fail("IPDOMAIN", 1)
        elif rest not in NAMES:
            yield from self.fail("IPDOMAIN", 2)
        else:
            yield from self.reply(f"\r\n+IPDOMAIN:{NAMES[rest]}\r\n".encode())
            yield from self.succeed("IPDOMAIN")

    def at__ping(self, rest):
        yield from self.succeed("PING")
