"""Live sessions over two wires, as their traces have them, and the transcripts of these."""

import dataclasses
import io
import json

import trio
import trio.testing
from fake_network import FakeNetwork

from bridge import dialects
from bridge.model import HostSettings
from bridge.ports.memory import line
from bridge.session import run_session
from bridge.tables import load
from bridge.trace import Trace
from bridge.trace_file import _line
from bridge.trace_view import read
from bridge.transcripts import record

ESP_AT, WIP = ("esp-at", "espat-2.3"), ("wip", "c1")


def head(upstream=ESP_AT, downstream=WIP):
    sides = {
        side: {"dialect": dialect, "profile": profile, "port": f"pty:{side}"}
        for side, (dialect, profile) in {"upstream": upstream, "downstream": downstream}.items()
    }
    return {"trace": 1, "wall": "2026-01-01T00:00:00+00:00", "ns": 0, **sides}


HEAD = head()
HELLO = (8, b'AT+CWJAP="net","hush-hush"\r\n', 1, b"AT+CIPMUX=1\r\n", 0.1)
CALL = (*HELLO, b'AT+CIPSTART=0,"TCP","192.0.2.1",80\r\n', 1)
SEND = (*CALL, b"AT+CIPSEND=0,5\r\n", 0.2, b"he", 1, b"llo", 2)


def feeds(data):
    return lambda below: below.links[0].feed(data)


def taken(steps, *, payload=True, announce=True, end=False, upstream=ESP_AT, downstream=WIP, quirks=False, baud=115200):
    """(the rows of a trace, what the host heard) of a session: seconds, the host's bytes, and what befalls the network.

    ``end``: with what the bridge says when it is ended.  ``quirks``: of the module that is driven.
    """
    rows, heard = [], bytearray()
    over = False

    async def session():
        nonlocal over
        began = trio.current_time()

        def sink(found):  # a live trace has the machine's clock; here it is virtual
            if not over:
                rows.append(json.loads(_line(dataclasses.replace(found, ns=round((found.seconds - began) * 1e9)))))

        async def listen():
            while True:
                heard.extend(await host.receive())

        trace = Trace(sink, payload=payload)
        (host, near), (ours, theirs) = line("host", baud=baud), line("module", baud=baud)
        below, table = FakeNetwork(), load(*downstream)
        net = dialects.downstream(downstream[0])(ours, table, trace)
        module = dialects.upstream(downstream[0])(theirs, below, table, Trace(), HostSettings(quirks=quirks))
        played = dialects.upstream(upstream[0])(near, net, load(*upstream), trace, HostSettings(announce=announce))
        async with trio.open_nursery() as nursery:
            await nursery.start(run_session, module, below)
            nursery.start_soon(run_session, played, net)
            nursery.start_soon(listen)
            for step in steps:
                if isinstance(step, bytes):
                    await host.send(step)
                elif callable(step):
                    step(below)
                else:
                    await trio.sleep(step)
            over = not end
            nursery.cancel_scope.cancel()

    trio.run(session, clock=trio.testing.MockClock(autojump_threshold=0))
    return rows, bytes(heard)


def text_of(rows, head=HEAD):
    return "".join(json.dumps(row) + "\n" for row in ([head] if head else []) + rows)


def made(text):
    return record.transcript(read(io.BytesIO(text.encode())))
