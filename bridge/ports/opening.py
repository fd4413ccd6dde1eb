"""Makes a port of an endpoint."""

from __future__ import annotations

import re

from bridge.endpoint import URL, EndpointSpec
from bridge.ports import Port
from bridge.ports.pacing import PacedPort
from bridge.ports.pty import PortError, PtyPort
from bridge.ports.serial import SerialPort, is_pty

__all__ = ["PortError", "open_port", "publish"]

_PLANNED = re.compile(r"listen:|unix:")


async def open_port(spec: EndpointSpec, *, baud: int) -> Port:
    """Open the endpoint's port; ``baud`` is the table's speed, for an endpoint that names none.  Raises PortError.

    A pty of ours is paced where the endpoint has ``baud=``.  A device that is really a pty is always paced: it has
    no speed, and `Port.drain` would lie.
    """
    if not spec.port:
        raise PortError(spec.text, "it has no port to open", "local is used without one")
    if URL.match(spec.port) or _PLANNED.match(spec.port):
        raise PortError(spec.port, "this kind of port is not there yet", "use a device path or pty:PATH")
    if spec.pty_path:
        pty = PtyPort(spec.pty_path)
        return PacedPort(pty, spec.baud) if spec.baud else pty
    speed = spec.baud or baud
    serial = await SerialPort.open(spec, baud=speed)
    return PacedPort(serial, speed) if is_pty(spec.port) else serial


async def publish(port: Port) -> None:
    """The side is ready to answer: make its pty known, if it is one (paced or not); raises PortError."""
    inner = port.inner if isinstance(port, PacedPort) else port
    if isinstance(inner, PtyPort):
        await inner.publish()
