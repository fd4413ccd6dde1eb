"""``at-bridge run -c FILE [NAME ...]``: the bridges of a configuration."""

from __future__ import annotations

import argparse

from bridge import config, logs, service, supervisor
from bridge.commands import DONE, UsageError

# Of `run`'s other options: their keys in the file.
_KEYS = {
    "trace": "bridge.NAME.trace",
    "trace_payload": "bridge.NAME.trace_payload",
    "allow": "local.allow",
    "map": "local.map",
    "bind": "local.bind",
    "listen": "local.listen",
}


def run(args: argparse.Namespace) -> int:
    """Run them until a signal; raises config.ConfigError, UsageError."""
    for option, key in _KEYS.items():
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} and -c exclude each other; write {key} in {args.config}")
    found = config.load(args.config)
    chosen = found.choose(args.endpoints)
    logs.configure(args.log_format, "debug" if args.verbose else args.log_level)
    for warning in found.warnings:
        service.log.warning("configuration", note=warning)
    supervisor.run_all(chosen)
    return DONE
