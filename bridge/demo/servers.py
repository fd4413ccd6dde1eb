"""The demo's little internet: a web page, an echo, and a peer that hangs up.  On loopback only, on free ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

PAGE = b"<html><title>at-bridge</title><p>A page through a modem, for a host that never heard of it.</p></html>\n"
FAREWELL = b"so long\r\n"
DISTANCE = 0.05  # seconds: no bearer is as quick as loopback, and a send whose link ends in its settle time has failed


async def web(stream: trio.SocketStream) -> None:
    """One request, one page, then the server hangs up."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = await stream.receive_some()
        if not piece:
            return
        request += piece
    status, body = ("200 OK", PAGE) if request.startswith(b"GET / HTTP/1.1\r\n") else ("404 Not Found", b"")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await stream.send_all(head.encode() + body)


async def echo(stream: trio.SocketStream) -> None:
    """Every byte back, until the client hangs up."""
    async for piece in stream:
        await stream.send_all(piece)


async def hang_up(stream: trio.SocketStream) -> None:
    """Some words as soon as anything was heard, and the end."""
    await stream.receive_some()
    await stream.send_all(FAREWELL)


async def serve(handler: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery) -> int:
    """Serve on 127.0.0.1; returns the port."""

    async def one(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await handler(stream)
                await trio.sleep(DISTANCE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client reset it; that is its right

    # The task that serves opens the listener as well: there is no moment in which nobody would close it.
    (listener,) = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
    port: int = listener.socket.getsockname()[1]
    return port
