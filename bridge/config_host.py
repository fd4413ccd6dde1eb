"""The keys about one host, and the files that secrets are read from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge import secret_files
from bridge.config_schema import Bridge, Defaults, Limits, Problems, convert
from bridge.endpoint import EndpointError, EndpointSpec, parse
from bridge.model import HostSettings, Wire

__all__ = ["Keys", "first"]

LONGEST = 3600.0  # seconds; no host waits longer
ACKS = ("module", "bridge")
SSID_MOST = 32  # bytes, IEEE 802.11


class Keys:
    """Reads a bridge's keys; what it does not say is taken from the defaults."""

    def __init__(self, folder: Path, defaults: Defaults, problems: Problems) -> None:
        self.folder = folder
        self.defaults = defaults
        self.problems = problems
        self.default_limits = self.limits(defaults.limits, "defaults.limits", Limits())

    def host(self, spec: EndpointSpec, table: Bridge, where: str) -> EndpointSpec:
        """The endpoint with what the keys say of its host."""
        limits = self.limits(table.limits, f"{where}.limits", self.default_limits)
        wire, level = self._reset_on(spec, table, where)
        said: dict[str, tuple[str, Any]] = {
            "announce": ("announce", first(table.announce, self.defaults.announce)),
            "quirks": ("quirks", first(table.quirks, self.defaults.quirks)),
            "joined_at_start": ("joined_at_start", first(table.joined_at_start, self.defaults.joined_at_start)),
            "ssid": ("ssid", first(table.ssid, self.defaults.ssid)),
            "password": ("password_file", self.secret(table, "password_file", where)),
            "reset_on": ("reset_on", wire),
            "reset_level": ("reset_on", level),
            "connect": ("limits.connect", limits.connect),
            "payload": ("limits.payload", limits.payload),
        }
        own = {f"limits.{key}" for key in table.limits or ()}
        changes: dict[str, Any] = {}
        for key, (name, value) in said.items():
            if value is None:
                continue
            if getattr(spec.host, key) != getattr(HostSettings(), key):  # the upstream's text says it
                if name in own or getattr(table, name, None) is not None:
                    self.problems.add(f"{where}.{name}", "is given in upstream, too", "leave one out")
                continue
            changes[key] = value
        ssid = changes.get("ssid", "")
        if "ssid" in changes and not (ssid and ssid.isprintable() and len(ssid.encode()) <= SSID_MOST):
            self.problems.add(
                self.place(table, "ssid", where),
                f"{ssid!a} is no network name",
                f"give 1 to {SSID_MOST} bytes, or leave it out for any",
            )
        if changes.get("password") is not None and not changes.get("ssid", spec.host.ssid):
            self.problems.add(
                self.place(table, "password_file", where), "belongs to a network that is not named", 'add ssid = "..."'
            )
        return replace(spec, host=replace(spec.host, **changes))

    def _reset_on(self, spec: EndpointSpec, table: Bridge, where: str) -> tuple[Wire | None, bool | None]:
        text = table.reset_on
        if text is None:
            return None, None
        try:
            # The endpoint's own check: which wires there are, and whether this kind of port has them.
            if "," in text:
                raise EndpointError(spec.text, f"reset_on cannot be {text!a}", "give one wire, as dsr or !dsr")
            host = parse(f"{spec.text},reset_on={text}", side="upstream").host
        except EndpointError as error:
            problem, _, remedy = str(error).partition(": ")[2].rpartition("; ")
            self.problems.add(f"{where}.reset_on", problem, remedy)
            return None, None
        return host.reset_on, host.reset_level

    def ack(self, spec: EndpointSpec, table: Bridge, where: str) -> EndpointSpec:
        """The module's endpoint with what the keys say of when its host is told SEND OK."""
        said = first(table.ack, self.defaults.ack)
        if said is None:
            return spec
        if said not in ACKS:
            self.problems.add(self.place(table, "ack", where), f"ack cannot be {said!a}", 'write "module" or "bridge"')
        elif ",ack=" not in spec.text:
            return replace(spec, ack=said)
        elif table.ack is not None:
            self.problems.add(f"{where}.ack", "is given in downstream, too", "leave one out")
        return spec

    def place(self, table: Any, key: str, where: str) -> str:
        """Where the value of this key stands: at the bridge, or among the defaults."""
        there = getattr(table, key, None) is None and getattr(self.defaults, key, None) is not None
        return f"defaults.{key}" if there else f"{where}.{key}"

    def limits(self, raw: dict[str, Any] | None, where: str, otherwise: Limits) -> Limits:
        """A table of limits; ``otherwise`` where it does not say."""
        limits = convert(raw or {}, Limits, where, self.problems)
        if limits is None:
            return otherwise
        for key in ("connect", "payload"):
            value = getattr(limits, key)
            if value is not None and not (math.isfinite(value) and 0 < value <= LONGEST):
                self.problems.add(f"{where}.{key}", f"{value} is no limit", f"give seconds, more than 0, at most {LONGEST:.0f}")
        return Limits(first(limits.connect, otherwise.connect), first(limits.payload, otherwise.payload))

    def secret(self, table: Any, key: str, where: str) -> str | None:
        """The secret in the file that this key names; None where there is none, or it cannot be used."""
        text = first(getattr(table, key), getattr(self.defaults, key, None))
        if text is None:
            return None
        try:
            return secret_files.read(secret_files.locate(text, self.folder))
        except secret_files.SecretError as error:
            self.problems.add(self.place(table, key, where), error.problem, error.remedy)
            return None


def first(*values: Any) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)
