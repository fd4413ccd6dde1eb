"""A folder per dialect.  This is the one place that knows which there are.

The names are those of the tables under ``mappings/``; the import path of each class stands beside it, so that a
bridge loads only the dialects that it uses.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

UPSTREAMS = {
    "esp-at": "bridge.dialects.esp_at.upstream:EspAtUpstream",
    "skt": "bridge.dialects.skt.upstream:SktUpstream",
    "wip": "bridge.dialects.wip.upstream:WipUpstream",
}
DOWNSTREAMS = {
    "skt": "bridge.dialects.skt.downstream:SktNetwork",
    "wip": "bridge.dialects.wip.downstream:WipNetwork",
}


def upstream(dialect: str) -> Any:
    """The class that plays this dialect's module: ``cls(port, network, profile, trace, settings)``."""
    return _named(UPSTREAMS[dialect])


def downstream(dialect: str) -> Any:
    """The class that drives this dialect's module: ``cls(port, profile, trace)``."""
    return _named(DOWNSTREAMS[dialect])


def folder(dialect: str) -> Path:
    """Where the dialect's code is."""
    return Path(__file__).parent / dialect.replace("-", "_")


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
