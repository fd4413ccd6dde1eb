"""``at-bridge install``: into a root, out of it again, never over what is somebody's; and what systemd says of the units."""

import re
import shutil
import stat
import subprocess

import pytest

from bridge import cli
from bridge.commands import install

UNIT, RULES, NETWORK = install.UNIT, install.RULES, install.NETWORK


def run(capsys, root, *arguments):
    status = cli.main(["install", "--root", str(root), "--program", "/usr/bin/true", *arguments])
    return status, *capsys.readouterr()


def tree(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def test_in_and_out_again_leaves_nothing(capsys, tmp_path):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/udev/rules.d").mkdir(parents=True)
    before = tree(tmp_path)
    status, out, _ = run(capsys, tmp_path, "--network")
    assert status == 0
    for name in (UNIT, RULES, NETWORK, install.CONFIGURATION):
        assert f"wrote    {tmp_path}/{name}" in out
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / install.SECRETS).stat().st_mode) == 0o700
    assert "ExecStart=/usr/bin/true run " in (tmp_path / UNIT).read_text()
    assert install.PROGRAM not in (tmp_path / UNIT).read_text()
    assert not [name for name in tree(tmp_path) if "/." in name]
    status, out, _ = run(capsys, tmp_path, "--uninstall")
    assert status == 0
    assert tree(tmp_path) == before


def test_the_network_is_off_unless_asked_for(capsys, tmp_path):
    run(capsys, tmp_path)
    assert not (tmp_path / NETWORK).exists()
    assert "RestrictAddressFamilies=AF_UNIX\n" in (tmp_path / UNIT).read_text()


def test_what_an_operator_wrote_stays(capsys, tmp_path):
    run(capsys, tmp_path)
    file = tmp_path / install.CONFIGURATION
    file.write_text("version = 1\n")
    (tmp_path / install.SECRETS / "wifi").touch()
    (tmp_path / UNIT).write_text(install.MARK + ", an older one\n")
    status, out, _ = run(capsys, tmp_path)
    assert (status, f"kept     {file}" in out) == (0, True)
    assert "ExecStart" in (tmp_path / UNIT).read_text()  # ours: replaced
    status, out, _ = run(capsys, tmp_path, "--uninstall")
    assert status == 0
    assert f"kept     {file}, which was edited" in out
    assert f"kept     {tmp_path}/{install.SECRETS}, which is not empty" in out
    assert file.read_text() == "version = 1\n"


def test_uninstalling_twice_is_no_error(capsys, tmp_path):
    assert run(capsys, tmp_path, "--uninstall")[0] == 0


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_not_ours_is_refused_before_anything_is_written(capsys, tmp_path, kind):
    path = tmp_path / RULES
    path.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.write_text(install.MARK)
    if kind == "file":
        path.write_text("# mine\n")
    elif kind == "link":
        path.symlink_to(other)
    else:
        path.mkdir()
    before = tree(tmp_path)
    for arguments in ([], ["--uninstall"]):
        status, _, error = run(capsys, tmp_path, *arguments)
        assert status == 1
        assert "is there and is not ours; move it away" in error
        assert tree(tmp_path) == before


def test_a_link_that_leads_out_of_the_root(capsys, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "etc").symlink_to(outside)
    status, _, error = run(capsys, root)
    assert (status, "leads out of" in error) == (1, True)
    assert not list(outside.iterdir())


def test_usage(capsys, tmp_path, monkeypatch):
    assert run(capsys, tmp_path / "none")[0] == 2
    for program in ("at-bridge", "/opt/at bridge", "/opt/%i", "/opt/x\n[Service]"):
        status = cli.main(["install", "--root", str(tmp_path), "--program", program])
        assert (status, "--program" in capsys.readouterr().err) == (2, True)
    monkeypatch.setattr(install.shutil, "which", lambda _: None)
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert cli.main(["install", "--root", str(tmp_path)]) == 2
    assert tree(tmp_path) == []


def test_a_program_that_the_unit_would_not_see(capsys, tmp_path):
    status = cli.main(["install", "--root", str(tmp_path), "--program", "/home/me/venv/bin/at-bridge"])
    out = capsys.readouterr().out
    assert (status, "warning: the unit is kept out of the folder of /home/me" in out) == (0, True)


def test_a_root_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(install.os, "fdopen", full)
    status, _, error = run(capsys, tmp_path)
    assert (status, "No space left" in error) == (1, True)
    assert not [name for name in tree(tmp_path) if name.endswith((".service", ".rules")) or "/." in name]


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


@needs_systemd
@pytest.mark.parametrize("more", [[], ["--network"]])
def test_systemd_takes_the_unit_and_calls_it_safe(capsys, tmp_path, more):
    run(capsys, tmp_path, *more)
    unit = str(tmp_path / UNIT)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    secure = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit], capture_output=True, text=True, check=False
    )
    assert secure.returncode == 0, secure.stdout


@needs_systemd
def test_the_check_would_see_a_misspelt_key(capsys, tmp_path):
    run(capsys, tmp_path)
    unit = tmp_path / UNIT
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchdogSecs"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "WatchdogSecs" in verified.stderr


def test_the_rules_have_the_form_that_udev_reads():
    term = re.compile(r'([A-Z_]+(\{[^}]+\})?)(==|!=|=|\+=)"[^"]*"')
    lines = [line for line in install._text(RULES).splitlines() if line and not line.startswith("#")]
    lines += [line[2:] for line in install._text(RULES).splitlines() if line.startswith(("# ACTION", "# SUBSYSTEM"))]
    assert len(lines) == 7
    for line in lines:
        assert all(term.fullmatch(part) for part in line.split(", ")), line
    assert install._text(RULES).startswith(install.MARK)


def test_the_files_agree_with_the_program():
    unit = install._text(UNIT)
    assert f"RestartPreventExitStatus={cli.CONFIGURATION}\n" in unit
    assert f"LoadCredential=secrets:/{install.SECRETS}\n" in unit
    assert f"-c /{install.CONFIGURATION} %i\n" in unit
