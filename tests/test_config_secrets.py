"""Secrets of the configuration: only their owner may read them, and systemd hands them over."""

import os
import struct

import pytest
from config_files import ONE, load, secret, wrong

from bridge import secret_files

__all__ = ["load", "wrong"]  # fixtures


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o601, 0o777])
def test_a_secret_that_others_can_read(wrong, tmp_path, mode):
    secret(tmp_path / "pw", mode=mode)
    line = wrong(ONE + 'ssid = "x"\npassword_file = "pw"\n', "bridge.gate.password_file", "can be read by others", "chmod 0600")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hush\nhush\n", "more than one line"),
        (b"hu\0sh\n", "more than one line"),
        (b"h" * 2000, "more than one line"),
        (b"hush\xff\n", "is not UTF-8"),
    ],
)
def test_a_secret_that_is_none(wrong, tmp_path, data, said):
    secret(tmp_path / "pw").write_bytes(data)
    line = wrong(ONE + 'ssid = "x"\npassword_file = "pw"\n', "bridge.gate.password_file", said)
    assert "hush" not in line


def test_secrets_that_cannot_be_read(wrong, tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    text = ONE + 'ssid = "x"\npassword_file = "{}"\n'
    wrong(text.format("fifo"), "is not a regular file")
    wrong(text.format("none"), "cannot read", "create it, with mode 0600")
    wrong(text.format("/"), "is not a regular file")
    wrong(text.format("credential:../x"), "'../x' is no name of a credential")
    wrong(text.format("credential:x"), "secrets/x", "create it")


def test_unreadable_for_this_user(tmp_path, monkeypatch):
    secret(tmp_path / "pw")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(secret_files.os, "open", refuse)
    with pytest.raises(secret_files.SecretError, match="Permission denied"):
        secret_files.read(tmp_path / "pw")


def test_a_password_without_a_network(wrong, tmp_path):
    secret(tmp_path / "pw")
    wrong(ONE + 'password_file = "pw"\n', "bridge.gate.password_file: belongs to a network that is not named")


def test_credentials_of_systemd(load, tmp_path, monkeypatch):
    secret(tmp_path / "run" / "secrets_wifi", "from systemd")
    secret(tmp_path / "secrets" / "wifi", "by hand\r\n")
    text = ONE + 'ssid = "x"\npassword_file = "credential:wifi"\n'
    assert load(text).bridges[0].upstream.host.password == "by hand"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "run"))
    assert load(text).bridges[0].upstream.host.password == "from systemd"


@pytest.mark.parametrize(
    ("entries", "opens"),
    [
        ([(1, 6, 0), (2, 4, None), (4, 0, 0), (16, 4, 0), (32, 0, 0)], False),  # what systemd sets: its user may read
        ([(1, 6, 0), (2, 4, 12345), (4, 0, 0), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (2, 4, None), (4, 4, 0), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (4, 0, 0), (8, 4, 5), (16, 4, 0), (32, 0, 0)], True),
        ([(1, 6, 0), (4, 0, 0), (16, 4, 0), (32, 4, 0)], True),
    ],
)
def test_access_control_lists(entries, opens):
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, os.geteuid() if owner is None else owner) for tag, bits, owner in entries
    )
    assert secret_files._acl_opens(acl) is opens
    assert secret_files._acl_opens(acl[:-1])
    assert secret_files._acl_opens(b"")


def test_a_credential_as_systemd_leaves_it(tmp_path, monkeypatch):
    """Mode 0440 by its mask, and yet for one user alone; on a real file."""
    path = secret(tmp_path / "pw", "hush", 0o400)
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, owner)
        for tag, bits, owner in ((1, 4, 2**32 - 1), (2, 4, 65534), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    )
    try:
        os.setxattr(path, secret_files._ACL, acl)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    assert path.stat().st_mode & 0o777 == 0o440
    monkeypatch.setattr(secret_files.os, "geteuid", lambda: 65534)
    assert secret_files.read(path) == "hush"
    monkeypatch.setattr(secret_files.os, "geteuid", lambda: 65533)
    with pytest.raises(secret_files.SecretError, match="can be read by others"):
        secret_files.read(path)
