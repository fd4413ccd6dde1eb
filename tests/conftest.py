"""Every async test has a deadline: 60 s of its own clock (virtual where the test has an autojump clock)."""

from __future__ import annotations

import functools
import inspect

import pytest
import structlog
import trio

DEADLINE = 60


@pytest.fixture(autouse=True)
def _fresh_logging():
    """The command line configures logging for its process; here each test starts from the defaults."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            limit = item.get_closest_marker("deadline")
            item.obj = _limited(item.obj, limit.args[0] if limit else DEADLINE)


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): another deadline than the usual one")


def _limited(test, seconds):
    @functools.wraps(test)
    async def run(*args, **kwargs):
        with trio.fail_after(seconds):
            await test(*args, **kwargs)

    return run
