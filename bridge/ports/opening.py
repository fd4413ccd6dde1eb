"""Makes a port of an endpoint."""

from __future__ import annotations

from bridge.endpoint import URL, EndpointSpec
from bridge.ports import Port
from bridge.ports.descriptor import PortError
from bridge.ports.listening import listen_tcp, listen_unix
from bridge.ports.pacing import PacedPort, TimedPort
from bridge.ports.pty import PtyPort
from bridge.ports.rfc2217 import Rfc2217Port
from bridge.ports.serial import SerialPort, is_pty
from bridge.ports.sockets import ConnectPort

__all__ = ["PortError", "open_port", "publish"]


async def open_port(spec: EndpointSpec, *, baud: int) -> Port:
    """Open the endpoint's port; ``baud`` is the table's speed, for an endpoint that names none.  Raises PortError.

    A pty of ours and a socket are paced where the endpoint has ``baud=``.  A device that is really a pty is always
    timed: it has no speed, and `Port.drain` would lie.
    """
    if not spec.port:
        raise PortError(spec.text, "it has no port to open", "local is used without one")
    port = await _open(spec, spec.baud or baud)
    reset = spec.host.reset_on
    if reset and reset not in port.wires:
        await port.aclose()
        raise PortError(spec.port, f"the wire {reset} cannot be seen there", "leave out reset_on=, or use another adapter")
    return port


async def _open(spec: EndpointSpec, speed: int) -> Port:
    kind = URL.match(spec.port)
    if kind and kind[0].lower() == "rfc2217://":
        return await Rfc2217Port.open(spec, baud=speed)
    if spec.pty_path:
        return _paced(PtyPort(spec.pty_path), spec)
    if kind:
        return _paced(await ConnectPort.open(spec.port), spec)
    if spec.listen_at:
        return _paced(listen_tcp(spec.port, *spec.listen_at), spec)
    if spec.unix_path:
        return _paced(await listen_unix(spec.port, spec.unix_path), spec)
    serial = await SerialPort.open(spec, baud=speed)
    return TimedPort(serial, speed) if is_pty(spec.port) else serial


def _paced(port: Port, spec: EndpointSpec) -> Port:
    return PacedPort(port, spec.baud) if spec.baud else port


async def publish(port: Port) -> None:
    """The side is ready to answer: make its pty known, if it is one (paced or not); raises PortError."""
    inner = port.inner if isinstance(port, PacedPort) else port
    if isinstance(inner, PtyPort):
        await inner.publish()
