"""The whole conversation, driven by a seed: opens, sends, closes, arrivals, datagrams, in any order, with any faults."""

from __future__ import annotations

import random
import socket
import time
from dataclasses import dataclass

from .host import LINKS, Host
from .peers import Ledger, Peer, UdpPeer

PRINTABLE = bytes(range(0x20, 0x7F)) + b",\\,\\\\::"
LINES = (b"+SKTREAD:OK,5,1:", b"+SKTSEND:OK", b"+SKTREAD:ERROR:7,1", b"----", b"AT+SKTDEL=0", b"+IPD,0,5:", b"0,CLOSED", b">>>")
EVERY = bytes(range(256))
ARRIVES = 30.0  # seconds for the last bytes of a session
OPENS = 60.0


@dataclass(frozen=True)
class Plan:
    seed: int
    steps: int = 40
    passive: bool = False
    binary_out: bool = False  # the module carries every byte value to a peer
    binary_in: bool = False  # and from a peer; otherwise a NUL ends a print
    ends: bool = False  # the module carries CR and LF to a peer, too
    datagram: int = 60  # bytes of the longest
    longest: int = 700  # bytes of one CIPSEND, and of one message of a peer
    faulty: bool = False  # a link may end for no reason that is seen here
    udp: bool = True
    server: bool = True
    told: bool = True  # the module finds out that a peer closed in order


class Session:
    def __init__(self, plan, path, module):
        self.plan = plan
        self.rng = random.Random(plan.seed)
        self.module = module
        self.findings = module.findings
        self.host = Host(path, self.findings)
        self.ledgers = []
        self.udp = []
        self.port = 0
        self.opened = 0
        self.counts = {}

    def close(self):
        for ledger in self.ledgers:
            ledger.peer.close()
            if ledger.peer.sock is not None:
                ledger.peer.sock.close()
        for _, peer in self.udp:
            peer.close()
        self.host.close()

    # The conversation

    def run(self):
        self.set_up()
        self.module.faults.begin()
        actions = (
            [self.open] * 3 + [self.send] * 6 + [self.peer_sends] * 5 + [self.read] * 4 + [self.peer_ends, self.end, self.idle]
        )
        actions += [self.arrive] * 2 * self.plan.server + [self.open_udp, self.send_udp, self.peer_sends_udp] * self.plan.udp
        actions += [self.refused, self.send_what_cannot, self.peer_sends_nul]
        for _ in range(self.plan.steps):
            action = self.rng.choice(actions)
            self.findings.note(f"-- {action.__name__}")
            self.counts[action.__name__] = self.counts.get(action.__name__, 0) + 1
            action()
        self.module.faults.end()
        self.finish()

    def carried(self):
        """Bytes: (to peers, to the host)."""
        return sum(len(one.peer.received) for one in self.ledgers), sum(len(one.end.received) for one in self.ledgers)

    def set_up(self):
        for line in ("ATE0", "AT", "AT+CWMODE=1"):
            self.must(line)
        self.join()
        self.must("AT+CIPMUX=1")
        if self.plan.passive:
            self.must("AT+CIPRECVMODE=1")
        if self.plan.server:
            self.must("AT+CIPSERVERMAXCONN=2")
            self.port = free_port()
            self.must(f"AT+CIPSERVER=1,{self.port}")

    def join(self):
        for _ in range(5):
            if self.host.command('AT+CWJAP="orchard","pippin-seed"') == "OK":
                return
            time.sleep(0.5)
        self.findings.breach("never joined")

    def must(self, line):
        final = self.host.command(line)
        if final != "OK":
            self.findings.breach(f"{line}: {final}")

    def free_link(self):
        free = [n for n in range(LINKS) if self.host.ends[n] is None]
        return self.rng.choice(free) if free else None

    def live(self):
        return [one for one in self.ledgers if not one.end.closed]

    def text(self, most, alphabet=None):
        """What this module carries to a peer."""
        total = self.rng.randint(1, most)
        if alphabet is None:
            alphabet = self.plain() + b"\r\n\r\n" * self.plan.ends
        data = bytearray(self.rng.choices(alphabet, k=total))
        for line in LINES:
            if self.rng.random() < 0.1 and total > len(line):
                at = self.rng.randrange(total - len(line))
                data[at : at + len(line)] = line
        return bytes(data)

    def plain(self):
        """What every line of this module carries."""
        return EVERY if self.plan.binary_out else PRINTABLE

    def incoming(self, most):
        """What this module carries from a peer: every value, or all but NUL."""
        return self.text(most, EVERY if self.plan.binary_in else EVERY[1:])

    def open(self):
        link = self.free_link()
        if link is None:
            return
        peer = Peer.listening()
        if (end := self.host.start(link, "tcp", peer.port)) is None:
            peer.close()
            if not self.plan.faulty:
                self.findings.breach(f"link {link} does not open: {self.host.said[-5:]}")
            return
        self.keep(end, peer)

    def keep(self, end, peer):
        self.opened += 1
        self.ledgers.append(Ledger(end, peer, f"link {end.link} (life {self.opened})"))

    def refused(self):
        link = self.free_link()
        if link is not None and self.host.start(link, "tcp", free_port()) is not None:
            self.findings.breach("nobody listens, and the link opens")

    def send(self):
        if not self.live():
            return
        ledger = self.rng.choice(self.live())
        data = self.text(self.plan.longest)
        final = self.host.send(ledger.end.link, data)
        self.findings.note(f"{ledger.name}: {len(data)} bytes, {final}")
        if final == "SEND OK":
            ledger.taken += data
            return
        ledger.maybe = data
        self.drain(lambda: ledger.end.closed, 10)  # in passive mode, CLOSED comes when all was read
        if not ledger.end.closed:
            self.findings.breach(f"{ledger.name}: {final} to what it can carry, and it stays open")
        elif not (self.plan.faulty or ledger.peer.closed or ledger.lossy):
            self.findings.breach(f"{ledger.name}: {final} of {len(data)} bytes")

    def send_what_cannot(self):
        """Refused before its first byte; the link lives."""
        if self.plan.binary_out or not self.live():
            return
        ledger = self.rng.choice(self.live())
        never = (b"\0", b"\t", b"\x08", b"\x7f", b"\xff", *((b"\r\n",) if not self.plan.ends else ()))
        data = self.text(100) + self.rng.choice(never) + self.text(100)
        final = self.host.send(ledger.end.link, data)
        if final == "SEND OK":
            self.findings.breach(f"{ledger.name}: SEND OK to what no line carries")

    def peer_sends(self):
        if self.live():
            self.rng.choice(self.live()).peer.send(self.incoming(self.plan.longest))

    def peer_sends_nul(self):
        """The module loses what follows it: the host may have what came before, and must see the link end."""
        if self.live() and not self.plan.binary_in:
            ledger = self.rng.choice(self.live())
            ledger.lossy = True
            ledger.peer.send(self.incoming(200) + b"\0" + self.incoming(200))

    def peer_ends(self):
        if self.live():
            ledger = self.rng.choice(self.live())
            abort = self.rng.random() < 0.3
            if self.rng.random() < 0.5:
                ledger.peer.send(self.incoming(self.plan.longest))
            self.findings.note(f"{ledger.name}: its peer {'aborts' if abort else 'closes'}")
            ledger.peer.close(abort=abort)

    def end(self):
        if self.live():
            ledger = self.rng.choice(self.live())
            ledger.host_closed = True
            self.findings.note(f"{ledger.name}: the host closes")
            final = self.host.command(f"AT+CIPCLOSE={ledger.end.link}")
            if not ledger.end.closed:
                self.findings.breach(f"{ledger.name}: CIPCLOSE {final}, and no CLOSED")

    def idle(self):
        time.sleep(self.rng.uniform(0, 0.6))

    def arrive(self):
        """A client of the host's server."""
        if sum(not one.end.closed and one.peer.port == 0 for one in self.ledgers) >= 2 or self.free_link() is None:
            return
        before = len(self.host.arrived)
        try:
            peer = Peer.connecting(self.port)
        except OSError:
            if not self.plan.faulty:
                self.findings.breach("the server is gone")
            return
        if self.host.until(lambda: len(self.host.arrived) > before, 5 if self.plan.faulty else OPENS):
            end = self.host.ends[self.host.arrived[before]]
            if end is not None:
                self.keep(end, peer)
                return
        elif not self.plan.faulty:
            self.findings.breach("a client that is never told")
        peer.close(abort=True)
        self.wait_unclaimed(before)

    def wait_unclaimed(self, before):
        """A client that was told late is nobody's any more: it ended."""
        self.host.until(lambda: len(self.host.arrived) > before, 1)

    def open_udp(self):
        link = self.free_link()
        if link is None or sum(not end.closed for end, _ in self.udp) >= 1:
            return
        peer = UdpPeer()
        end = self.host.start(link, "udp", peer.port, free_port(socket.SOCK_DGRAM), self.rng.choice((0, 2)))
        if end is None:
            peer.close()
            if not self.plan.faulty:
                self.findings.breach(f"no datagrams on link {link}: {self.host.said[-5:]}")
            return
        self.udp.append((end, peer))

    def send_udp(self):
        for end, peer in self.udp:
            if end.closed:
                continue
            data, before = self.text(self.plan.datagram, self.plain()), len(peer.received)
            final = self.host.send(end.link, data)
            until = time.monotonic() + 5
            while len(peer.received) == before and time.monotonic() < until and final == "SEND OK":
                time.sleep(0.005)
            if peer.received[before:] != [data] and not (self.plan.faulty and final != "SEND OK"):
                self.findings.breach(f"link {end.link}: datagram {data!r}, {final}, arrived as {peer.received[before:]}")

    def peer_sends_udp(self):
        for end, peer in self.udp:
            if not end.closed:
                peer.send(self.incoming(self.plan.datagram))

    def read(self):
        if not self.plan.passive:
            self.idle()
            return
        waits = [end for end in self.host.ends if end is not None and end.waits]
        if waits:
            self.host.read(self.rng.choice(waits), self.rng.choice((1, 64, 500, 2048)))

    # Its end

    def drain(self, ready, seconds=ARRIVES):
        until = time.monotonic() + seconds
        while not ready() and time.monotonic() < until:
            if self.plan.passive:
                for end in self.host.ends:
                    if end is not None and end.waits:
                        self.host.read(end, 2048)
            time.sleep(0.02)

    def seen_gone(self, one):
        """Whether the module finds out that this peer is gone."""
        return one.peer.aborted or (one.peer.closed and self.plan.told)

    def finish(self):
        self.drain(
            lambda: all(one.arrived() or one.end.closed for one in self.ledgers) and all(one.told() for one in self.ledgers)
        )
        self.drain(lambda: all(one.end.closed for one in self.ledgers if self.seen_gone(one)))
        time.sleep(0.2)
        for one in self.ledgers:
            one.check(self.findings, faulty=self.plan.faulty)
            if self.seen_gone(one) and not one.end.closed:
                self.findings.breach(f"{one.name}: its peer is gone, and the host was not told")
        for end, peer in self.udp:
            rest = iter(peer.sent)
            if not all(any(data == other for other in rest) for data in end.datagrams) and not self.plan.passive:
                self.findings.breach(f"datagrams of link {end.link}: {end.datagrams} of {peer.sent}")
        for end in list(self.host.ends):
            if end is not None:
                self.host.command(f"AT+CIPCLOSE={end.link}")
                if not end.closed:
                    self.findings.breach(f"link {end.link} stays")
        if self.plan.server:
            self.must("AT+CIPSERVER=0")
        self.module.clean()


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
