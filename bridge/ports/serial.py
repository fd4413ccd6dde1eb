"""A serial device, or the slave of somebody's pty.

trio-serial opens, locks (flock) and sets raw mode and speed; the rest is repaired here:

* VMIN=1: with trio-serial's VMIN=0, a second reader that takes our bytes makes a read give b"", as a hang-up does;
* BRKINT, IGNPAR, IXANY cleared; HUPCL cleared, so that closing does not drop DTR and reset the host;
* TIOCEXCL, input flushed, speed and frame read back: a driver may refuse them without an error;
* hang-ups, which it reports as b"", EIO or termios.error, are all `PortLost`.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import stat
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

import trio
from trio_serial import SerialStream
from trio_serial.abstract import Parity, StopBits

from bridge.endpoint import EndpointSpec
from bridge.ports.pty import DescriptorPort, PortError

__all__ = ["SerialPort", "is_pty"]

_PTY_MAJORS = range(136, 144)  # Unix98 pty slaves
_TCGETS2, _TCSETS2 = 0x802C542A, 0x402C542B  # termios with the speed as a number; tcsetattr would lose odd speeds
_TERMIOS2 = "4IB19s2I"
_TIOCSERGETLSR, _TIOCSER_TEMT = 0x5459, 0x01
_PARITY = {"none": Parity.NONE, "even": Parity.EVEN, "odd": Parity.ODD}
_STOP = {1: StopBits.ONE, 2: StopBits.TWO}
_POLL_LEAST, _POLL_MOST = 0.001, 0.020  # seconds


def is_pty(path: str) -> bool:
    """Whether the path leads to a pty's slave; False where there is nothing."""
    with suppress(OSError, ValueError):
        found = Path(path).stat()
        return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _PTY_MAJORS
    return False


class SerialPort(DescriptorPort):
    """An open serial device.  Make it with `open`."""

    def __init__(self, name: str, descriptor: int, byte: float, *, pty: bool) -> None:
        super().__init__(name, descriptor)
        self._byte = byte  # seconds
        self._pty = pty
        self._left_at = 0.0  # when the last byte left, had nothing held it up
        self.modem_lines = False  # whether the device has any; a pty has none

    @classmethod
    async def open(cls, spec: EndpointSpec, *, baud: int) -> Self:
        """Open ``spec.port`` with the spec's frame, flow and modem lines; raises PortError."""
        path = spec.port
        _check_device(path)
        line = SerialStream(
            path,
            exclusive=True,
            baudrate=baud,
            parity=_PARITY[spec.parity],
            stopbits=_STOP[spec.stop],
            xonxoff=spec.flow == "xonxoff",
            rtscts=spec.flow == "rtscts",
        )
        await line.set_hangup(False)  # the port is not open: this sets nothing yet
        try:
            try:
                await line.aopen()
            except (OSError, termios.error, ValueError, OverflowError) as failed:
                _refuse(path, failed, baud)
            # The lock belongs to the open file, which the duplicate shares.
            descriptor = os.dup(line.fd)  # type: ignore[attr-defined]  # posix.py has it, the abstract class does not
        finally:
            await line.aclose()
        bits = 9 + (spec.parity != "none") + spec.stop
        port = cls(path, descriptor, bits / baud, pty=is_pty(path))
        try:
            port._repair(spec, baud)
        except (OSError, termios.error) as failed:
            port.close()
            if isinstance(failed, PortError):
                raise
            _refuse(path, failed, baud)
        except BaseException:
            port.close()
            raise
        return port

    def _repair(self, spec: EndpointSpec, baud: int) -> None:
        descriptor = self._stream.fileno()
        iflag, oflag, cflag, lflag, discipline, chars, ispeed, ospeed = _get(descriptor)
        keys = bytearray(chars)
        keys[termios.VMIN], keys[termios.VTIME] = 1, 0
        iflag &= ~(termios.BRKINT | termios.IGNPAR | termios.IXANY)
        cflag &= ~termios.HUPCL
        wanted = struct.pack(_TERMIOS2, iflag, oflag, cflag, lflag, discipline, bytes(keys), ispeed, ospeed)
        fcntl.ioctl(descriptor, _TCSETS2, wanted)
        self._read_back(spec, baud)
        if not self._pty:
            # Not on a pty: the flag outlives a killed bridge there, as its owner keeps the terminal open, and would
            # shut out the next one.  flock goes with the process.
            fcntl.ioctl(descriptor, termios.TIOCEXCL)
        self._set_modem_lines(descriptor, spec)
        termios.tcflush(descriptor, termios.TCIOFLUSH)

    def _read_back(self, spec: EndpointSpec, baud: int) -> None:
        _, _, cflag, _, _, _, _, ospeed = _get(self._stream.fileno())
        if abs(ospeed - baud) * 50 > baud:  # 2 %: a divisor rarely hits it exactly
            raise PortError(self.name, f"the driver made {ospeed} of baud={baud}", "choose a speed that the adapter has")
        if self._pty:
            return  # no frame there
        frame = {
            "parity": (termios.PARENB | termios.PARODD, {"none": 0, "even": termios.PARENB}.get(spec.parity, -1)),
            "stop": (termios.CSTOPB, termios.CSTOPB if spec.stop == 2 else 0),
            "flow": (termios.CRTSCTS, termios.CRTSCTS if spec.flow == "rtscts" else 0),
        }
        for key, (mask, want) in frame.items():
            if cflag & mask != want & mask:
                raise PortError(self.name, f"the driver refused {key}={getattr(spec, key)}", "the adapter cannot do it")

    def _set_modem_lines(self, descriptor: int, spec: EndpointSpec) -> None:
        try:
            fcntl.ioctl(descriptor, termios.TIOCMGET, bytes(4))
        except OSError:
            return  # ENOTTY (a pty) or EINVAL: there are none
        self.modem_lines = True
        for policy, bit in ((spec.dtr, termios.TIOCM_DTR), (spec.rts, termios.TIOCM_RTS)):
            if policy != "keep":
                order = termios.TIOCMBIS if policy == "assert" else termios.TIOCMBIC
                fcntl.ioctl(descriptor, order, struct.pack("I", bit))

    async def send(self, data: bytes) -> int:
        """See Port."""
        before = self._sent
        self._left_at = max(self._left_at, trio.current_time())
        try:
            return await super().send(data)
        finally:
            self._left_at += (self._sent - before) * self._byte

    async def drain(self) -> None:
        """See Port.  Polls the driver's queue and the UART: tcdrain would stick in a thread when the line stands still."""
        await trio.lowlevel.checkpoint()
        if self._pty:
            return
        while (queued := self._queued()) > 0:  # noqa: ASYNC110 - the driver gives no event
            await trio.sleep(min(_POLL_MOST, max(_POLL_LEAST, queued * self._byte)))
        # An adapter's own buffer shows in no count; at full speed it is empty by then.
        await trio.sleep_until(max(self._left_at, trio.current_time()))

    def _queued(self) -> int:
        descriptor = self._stream.fileno()
        try:
            waiting = int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError) as gone:
            self._lost(gone)
        if not waiting:
            with suppress(OSError):  # most adapters do not tell
                empty = struct.unpack("I", fcntl.ioctl(descriptor, _TIOCSERGETLSR, bytes(4)))[0] & _TIOCSER_TEMT
                return 0 if empty else 1
        return waiting


def _get(descriptor: int) -> tuple[int, int, int, int, int, bytes, int, int]:
    return struct.unpack(_TERMIOS2, fcntl.ioctl(descriptor, _TCGETS2, bytes(44)))


def _check_device(path: str) -> None:
    try:
        kind = Path(path).stat().st_mode
    except FileNotFoundError:
        raise PortError(path, "there is no such device", _nearest(path)) from None
    except OSError as failed:
        _refuse(path, failed, 0)
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


def _refuse(path: str, failed: Exception, baud: int) -> NoReturn:
    """Turn what an open raised into a PortError with a remedy."""
    number = getattr(failed, "errno", None) or (failed.args[0] if failed.args and isinstance(failed.args[0], int) else None)
    # trio-serial wraps flock's error in one without a number.
    if isinstance(failed.__cause__, BlockingIOError) or number in {16, 11}:  # EBUSY (TIOCEXCL), EAGAIN
        raise PortError(path, f"in use by {_holder(path)}", "stop that program") from failed
    if number in {1, 13}:  # EPERM, EACCES
        group = "add the user to the group dialout (usermod -aG dialout USER) and log in again"
        raise PortError(path, "permission denied", group) from failed
    if number in {5, 6, 19}:  # EIO, ENXIO, ENODEV
        raise PortError(path, f"nothing is behind it ({os.strerror(number)})", "plug it in, or start the other end") from failed
    if number in {25, 22} or isinstance(failed, (ValueError, OverflowError)):  # ENOTTY, EINVAL
        raise PortError(
            path, f"it cannot be set as a serial line at baud={baud} ({failed})", "check the path and the speed"
        ) from failed
    raise PortError(path, f"cannot be opened ({failed})", "check the path") from failed


def _holder(path: str) -> str:
    """Who holds the flock, as far as the kernel tells."""
    with suppress(OSError, ValueError):
        found = Path(path).stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for entry in Path("/proc/locks").read_text().splitlines():
            words = entry.split()
            if "FLOCK" in words and place in words:
                pid = words[words.index(place) - 1]
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    return "another program (ModemManager, a getty, or another bridge, perhaps)"
