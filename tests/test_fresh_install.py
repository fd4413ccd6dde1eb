"""The wheel in an environment of its own, used from outside the checkout: everything a user does first."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from bridge import __version__

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a fresh environment's programs; its dependencies are those of this environment, by path."""
    folder = tmp_path_factory.mktemp("fresh")
    run(folder, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    program = folder / "env" / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(program / "python"), "install"]
    run(folder, *pip, "--no-index", "--no-deps", str(wheel))
    # A path in a .pth is searched, but its own .pth files are not read: the checkout's editable install stays out.
    site = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


def run(folder, *command, cwd=None, status=0):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd or folder, env=clean, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_it_is_the_wheel_that_runs(installed, tmp_path):
    where = run(tmp_path, installed / "python", "-c", "import bridge; print(bridge.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_version_and_check(installed, tmp_path):
    assert run(tmp_path, installed / "at-bridge", "--version") == f"at-bridge {__version__}\n"
    assert "all tables are right" in run(tmp_path, installed / "at-bridge", "check")


def test_install_check_and_uninstall(installed, tmp_path):
    out = run(tmp_path, installed / "at-bridge", "install", "--root", tmp_path)
    assert "wrote" in out
    unit = (tmp_path / "etc/systemd/system/at-bridge@.service").read_text()
    assert f"ExecStart={installed}/at-bridge run " in unit
    file = tmp_path / "etc/at-bridge/bridge.toml"
    assert f"{file} is right" in run(tmp_path, installed / "at-bridge", "check", "-c", file)
    file.write_text(file.read_text().replace("\ndownstream", "\ndownstraem", 1))
    assert "did you mean downstream?" in run(tmp_path, installed / "at-bridge", "check", "-c", file, status=78)
    run(tmp_path, installed / "at-bridge", "install", "--root", tmp_path, "--uninstall")


def test_demo(installed, tmp_path):
    assert "all of it was right" in run(tmp_path, installed / "at-bridge", "demo")
