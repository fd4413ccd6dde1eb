"""``at-bridge check``: the mapping tables, and with -c a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from bridge import config, dialects, tables
from bridge.commands import CONFIGURATION, DONE, Commands, command
from bridge.service import Options
from bridge.trace import printable


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Its options and help."""
    check = command(
        commands,
        "check",
        "check a configuration, or the mapping tables",
        "With -c: read a configuration, its secret files and the tables that it uses,\n"
        "and say everything that is wrong.  Without: load every profile of every mapping\n"
        "table, and look for rows that no code reads.",
        "  at-bridge check -c /etc/at-bridge/bridge.toml\n  at-bridge check\n",
    )
    check.add_argument("-c", "--config", metavar="FILE", type=Path, help="the configuration to check")


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; 78 if anything is."""
    return check_tables() if args.config is None else check_configuration(args.config)


def check_configuration(file: Path) -> int:
    """One line for each problem, or for each bridge."""
    try:
        found = config.load(file)
    except config.ConfigError as error:
        print(error)
        problems = len(str(error).splitlines())
        print(f"{problems} problem{'s' * (problems != 1)}")
        return CONFIGURATION
    for options in found.bridges:
        print(f"{options.name}: {_said(options)}")
    for warning in found.warnings:
        print(f"note: {printable(warning)}")
    print(f"{file} is right")
    return DONE


def _said(options: Options) -> str:
    sides = []
    for spec, table in ((options.upstream, options.upstream_table), (options.downstream, options.downstream_table)):
        sides.append("local" if spec is None or table is None else f"{spec.dialect}:{table.profile}@{spec.port}")
    return " -> ".join(sides)


def check_tables() -> int:
    """All tables, as in ``make check``."""
    problems = 0
    names = tables.names()
    if not names:
        raise tables.TableError("no mapping tables found; the installation is incomplete")
    for dialect in names:
        seen: set[str] | None = None
        for profile in tables.profiles(dialect):
            try:
                table = tables.load(dialect, profile)
            except tables.TableError as error:
                problems += 1
                print(error)
                continue
            rows = set(tables.unread(table, dialects.folder(dialect)))
            seen = rows if seen is None else seen | rows
            print(f"{dialect}:{profile}: {len(table.command)} commands, {len(table.template)} templates, {len(table.urc)} URCs")
        for row in sorted(seen or ()):
            problems += 1
            print(f"mappings/{dialect}.toml: {row}: no code of the dialect reads it; remove it or use it")
    print(f"{problems} problem{'s' * (problems != 1)}" if problems else "all tables are right")
    return CONFIGURATION if problems else DONE
