"""SKTSTATE: what the module holds, row by row, in the forms of its generations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One id, as the module sees it."""

    id: int
    role: str  # server, client or seed
    kind: str  # tcp, udp, ssl or tls
    host: str  # a server's own address, everybody else's peer
    port: int
    alive: bool  # False: closed, and only to be deleted
    own_port: int = 0  # 0: not told
    server: int = 0  # of a seed: the id of the server's row before it


def row_of(fields: dict[str, int | str]) -> Row:
    """A line's fields, by the names that the table's patterns have."""
    return Row(
        int(fields["id"]),
        str(fields["role"]),
        str(fields["kind"]),
        str(fields["host"]),
        int(fields["port"]),
        alive=str(fields.get("socket", "0")) != "-1",
        own_port=int(fields.get("own_port", 0)),
    )
