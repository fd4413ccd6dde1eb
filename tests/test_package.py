"""The wheel: everything a user needs and nothing a user must not get."""

import email
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_every_table_as_bridge_mappings(wheel):
    tables = {p.name: p.read_bytes() for p in (ROOT / "mappings").glob("*.toml")}
    assert {"esp-at.toml", "wip.toml"} <= tables.keys()
    for name, text in tables.items():
        assert wheel.read(f"bridge/mappings/{name}") == text


def test_it_holds_every_module_of_the_package(wheel):
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "bridge").rglob("*.py")}
    assert {n for n in wheel.namelist() if n.endswith(".py")} == modules


def test_it_holds_nothing_else(wheel):
    names = {name.split("/")[0] for name in wheel.namelist()}
    assert names == {"bridge", "at_bridge-0.1.0.dist-info"}


def test_its_metadata(wheel):
    metadata = email.message_from_bytes(wheel.read("at_bridge-0.1.0.dist-info/METADATA"))
    assert metadata["Name"] == "at-bridge"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "at_bridge-0.1.0.dist-info/licenses/LICENSE" in wheel.namelist()
    assert b"at-bridge = bridge.cli:main" in wheel.read("at_bridge-0.1.0.dist-info/entry_points.txt")


def test_the_tables_load_from_an_installed_wheel(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "import bridge.tables as t; print(t.__file__, t.names(), t.load('esp-at').profile, t.load('wip').profile)"
    found = subprocess.run(
        [sys.executable, "-bb", "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{tmp_path}/bridge/tables.py ['esp-at', 'wip'] espat-2.3 c1\n"


def test_the_hashed_requirements_cover_the_project():
    """Each dependency of the project stands pinned and hashed in requirements/run.txt, and names no index."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = (ROOT / "requirements" / "run.txt").read_text()
    for dependency in project["dependencies"]:
        assert f"\n{dependency.split('>')[0]}==" in "\n" + run
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.endswith("\\") for line in pins), f"{path.name}: a pin without a hash"
