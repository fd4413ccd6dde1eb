"""Opening and setting a serial device: the ioctls.

trio-serial opens, locks (flock) and sets raw mode and speed; the rest is repaired here:

* VMIN=1: with trio-serial's VMIN=0, a second reader that takes our bytes makes a read give b"", as a hang-up does;
* IGNPAR, IXANY cleared; HUPCL cleared, so that closing does not drop DTR and reset the host;
* IGNBRK set.  Left as it comes, a break puts a NUL among the data; so it is dropped, and seen by the driver's count of
  breaks instead (TIOCGICOUNT counts it all the same).  The other way, PARMRK, marks the place in the data, but doubles
  every FF on the line and needs a decoder in the path of every byte.  Where a driver does not count, a break cannot be
  seen at all: it is then not among the port's wires;
* TIOCEXCL, input flushed, speed and frame read back: a driver may refuse them without an error.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from contextlib import suppress

import structlog
from trio_serial import SerialStream
from trio_serial.abstract import Parity, StopBits

from bridge.endpoint import EndpointSpec
from bridge.model import Wire
from bridge.ports import inventory
from bridge.ports.descriptor import PortError
from bridge.ports.refusals import check_device, others, refuse
from bridge.ports.wires import BREAK_CHANGES, Look

__all__ = ["attributes", "change_speed", "discard", "look", "open_tty", "queued", "set_lines", "wires_of"]

log = structlog.get_logger("bridge.ports")

_TCGETS2, _TCSETS2 = 0x802C542A, 0x402C542B  # termios with the speed as a number; tcsetattr would lose odd speeds
_TERMIOS2 = "4IB19s2I"
_BOTHER, _CBAUD = 0o010000, 0o010017  # the speed stands in the number; the mask of the field that says so
_CIBAUD = _CBAUD << 16  # 0 there: in as out
_TIOCSERGETLSR, _TIOCSER_TEMT = 0x5459, 0x01
_TIOCGICOUNT = 0x545D
_COUNTS = "20i"  # struct serial_icounter_struct
_PARITY = {"none": Parity.NONE, "even": Parity.EVEN, "odd": Parity.ODD}
_STOP = {1: StopBits.ONE, 2: StopBits.TWO}
# A wire's bit for TIOCMGET, and its place in the counts with how many changes one count stands for.
_LEVELS = {Wire.CTS: termios.TIOCM_CTS, Wire.DSR: termios.TIOCM_DSR, Wire.DCD: termios.TIOCM_CAR, Wire.RI: termios.TIOCM_RNG}
_PLACES = {Wire.CTS: (0, 1), Wire.DSR: (1, 1), Wire.RI: (2, 2), Wire.DCD: (3, 1), Wire.BREAK: (9, BREAK_CHANGES)}

Attributes = tuple[int, int, int, int, int, bytes, int, int]


async def open_tty(spec: EndpointSpec, baud: int, *, pty: bool) -> int:
    """A descriptor of ``spec.port`` with the spec's frame, flow and lines, locked; raises PortError."""
    try:
        path = inventory.resolve(spec.port)  # each time anew: the adapter may have come back elsewhere
    except inventory.UsbError as failed:
        problem = failed.problem.removeprefix(f"{spec.port}: ")
        raise PortError(spec.port, problem, failed.remedy, absent=not failed.final) from None
    check_device(path)
    line = SerialStream(
        path,
        exclusive=True,
        baudrate=baud,
        parity=_PARITY[spec.parity],
        stopbits=_STOP[spec.stop],
        xonxoff=spec.flow == "xonxoff",
        rtscts=spec.flow == "rtscts",
    )
    await line.set_hangup(False)  # HUPCL; the port is not open: this sets nothing yet
    try:
        try:
            await line.aopen()
        except (OSError, termios.error, ValueError, OverflowError) as failed:
            refuse(path, failed, baud)
        # The lock belongs to the open file, which the duplicate shares.
        descriptor = os.dup(line.fd)  # type: ignore[attr-defined]  # posix.py has it, the abstract class does not
    finally:
        await line.aclose()
    try:
        _repair(descriptor, spec, baud, pty=pty)
    except BaseException as failed:
        os.close(descriptor)
        if isinstance(failed, (OSError, termios.error)) and not isinstance(failed, PortError):
            refuse(path, failed, baud)
        raise
    if not pty and (programs := others(path)):  # a pty's owner has it open too
        log.warning("other programs have this port open and may take its bytes: stop them", port=path, programs=programs)
    return descriptor


def _repair(descriptor: int, spec: EndpointSpec, baud: int, *, pty: bool) -> None:
    iflag, oflag, cflag, lflag, discipline, chars, ispeed, ospeed = attributes(descriptor)
    keys = bytearray(chars)
    keys[termios.VMIN], keys[termios.VTIME] = 1, 0
    iflag = iflag & ~(termios.BRKINT | termios.IGNPAR | termios.IXANY) | termios.IGNBRK
    _set(descriptor, (iflag, oflag, cflag, lflag, discipline, bytes(keys), ispeed, ospeed))
    _read_back(descriptor, spec, baud, pty=pty)
    if not pty:
        # Not on a pty: the flag outlives a killed bridge there, as its owner keeps the terminal open, and would
        # shut out the next one.  flock goes with the process.
        fcntl.ioctl(descriptor, termios.TIOCEXCL)
    policy = {"keep": None, "assert": True, "drop": False}
    if not set_lines(descriptor, dtr=policy[spec.dtr], rts=policy[spec.rts]) and {spec.dtr, spec.rts} != {"keep"}:
        log.warning("this port has no modem lines: dtr= and rts= do nothing", port=spec.port)
    termios.tcflush(descriptor, termios.TCIOFLUSH)


def _read_back(descriptor: int, spec: EndpointSpec, baud: int, *, pty: bool) -> None:
    _, _, cflag, _, _, _, _, ospeed = attributes(descriptor)
    if not _near(ospeed, baud):
        raise PortError(spec.port, f"the driver made {ospeed} of baud={baud}", "choose a speed that the adapter has")
    if pty:
        return  # no frame there
    frame = {
        "parity": (termios.PARENB | termios.PARODD, {"none": 0, "even": termios.PARENB}.get(spec.parity, -1)),
        "stop": (termios.CSTOPB, termios.CSTOPB if spec.stop == 2 else 0),
        "flow": (termios.CRTSCTS, termios.CRTSCTS if spec.flow == "rtscts" else 0),
    }
    for key, (mask, want) in frame.items():
        if cflag & mask != want & mask:
            value = getattr(spec, key)
            raise PortError(spec.port, f"the driver refused {key}={value}", f"leave out {key}=, or use another adapter")


def _near(speed: int, wanted: int) -> bool:
    return abs(speed - wanted) * 50 <= wanted  # 2 %: a divisor rarely hits it exactly


def attributes(descriptor: int) -> Attributes:
    """Flags (in, out, control, local), discipline, control characters, speed in and out.  Raises OSError."""
    return struct.unpack(_TERMIOS2, fcntl.ioctl(descriptor, _TCGETS2, bytes(44)))


def _set(descriptor: int, wanted: Attributes) -> None:
    fcntl.ioctl(descriptor, _TCSETS2, struct.pack(_TERMIOS2, *wanted))


def change_speed(descriptor: int, baud: int) -> None:
    """Another speed, both ways, at once.  Raises ValueError where the driver refuses it (the old one stays), OSError."""
    before = attributes(descriptor)
    iflag, oflag, cflag, lflag, discipline, chars, _, _ = before
    cflag = cflag & ~(_CBAUD | _CIBAUD) | _BOTHER
    try:
        _set(descriptor, (iflag, oflag, cflag, lflag, discipline, chars, baud, baud))
        made = attributes(descriptor)[7]
    except OSError as failed:
        if failed.errno != 22:  # EINVAL
            raise
        made = 0
    if not _near(made, baud):
        _set(descriptor, before)
        raise ValueError(f"the driver made {made} of {baud} baud")


def queued(descriptor: int) -> int:
    """Bytes that have not left the UART, as far as the driver tells.  Raises OSError."""
    waiting = int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    if not waiting:
        with suppress(OSError):  # most adapters do not tell
            empty = struct.unpack("I", fcntl.ioctl(descriptor, _TIOCSERGETLSR, bytes(4)))[0] & _TIOCSER_TEMT
            return 0 if empty else 1
    return waiting


def discard(descriptor: int) -> None:
    """Drop what waits to be sent.  Raises OSError."""
    try:
        termios.tcflush(descriptor, termios.TCOFLUSH)
    except termios.error as failed:
        raise OSError(*failed.args) from None


def set_lines(descriptor: int, *, dtr: bool | None, rts: bool | None) -> bool:
    """Set our own lines; None leaves one.  False where there are none (a pty: ENOTTY).  Raises OSError."""
    if _levels(descriptor) is None:
        return False
    for wanted, bit in ((dtr, termios.TIOCM_DTR), (rts, termios.TIOCM_RTS)):
        if wanted is not None:
            fcntl.ioctl(descriptor, termios.TIOCMBIS if wanted else termios.TIOCMBIC, struct.pack("I", bit))
    return True


def wires_of(descriptor: int) -> frozenset[Wire]:
    """What `look` can see of this device."""
    levels = frozenset() if _levels(descriptor) is None else frozenset(_LEVELS)
    return levels if _counts(descriptor) is None else levels | {Wire.BREAK}


def look(descriptor: int, wire: Wire) -> Look:
    """One wire now; takes no time on a UART, and up to a millisecond on some USB adapters.  Raises OSError."""
    counts = _counts(descriptor)
    place, weight = _PLACES[wire]
    level = False
    if wire in _LEVELS:
        level = bool(struct.unpack("I", fcntl.ioctl(descriptor, termios.TIOCMGET, bytes(4)))[0] & _LEVELS[wire])
    return Look(level, counts[place] * weight if counts else 0)


def _levels(descriptor: int) -> int | None:
    try:
        return int(struct.unpack("I", fcntl.ioctl(descriptor, termios.TIOCMGET, bytes(4)))[0])
    except OSError as failed:
        if failed.errno in {25, 22}:  # ENOTTY, EINVAL: there are none
            return None
        raise


def _counts(descriptor: int) -> tuple[int, ...] | None:
    try:
        return struct.unpack(_COUNTS, fcntl.ioctl(descriptor, _TIOCGICOUNT, bytes(80)))
    except OSError as failed:
        if failed.errno in {25, 22}:
            return None
        raise
