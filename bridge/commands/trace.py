"""``at-bridge trace show|filter``: a trace for a person, or a part of it for another program."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bridge.commands import DONE, FAILED, Commands, UsageError, command
from bridge.trace import Lane
from bridge.trace_view import Choice, View, chosen, read

_LANES = {"host": (Lane.FROM_HOST, Lane.TO_HOST), "module": (Lane.TO_MODULE, Lane.FROM_MODULE), "note": (None,)} | {
    str(lane).replace(" ", ""): (lane,) for lane in Lane
}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Its options and help."""
    trace = command(
        commands,
        "trace",
        "look at a trace",
        "Show a trace of both wires, or cut a part out of it.\n"
        "show prints seconds since the start, the host's wire on the left, the module's\n"
        "on the right, and what took it; filter prints the records as they are, for\n"
        "another program or for 'trace show -'.",
        "  at-bridge trace show wires.jsonl\n"
        "  at-bridge trace show wires.jsonl --lane module --from 12.5 --to 14\n"
        "  at-bridge trace show wires.jsonl --text CIPSTART --link 0\n"
        "  at-bridge trace filter wires.jsonl --lane 'host>' | wc -l\n",
    )
    trace.add_argument("action", choices=["show", "filter"], help="for a person, or as JSON Lines")
    trace.add_argument("file", metavar="FILE", help="the trace; - for the standard input")
    trace.add_argument(
        "--lane",
        metavar="LANE",
        action="append",
        choices=sorted(_LANES),
        help=f"only this wire, way, or the bridge's notes: {', '.join(sorted(_LANES))}; repeat",
    )
    trace.add_argument("--from", dest="begin", metavar="SECONDS", type=float, help="only from then on, as show counts them")
    trace.add_argument("--to", dest="end", metavar="SECONDS", type=float, help="only until then")
    trace.add_argument("--text", metavar="TEXT", help="only records with TEXT in their data (escaped) or rule")
    trace.add_argument("--link", metavar="LINK", help="only records of this connection")
    trace.add_argument("--wide", action="store_true", help="do not cut long lines")


def run(args: argparse.Namespace) -> int:
    """Print; 1 where the file holds something that is no trace."""
    lanes = frozenset(lane for name in args.lane for lane in _LANES[name]) if args.lane else None
    choice = Choice(lanes, args.begin, args.end, args.text, args.link)
    damaged = 0
    with _open(args.file) as stream:
        view = View(wide=args.wide)
        for row in chosen(read(stream), choice):
            if row.damaged:
                damaged += 1
                print(f"at-bridge: line {row.number}: {row.damaged}", file=sys.stderr)
            elif args.action == "filter":
                print(row.text)
            else:
                for line in view.lines(row):
                    print(line)
    return FAILED if damaged else DONE


@contextlib.contextmanager
def _open(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below, and its error is not the body's
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    with stream:
        yield stream
