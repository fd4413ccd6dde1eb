"""Configuration files of the tests: the smallest ones, and fixtures that load one or want it refused."""

import re

import pytest

from bridge import config
from bridge.ports import inventory

ONE = """\
version = 1
[bridge.gate]
upstream = "esp-at@pty:host"
downstream = "local"
"""

SERIAL = ONE.replace("pty:host", "/dev/x-none")


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(inventory.list_ports, "comports", list)

    def load(text, folder=tmp_path):
        file = folder / "bridge.toml"
        file.write_text(text)
        return config.load(file)

    return load


@pytest.fixture
def wrong(load, tmp_path):
    def wrong(text, *said):
        """The one problem of this text, without the file's name."""
        with pytest.raises(config.ConfigError) as caught:
            load(text)
        lines = str(caught.value).splitlines()
        for line in lines:
            assert line.startswith(f"{tmp_path}/bridge.toml: "), line
            assert re.search(r"; \S", line), f"no remedy: {line}"
        assert len(lines) == 1, lines
        line = lines[0].removeprefix(f"{tmp_path}/bridge.toml: ")
        for part in said:
            assert part in line
        return line

    return wrong


def secret(path, text="hush\n", mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


TWO = """\
version = 1
[bridge.a]
upstream = "esp-at@{}"
downstream = "local"
[bridge.b]
upstream = "esp-at@pty:b"
downstream = "wip@{}"
"""
