"""The wheel: everything a user needs and nothing a user must not get."""

import email
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from bridge import __version__, dialects, tables

ROOT = Path(__file__).resolve().parent.parent
DIST_INFO = f"at_bridge-{__version__}.dist-info"

# Whatever the package says there is must be there: each table's default profile, each class that plays or drives a module.
LOAD = """\
from bridge import dialects, tables
print(tables.__file__)
for name in tables.names():
    print(name, tables.load(name).profile)
for name in dialects.UPSTREAMS:
    print(name, dialects.upstream(name).__name__)
for name in dialects.DOWNSTREAMS:
    print(name, dialects.downstream(name).__name__)
"""


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
    assert {f"{dialect}.toml" for dialect in dialects.UPSTREAMS | dialects.DOWNSTREAMS} <= tables.keys()
    for name, text in tables.items():
        assert wheel.read(f"bridge/mappings/{name}") == text


def test_it_holds_every_module_of_the_package(wheel):
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "bridge").rglob("*.py")}
    assert {n for n in wheel.namelist() if n.endswith(".py")} == modules


def test_it_holds_nothing_else(wheel):
    names = {name.split("/")[0] for name in wheel.namelist()}
    assert names == {"bridge", DIST_INFO}


def test_its_metadata(wheel):
    metadata = email.message_from_bytes(wheel.read(f"{DIST_INFO}/METADATA"))
    assert metadata["Name"] == "at-bridge"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{DIST_INFO}/licenses/LICENSE" in wheel.namelist()
    assert b"at-bridge = bridge.cli:main" in wheel.read(f"{DIST_INFO}/entry_points.txt")


def test_every_table_and_dialect_loads_from_an_installed_wheel(wheel, tmp_path):
    wheel.extractall(tmp_path)
    found = subprocess.run(
        [sys.executable, "-bb", "-W", "error", "-c", LOAD],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    rows = [(name, tables.load(name).profile) for name in tables.names()]
    rows += [
        (name, path.partition(":")[2]) for there in (dialects.UPSTREAMS, dialects.DOWNSTREAMS) for name, path in there.items()
    ]
    assert found.stdout.splitlines() == [f"{tmp_path}/bridge/tables.py", *(f"{name} {what}" for name, what in rows)]


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
