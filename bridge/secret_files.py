"""Secrets come from files: never from a command line, which everybody can read, nor from the configuration itself.

``PATH`` is taken from the configuration's folder; ``credential:NAME`` is what systemd's LoadCredential hands to the service
(``$CREDENTIALS_DIRECTORY/secrets_NAME``), and ``secrets/NAME`` beside the configuration where there is no systemd.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from contextlib import suppress
from pathlib import Path

__all__ = ["SecretError", "locate", "read"]

CREDENTIAL = "credential:"
FOLDER = "secrets"  # beside the configuration, and LoadCredential's name for it in the unit
SIZE = 1024  # bytes; more is not a password

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# An access control list as Linux keeps it: a version, then (tag, permissions, id) for each entry.
_ACL, _ACL_VERSION = "system.posix_acl_access", 2
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_OTHER = 0x02, 0x04, 0x08, 0x20


class SecretError(Exception):
    """The file cannot be used.  ``remedy`` says what to do; the secret is never part of the text."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


def locate(text: str, folder: Path) -> Path:
    """The file that a ``*_file`` key means; ``folder`` is the configuration's.  Raises SecretError."""
    if not text.startswith(CREDENTIAL):
        return folder / text
    name = text.removeprefix(CREDENTIAL)
    if not _NAME.fullmatch(name):
        raise SecretError(f"{name!r} is no name of a credential", f"write {CREDENTIAL}NAME, for the file {FOLDER}/NAME")
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(given) / f"{FOLDER}_{name}" if given else folder / FOLDER / name


def read(path: Path) -> str:
    """The file's one line.  Raises SecretError where others could read it, too, or it is no secret at all."""
    try:
        # NONBLOCK: a FIFO must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        user = f"make it readable for user {os.geteuid()} alone"
        remedy = "create it, with mode 0600" if error.errno in {errno.ENOENT, errno.ENOTDIR} else user
        raise SecretError(f"cannot read {path} ({error.strerror})", remedy) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SecretError(f"{path} is not a regular file", "name a file with the secret in one line")
        if _open_to_others(descriptor, found):
            raise SecretError(f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 0600 {path}")
        try:
            data = os.read(descriptor, SIZE + 1)
        except OSError as error:
            raise SecretError(f"cannot read {path} ({error.strerror})", "see whether the disk is well") from None
    finally:
        os.close(descriptor)
    return _one_line(data, path)


def _one_line(data: bytes, path: Path) -> str:
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise SecretError(f"{path} is empty", "put the secret there, in one line")
    if len(data) > SIZE or any(byte < 0x20 or byte == 0x7F for byte in line):
        raise SecretError(f"{path} holds more than one line of text", f"put only the secret there, at most {SIZE - 1} bytes")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        # Not `from` it: the error would carry the secret.
        problem = SecretError(f"{path} is not UTF-8", "write it again as plain text")
    raise problem


def _open_to_others(descriptor: int, found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IRWXO:
        return True
    if not found.st_mode & stat.S_IRWXG:
        return False
    # With an access control list the group's bits are its mask: systemd gives a credential to its user in this way.
    with suppress(OSError):
        return _acl_opens(os.getxattr(descriptor, _ACL))
    return True


def _acl_opens(acl: bytes) -> bool:
    if len(acl) < 4 or struct.unpack_from("<I", acl)[0] != _ACL_VERSION or len(acl) % 8 != 4:
        return True
    for tag, permissions, owner in struct.iter_unpack("<HHI", acl[4:]):
        stranger = tag == _ACL_USER and owner not in {os.geteuid(), 0}
        if permissions and (stranger or tag in {_ACL_GROUP_OBJ, _ACL_GROUP, _ACL_OTHER}):
            return True
    return False
