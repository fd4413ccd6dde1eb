# ruff: noqa: PTH115, PTH208, PTH211 - Path would tidy our links away
"""``pty:PATH`` where somebody else can write to the folder: what is planted there is not followed, written to or trusted."""

import os
import tty

import pytest

from bridge.ports.listening import listen_unix
from bridge.ports.pty import PortError, PtyPort


async def refused(path):
    port = PtyPort(path)
    try:
        with pytest.raises(PortError) as caught:
            await port.publish()
    finally:
        await port.aclose()
    return str(caught.value)


@pytest.mark.parametrize(
    "target", ["victim", "missing", "/dev/null", "/dev/tty", "/dev/ptmx", "/dev/pts/ptmx", "/dev/pts/../null", "host"]
)
async def test_a_planted_link_is_neither_followed_nor_replaced(tmp_path, target):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "host").symlink_to(target)
    assert f"a link to {target} is there" in await refused(tmp_path / "host")
    assert str((tmp_path / "host").readlink()) == target
    assert victim.read_text() == "precious"
    assert not (tmp_path / "missing").exists()


async def test_a_planted_pty_is_not_the_hosts_module(tmp_path):
    """A live pty of the attacker's, spelt as only a bridge spells it: replaced by ours, and never written to."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    (tmp_path / "host").symlink_to(os.ttyname(slave).replace("/dev/pts/", "/dev/pts/./"))
    port = PtyPort(tmp_path / "host")
    try:
        await port.publish()
        assert (tmp_path / "host").samefile(port.device)
        assert port.device != os.ttyname(slave)
        await port.send(b"secret")
        with pytest.raises(BlockingIOError):
            os.read(master, 100)
    finally:
        await port.aclose()
        os.close(master)
        os.close(slave)
    assert not (tmp_path / "host").is_symlink()


@pytest.mark.parametrize("plant", ["file", "link"])
async def test_what_is_planted_at_the_last_moment_is_reported(tmp_path, monkeypatch, plant):
    path = tmp_path / "host"
    path.symlink_to("/dev/pts/99999")  # stale: may be replaced
    unlink = os.unlink

    def and_plant(name, **where):
        unlink(name, **where)
        if plant == "file":
            path.write_text("precious")
        else:
            path.symlink_to(tmp_path / "victim")

    monkeypatch.setattr(os, "unlink", and_plant)
    assert "cannot make the symlink" in await refused(path)
    monkeypatch.undo()
    assert path.is_symlink() is (plant == "link")
    assert plant == "link" or path.read_text() == "precious"


async def test_what_was_put_in_the_place_of_our_link_is_not_removed(tmp_path):
    port = PtyPort(tmp_path / "host")
    await port.publish()
    (tmp_path / "host").unlink()
    (tmp_path / "host").write_text("precious")
    await port.aclose()
    assert (tmp_path / "host").read_text() == "precious"


async def test_a_folder_that_was_moved_away_takes_its_link_with_it(tmp_path):
    """The path leads to another folder at the end, where the same name means something else: that one is left alone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").mkdir()
    port = PtyPort(tmp_path / "run" / "host")
    await port.publish()
    os.symlink(os.readlink(tmp_path / "run" / "host"), tmp_path / "precious" / "host")  # to the letter, as Path would not
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").symlink_to("precious")
    await port.aclose()
    assert (tmp_path / "precious" / "host").is_symlink()
    assert not (tmp_path / "moved" / "host").is_symlink()


async def test_a_socket_file_in_a_folder_that_was_moved_away(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").mkdir()
    port = await listen_unix("unix:test", str(tmp_path / "run" / "host"))
    os.link(tmp_path / "run" / "host", tmp_path / "precious" / "host")  # the same file, by another name
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").symlink_to("precious")
    await port.aclose()
    assert (tmp_path / "precious" / "host").is_socket()
    assert not (tmp_path / "moved" / "host").exists()


async def test_the_folder_is_free_for_others_while_our_name_is_in_it(tmp_path):
    """Its descriptor is kept to the end, and the lock on it must not be."""
    first = PtyPort(tmp_path / "a")
    await first.publish()
    files = [await listen_unix("unix:b", str(tmp_path / "b")), await listen_unix("unix:c", str(tmp_path / "c"))]
    assert (tmp_path / "c").is_socket()
    held = len(os.listdir("/proc/self/fd"))
    for port in (first, *files):
        await port.aclose()
    assert len(os.listdir("/proc/self/fd")) == held - 3 - 2 - 2  # master, slave, folder; listener, folder twice
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_anybody_may_write_to_is_noted(tmp_path):
    from bridge import config

    (tmp_path / "d").mkdir()
    file = tmp_path / "c.toml"
    file.write_text(f'version = 1\n[bridge.a]\nupstream = "esp-at@pty:{tmp_path}/d/host"\ndownstream = "local"\n')
    for mode, noted in ((0o777, True), (0o1777, False), (0o755, False)):
        (tmp_path / "d").chmod(mode)
        assert any("anybody may replace" in note for note in config.load(file).warnings) is noted
