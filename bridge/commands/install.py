"""``at-bridge install``: the unit, the udev rules and an example configuration, into a root; and out of it again.

Nothing is started, enabled or reloaded: what is left to do is printed.  What an operator may have written (the configuration,
the secrets, a file of the same name that is not ours) is never overwritten and never removed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from bridge.commands import DONE, FAILED, Commands, UsageError, command

MARK = "# Installed by at-bridge"  # the first line of what is ours to replace and remove
PROGRAM = "@PROGRAM@"

UNIT = "etc/systemd/system/at-bridge@.service"
NETWORK = "etc/systemd/system/at-bridge@.service.d/network.conf"
RULES = "etc/udev/rules.d/60-at-bridge.rules"
CONFIGURATION = "etc/at-bridge/bridge.toml"
SECRETS = "etc/at-bridge/secrets"

_SOURCES = {UNIT: "at-bridge@.service", NETWORK: "network.conf", RULES: "60-at-bridge.rules", CONFIGURATION: "bridge.toml"}
_FOLDERS_OF_OURS = (str(Path(NETWORK).parent), SECRETS, str(Path(CONFIGURATION).parent))
_PLAIN = re.compile(r"/[A-Za-z0-9._/+-]+")  # a path that a unit file takes without quoting
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - where a unit with ProtectHome and PrivateTmp sees nothing


class InstallError(Exception):
    """Something is in the way."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Its options and help."""
    install = command(
        commands,
        "install",
        "install the systemd unit, udev rules and an example configuration",
        "Write the unit at-bridge@.service, udev rules, and an example configuration\n"
        "where there is none yet.  Nothing is started or reloaded; what is left to do is\n"
        "printed.  --uninstall takes away what was written, and leaves a configuration\n"
        "that was edited.",
        "  sudo at-bridge install\n"
        "  at-bridge install --root /mnt/image --program /usr/local/bin/at-bridge\n"
        "  sudo at-bridge install --uninstall\n",
    )
    install.add_argument("--root", metavar="DIR", type=Path, default=Path("/"), help="write below DIR instead of /")
    install.add_argument("--program", metavar="PATH", help="where at-bridge is at run time; without, where it is now")
    install.add_argument("--network", action="store_true", help="let the unit use the gateway's own network, for 'local'")
    install.add_argument("--uninstall", action="store_true", help="remove what was installed")


def run(args: argparse.Namespace) -> int:
    """Do it, telling each step."""
    root = args.root.absolute()
    if not root.is_dir():
        raise UsageError(f"--root {args.root}: is no directory; create it")
    try:
        steps = _uninstall(root) if args.uninstall else _install(root, _program(args.program), network=args.network)
        for step in steps:
            print(step)
    except (InstallError, OSError) as error:
        print(f"at-bridge: {error}", file=sys.stderr)
        return FAILED
    return DONE


def _program(given: str | None) -> str:
    mine = Path(sys.argv[0])
    path = given or (str(mine.absolute()) if mine.name == "at-bridge" and mine.exists() else shutil.which("at-bridge"))
    if path is None:
        raise UsageError("at-bridge is not on the path; say where it is: --program PATH")
    if not _PLAIN.fullmatch(path):
        raise UsageError(f"--program {path}: not an absolute path of plain characters; link it to /usr/local/bin/at-bridge")
    return path


@dataclass(frozen=True, slots=True)
class _Below:
    """A path below the root, which no symbolic link may lead out of."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        path = self.root / self.name
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise InstallError(f"{path}: a symbolic link on the way leads out of {self.root}; remove it")
        return path

    def ours(self) -> bool:
        """Whether there is something that we may replace; raises InstallError where it is somebody else's."""
        path = self.path
        if not os.path.lexists(path):
            return False
        if path.is_symlink() or not path.is_file() or not path.read_bytes().startswith(MARK.encode()):
            raise InstallError(f"{path}: is there and is not ours; move it away")
        return True

    def write(self, data: bytes) -> None:
        """Whole or not at all."""
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(descriptor, 0o644)
                stream.write(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _install(root: Path, program: str, *, network: bool) -> Iterator[str]:
    names = [UNIT, RULES] + ([NETWORK] if network else [])
    for name in names:  # before anything is written
        _Below(root, name).ours()
    for name in names:
        _Below(root, name).write(_text(name).replace(PROGRAM, program).encode())
        yield f"wrote    {root / name}"
    secrets = _Below(root, SECRETS).path
    if not secrets.is_dir():
        secrets.mkdir(parents=True)
        secrets.chmod(0o700)
        yield f"made     {secrets}"
    example = _Below(root, CONFIGURATION)
    if os.path.lexists(example.path):
        yield f"kept     {example.path}"
    else:
        example.write(_text(CONFIGURATION).encode())
        yield f"wrote    {example.path}"
    if program.startswith(_HIDDEN):
        yield f"warning: the unit is kept out of the folder of {program}; install at-bridge to /opt or /usr/local"
    yield from _left_to_do(root)


def _left_to_do(root: Path) -> Iterator[str]:
    yield "\nWhat is left to do:"
    yield f"  edit {root / CONFIGURATION}"
    yield f"  at-bridge check -c {root / CONFIGURATION}"
    if root == Path("/"):
        yield "  systemctl daemon-reload"
        yield "  udevadm control --reload && udevadm trigger --subsystem-match=tty --subsystem-match=usb-serial"
        yield "  systemctl enable --now at-bridge@NAME.service"


def _uninstall(root: Path) -> Iterator[str]:
    for name in (UNIT, NETWORK, RULES):
        file = _Below(root, name)
        if file.ours():
            file.path.unlink()
            yield f"removed  {file.path}"
    example = _Below(root, CONFIGURATION).path
    if example.is_file() and not example.is_symlink():
        if example.read_bytes() == _text(CONFIGURATION).encode():
            example.unlink()
            yield f"removed  {example}"
        else:
            yield f"kept     {example}, which was edited"
    for name in _FOLDERS_OF_OURS:
        folder = _Below(root, name).path
        if folder.is_dir() and not folder.is_symlink():
            if any(folder.iterdir()):
                yield f"kept     {folder}, which is not empty"
            else:
                folder.rmdir()
                yield f"removed  {folder}"
    if root == Path("/"):
        yield "\nWhat is left to do:"
        yield "  systemctl disable --now 'at-bridge@*.service'; systemctl daemon-reload"
        yield "  udevadm control --reload"


def _text(name: str) -> str:
    """One of the shipped files: ``bridge/systemd`` in the wheel, ``systemd`` beside the package in a checkout."""
    packaged: Any = resources.files("bridge") / "systemd"
    folder = packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "systemd"
    return str((folder / _SOURCES[name]).read_text("utf-8"))
