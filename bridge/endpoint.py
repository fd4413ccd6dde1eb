"""Reads an endpoint from the command line: ``DIALECT[:PROFILE]@PORT[,key=value ...]``, or ``local``.

The text is split at the first ``@``.  Trailing ``,key=value`` with a known key are ours; everything before them
belongs to PORT, commas and all.  A trailing ``,word=value`` with an unknown word is an error (a misspelt key must not
become part of a file name), unless PORT is a URL, whose own options look just the same.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

__all__ = ["LOCAL", "PTY", "URL", "EndpointError", "EndpointSpec", "parse"]

Side = Literal["upstream", "downstream"]
Flow = Literal["none", "rtscts", "xonxoff"]
Parity = Literal["none", "even", "odd"]
ModemLine = Literal["keep", "assert", "drop"]
Ack = Literal["module"]

LOCAL = "local"
PTY = "pty:"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BAUD_RANGE = range(50, 4_000_001)  # what Linux has names for

_CHOICES: dict[str, tuple[str, ...]] = {
    "baud": (),
    "flow": ("none", "rtscts", "xonxoff"),
    "parity": ("none", "even", "odd"),
    "stop": ("1", "2"),
    "dtr": ("keep", "assert", "drop"),
    "rts": ("keep", "assert", "drop"),
    "ack": ("module",),
}
_PLANNED = {("ack", "bridge"): "ack=bridge is not there yet"}
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
    port: str = ""  # device path, pty:PATH, or a URL; "" for local
    baud: int | None = None  # None: the table's default, and no pacing on a pty of ours
    flow: Flow = "none"
    parity: Parity = "none"
    stop: Literal[1, 2] = 1
    dtr: ModemLine = "keep"  # "keep": as the kernel leaves it, which is asserted by the first open
    rts: ModemLine = "keep"
    ack: Ack = "module"

    @property
    def is_local(self) -> bool:
        """Whether this is the gateway's own sockets, with no port at all."""
        return self.dialect == LOCAL

    @property
    def pty_path(self) -> str:
        """PATH of ``pty:PATH``; "" for every other kind of port."""
        return self.port.removeprefix(PTY) if self.port.startswith(PTY) else ""


def parse(text: str, *, side: Side) -> EndpointSpec:
    """Read one endpoint; raises EndpointError."""
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
    if not port or port == PTY:
        raise EndpointError(text, "PORT is empty", "name a device such as /dev/ttyUSB0, or pty:PATH")
    if "\0" in port:
        raise EndpointError(text, "PORT contains a NUL", "leave it out")
    if port.startswith(PTY):
        for key in options:
            if key not in {"baud", "ack"}:
                raise EndpointError(text, f"a pty has no {key}", f"leave out {key}= (baud= paces a pty)")
    return _spec(text, dialect, profile, port, options)


def _parse_local(text: str, side: Side) -> EndpointSpec:
    name, options = _split_options(text, text)
    if name != LOCAL:
        near = difflib.get_close_matches(name.lower(), [LOCAL], cutoff=0.75) and side == "downstream"
        remedy = "did you mean local?" if near else f"write {name or 'DIALECT'}@PORT, such as {name or 'esp-at'}@pty:host"
        raise EndpointError(text, "there is no '@' with a port behind it", remedy)
    if side == "upstream":
        raise EndpointError(text, "local is no host to listen to", "local stands for a module: name it as the downstream")
    for key in options:
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
    problem = _PLANNED.get((key, value), f"{key} cannot be {value!r}")
    near = difflib.get_close_matches(value.lower(), choices, n=1)
    remedy = f"did you mean {key}={near[0]}?" if near else f"{key} can be {' or '.join(choices)}"
    raise EndpointError(text, problem, remedy)


def _spec(text: str, dialect: str, profile: str, port: str, options: dict[str, str]) -> EndpointSpec:
    numbers = {"baud", "stop"}
    assert options.keys() <= {field.name for field in fields(EndpointSpec)}
    typed = {key: int(value) if key in numbers else value for key, value in options.items()}
    return EndpointSpec(text, dialect, profile, port, **cast("dict[str, Any]", typed))
