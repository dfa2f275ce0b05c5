"""Checks the current rules file again after people, assignments, categories or departments have changed.

What was right when it was published can become wrong: an approver leaves, and a route cannot be staffed any more. It runs at the
one worker that has the reference data, in a process of its own, never on the path of a decision.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from agents import metrics
from agents.rules_checks import check_aside
from ops.checking.process import DiedError
from schemas.catalog import Catalog

log = structlog.get_logger(__name__)

#: Seconds between looks; a change is checked once none has followed within one, and no more often than once in `REST`.
EVERY = 2.0
REST = 10.0


class RulesWatch:
    """Tells `athena_rules_findings{severity}`, and logs when there are errors that were not there before."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seen = -1
        self._checked = -1
        self._errors = 0

    async def look(self, *, ours: bool) -> None:
        """See `agents.host_ports.Watch`."""
        await asyncio.sleep(EVERY)
        if not ours:
            metrics.RULES_FINDINGS.clear()
            self._checked = -1
            return
        catalog, rules = self._catalog, self._catalog.current_rules
        before, self._seen = self._seen, catalog.offset
        if rules is None or catalog.offset == self._checked or catalog.offset != before:
            return
        checked = catalog.offset
        try:
            findings = await check_aside(rules.yaml, catalog)
        except DiedError as error:
            log.error("the rules file could not be checked again; trying once more", error=str(error))
            return
        self._checked = checked
        count = Counter(finding.severity for finding in findings)
        for severity in ("error", "warning"):
            metrics.RULES_FINDINGS.labels(severity).set(count[severity])
        if count["error"] > self._errors:
            codes = sorted({finding.code for finding in findings if finding.severity == "error"})
            log.error(
                "the organisation has changed, and the rules file has errors now: see POST /rules/check",
                version=rules.version,
                errors=count["error"],
                codes=codes,
            )
        self._errors = count["error"]
        await asyncio.sleep(REST)
