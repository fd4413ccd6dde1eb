"""The subcommands that are more than a few lines.  Each module has ``add`` (its options and help) and ``run``."""

from __future__ import annotations

import argparse

__all__ = ["CONFIGURATION", "DONE", "EXITS", "FAILED", "USAGE", "Commands", "UsageError", "command"]

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78

EXITS = """\
exit status:
  0   done
  1   failed (a port is gone, a check or a transcript failed)
  2   usage: the command line is wrong
  78  configuration: the configuration file or a mapping table is wrong
"""

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


class UsageError(Exception):
    """The command line is wrong in a way that argparse does not see."""


def command(
    commands: Commands[argparse.ArgumentParser], name: str, short: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """A subcommand with its help: every one has examples and the exit statuses."""
    return commands.add_parser(
        name,
        help=short,
        description=text,
        epilog=f"examples:\n{examples}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
