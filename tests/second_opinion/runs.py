"""One session each: which module, which faults, and what its host may then expect, all by name and seed."""

from __future__ import annotations

import traceback

from .faults import Faults
from .gateway import gateway
from .s1 import S1
from .s1b import S1b
from .s2 import S2
from .session import Plan, Session

MODULES = {"s1-uart": S1, "s1-push": S1, "s1b": S1b, "s2": S2}
PUSHED = 'value.receive = "push"'  # SKTRECVCFG=1
FAULTS = {
    "none": {},
    "slow": {"slow": 0.2, "late": 0.5, "gap": 0.3},
    "gaps": {"gap": 0.5, "noise": 0.2, "watermark": 0.2},
    "loss": {"lose_reply": 0.02, "lose_command": 0.02},
    "mute": {"mute": 0.01, "slow": 0.05},
    "closes": {"closes": 0.02},
    "resets": {"reset": 0.01},
    "all": {
        "gap": 0.3,
        "slow": 0.05,
        "late": 0.3,
        "watermark": 0.1,
        "noise": 0.05,
        "lose_reply": 0.005,
        "lose_command": 0.005,
        "mute": 0.003,
        "closes": 0.01,
        "reset": 0.004,
    },
}
HARMLESS = {"none", "slow"}  # with these, no link ends that neither side has ended


def once(profile, faults, seed, directory, *, steps):
    """A session in this directory, done; its findings tell what happened.

    Odd seeds read passively; every fourth module has the older line editor, every third has yet to join.
    """
    editor = "B" if seed % 4 == 3 else "A"
    plan = Plan(
        seed,
        steps,
        passive=seed % 2 == 1,
        faulty=faults not in HARMLESS or profile == "s1-push",  # a burst of 1024 bytes loses its link
        binary_out=profile in {"s1b", "s2"},
        binary_in=profile == "s2",
        ends=editor == "A",
        told=profile != "s1b",
    )
    path = directory / "module"
    module = MODULES[profile](path, faults=Faults(seed, **FAULTS[faults]), editor=editor, joined=seed % 3 != 2)
    real, overrides = ("s1-uart", PUSHED) if profile == "s1-push" else (profile, "")
    with module, gateway(directory, real, path, overrides) as host:
        session = Session(plan, host, module)
        try:
            session.run()
        except Exception:
            module.findings.breach(traceback.format_exc())
        finally:
            session.close()
        module.findings.note(f"{session.counts}, {session.opened} links carried {session.carried()} bytes")
    return session
