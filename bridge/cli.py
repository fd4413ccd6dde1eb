"""The command line.  Errors are one line that says what to do; a traceback is a bug."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge import __version__, demo, dialects, service, tables
from bridge.endpoint import EndpointError, EndpointSpec, parse
from bridge.local.policy import Policy
from bridge.ports.opening import PortError
from bridge.transcript import run_file

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78

_EXITS = """\
exit status:
  0   done
  1   failed (a port is gone, a check or a transcript failed)
  2   usage: the command line is wrong
  78  configuration: a mapping table is wrong
"""

_ENDPOINT = """\
An endpoint is DIALECT[:PROFILE]@PORT[,key=value ...]:
  esp-at@/dev/ttyUSB0              a serial device, at the dialect's usual speed
  wip:c1@/dev/ttyUSB1,baud=57600   one profile (firmware generation) of a dialect, at another speed
  esp-at@pty:host                  a new pseudo terminal; the link "host" shows where it is
  wip:c1@modem                     an existing terminal by its path
  local                            (downstream only) the gateway's own network
"""


class _UsageError(Exception):
    """The command line is wrong in a way that argparse does not see."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="at-bridge",
        description="Keeps frozen host firmware alive: presents the AT socket dialect that a host was written for,\n"
        "and drives a module that speaks another.",
        epilog="examples:\n"
        "  at-bridge demo                                  see it work, without any hardware\n"
        "  at-bridge run esp-at@/dev/ttyUSB0 wip:c1@/dev/ttyUSB1\n"
        "  at-bridge run esp-at@pty:host local             the gateway's own network instead of a module\n"
        "  at-bridge simulate wip:c1@pty:modem             a simulated modem to try against\n"
        "\n'at-bridge COMMAND --help' explains a command.\n\n" + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"at-bridge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = _command(
        commands,
        "run",
        "bridge a host to a module",
        "Present UPSTREAM's dialect to a host and drive the module behind DOWNSTREAM, until SIGTERM or Ctrl-C.",
        "  at-bridge run esp-at@/dev/ttyUSB0 wip:c1@/dev/ttyUSB1 --trace wires.jsonl\n"
        "  at-bridge run esp-at@pty:host local --allow 127.0.0.0/8\n\n" + _ENDPOINT,
    )
    run.add_argument("upstream", metavar="UPSTREAM", help="the side of the host")
    run.add_argument("downstream", metavar="DOWNSTREAM", help="the side of the module, or 'local'")
    _running(run)

    simulate = _command(
        commands,
        "simulate",
        "play a module on the gateway's own network",
        "Play a module of UPSTREAM's dialect whose network is the gateway's own; the same as 'run UPSTREAM local'.",
        "  at-bridge simulate wip:c1@pty:modem,baud=115200 --allow 127.0.0.0/8\n\n" + _ENDPOINT,
    )
    simulate.add_argument("upstream", metavar="UPSTREAM", help="the module to play, and where")
    _running(simulate)

    show = _command(
        commands,
        "demo",
        "see it work, without any hardware",
        "A simulated modem, the bridge and a scripted ESP-AT host, joined by pseudo terminals in this process.\n"
        "Both wires are printed side by side, then what was checked.  Takes less than a minute.",
        "  at-bridge demo\n  at-bridge demo --keep      then type at it from a terminal program\n",
    )
    show.add_argument("--keep", action="store_true", help="leave the pseudo terminals open until Ctrl-C")

    _command(
        commands,
        "check",
        "check the mapping tables",
        "Load every profile of every mapping table, and look for rows that no code reads.",
        "  at-bridge check\n",
    )

    test = _command(
        commands,
        "test",
        "run transcripts",
        "Run transcripts in virtual time; the first difference of each is shown side by side.",
        "  at-bridge test tests/transcripts/esp-at/send.txt\n  at-bridge test tests/transcripts\n",
    )
    test.add_argument("files", metavar="FILES", nargs="+", type=Path, help="transcripts, or folders of them (*.txt)")
    test.add_argument("-v", "--verbose", action="store_true", help="name the ones that pass, too")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, short: str, text: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=short,
        description=text,
        epilog=f"examples:\n{examples}\n{_EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trace", metavar="FILE", type=Path, help="append both wires to FILE as JSON Lines, secrets masked")
    parser.add_argument("--trace-payload", action="store_true", help="keep the links' payload in the trace, not only its length")
    parser.add_argument(
        "--allow",
        metavar="NETWORK",
        action="append",
        default=[],
        help="let 'local' connect into NETWORK; repeat",
    )
    parser.add_argument(
        "--map", metavar="ADDRESS=ADDRESS", action="append", default=[], help="connect to the second for the first; repeat"
    )
    parser.add_argument("--log-format", choices=["auto", "console", "json"], default="auto", help="auto: console on a tty")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is only of use when looking for a fault")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        match args.command:
            case "run" | "simulate":
                return _run(args)
            case "demo":
                return demo.main(keep=args.keep)
            case "check":
                return _check()
            case _:
                return _test(args.files, verbose=args.verbose)
    except (EndpointError, _UsageError) as error:
        return _fail(USAGE, error)
    except tables.TableError as error:
        return _fail(CONFIGURATION, error)
    except (service.ServiceError, PortError) as error:
        return _fail(FAILED, error)
    except KeyboardInterrupt:
        return _fail(FAILED, "interrupted")
    except BrokenPipeError:  # our output went to a pipe that was closed, as by `head`
        sys.stdout = None
        return FAILED


def _fail(status: int, error: object) -> int:
    print(f"at-bridge: {error}", file=sys.stderr)
    return status


def _run(args: argparse.Namespace) -> int:
    upstream = parse(args.upstream, side="upstream")
    _known(upstream, dialects.UPSTREAMS, "host's")
    downstream = None if args.command == "simulate" else parse(args.downstream, side="downstream")
    if downstream is not None and downstream.is_local:
        downstream = None
    if downstream is not None:
        _known(downstream, dialects.DOWNSTREAMS, "module's")
    if downstream is not None and (args.allow or args.map):
        raise _UsageError("--allow and --map are for 'local'; the module's own network is not ours to rule. Leave them out")
    if args.trace_payload and args.trace is None:
        raise _UsageError("--trace-payload needs --trace FILE")
    try:
        policy = Policy.parse(args.allow, args.map)
    except ValueError as error:
        raise _UsageError(error) from None
    service.configure_logging(args.log_format, verbose=args.verbose)
    service.run(service.Options(upstream, downstream, policy, args.trace, args.trace_payload))
    return DONE


def _known(spec: EndpointSpec, there: Mapping[str, str], side: str) -> None:
    if spec.dialect not in there:
        raise _UsageError(f"{spec.text}: no dialect {spec.dialect!r} on the {side} side; there are: {', '.join(sorted(there))}")
    if spec.profile and spec.profile not in (profiles := tables.profiles(spec.dialect)):
        raise _UsageError(f"{spec.text}: no profile {spec.profile!r}; there are: {', '.join(profiles)}")


def _check() -> int:
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


def _test(files: Sequence[Path], *, verbose: bool) -> int:
    paths: list[Path] = []
    for file in files:
        if not file.exists():
            raise _UsageError(f"{file}: there is no such file")
        paths += sorted(file.rglob("*.txt")) if file.is_dir() else [file]
    if not paths:
        raise _UsageError("no transcripts there; they are called *.txt")
    failed = 0
    for path in paths:
        result = run_file(path)
        if not result.ok:
            failed += 1
            print(f"FAILED {path}: {result.title}\n{result.message}\n")
        elif verbose:
            print(f"ok     {path}: {result.title}")
    print(f"{len(paths) - failed} of {len(paths)} transcripts passed")
    return FAILED if failed else DONE
