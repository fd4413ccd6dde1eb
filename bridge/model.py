"""The neutral vocabulary: what every dialect can say, in no dialect's words.  No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Condition(StrEnum):
    """The neutral name of a failure.  Dialect tables map their numbers to these, and these to errors."""

    ABORTED = "aborted"  # we gave up in the middle of an operation that had begun
    ADDRESS_REFUSED = "address-refused"  # the gateway's policy forbids this destination
    BAD_ARGUMENT = "bad-argument"  # this Network cannot carry the value (a name with a quote, a port of 0)
    BEARER_LOST = "bearer-lost"  # the bearer was up and is gone
    BEARER_REFUSED = "bearer-refused"  # credentials or subscription
    BEARER_UNAVAILABLE = "bearer-unavailable"  # not up (yet), worth trying again
    CONNECT_REFUSED = "connect-refused"
    CONNECT_TIMEOUT = "connect-timeout"
    DATA_LOST = "data-lost"  # what the peer sent did not come whole from the module
    HOST_UNREACHABLE = "host-unreachable"
    INDEX_IN_USE = "index-in-use"  # the module holds something under this number that we do not know of
    LINK_CLOSED = "link-closed"  # closed by us, in order
    LINK_RESET = "link-reset"  # the peer reset it
    MODULE_BLOCKED = "module-blocked"  # the module takes no bytes
    MODULE_ERROR = "module-error"  # refused, and the reason is not known
    MODULE_MUTE = "module-mute"  # no answer within the limit
    MODULE_RESET = "module-reset"  # it forgot everything
    NAME_NOT_FOUND = "name-not-found"
    NO_FREE_LINK = "no-free-link"
    NOT_SUPPORTED = "not-supported"  # this Network cannot do it at all
    PEER_CLOSED = "peer-closed"  # in order, after all its data
    PORT_IN_USE = "port-in-use"  # somebody else listens there
    PORT_LOST = "port-lost"  # the serial line itself is gone
    RECEIVE_OVERRUN = "receive-overrun"  # the module pushed more than the bounded buffer holds
    RECEIVE_BUFFER_FULL = "receive-buffer-full"  # a send had to wait too long for room for what it would pull
    TOO_LONG = "too-long"
    WRONG_STATE = "wrong-state"  # the operation makes no sense now


class Capability(StrEnum):
    """What a Network may or may not be able to do; an upstream answers its host from this."""

    TCP = "tcp"
    UDP = "udp"  # datagrams to and from one fixed peer
    UDP_PEERS = "udp-peers"  # a datagram link whose peer may change by who sends (`Peers.FIRST`, `Peers.LAST`)
    LISTEN = "listen"
    TLS = "tls"
    RESOLVE = "resolve"
    PING = "ping"
    KEEPALIVE = "keepalive"
    HALF_CLOSE = "half-close"


class Peers(StrEnum):
    """Whose datagrams a datagram link takes, and who is its peer."""

    FIXED = "fixed"  # those of its peer
    FIRST = "first"  # everybody's until the first came: its sender becomes the peer, for good
    LAST = "last"  # everybody's; the last sender is the peer


class Wire(StrEnum):
    """A signal of the other side that we can see beside the data."""

    CTS = "cts"
    DSR = "dsr"
    DCD = "dcd"
    RI = "ri"
    BREAK = "break"


class Phase(StrEnum):
    """Where a Network is on its way to carrying data."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    FAILED = "failed"


class Delivered(StrEnum):
    """How much of a failed send may have left."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a link: a dotted IPv4 address (or a name, before it is resolved) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class State:
    """A Network at one moment.  ``generation`` grows when the module forgot everything; ``seq`` at each change."""

    seq: int = 0
    generation: int = 0
    phase: Phase = Phase.DOWN
    address: str | None = None
    cause: Condition | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Facts an upstream needs for its answers."""

    stream_links: int
    datagram_links: int
    send_size: int  # bytes of one counted send that this Network takes; longer ones are refused too-long
    capabilities: frozenset[Capability]
    alphabet: frozenset[int] | None = None  # byte values the module can carry; None: all
    datagram_size: int = 0  # bytes of one datagram that this Network sends; 0: it has no datagrams


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram as it came in."""

    data: bytes
    source: Endpoint | None = None  # None: the module did not say
    cut: bool = False  # the module kept less than what was sent


@dataclass(frozen=True, slots=True)
class Login:
    """What the host said to join with: a character is one of its bytes (latin-1).  The password never appears in a repr."""

    name: str
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """What a module needs to get onto its network, and no table says.  Empty: the module keeps what it has.

    Secrets never appear in a repr.
    """

    apn: str = ""  # the access point of a packet network
    user: str = ""
    password: str = field(default="", repr=False)
    pin: str = field(default="", repr=False)  # of the SIM card


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the module says it is."""

    manufacturer: str = ""
    model: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How one host is treated: what no table says, because it is about this board and not about its dialect."""

    announce: bool = True  # a bridge that starts says so as a module does at power-up (`ready`)
    quirks: bool = False  # it has the real module's weaknesses, too (what its table calls quirk_...), as a simulated one has
    joined_at_start: bool = False  # the host was provisioned years ago and never joins: the module is joined by itself
    ssid: str = ""  # the only network name that can be joined; "": any
    password: str | None = field(default=None, repr=False)  # the only password; None: any
    reset_on: Wire | None = None  # the wire by which the host resets its module
    reset_level: bool = True  # the state of that wire that means reset; False: reset while it is not asserted
    connect: float | None = None  # seconds a host waits for a connection; None: as the table says
    payload: float | None = None  # seconds without a byte after which an announced payload is given up; None: never

    def typed(self) -> HostSettings:
        """With its name and password as a host types them: a character is one of their bytes in UTF-8, as in `Login`."""
        password = None if self.password is None else _bytewise(self.password)
        return replace(self, ssid=_bytewise(self.ssid), password=password)


def _bytewise(text: str) -> str:
    return text.encode().decode("latin-1")
