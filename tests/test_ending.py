"""How a bridge ends, as a process: at a signal in order, at a second one at once, and by itself where the order is stuck."""

import signal

import pytest
from programs import STARTS, ask, started, wait


@pytest.fixture(autouse=True, scope="module")
def _interrupts():
    """A shell without job control starts background jobs that ignore SIGINT, and what they start ignores it, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# A bridge that does not heed its cancellation.  Its Networks are known, and how long they may take.
STUCK = """\
import trio
from bridge import logs, service
from bridge.endpoint import parse
from bridge.local.policy import Policy

async def stuck(options, grace, *watchers):
    grace.seconds = {grace}
    print("up", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep(60)

logs.configure("json")
service.run_bridge = stuck
service.run(service.Options(parse("esp-at@pty:x", side="upstream"), None, Policy()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path, number):
    arguments = ("run", "esp-at@pty:host", "local", "--trace", "wires", "--log-format", "json")
    with started("-m", "bridge", *arguments, cwd=tmp_path) as child:
        wait((tmp_path / "host").is_symlink)
        for _ in range(2):  # the host may open and close its side at will
            ask(tmp_path / "host")
        child.send_signal(number)
        assert child.wait(STARTS) == 0
        log = child.stderr.read().decode()
    assert f'"signal": "{number.name}"' in log
    assert '"event": "bridge ready"' in log
    assert "too long" not in log
    assert "Traceback" not in log
    assert not (tmp_path / "host").is_symlink()
    assert "AT\\\\r\\\\n" in (tmp_path / "wires").read_text()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second):
    with started("-c", STUCK.format(grace=50)) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGTERM)
        while b'"stopping"' not in child.stderr.readline():
            assert child.poll() is None
        child.send_signal(second)
        assert child.wait(STARTS) == 128 + second  # long before its grace is over


def test_an_end_that_takes_too_long_is_ended():
    with started("-c", STUCK.format(grace=0.5)) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(STARTS) == 1
        log = child.stderr.read()
    assert b"took too long" in log
    assert b'"after": 1.5' in log  # seconds: its grace, and one more


def test_an_interrupted_demo_says_so_in_a_line():
    with started("-m", "bridge", "demo") as child:
        while b"AT" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=STARTS)
        assert child.returncode == 1
        assert err == b"at-bridge: interrupted\n"
