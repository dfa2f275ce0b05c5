"""Checks a rules file that is to be published, for one shard: a large one in a process of its own, while all others decide."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from agents.ports import Busy
from ops.checking.process import DiedError, TooMuchError, ask
from rules.decide_reference import findings_of
from rules.model import Finding
from schemas.catalog import Catalog
from schemas.reference import SMALL_RULES

log = structlog.get_logger(__name__)

#: The size to carry takes 3 s of CPU. Whoever publishes hears of more as an error of the file.
CHECK_SECONDS = 40.0
#: A check that was killed, or could not be started, is tried so often, with pauses of that many seconds.
ATTEMPTS = 3
PAUSE = 0.5
#: Of an organisation for which a small file is checked where it is decided, in 10 to 40 ms: categories × departments, assignments,
#: users.
SMALL_ORGANISATION = (400, 400, 1000)


class RulesChecks:
    """See `rules.decide_reference.Checking`. The shard is the only writer of its catalog, and waits: what was found for it when
    `Busy` was raised still holds when the command is handed in again, which is when it is used, once.

    A check that came to nothing raises `DiedError` then: that is no refusal, which would be remembered, but a dead letter.
    """

    def __init__(self) -> None:
        self._found: tuple[str, tuple[Finding, ...] | DiedError] | None = None

    def __call__(self, yaml: str, catalog: Catalog) -> tuple[Finding, ...]:
        found, self._found = self._found, None
        if found is not None and found[0] == yaml:
            if isinstance(found[1], DiedError):
                raise found[1]
            return found[1]
        if len(yaml) <= SMALL_RULES and _small(catalog):
            return findings_of(yaml, catalog)
        raise Busy(partial(self._check, yaml, catalog))

    async def _check(self, yaml: str, catalog: Catalog) -> None:
        try:
            self._found = (yaml, await check_aside(yaml, catalog))
        except DiedError as error:
            log.error("a rules file could not be checked; its command is set aside", error=str(error))
            self._found = (yaml, error)


def _small(catalog: Catalog) -> bool:
    sizes = (len(catalog.categories) * len(catalog.departments), len(catalog.assignments), len(catalog.users))
    return all(size <= most for size, most in zip(sizes, SMALL_ORGANISATION, strict=True))


async def check_aside(yaml: str, catalog: Catalog) -> tuple[Finding, ...]:
    """As `findings_of`, in a process of its own; a file that takes too much is told so. Raises DiedError when none answers."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = await ask({"ask": "check", "yaml": yaml}, catalog, CHECK_SECONDS)
        except TooMuchError as error:
            log.warning("a rules file took too much to be checked", error=str(error))
            text = f"This file takes more than {CHECK_SECONDS:.0f} s, or too much memory, to be checked: write fewer rules."
            return (Finding(severity="error", code="too-large", message=text),)
        except (DiedError, OSError) as error:
            log.warning("the check of a rules file ended without an answer", error=str(error)[:300], attempt=attempt)
            if attempt == ATTEMPTS:
                raise DiedError(f"the check ended {ATTEMPTS} times without an answer: {error}") from error
            await asyncio.sleep(PAUSE)
        else:
            return tuple(Finding.model_validate(finding) for finding in answer["findings"])
    raise AssertionError("unreachable")
