"""The newest published rules file, compiled and ready to route."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from agents import metrics
from rules.engine import Facts, RulesEngine
from rules.file import parse_rules
from rules.model import Rule, RulesFile
from schemas.catalog import Catalog
from schemas.reference import SMALL_RULES, Entity, Rules

log = structlog.get_logger(__name__)

#: Routes that are remembered of one version.
MAX_ROUTES = 10_000


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """One version of the rules file with its engine; see `rules.submit.ActiveRules`."""

    version: int
    file: RulesFile
    engine: RulesEngine
    #: The engine's answers so far: no rule tells two amounts of one band apart, and an answer costs it 0.1 ms.
    routes: dict[tuple[str, str, str, str, int], Rule] = field(default_factory=dict)

    def route(self, facts: Facts) -> Rule:
        band = self.engine.band(facts.base_minor)
        place = (facts.category_id, facts.department_id, facts.region, facts.currency, band)
        found = self.routes.get(place)
        if found is None:
            found = self.engine.route(facts)
            if len(self.routes) >= MAX_ROUTES:
                self.routes.clear()
            self.routes[place] = found
        return found


class RulesInForce:
    """Compiles a version once, when it is first needed after it became the newest. `aside`: large ones in a thread, so that
    deciding goes on; a version whose turn never came, because a newer one was published meanwhile, is skipped."""

    def __init__(self, catalog: Catalog, *, aside: bool = False) -> None:
        self._catalog = catalog
        self._aside = aside
        self._compiled: CompiledRules | None = None
        self._coming: asyncio.Future[CompiledRules] | None = None

    def __call__(self) -> CompiledRules | None:
        """The rules to decide by; None before anything was published."""
        newest = self._catalog.newest_rules_version
        if newest == 0:
            return None
        if self._compiled is None or self._compiled.version != newest:
            rules = self._catalog.rules[newest]
            if self._compiled is None or not self._aside or len(rules.yaml) <= SMALL_RULES:
                self._take(_compile(rules))
            else:
                self._compile_aside(rules)
        return self._compiled

    def heard(self, entity: Entity | None) -> None:
        """Something of the reference data has changed: a new version is compiled before the first request asks for it."""
        if isinstance(entity, Rules) and self._compiled is not None:
            self()

    def _compile_aside(self, rules: Rules) -> None:
        if self._coming is not None:
            if not self._coming.done():
                return
            coming, self._coming = self._coming.result(), None
            self._take(coming)
            if coming.version == rules.version:
                return
        self._coming = asyncio.get_running_loop().run_in_executor(None, _compile, rules)
        self._coming.add_done_callback(lambda _: self())

    def _take(self, compiled: CompiledRules) -> None:
        """From here on every request is routed by it: file, engine and version change in one step."""
        before, self._compiled = self._compiled, compiled
        if before is not None:
            before.engine.close()
        metrics.RULES_VERSION.set(compiled.version)
        log.info("rules in force", version=compiled.version, rules=len(compiled.file.rules))


def _compile(rules: Rules) -> CompiledRules:
    file = parse_rules(rules.yaml)
    return CompiledRules(rules.version, file, RulesEngine(file, rules.version))
