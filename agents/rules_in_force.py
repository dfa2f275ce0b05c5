"""The newest published rules file, compiled and ready to route."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from rules.engine import Facts, RulesEngine
from rules.file import parse_rules
from rules.model import Rule, RulesFile
from schemas.catalog import Catalog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """One version of the rules file with its engine; see `rules.submit.ActiveRules`."""

    version: int
    file: RulesFile
    engine: RulesEngine

    def route(self, facts: Facts) -> Rule:
        return self.engine.route(facts)


class RulesInForce:
    """Compiles a version once, when it is first needed after it became the newest."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._compiled: CompiledRules | None = None

    def __call__(self) -> CompiledRules | None:
        """The rules to decide by; None before anything was published."""
        newest = self._catalog.newest_rules_version
        if newest == 0:
            return None
        if self._compiled is None or self._compiled.version != newest:
            if self._compiled is not None:
                self._compiled.engine.close()
            file = parse_rules(self._catalog.rules[newest].yaml)
            self._compiled = CompiledRules(newest, file, RulesEngine(file, newest))
            log.info("rules in force", version=newest, rules=len(file.rules))
        return self._compiled
