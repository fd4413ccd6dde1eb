"""What two bridges of one configuration must not share: a serial port, or a port that they listen on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.config_schema import Problems
from bridge.endpoint import LISTEN, URL, EndpointSpec
from bridge.model import Condition
from bridge.ports import inventory

if TYPE_CHECKING:
    from bridge.service import Options

__all__ = ["check_listen", "check_ports"]


def check_ports(bridges: tuple[Options, ...], problems: Problems, warnings: list[str]) -> None:
    """One port, one bridge: also where a symbolic link or a second node leads to it."""
    owner: dict[object, str] = {}
    for where, spec in _sides(bridges):
        key = _key(where, spec, problems, warnings)
        if key is None:
            continue
        if other := owner.get(key):
            problems.add(where, f"{spec.port} is the port of {other}, too", "a port carries one side of one bridge")
        owner.setdefault(key, where)


def _sides(bridges: tuple[Options, ...]) -> Iterator[tuple[str, EndpointSpec]]:
    for options in bridges:
        yield f"bridge.{options.name}.upstream", options.upstream
        if options.downstream is not None:
            yield f"bridge.{options.name}.downstream", options.downstream


def _key(where: str, spec: EndpointSpec, problems: Problems, warnings: list[str]) -> object:
    """What tells one port from another; None where there is nothing to compare."""
    port = spec.port
    if made := spec.pty_path or spec.unix_path:
        path = Path(made)
        if path.is_dir() and not path.is_symlink():
            problems.add(where, f"{path} is a directory", f"name what is to be made in it, as {path}/host")
            return None
        _check_folder(where, path.parent, warnings)
        return "made", path.absolute().parent.resolve() / path.name  # not the link itself followed: it is of a former life
    if port.startswith(LISTEN):
        return None  # `check_listen` compares addresses
    if URL.match(port):
        return port
    if port.startswith(inventory.USB):
        try:
            port = inventory.resolve(port)
        except inventory.UsbError as error:
            if error.final:
                problems.add(where, error.problem, error.remedy)
                return None
            warnings.append(f"{where}: {error}")
            return port
    return _device_key(where, port, problems, warnings)


def _check_folder(where: str, folder: Path, warnings: list[str]) -> None:
    """Who may write to the folder of a pty's link can put another link there, and be the host's module."""
    with suppress(OSError):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            warnings.append(f"{where}: anybody may replace what is in {folder}; use /run/at-bridge/NAME, which the unit makes")


def _device_key(where: str, port: str, problems: Problems, warnings: list[str]) -> object:
    try:
        found = os.stat(port)  # noqa: PTH116 - a path as the operator wrote it
    except OSError as error:
        # A chain of bridges: the pty of one is the port of the next, and is not there yet.
        warnings.append(f"{where}: {port} is not there now ({error.strerror})")
        return os.path.abspath(port)  # noqa: PTH100 - its target may come and go
    if stat.S_ISDIR(found.st_mode):
        problems.add(where, f"{port} is a directory", "name the device; 'at-bridge ports' lists them")
        return None
    if not stat.S_ISCHR(found.st_mode):
        problems.add(where, f"{port} is not a serial device", "'at-bridge ports' lists them")
        return None
    if inventory.UNSTABLE.fullmatch(port):
        warnings.append(f"{where}: {port} may be another adapter after the next start; 'at-bridge ports' has a lasting name")
    return found.st_rdev


def check_listen(bridges: tuple[Options, ...], problems: Problems) -> None:
    """Two cannot listen at one address and port of the gateway; told here, not when the second one tries."""
    taken: list[tuple[str, str, int]] = []
    for where, address, port in _places(bridges):
        for other, theirs, number in taken:
            if number == port and _meet(address, theirs):
                remedy = "give each its own ADDRESS:PORT"
                problems.add(where, f"{Condition.PORT_IN_USE}: {address}:{port} is that of {other}, too", remedy)
        taken.append((where, address, port))


def _places(bridges: tuple[Options, ...]) -> Iterator[tuple[str, str, int]]:
    """Where something will listen, as far as it can be known: a host may ask for any port of ``bind``."""
    for where, spec in _sides(bridges):
        if spec.listen_at and spec.listen_at[1]:
            yield (where, *spec.listen_at)
    for options in bridges:
        if options.downstream is None:
            for host_port, (address, port) in sorted(options.policy.listen.items()):
                yield f"bridge.{options.name}.local.listen.{host_port}", str(address), port


def _meet(one: str, other: str) -> bool:
    here, there = ip_address(one), ip_address(other)
    return here == there or here.is_unspecified or there.is_unspecified
