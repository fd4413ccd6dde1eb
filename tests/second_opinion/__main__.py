"""The soak: sessions by seed, one after the other, on the profiles and with the faults of each; exit status 1 on a breach.

cd tests && python -m second_opinion [PROFILE ...] [--seeds FIRST:LAST] [--steps N] [--faults NAME,NAME] [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .runs import FAULTS, MODULES, once


def main():
    parser = argparse.ArgumentParser(prog="second_opinion")
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=f"{', '.join(MODULES)}; all of them without")
    parser.add_argument("--seeds", default="0:10", help="FIRST:LAST")
    parser.add_argument("--steps", type=int, default=80, help="of one session")
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--keep", type=Path, help="where to leave notes, logs and traces")
    options = parser.parse_args()
    first, _, last = options.seeds.partition(":")
    broken = 0
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(int(first), int(last or int(first) + 1)):
            for profile in options.profiles or MODULES:
                for faults in options.faults.split(","):
                    broken += told(profile, faults, seed, options.keep or Path(scratch), options.steps)
    return bool(broken)


def told(profile, faults, seed, directory, steps):
    """One session, and what is said of it; gives the number of breaches."""
    directory = directory / f"{profile}-{faults}-{seed}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    began = time.monotonic()
    session = once(profile, faults, seed, directory, steps=steps)
    findings = session.findings
    (directory / "notes").write_text("\n".join([*findings.notes, ""]))
    took, (out, came) = time.monotonic() - began, session.carried()
    what = f"{session.opened} links, {out} bytes out, {came} in, {took:.0f} s"
    lines = [f"{profile} {faults} seed {seed}: {len(findings.broken)} breaches; {what}"]
    sys.stdout.write("\n    ".join([*lines, *findings.broken]) + "\n")
    sys.stdout.flush()
    return len(findings.broken)


if __name__ == "__main__":
    sys.exit(main())
