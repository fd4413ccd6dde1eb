"""The command line.  Errors are one line that says what to do; a traceback is a bug."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge import __version__, config, dialects, logs, service, tables
from bridge.commands import (
    CONFIGURATION,
    DONE,
    EXITS,
    FAILED,
    USAGE,
    UsageError,
    check,
    command,
    configured,
    install,
    ports,
    trace,
)
from bridge.commands.endpoint_help import ENDPOINT, HOST, MODULE
from bridge.demo import show
from bridge.endpoint import EndpointError, EndpointSpec, parse
from bridge.local.policy import Policy
from bridge.model import HostSettings
from bridge.ports.opening import PortError
from bridge.transcripts.run import run_file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="at-bridge",
        description="Keeps frozen host firmware alive: presents the AT socket dialect that a host\n"
        "was written for, and drives a module that speaks another.",
        epilog="examples:\n"
        "  at-bridge demo                       see it work, without any hardware\n"
        "  at-bridge run esp-at@/dev/ttyUSB0 wip:c1@/dev/ttyUSB1\n"
        "  at-bridge run esp-at@pty:host local  the gateway's own network, no module\n"
        "  at-bridge simulate wip:c1@pty:modem  a simulated modem to try against\n"
        "  at-bridge ports                      what is plugged in, how to name it\n"
        "  at-bridge check -c bridge.toml       is the configuration right?\n"
        "\n'at-bridge COMMAND --help' explains a command.\n\n" + EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"at-bridge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = command(
        commands,
        "run",
        "bridge a host to a module",
        "Present UPSTREAM's dialect to a host and drive the module behind DOWNSTREAM,\n"
        "until SIGTERM or Ctrl-C; a second one ends it at once.\n"
        "With -c: the bridges of a configuration, all of them or those named.  One that\n"
        "fails is started again for ever and does not end the others; status 78 where\n"
        "the configuration is wrong, otherwise only a signal ends it.",
        "  at-bridge run esp-at@/dev/ttyUSB0 wip:c1@/dev/ttyUSB1 --trace wires.jsonl\n"
        "  at-bridge run esp-at@pty:host local --allow 127.0.0.0/8\n"
        "  at-bridge run esp-at@/dev/ttyUSB0,joined=yes,reset_on=dsr wip:c1@/dev/ttyUSB1\n"
        "  at-bridge run -c /etc/at-bridge/bridge.toml meter-1\n\n" + f"{ENDPOINT}\n{HOST}\n{MODULE}",
    )
    run.usage = "at-bridge run [OPTIONS] UPSTREAM DOWNSTREAM\n       at-bridge run [OPTIONS] -c FILE [NAME ...]"
    run.add_argument(
        "endpoints",
        metavar="UPSTREAM DOWNSTREAM | NAME",
        nargs="*",
        help="the side of the host, and the side of the module or 'local'",
    )
    run.add_argument("-c", "--config", metavar="FILE", type=Path, help="run the bridges of this configuration")
    _running(run)

    simulate = command(
        commands,
        "simulate",
        "play a module on the gateway's own network",
        "Play a module of UPSTREAM's dialect whose network is the gateway's own; the\nsame as 'run UPSTREAM local'.",
        "  at-bridge simulate wip:c1@pty:modem,baud=115200 --allow 127.0.0.0/8\n\n" + ENDPOINT + "\n" + HOST,
    )
    simulate.add_argument("upstream", metavar="UPSTREAM", help="the module to play, and where")
    _running(simulate)

    show = command(
        commands,
        "demo",
        "see it work, without any hardware",
        "A simulated modem, the bridge and a scripted ESP-AT host, joined by pseudo\n"
        "terminals in this process.  Both wires are printed side by side, then what was\n"
        "checked.  Takes less than a minute.",
        "  at-bridge demo\n  at-bridge demo --keep      then type at it from a terminal program\n",
    )
    show.add_argument("--keep", action="store_true", help="leave the pseudo terminals open until Ctrl-C")

    check.add(commands)
    ports.add(commands)
    trace.add(commands)
    install.add(commands)

    test = command(
        commands,
        "test",
        "run transcripts",
        "Run transcripts in virtual time; the first difference of each is shown side by\nside.",
        "  at-bridge test tests/transcripts/esp-at/send.txt\n  at-bridge test tests/transcripts\n",
    )
    test.add_argument("files", metavar="FILES", nargs="+", type=Path, help="transcripts, or folders of them (*.txt)")
    test.add_argument("-v", "--verbose", action="store_true", help="name the ones that pass, too")
    return parser


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
    parser.add_argument(
        "--bind", metavar="ADDRESS", help="serve at ADDRESS what a host listens for with 'local'; without, nothing"
    )
    parser.add_argument(
        "--listen",
        metavar="PORT=ADDRESS:PORT",
        action="append",
        default=[],
        help="serve a host's PORT elsewhere: several hosts want 80, and low ports need a privilege; repeat",
    )
    parser.add_argument("--log-format", choices=["auto", "console", "json"], default="auto", help="auto: console on a tty")
    parser.add_argument("--log-level", choices=list(logs.LEVELS), default="info", help="log nothing below this")
    parser.add_argument("-v", "--verbose", action="store_true", help="log all there is: --log-level debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        match args.command:
            case "run" | "simulate":
                return _run(args)
            case "demo":
                return show.main(keep=args.keep)
            case "check":
                return check.run(args)
            case "ports":
                return ports.run(args)
            case "trace":
                return trace.run(args)
            case "install":
                return install.run(args)
            case _:
                return _test(args.files, verbose=args.verbose)
    except (EndpointError, UsageError) as error:
        return _fail(USAGE, error)
    except (tables.TableError, config.ConfigError) as error:
        return _fail(CONFIGURATION, error)
    except (service.ServiceError, PortError) as error:
        return _fail(FAILED, error)
    except KeyboardInterrupt:
        return _fail(FAILED, "interrupted")
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is not None:  # there was more than Ctrl-C in the nurseries
            raise
        return _fail(FAILED, "interrupted")
    except BrokenPipeError:  # our output went to a pipe that was closed, as by `head`
        sys.stdout = None
        return FAILED


def _fail(status: int, error: object) -> int:
    print(f"at-bridge: {error}", file=sys.stderr)
    return status


def _run(args: argparse.Namespace) -> int:
    if args.command == "run":
        if args.config is not None:
            return configured.run(args)
        if len(args.endpoints) != 2:
            raise UsageError("UPSTREAM and DOWNSTREAM are needed, or -c FILE; 'at-bridge run --help' explains them")
        args.upstream, args.downstream = args.endpoints
    # A simulated module is as the real one, weaknesses and all.
    upstream = parse(args.upstream, side="upstream", usual=HostSettings(quirks=args.command == "simulate"))
    _known(upstream, dialects.UPSTREAMS, "host's")
    downstream = None if args.command == "simulate" else parse(args.downstream, side="downstream")
    ack = "module" if downstream is None else downstream.ack
    if downstream is not None and downstream.is_local:
        downstream = None
    if downstream is not None:
        _known(downstream, dialects.DOWNSTREAMS, "module's")
    if downstream is not None and (args.allow or args.map or args.bind is not None or args.listen):
        raise UsageError(
            "--allow, --map, --bind and --listen are for 'local'; the module's own network is not ours to rule. Leave them out"
        )
    if args.trace_payload and args.trace is None:
        raise UsageError("--trace-payload needs --trace FILE")
    try:
        policy = Policy.parse(args.allow, args.map, bind=args.bind, listen=args.listen)
    except ValueError as error:
        raise UsageError(error) from None
    logs.configure(args.log_format, "debug" if args.verbose else args.log_level)
    service.run(service.Options(upstream, downstream, policy, args.trace, args.trace_payload, ack=ack))
    return DONE


def _known(spec: EndpointSpec, there: Mapping[str, str], side: str) -> None:
    if spec.dialect not in there:
        raise UsageError(f"{spec.text}: no dialect {spec.dialect!r} on the {side} side; there are: {', '.join(sorted(there))}")
    if spec.profile and spec.profile not in (profiles := tables.profiles(spec.dialect)):
        raise UsageError(f"{spec.text}: no profile {spec.profile!r}; there are: {', '.join(profiles)}")


def _test(files: Sequence[Path], *, verbose: bool) -> int:
    paths: list[Path] = []
    for file in files:
        if not file.exists():
            raise UsageError(f"{file}: there is no such file")
        paths += sorted(file.rglob("*.txt")) if file.is_dir() else [file]
    if not paths:
        raise UsageError("no transcripts there; they are called *.txt")
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
