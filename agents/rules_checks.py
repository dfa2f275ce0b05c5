"""Checks a rules file that is to be published, for one shard: a large one in a process of its own, while all others decide."""

from __future__ import annotations

from functools import partial

import structlog

from agents.ports import Busy
from agents.rules_in_force import SMALL
from ops.checking.process import TooMuchError, ask
from rules.decide_reference import findings_of
from rules.model import Finding
from schemas.catalog import Catalog

log = structlog.get_logger(__name__)

#: The size to carry takes 3 s of CPU. Whoever publishes hears of more as an error of the file.
CHECK_SECONDS = 40.0
#: Categories × departments of an organisation for which a small file is checked where it is decided, in about 10 ms.
SMALL_ORGANISATION = 400


class RulesChecks:
    """See `rules.decide_reference.Checking`. The shard is the only writer of its catalog, and waits: what was found for it when
    `Busy` was raised still holds when the command is handed in again, which is when it is used, once."""

    def __init__(self) -> None:
        self._found: tuple[str, tuple[Finding, ...]] | None = None

    def __call__(self, yaml: str, catalog: Catalog) -> tuple[Finding, ...]:
        found, self._found = self._found, None
        if found is not None and found[0] == yaml:
            return found[1]
        if len(yaml) <= SMALL and len(catalog.categories) * len(catalog.departments) <= SMALL_ORGANISATION:
            return findings_of(yaml, catalog)
        raise Busy(partial(self._check, yaml, catalog))

    async def _check(self, yaml: str, catalog: Catalog) -> None:
        self._found = (yaml, await check_aside(yaml, catalog))


async def check_aside(yaml: str, catalog: Catalog) -> tuple[Finding, ...]:
    """As `findings_of`, in a process of its own; a file that takes too much is told so. Raises OSError without processes."""
    try:
        answer = await ask({"ask": "check", "yaml": yaml}, catalog, CHECK_SECONDS)
    except TooMuchError as error:
        log.warning("a rules file took too much to be checked", error=str(error))
        text = f"This file takes more than {CHECK_SECONDS:.0f} s, or too much memory, to be checked: write fewer rules."
        return (Finding(severity="error", code="too-large", message=text),)
    return tuple(Finding.model_validate(finding) for finding in answer["findings"])
