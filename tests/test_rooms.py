"""The house: which room may know of which.  What a room may not import cannot creep into it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bridge

HOUSE = Path(bridge.__file__).parent
DIALECTS = sorted(folder.name for folder in (HOUSE / "dialects").iterdir() if (folder / "__init__.py").is_file())

# The rooms that must not know more than this; what stands beside the rooms is a file of the same name.
KNOWN = {
    "wire": set(),
    "model.py": set(),
    "network.py": {"model"},
    "ports": {"model", "endpoint"},
    "driving": {"model", "network", "ports"},
    "emulation": {"model", "network", "trace"},
    "local": {"model", "network", "trace", "wire"},
    "session.py": {"network", "ports", "trace", "model"},
    "dialects": {"model", "network", "ports", "session", "tables", "trace", "command_log", "wire", "driving"},
}


def imports(file):
    """Modules of ours that a file imports, as ``room.part...``."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "bridge":
            names = [f"bridge.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.removeprefix("bridge.") for name in names if name.startswith("bridge."))


def files(room):
    path = HOUSE / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", KNOWN)
def test_a_room_knows_only_what_it_may(room):
    found = {name.split(".")[0] for file in files(room) for name in imports(file)}
    assert found - {room.removesuffix(".py")} <= KNOWN[room]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_knows_no_other(dialect):
    found = {
        name.split(".")[1] for file in files(f"dialects/{dialect}") for name in imports(file) if name.startswith("dialects.")
    }
    assert found == {dialect}


def test_only_the_list_of_dialects_names_one():
    rooms = [file for file in HOUSE.rglob("*.py") if "dialects" not in file.relative_to(HOUSE).parts[:-1]]
    named = {(file.name, name) for file in rooms for name in imports(file) if name.startswith("dialects.")}
    assert not named


def test_the_sides_of_a_dialect_do_not_know_each_other():
    sides = {"module": "driver", "driver": "module"}
    for dialect in DIALECTS:
        for side, other in sides.items():
            found = {name for file in files(f"dialects/{dialect}/{side}") for name in imports(file)}
            assert not [name for name in found if name.startswith(f"dialects.{dialect}.{other}")], (dialect, side)
