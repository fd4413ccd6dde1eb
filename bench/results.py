"""bench.json: what each part measured last, with when and where; a run replaces the parts that it ran and no others.

``{"latency": {...}, "skt": {...}, "measured": {"skt": {"at": "2026-01-01T00:00:00+00:00", "machine": "..."}, ...}}``
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def keep(file: Path, ran: Mapping[str, Any], parts: Iterable[str], machine: str) -> list[str]:
    """Put what ran into ``file``; returns a line for each other part that is kept there.  Raises OSError.

    What is no result of these ``parts`` is not kept; a file that cannot be read as results is begun again.
    """
    before = _read(file)
    others = [part for part in parts if part in before and part not in ran]
    now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine}
    stamps = before.get("measured", {})
    unknown = {"at": "at a time that it does not say", "machine": before.get("machine", "?")}  # of a file without times
    measured = dict.fromkeys(ran, now) | {part: stamps.get(part, unknown) for part in others}
    tree = {part: ran.get(part, before.get(part)) for part in parts if part in measured} | {"measured": measured}
    file.write_text(json.dumps(tree, indent=2) + "\n", "utf-8")
    return [f"{part}, measured {measured[part]['at']}" for part in others]


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
