"""Which profile a modem has, by what it says of itself.  A profile's row `model` has its patterns, ``*`` for anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import structlog

from bridge.dialects.wip.driver.modem import Modem
from bridge.driving.trouble import ModuleError
from bridge.model import Identity
from bridge.tables import Profile

log = structlog.get_logger("bridge.wip")

_PREFIX = re.compile(r"\+CGM[IMR]:")
_QUESTIONS = ("manufacturer", "model", "revision")


class OtherProfile(Exception):
    """The modem is not what it was taken for."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile.profile)
        self.profile = profile


async def ask(modem: Modem) -> Identity:
    """Who it says it is; empty where it does not say.  In the driver's task."""
    said: list[str] = []
    for question in _QUESTIONS:
        try:
            answers = await modem.command(question)
        except ModuleError as error:
            log.debug("module: does not say who it is", question=question, code=error.code)
            answers = []
        # Some firmware begins its answer with the command's name; what else it has is the text itself.
        texts = [_PREFIX.sub("", line.decode("latin-1")).strip().strip('"') for line in answers]
        said.append(next((text for text in texts if text), ""))
    return Identity(*said)


def choose(identity: Identity, profiles: Sequence[Profile]) -> Profile | None:
    """The profile whose patterns fit; the model says more than the revision.  None where none does."""
    for text in (identity.model, identity.revision):
        for profile in profiles:
            patterns = profile.words("model").upper().split("|")
            if text and any(fnmatchcase(text.upper(), pattern) for pattern in patterns):
                return profile
    return None


class Finder:
    """Asks the modem, once, where nobody has said which profile it has."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = profiles
        self._done = not profiles

    async def identify(self, modem: Modem, profile: Profile) -> None:
        """In the driver's task.  Raises OtherProfile where ``profile`` is not the one."""
        if self._done:
            return
        identity = await ask(modem)
        self._done = True
        found = choose(identity, [profile, *self._profiles])
        if found is None:
            log.warning(
                "module: not known; name its profile in the endpoint",
                model=identity.model,
                revision=identity.revision,
                taken_for=profile.profile,
            )
        elif found.profile != profile.profile:
            log.info("module: found", profile=found.profile, model=identity.model)
            raise OtherProfile(found)
