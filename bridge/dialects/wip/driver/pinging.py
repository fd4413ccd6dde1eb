"""One echo request at a time, by ``AT+WIPPING``, and the wait for its URC.

The URC is only printed in command state, so the wire stays there until it came: `time.ping` bounds how long.
"""

from __future__ import annotations

from functools import partial

import trio

from bridge.dialects.wip.driver.finals import NO_CODE
from bridge.dialects.wip.driver.modem import Modem
from bridge.driving.jobs import Jobs
from bridge.driving.trouble import ModuleError
from bridge.model import Condition
from bridge.network import NetworkError
from bridge.tables import Profile


class Answer:
    """What came of one request."""

    def __init__(self) -> None:
        self.here = trio.Event()
        self.seconds: float | None = None
        self.condition = Condition.CONNECT_TIMEOUT


class Pinger:
    """Asks, in the driver's task."""

    def __init__(self, modem: Modem, profile: Profile, jobs: Jobs) -> None:
        self._modem = modem
        self._profile = profile
        self._jobs = jobs
        self._turn = trio.Lock()
        self._answer: Answer | None = None

    @property
    def waiting(self) -> bool:
        """Whether an answer is due."""
        return self._answer is not None and not self._answer.here.is_set()

    async def ping(self, host: str, limit: float) -> float:
        """See Network, for an argument that was checked."""
        seconds = None
        with trio.move_on_after(limit):
            async with self._turn:
                seconds = await self._ask(host)
        if seconds is None:
            raise NetworkError(Condition.CONNECT_TIMEOUT, f"no answer within {limit:g} s")
        return seconds

    async def _ask(self, host: str) -> float:
        try:
            return await self._jobs.ask(partial(self._ping, host))
        except ModuleError as error:
            # A modem without the command says ERROR even where it says numbers.
            condition = self._profile.condition_of(error.code, "WIPPING")
            unknown = error.code == NO_CODE
            raise NetworkError(Condition.NOT_SUPPORTED if unknown else condition, f"ping refused: {error.code}") from None

    async def _ping(self, host: str) -> float:
        answer = Answer()

        def taken() -> None:  # what was said before is about a former one
            self._answer = answer

        try:
            await self._modem.command("ping", taken, host=host)
            with trio.move_on_after(self._profile.seconds("ping")):
                await answer.here.wait()
        finally:
            self._answer = None
        if answer.seconds is None:
            raise NetworkError(answer.condition, "no echo")
        return answer.seconds

    def answered(self, *, expired: bool, milliseconds: int) -> None:
        """The modem said what came of it.  The first answer counts."""
        if self._answer is not None and not self._answer.here.is_set():
            self._answer.seconds = None if expired else milliseconds / 1000
            self._answer.here.set()

    def failed(self, code: int) -> None:
        """The modem said an error instead."""
        if self._answer is not None:
            self._answer.condition = self._profile.condition_of(code, "WIPPING")
            self._answer.here.set()
