"""Why a device cannot be opened, in words that say what to do about it."""

from __future__ import annotations

import difflib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from bridge.ports import inventory
from bridge.ports.descriptor import PortError

__all__ = ["check_device", "others", "refuse"]

_ABSENT = {2, 5, 6, 19}  # ENOENT, EIO, ENXIO, ENODEV: nothing is there, or it is just going away


def check_device(path: str) -> None:
    """Raise PortError unless the path leads to a character device."""
    try:
        kind = Path(path).stat().st_mode
    except FileNotFoundError:
        raise PortError(path, "there is no such device", _nearest(path), absent=True) from None
    except OSError as failed:
        refuse(path, failed, 0)
    if stat.S_ISDIR(kind):
        raise PortError(path, "it is a directory", "name a device, such as one in /dev/serial/by-id")
    if not stat.S_ISCHR(kind):
        raise PortError(path, "it is not a serial device", "name a device such as /dev/ttyUSB0, or pty:PATH to make a pty")


def _nearest(path: str) -> str:
    if Path(path).is_symlink():
        return f"it is a link to {Path(path).readlink()}, which is gone: start the program that makes it"
    devices = [str(found) for pattern in ("serial/by-id/*", "ttyUSB*", "ttyACM*") for found in Path("/dev").glob(pattern)]
    near = difflib.get_close_matches(path, devices, n=1, cutoff=0.5) or sorted(devices)[:1]
    return f"did you mean {near[0]}?" if near else "plug it in, start the program that makes it, or check the path"


def refuse(path: str, failed: Exception, baud: int) -> NoReturn:
    """Turn what an open raised into a PortError with a remedy."""
    number = getattr(failed, "errno", None) or (failed.args[0] if failed.args and isinstance(failed.args[0], int) else None)
    # trio-serial wraps flock's error in one without a number.
    if isinstance(failed.__cause__, BlockingIOError) or number in {16, 11}:  # EBUSY (TIOCEXCL), EAGAIN
        raise PortError(path, f"in use by {_holder(path)}", "stop that program") from failed
    if number in {1, 13}:  # EPERM, EACCES
        group = "add the user to the group dialout (usermod -aG dialout USER) and log in again"
        raise PortError(path, "permission denied", group) from failed
    if number in _ABSENT:
        why = f"nothing is behind it ({os.strerror(number)})"
        raise PortError(path, why, "plug it in, or start the other end", absent=True) from failed
    if number in {25, 22} or isinstance(failed, (ValueError, OverflowError)):  # ENOTTY, EINVAL
        raise PortError(
            path, f"it cannot be set as a serial line at baud={baud} ({failed})", "check the path, and choose another speed"
        ) from failed
    raise PortError(path, f"cannot be opened ({failed})", "check the path") from failed


def others(path: str) -> list[str]:
    """Other processes that have this device open, as far as this user may see them: "name (process N)"."""
    found = next(iter(inventory.holders([path]).values()))
    return [f"{holder.name} (process {holder.pid})" for holder in found if holder.pid != os.getpid()]


def _holder(path: str) -> str:
    """Who has the port: by the lock, which names one; otherwise by who has it open."""
    with suppress(OSError, ValueError):
        found = Path(path).stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for entry in Path("/proc/locks").read_text().splitlines():
            words = entry.split()
            if "FLOCK" in words and place in words:
                pid = words[words.index(place) - 1]
                if int(pid) == os.getpid():
                    return f"this bridge itself (process {pid})"
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    return " and ".join(others(path)) or "another program (ModemManager, a getty, or another bridge, perhaps)"
