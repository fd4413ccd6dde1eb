"""``at-bridge trace show|filter|transcript``: a trace for a person, a part of it for another program, or as a test."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bridge import logs
from bridge.commands import DONE, FAILED, Commands, UsageError, command
from bridge.trace import Lane
from bridge.trace_view import Choice, View, chosen, read
from bridge.transcripts import record

_LANES = {"host": (Lane.FROM_HOST, Lane.TO_HOST), "module": (Lane.TO_MODULE, Lane.FROM_MODULE), "note": (None,)} | {
    str(lane).replace(" ", ""): (lane,) for lane in Lane
}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Its options and help."""
    trace = command(
        commands,
        "trace",
        "look at a trace",
        "Show a trace of both wires, cut a part out of it, or make a test of it.\n"
        "show prints seconds since the start, the host's wire on the left, the module's\n"
        "on the right, and what took it; filter prints the records as they are, for\n"
        "another program or for 'trace show -'; transcript plays the session once more in\n"
        "virtual time and prints it as 'at-bridge test' runs it, or says where the bridge\n"
        "says something else now.  It takes the last session of the file, which needs a\n"
        "module's wire and --trace-payload; secrets stay masked.",
        "  at-bridge trace show wires.jsonl\n"
        "  at-bridge trace show wires.jsonl --lane module --from 12.5 --to 14\n"
        "  at-bridge trace show wires.jsonl --text CIPSTART --link 0\n"
        "  at-bridge trace filter wires.jsonl --lane 'host>' | wc -l\n"
        "  at-bridge trace transcript wires.jsonl --to 60 > session.txt\n",
    )
    trace.add_argument("action", choices=["show", "filter", "transcript"], help="for a person, as JSON Lines, or as a test")
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
    """Print; 1 where the file holds something that is no trace, or there is no transcript of it."""
    if args.action == "transcript":
        return _transcript(args)
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


def _transcript(args: argparse.Namespace) -> int:
    if args.lane or args.text or args.link or args.wide or args.begin is not None:
        raise UsageError("a session is played from its start, on both wires: 'trace transcript' takes --to and nothing else")
    logs.configure("auto", "error")  # what the bridge logs while it plays is no news
    try:
        with _open(args.file) as stream:
            print(record.transcript(chosen(read(stream), Choice(end=args.end))), end="")
    except record.RecordError as error:
        print(f"at-bridge: {args.file}: {error}", file=sys.stderr)
        return FAILED
    return DONE


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
