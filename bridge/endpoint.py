"""Reads an endpoint from the command line: ``DIALECT[:PROFILE]@PORT[,key=value ...]``, or ``local``.

The text is split at the first ``@``.  Trailing ``,key=value`` with a known key are ours; everything before them
belongs to PORT, commas and all.  A trailing ``,word=value`` with an unknown word is an error (a misspelt key must not
become part of a file name), unless PORT is a URL, whose own options look just the same.

Some keys are about the line (``baud`` ...), some about the host on it (``joined`` ...): these stand on the upstream only
and become `HostSettings`; some about the module's network (``apn`` ...): these stand on the downstream only and become
`ModuleSettings`.  So does ``ack``, which says when a send is acknowledged, also on ``local``.  Not every kind of port has
every line key; one that would do nothing is an error.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from typing import Any, Literal, cast

from bridge.model import HostSettings, ModuleSettings, Wire

__all__ = ["BAUD_RANGE", "LISTEN", "LOCAL", "PTY", "UNIX", "URL", "EndpointError", "EndpointSpec", "parse"]

Side = Literal["upstream", "downstream"]
Flow = Literal["none", "rtscts", "xonxoff"]
Parity = Literal["none", "even", "odd"]
ModemLine = Literal["keep", "assert", "drop"]
Ack = Literal["module", "bridge"]

LOCAL = "local"
PTY = "pty:"
LISTEN = "listen:"
UNIX = "unix:"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BAUD_RANGE = range(50, 4_000_001)  # what Linux has names for

_YES_NO = ("yes", "no")
_RESETS = ("dsr", "!dsr", "cts", "!cts", "dcd", "!dcd", "break")  # "!": reset while it is not asserted
_LINE: dict[str, tuple[str, ...]] = {  # (): any value that `_check` takes
    "baud": (),
    "flow": ("none", "rtscts", "xonxoff"),
    "parity": ("none", "even", "odd"),
    "stop": ("1", "2"),
    "dtr": ("keep", "assert", "drop"),
    "rts": ("keep", "assert", "drop"),
    "ack": ("module", "bridge"),
}
_HOST: dict[str, tuple[str, ...]] = {
    "joined": _YES_NO,
    "announce": _YES_NO,
    "quirks": _YES_NO,
    "ssid": (),
    "reset_on": _RESETS,
    "connect": (),
    "payload": (),
}
_MODULE: dict[str, tuple[str, ...]] = {"apn": (), "user": ()}  # never a secret: those come from files
_CHOICES = _LINE | _HOST | _MODULE
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")
_SECONDS_MOST = 3600.0
_SSID_MOST = 32  # bytes, IEEE 802.11
_MODULE_MOST = 100  # characters of an access point's name, 3GPP TS 23.003; no module takes longer ones
_WIRELESS = {"flow", "parity", "stop", "dtr", "rts", "reset_on"}  # what only a line with wires has
# The kinds of port by what they begin with: what they are called, and the keys that would do nothing there.
_KINDS: tuple[tuple[str, str, set[str]], ...] = (
    (PTY, "a pty", _WIRELESS),
    (LISTEN, "a TCP listener", _WIRELESS),
    (UNIX, "a socket file", _WIRELESS),
    ("socket://", "a plain TCP connection", _WIRELESS),
)
_SCHEMES = ("rfc2217://", "socket://")
_SECRET = re.compile(r",\s*(password|passwd|pass|pwd|psk)\s*=", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OPTION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


class EndpointError(ValueError):
    """The text is no endpoint.  ``remedy`` says what to write instead."""

    def __init__(self, text: str, problem: str, remedy: str) -> None:
        super().__init__(f"endpoint {text!r}: {problem}; {remedy}")
        self.remedy = remedy


@dataclass(frozen=True)
class EndpointSpec:
    """One side of the bridge as the operator wrote it."""

    text: str  # as written, for messages
    dialect: str  # "local": the gateway's own sockets
    profile: str = ""  # "": the dialect's default
    port: str = ""  # device path, pty:PATH, listen:ADDR:PORT, unix:PATH, or a URL; "" for local
    baud: int | None = None  # None: the table's default, and no pacing where the port has no speed of its own
    flow: Flow = "none"
    parity: Parity = "none"
    stop: Literal[1, 2] = 1
    dtr: ModemLine = "keep"  # "keep": as the kernel leaves it, which is asserted by the first open
    rts: ModemLine = "keep"
    ack: Ack = "module"  # downstream only: who has a send's bytes when the host is told SEND OK (`bridge.emulation.ack`)
    host: HostSettings = field(default_factory=HostSettings)  # upstream only: how this host is treated
    module: ModuleSettings = field(default_factory=ModuleSettings)  # downstream only: what it needs for its network

    @property
    def is_local(self) -> bool:
        """Whether this is the gateway's own sockets, with no port at all."""
        return self.dialect == LOCAL

    @property
    def pty_path(self) -> str:
        """PATH of ``pty:PATH``; "" for every other kind of port."""
        return self._behind(PTY)

    @property
    def unix_path(self) -> str:
        """PATH of ``unix:PATH``; "" for every other kind of port."""
        return self._behind(UNIX)

    @property
    def listen_at(self) -> tuple[str, int] | None:
        """Address and port of ``listen:ADDR:PORT``; None for every other kind of port."""
        return _address(self.text, self._behind(LISTEN)) if self.port.startswith(LISTEN) else None

    def _behind(self, kind: str) -> str:
        return self.port.removeprefix(kind) if self.port.startswith(kind) else ""


def parse(text: str, *, side: Side, usual: HostSettings | None = None) -> EndpointSpec:
    """Read one endpoint; raises EndpointError.  ``usual``: how its host is treated where the text does not say."""
    secret = _SECRET.search(text)
    if secret:  # first of all: every other message repeats the text
        remedy = "leave it out: any password is accepted, and others could read it in the list of processes"
        raise EndpointError(text[: secret.end()] + "...", "a password has no place on a command line", remedy)
    head, at, rest = text.partition("@")
    if not at:
        return _parse_local(text, side)
    dialect, colon, profile = head.partition(":")
    if not _NAME.fullmatch(dialect):
        raise EndpointError(text, f"{dialect!r} is no dialect name", "write DIALECT@PORT, such as esp-at@pty:host")
    if colon and not _NAME.fullmatch(profile):
        raise EndpointError(text, f"{profile!r} is no profile name", "write DIALECT:PROFILE@PORT, or leave out the ':'")
    if dialect == LOCAL:
        raise EndpointError(text, "the gateway's own sockets have no port", "write just local")
    port, options = _split_options(text, rest)
    if not port or port in {PTY, LISTEN, UNIX}:
        raise EndpointError(text, "PORT is empty", "name a device such as /dev/ttyUSB0, or pty:PATH")
    if "\0" in port:
        raise EndpointError(text, "PORT contains a NUL", "leave it out")
    _check_port(text, port)
    for key in options:
        _check_place(text, key, port, side)
    if options.get("flow") == "rtscts":
        for key, values in (("rts", {"drop"}), ("reset_on", {"cts", "!cts"})):
            if options.get(key) in values:
                raise EndpointError(text, f"flow=rtscts needs that wire, and {key}= too", "leave out one of them")
    return replace(_spec(text, dialect, profile, port, options), host=_host(options, usual or HostSettings()))


def _check_port(text: str, port: str) -> None:
    scheme = URL.match(port)
    if scheme and scheme[0].lower() not in _SCHEMES:
        raise EndpointError(text, f"{scheme[0]} is no kind of port", f"the URLs are {' and '.join(_SCHEMES)}")
    if port.startswith(LISTEN):
        _address(text, port.removeprefix(LISTEN))
    # A comma in a value ends our keys, and all of them would become part of a file name.
    swallowed = None if scheme else re.search(rf",\s*({'|'.join(_CHOICES)})=", port)
    if swallowed:
        raise EndpointError(text, f"{swallowed[1]}= stands inside PORT", "keys come last, and a value has no comma")


def _address(text: str, place: str) -> tuple[str, int]:
    host, colon, number = place.rpartition(":")
    remedy = "write listen:ADDR:PORT, such as listen:127.0.0.1:5000 or listen:[::1]:5000"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ip_address(host)
    except ValueError:
        raise EndpointError(text, f"{host!r} is no address to listen on", remedy) from None
    if not colon or not number.isascii() or not number.isdecimal() or int(number) > 65535:
        raise EndpointError(text, f"{number!r} is no port number", remedy)
    return host, int(number)


def _check_place(text: str, key: str, port: str, side: Side) -> None:
    """Whether this key says anything about this kind of port, on this side."""
    if key in _HOST and side == "downstream":
        raise EndpointError(text, f"{key}= is about the host", "put it on the upstream")
    if key == "ack" and side == "upstream":
        raise EndpointError(text, "ack= is about what the host's sends wait for below", "put it on the downstream")
    if key in _MODULE and side == "upstream":
        raise EndpointError(text, f"{key}= is about the module's network", "put it on the downstream")
    for prefix, name, without in _KINDS:
        if port.lower().startswith(prefix) and key in without:
            raise EndpointError(text, f"{name} has no {key}", f"leave out {key}= (baud= paces it)")


def _parse_local(text: str, side: Side) -> EndpointSpec:
    name, options = _split_options(text, text)
    if name != LOCAL:
        near = difflib.get_close_matches(name.lower(), [LOCAL], cutoff=0.75) and side == "downstream"
        remedy = "did you mean local?" if near else f"write {name or 'DIALECT'}@PORT, such as {name or 'esp-at'}@pty:host"
        raise EndpointError(text, "there is no '@' with a port behind it", remedy)
    if side == "upstream":
        raise EndpointError(text, "local is no host to listen to", "local stands for a module: name it as the downstream")
    for key in options:
        if key in _HOST:
            _check_place(text, key, "", side)
        if key != "ack":
            raise EndpointError(text, f"the gateway's own sockets have no {key}", f"leave out {key}=")
    return _spec(text, LOCAL, "", "", options)


def _split_options(text: str, rest: str) -> tuple[str, dict[str, str]]:
    """PORT, and our options behind it in the order of their names' appearance from the right."""
    options: dict[str, str] = {}
    while True:
        before, comma, last = rest.rpartition(",")
        found = _OPTION.fullmatch(last) if comma else None
        if not found:
            return rest, options
        key, value = found.groups()
        if key not in _CHOICES:
            if URL.match(rest):
                return rest, options
            near = difflib.get_close_matches(key.lower(), list(_CHOICES), n=1, cutoff=0.5)
            known = f"the keys are {', '.join(_CHOICES)}"
            raise EndpointError(text, f"unknown key {key!r}", f"did you mean {near[0]}=?" if near else known)
        if key in options:
            raise EndpointError(text, f"{key}= is given twice", "leave one out")
        options[key] = _check(text, key, value)
        rest = before


def _check(text: str, key: str, value: str) -> str:
    choices = _CHOICES[key]
    if value in choices:
        return value
    if key == "baud":
        # isdecimal() alone would let other scripts' digits pass
        if value.isascii() and value.isdecimal() and len(value) <= 8 and int(value) in BAUD_RANGE:
            return value
        raise EndpointError(text, f"baud={value} is no speed", f"give a number from {BAUD_RANGE[0]} to {BAUD_RANGE[-1]}")
    if key in {"connect", "payload"}:
        if _SECONDS.fullmatch(value) and 0 < float(value) <= _SECONDS_MOST:
            return value
        raise EndpointError(text, f"{key}={value} is no time", f"give seconds, more than 0 and at most {_SECONDS_MOST:.0f}")
    if key == "ssid":
        if value and value.isprintable() and len(value.encode()) <= _SSID_MOST:
            return value
        raise EndpointError(text, f"ssid={value!r} is no network name", f"give 1 to {_SSID_MOST} bytes, or leave it out for any")
    if key in _MODULE:
        if problem := no_argument(value):
            raise EndpointError(text, f"{key}= {problem}", "see what the network's operator says")
        return value
    problem = f"{key} cannot be {value!r}"
    near = difflib.get_close_matches(value.lower(), choices, n=1)
    remedy = f"did you mean {key}={near[0]}?" if near else f"{key} can be {' or '.join(choices)}"
    raise EndpointError(text, problem, remedy)


def no_argument(value: str) -> str:
    """Why no module's network could be joined with this text; "" where it can."""
    if not value or len(value) > _MODULE_MOST:
        return f"has 1 to {_MODULE_MOST} characters"
    if not value.isascii() or not value.isprintable() or '"' in value:
        return "is plain printable ASCII, without quotes"
    return ""


def _spec(text: str, dialect: str, profile: str, port: str, options: dict[str, str]) -> EndpointSpec:
    numbers = {"baud", "stop"}
    line = {key: int(value) if key in numbers else value for key, value in options.items() if key in _LINE}
    assert line.keys() <= {known.name for known in fields(EndpointSpec)}
    module = ModuleSettings(**{key: value for key, value in options.items() if key in _MODULE})
    return EndpointSpec(text, dialect, profile, port, module=module, **cast("dict[str, Any]", line))


def _host(options: dict[str, str], usual: HostSettings) -> HostSettings:
    reset_on = options.get("reset_on")
    return HostSettings(
        announce=options.get("announce", "yes" if usual.announce else "no") == "yes",
        quirks=options.get("quirks", "yes" if usual.quirks else "no") == "yes",
        joined_at_start=options.get("joined", "no") == "yes",
        ssid=options.get("ssid", usual.ssid),
        reset_on=Wire(reset_on.removeprefix("!")) if reset_on else None,
        reset_level=not (reset_on or "").startswith("!"),
        connect=float(options["connect"]) if "connect" in options else None,
        payload=float(options["payload"]) if "payload" in options else None,
    )
