"""`python -m bench [--rounds N] [--sends N]`: a table on the terminal, everything in bench.json.  Asserts nothing."""
# ruff: noqa: T201 - a benchmark prints

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from bench import goodput, latency
from bench.wires import ROOT


def main() -> None:
    """Run both parts."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=2000, help="rounds of the latency part (default 2000)")
    options.add_argument("--sends", type=int, default=16, help="2 KiB sends and receives of the goodput part (default 16)")
    options.add_argument("--only", choices=("latency", "goodput"), help="one part")
    chosen = options.parse_args()
    result: dict[str, Any] = {
        "machine": f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    }
    print(result["machine"])
    with tempfile.TemporaryDirectory(prefix="at-bridge-bench-") as name:
        folder = Path(name)
        if chosen.only != "goodput":
            result["latency"] = latency.measure(folder, chosen.rounds)
            show_latency(result["latency"])
        if chosen.only != "latency":
            result["goodput"] = {}
            for module in ("local", "wip:c1"):
                result["goodput"][module] = goodput.measure(folder, module, chosen.sends)
            show_goodput(result["goodput"], chosen.sends)
    out = ROOT / "bench.json"
    out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(f"\nwritten: {out.name}")


def show_latency(rows: dict[str, Any]) -> None:
    """The table of part (a)."""
    print("\n(a) latency, last host byte to first byte of what follows; rounds interleaved")
    print(f"    {'':28}{'p50 us':>10}{'p99 us':>10}{'rounds':>8}   translated p50 is")
    for name, row in rows.items():
        times = f"{row['bridge_p50_is_times']} x this" if "bridge_p50_is_times" in row else ""
        print(f"    {name:28}{row['p50_us']:>10}{row['p99_us']:>10}{row['rounds']:>8}   {times}")


def show_goodput(modules: dict[str, Any], sends: int) -> None:
    """The table of part (b), and its formula."""
    line = f"{goodput.BAUD} baud 8N1 (a byte: {goodput.BYTE * 1e6:.1f} us)"
    print(f"\n(b) goodput, {sends} x {goodput.SIZE} bytes, both lines at {line}")
    print("    bound of a send    T = (command + OK and prompt + payload + Recv + SEND OK) x byte")
    print("                           + on a modem: its last byte + settle time (mapped already, so no guard is due)")
    print("    bound of a receive T = (payload + every +IPD header) x byte")
    print(f"    {'':20}{'seconds':>9}{'T':>9}{'T/seconds':>11}{'bytes/s':>9}   T adds")
    for module, rows in modules.items():
        for way, row in rows.items():
            adds = ", ".join(f"{name} {value} s" for name, value in row["bound_adds_seconds"].items())
            print(
                f"    {module + ' ' + way:20}{row['seconds']:>9}{row['bound_seconds']:>9}"
                f"{row['fraction_of_bound']:>11}{row['bytes_per_second']:>9}   {adds}"
            )


if __name__ == "__main__":
    main()
