"""`python -m bench [--only PART]`: a table on the terminal; the rest of bench.json is kept.  Asserts nothing."""
# ruff: noqa: T201 - a benchmark prints

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from bench import goodput, latency, results, skt, turns
from bench.wires import ROOT

PARTS = ("latency", "goodput", "one", "five", "first", "skt")


def main() -> None:
    """Run the parts."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=2000, help="rounds of the latency part (default 2000)")
    options.add_argument("--sends", type=int, default=16, help="2 KiB sends and receives of the goodput part (default 16)")
    options.add_argument("--only", choices=PARTS, help="one part")
    chosen = options.parse_args()
    machine = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="at-bridge-bench-") as name:
        folder = Path(name)
        wanted = PARTS if chosen.only is None else (chosen.only,)
        if "latency" in wanted:
            result["latency"] = latency.measure(folder, chosen.rounds)
            show_latency(result["latency"])
        if "goodput" in wanted:
            result["goodput"] = {}
            for module in ("local", "wip:c1"):
                result["goodput"][module] = goodput.measure(folder, module, chosen.sends)
            result["goodput"]["wip ack=bridge"] = goodput.measure(folder, "wip:c1", chosen.sends, "bridge")
            show_goodput(result["goodput"], chosen.sends)
        if "one" in wanted:
            result["one"] = goodput.one_link(folder)
            show_one(result["one"])
        if "five" in wanted:
            result["five"] = turns.five()
            show_five(result["five"])
        if "first" in wanted:
            result["first"] = turns.first_byte(folder)
            show_first(result["first"])
        if "skt" in wanted:
            result["skt"] = skt.measure(folder)
            show_skt(result["skt"])
    out = ROOT / "bench.json"
    kept = results.keep(out, result, PARTS, machine)
    print(f"\nwritten: {out.name}", *(f"kept in it: {line}" for line in kept), sep="\n")


def show_skt(rows: dict[str, Any]) -> None:
    """The tables of the SKT part, and their formulas."""
    print("\n(f) a simulated Realtek Ameba behind an ESP-AT host; the module's line is paced, a byte is 10 bits")
    print("    s1 send     T = payload + lines x (head of AT+SKTSEND + reply + guard), 108 bytes a line")
    print("    s1 receive  T = payload + reads x (AT+SKTREAD + head of the answer + guard), 127 bytes a read")
    print("    s2 send     T = payload + sends x (AT+SKTSENDRAW + prompt + OK + guard)")
    print(f"                    a send is the host's {skt.SIZE} bytes; with ack=bridge {skt.raw_send('bridge')}, the chunk")
    print("    s2 receive  T = payload + heads, 1500 bytes each")
    print(f"    {'':34}{'seconds':>9}{'T':>9}{'T/seconds':>11}{'line/seconds':>14}{'bytes/s':>9}")
    for name, row in rows.items():
        for way in ("send", "receive"):
            if way in row:
                one = row[way]
                print(
                    f"    {name + ' ' + way:34}{one['seconds']:>9}{one['bound_seconds']:>9}"
                    f"{one['fraction_of_bound']:>11}{one['fraction_of_line']:>14}{one['bytes_per_second']:>9}"
                )
    print("    reaction of an idle link at 38400, seconds; worst by rule: longest pause + links x one poll")
    print(f"    {'':14}{'a poll':>9}{'by rule':>9}{'byte p50':>10}{'worst':>8}{'close p50':>11}{'worst':>8}")
    for name, row in rows.items():
        if "poll_seconds" in row:
            print(
                f"    {name:14}{row['poll_seconds']:>9}{row['bound_seconds']:>9}{row['arrival_median']:>10}"
                f"{row['arrival_worst']:>8}{row['close_median']:>11}{row['close_worst']:>8}"
            )


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
    print("                           + on a modem: its last byte + settle time (mapped already, so no guard is due);")
    print("                             not with ack=bridge, where a host's SEND OK does not wait for the modem")
    print("    bound of a receive T = (payload + every +IPD header) x byte")
    print(f"    {'':20}{'seconds':>9}{'T':>9}{'T/seconds':>11}{'bytes/s':>9}   T adds")
    for module, rows in modules.items():
        for way, row in rows.items():
            adds = ", ".join(f"{name} {value} s" for name, value in row["bound_adds_seconds"].items())
            print(
                f"    {module + ' ' + way:20}{row['seconds']:>9}{row['bound_seconds']:>9}"
                f"{row['fraction_of_bound']:>11}{row['bytes_per_second']:>9}   {adds}"
            )


def show_one(rows: dict[str, Any]) -> None:
    """One link of a modem, 64 KiB up and down."""
    print(f"\n(c) one link on wip:c1, {goodput.ONE_LINK} bytes, from command state on; T as in (b) + mapping {goodput.MAPPING} s")
    print(f"    {'':20}{'seconds':>9}{'T':>9}{'T/seconds':>11}{'bytes/s':>9}")
    for way, row in rows.items():
        print(
            f"    {way:20}{row['seconds']:>9}{row['bound_seconds']:>9}{row['fraction_of_bound']:>11}{row['bytes_per_second']:>9}"
        )


def show_five(rows: dict[str, Any]) -> None:
    """Five links at once, both ways out of data mode."""
    print(f"\n(d) {turns.LINKS} links on one modem, {turns.EACH} bytes each way on each, at once; a line of {goodput.BAUD} baud")
    print("    bound T = sum over all visits of (0.05 mapping + bytes x 10 / rate + 0.1 idle + leaving), bytes <= 16384 a visit")
    print("    leaving: 2.0 s of guards and the escape; by DTR: FIFO, pulse and silence of the table")
    print(f"    every link is served within {turns.LINKS} x (the same, for 16384 bytes)")
    head = f"{'seconds':>9}{'T':>9}{'T/seconds':>11}{'visits':>8}{'longest wait':>14}{'served within':>15}"
    print(f"    {'':8}{head}")
    for name, row in rows.items():
        print(
            f"    {name:8}{row['seconds']:>9}{row['bound_seconds']:>9}{row['fraction_of_bound']:>11}{row['visits']:>8}"
            f"{row['longest_wait_for_a_visit']:>14}{row['served_within']:>15}"
        )


def show_first(row: dict[str, Any]) -> None:
    """What a quiet link waits for."""
    print(f"\n(e) from a peer's first byte to +IPD while another link is written without a pause, {row['rounds']} rounds")
    print("    bound = mapping + the longest visit of a link whose neighbour is not heard + leaving + mapping,")
    print("            then the busy link's turn again: no +IPD passes between a CIPSEND and its SEND OK")
    print(f"    median {row['median']} s, longest {row['longest']} s, bound {row['bound_seconds']} s")


if __name__ == "__main__":
    main()
