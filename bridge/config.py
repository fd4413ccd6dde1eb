"""The configuration file: which bridges there are, and how each host is treated.

``load`` gives one `service.Options` for each bridge, or raises `ConfigError` with everything that is wrong: file, key
path, problem and remedy, one line each.  Each option of the command line has its key here:

    UPSTREAM, DOWNSTREAM              bridge.NAME.upstream, .downstream (the same texts)
    --trace, --trace-payload          bridge.NAME.trace, .trace_payload
    --allow, --map, --bind, --listen  local.allow, .map, .bind, .listen (for one bridge: bridge.NAME.local)
    keys behind the host's endpoint   bridge.NAME.joined_at_start, .reset_on, .ssid; bridge.NAME.limits.connect, .payload
    ack= behind the downstream        bridge.NAME.ack
    keys about the module's network   bridge.NAME.module.apn, .user (and secrets, which no endpoint has)
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge import dialects, tables
from bridge.config_host import Keys, first
from bridge.config_ports import check_listen, check_ports
from bridge.config_schema import Bridge, Defaults, Local, Module, Problems, Top, convert, nearest
from bridge.endpoint import EndpointError, EndpointSpec, no_argument, parse
from bridge.local.policy import Policy
from bridge.overrides import OverrideError, Overrides
from bridge.service import Options, other_profiles

__all__ = ["ConfigError", "Configuration", "load"]

SIZE = 1_000_000  # bytes; a larger file is not a configuration
LOGS = Path("/var/log/at-bridge")  # where the unit has a folder for each bridge

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # also an instance of the unit: nothing that systemd would escape
_NAME_MOST = 64


class ConfigError(Exception):
    """The configuration cannot be used; a line for each problem."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says, ready to run."""

    file: Path
    bridges: tuple[Options, ...]
    warnings: tuple[str, ...]  # what will do, but may surprise

    def choose(self, names: list[str]) -> tuple[Options, ...]:
        """The bridges of these names; all of them where none is named.  Raises ConfigError."""
        there = {options.name: options for options in self.bridges}
        for name in names:
            if name not in there:
                raise ConfigError(f"{self.file}: bridge.{name}: there is no such bridge; {nearest(name, there)}")
        return tuple(there[name] for name in dict.fromkeys(names)) if names else self.bridges


def load(file: Path) -> Configuration:
    """Read and check a configuration, its secret files and its tables.  Raises ConfigError."""
    problems = Problems(file)
    top = convert(_read(file), Top, "", problems)
    if top is None:
        raise ConfigError("\n".join(problems.lines))
    return _Reader(file, top, problems).configuration()


def _read(file: Path) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ConfigError(f"{file}: is not a regular file; name the configuration, as /etc/at-bridge/bridge.toml")
        with file.open("rb") as stream:
            data = stream.read(SIZE + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); see its name and its mode") from None
    if len(data) > SIZE:
        raise ConfigError(f"{file}: is longer than {SIZE} bytes; that is no configuration")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start}: is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not TOML: {error}; mend that line (a name can be given only once)") from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply; that is no configuration") from None


class _Reader:
    """Reads one file; whatever is wrong goes to ``problems`` and the reading goes on."""

    def __init__(self, file: Path, top: Top, problems: Problems) -> None:
        self.file = file
        self.folder = file.absolute().parent
        self.top = top
        self.problems = problems
        self.warnings: list[str] = []
        self.local = convert(top.local, Local, "local", problems) or Local()
        self.defaults = convert(top.defaults, Defaults, "defaults", problems) or Defaults()
        self.keys = Keys(self.folder, self.defaults, problems)

    def configuration(self) -> Configuration:
        """All of it.  Raises ConfigError."""
        if not self.top.bridge:
            self.problems.add("bridge", "there is no bridge", "write [bridge.NAME] with an upstream and a downstream")
        found = [self._bridge(name, raw) for name, raw in self.top.bridge.items()]
        bridges = tuple(options for options in found if options is not None)
        check_ports(bridges, self.problems, self.warnings)
        check_listen(bridges, self.problems)
        self._check_traces(bridges)
        if self.problems.lines:
            raise ConfigError("\n".join(self.problems.lines))
        return Configuration(self.file, bridges, tuple(self.warnings))

    def _bridge(self, name: str, raw: Any) -> Options | None:
        where = f"bridge.{name}"
        if not _NAME.fullmatch(name) or len(name) > _NAME_MOST:
            self.problems.add(where, "is no name", f"use letters, digits, '.', '_' and '-', at most {_NAME_MOST}")
            return None
        table = convert(raw, Bridge, where, self.problems)
        if table is None:
            return None
        upstream = self._endpoint(table.upstream, f"{where}.upstream", dialects.UPSTREAMS, up=True)
        downstream = self._endpoint(table.downstream, f"{where}.downstream", dialects.DOWNSTREAMS, up=False)
        if upstream is None or downstream is None:
            return None
        upstream = self.keys.host(upstream, table, where)
        downstream = self.keys.ack(self._module(downstream, table, where), table, where)
        policy = self._policy(downstream, table, where)
        up, down = self._tables(upstream, downstream, table.overrides or {}, f"{where}.overrides")
        others = self._others(downstream, down, (table.overrides or {}).get("downstream"), f"{where}.overrides.downstream")
        trace, payload = self._trace(name, table, where)
        # With problems, too: its ports are still worth a look.
        return Options(
            upstream,
            None if downstream.is_local else downstream,
            policy,
            trace,
            payload,
            name=name,
            upstream_table=up,
            downstream_table=down,
            downstream_others=others,
            ack=downstream.ack,
        )

    def _endpoint(self, text: str, where: str, there: Mapping[str, str], *, up: bool) -> EndpointSpec | None:
        try:
            spec = parse(text, side="upstream" if up else "downstream")
        except EndpointError as error:
            self.problems.add(where, *_halves(str(error)))
            return None
        if spec.is_local:
            return spec
        if spec.dialect not in there:
            side = "host's" if up else "module's"
            self.problems.add(where, f"no dialect {spec.dialect!r} on the {side} side", nearest(spec.dialect, there))
            return None
        if spec.profile and spec.profile not in (known := tables.profiles(spec.dialect)):
            self.problems.add(where, f"{spec.dialect} has no profile {spec.profile!r}", nearest(spec.profile, known))
            return None
        return spec

    def _module(self, spec: EndpointSpec, table: Bridge, where: str) -> EndpointSpec:
        """The endpoint with what the keys say of its module's network."""
        raw = {**({} if spec.is_local else self.defaults.module or {}), **(table.module or {})}
        module = convert(raw, Module, f"{where}.module", self.problems)
        if module is None:
            return spec
        said: dict[str, str] = {}
        for key in (key for key in raw if getattr(module, key) is not None):
            path = f"{where}.module.{key}"
            if spec.is_local:
                self.problems.add(path, "the gateway's own network needs none", "leave it out")
            elif key not in getattr(dialects.downstream(spec.dialect), "module_keys", ()):
                problem = f"the {spec.dialect} driver does not use it yet, and would join without it"
                self.problems.add(path, problem, "leave it out; set it in the module itself, where it can keep it")
            elif key.endswith("_file"):
                name = key.removesuffix("_file")
                value = self.keys.secret(module, key, f"{where}.module")
                problem = "" if value is None else _not_a_pin(value) if name == "pin" else no_argument(value)
                if problem:
                    self.problems.add(path, f"what is in it {problem}", "see what the network's operator says")
                elif value is not None:
                    said[name] = value
            elif getattr(spec.module, key) and key in (table.module or {}):
                self.problems.add(path, "is given in downstream, too", "leave one out")
            elif not getattr(spec.module, key):
                said[key] = value = getattr(module, key)
                if problem := no_argument(value):
                    self.problems.add(path, problem, "see what the network's operator says")
        return replace(spec, module=replace(spec.module, **said))

    def _policy(self, spec: EndpointSpec, table: Bridge, where: str) -> Policy:
        own = convert(table.local or {}, Local, f"{where}.local", self.problems)
        if own is None:
            return Policy()
        if not spec.is_local:
            if table.local:
                self.problems.add(f"{where}.local", "the module's own network is not ours to rule", "leave it out")
            return Policy()
        allow = first(own.allow, self.local.allow) or []
        maps = first(own.map, self.local.map) or {}
        bind = first(own.bind, self.local.bind)
        listen = {**(self.local.listen or {}), **(own.listen or {})}
        texts = ([f"{asked}={target}" for asked, target in maps.items()], [f"{port}={at}" for port, at in listen.items()])
        try:
            return Policy.parse(allow, texts[0], bind=bind, listen=texts[1])
        except ValueError as error:
            # The texts say which option it is: `--map x: expected ...`.
            option, _, reason = str(error).removeprefix("--").partition(" ")
            place = f"{where}.local" if getattr(own, option, None) is not None else "local"
            self.problems.add(f"{place}.{option}", reason, "write it as the example shows")
            return Policy()

    def _tables(
        self, upstream: EndpointSpec, downstream: EndpointSpec, overrides: dict[str, Any], where: str
    ) -> tuple[tables.Profile | None, tables.Profile | None]:
        for side in overrides.keys() - {"upstream", "downstream"}:
            problem = "overrides are for the table of one side"
            self.problems.add(f"{where}.{side}", problem, f"write {where}.upstream.{side} or {where}.downstream.{side}")
        up = self._table(upstream, overrides.get("upstream"), f"{where}.upstream")
        if downstream.is_local:
            if "downstream" in overrides:
                self.problems.add(f"{where}.downstream", "local has no table", "leave it out")
            return up, None
        return up, self._table(downstream, overrides.get("downstream"), f"{where}.downstream")

    def _others(self, spec: EndpointSpec, table: tables.Profile | None, entries: Any, where: str) -> tuple[tables.Profile, ...]:
        """The tables that may come in the place of ``table``: the overrides must fit them, too."""
        if table is None:
            return ()
        named = (replace(spec, profile=name) for name in other_profiles(spec, table.profile))
        found = [self._table(other, entries, where) for other in named]
        return tuple(other for other in found if other is not None)

    def _table(self, spec: EndpointSpec, entries: Any, where: str) -> tables.Profile | None:
        try:
            if entries is None:
                return tables.load(spec.dialect, spec.profile or "")
            if not isinstance(entries, dict):
                self.problems.add(where, "is not a table", f"write [{where}]")
                return None
            overrides = Overrides(entries, f"configuration {self.file}")
            return tables.load(spec.dialect, spec.profile or "", overrides=overrides)
        except OverrideError as error:
            self.problems.add(*_path_and_halves(where, str(error)))
        except tables.TableError as error:
            for line in str(error).splitlines():
                self.problems.add(where, f"breaks a rule of the table: {line}", "choose a value that keeps it")
        return None

    def _trace(self, name: str, table: Bridge, where: str) -> tuple[Path | None, bool]:
        payload = bool(first(table.trace_payload, self.defaults.trace_payload))
        text = first(table.trace, self.defaults.trace)
        if text is None:
            if table.trace_payload:
                self.problems.add(f"{where}.trace_payload", "there is no trace", 'add trace = "FILE"')
            return None, payload
        file = self.folder / text.replace("{bridge}", name)
        key = self.keys.place(table, "trace", where)
        if file.parent == LOGS / name and not file.parent.exists():
            self.warnings.append(f"{key}: {file.parent} is not there now; the unit makes it when it starts")
        elif not file.parent.is_dir():
            self.problems.add(key, f"there is no directory {file.parent}", "create it")
        elif not os.access(file.parent, os.W_OK | os.X_OK):
            self.problems.add(key, f"the directory {file.parent} cannot be written to", "see its owner and mode")
        elif file.is_symlink() or (file.exists() and not file.is_file()):
            self.problems.add(key, f"{file} is there and is not a regular file", "choose another name")
        return file, payload

    def _check_traces(self, bridges: tuple[Options, ...]) -> None:
        owner: dict[Path, str] = {}
        for options in bridges:
            if options.trace is None:
                continue
            file = options.trace.resolve()
            if other := owner.get(file):
                remedy = "give each its own, as with {bridge} in the name"
                self.problems.add(f"bridge.{options.name}.trace", f"bridge.{other} writes to {file}, too", remedy)
            owner.setdefault(file, options.name)


def _not_a_pin(value: str) -> str:
    return "" if re.fullmatch(r"[0-9]{4,8}", value) else "is no PIN: 4 to 8 digits"


def _halves(text: str) -> tuple[str, str]:
    problem, _, remedy = text.rpartition("; ")
    return problem, remedy


def _path_and_halves(where: str, text: str) -> tuple[str, str, str]:
    path, _, rest = text.partition(": ")
    return (f"{where}.{path}", *_halves(rest))
