"""Routing by durable_rules, compiled from the rules file and kept behind one small class.

What is known of the library (2.0.28, from its source and by trial) and how each trap is met:

- Only integers reach it. Names become codes, so no quote, odd character or look-alike can be misread (it compares
  strings by prefix of raw JSON, and "9" with 50000); amounts are type- and range-checked, for they saturate at 2^63.
- Events only: an event is forgotten once its action has run, so nothing grows. Facts would stay for ever.
- Its `Host` starts two timer threads that walk all rulesets; `Ruleset` alone starts none, and, unlike what a host
  holds, can be deleted. Here is no host.
- Every rule has its own priority, and the default, which matches everything, the last.
- An action that stalls for ten seconds (or a clock that jumps) leaves its event behind, which would answer for the next
  request. So each answer must be exactly one rule and a completed action; else the ruleset is thrown away and made
  anew.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from durable.engine import Ruleset, durable_rules_engine

from rules.cells import Cells, Slices, bits
from rules.model import Rule, RulesFile

_LIMIT = 2**63
#: A category's rules go into one ruleset if they are this few; the library fails at about 64 that match one event.
_WHOLE = 12
_WHOLE_VARIANTS = 64
#: Else into rulesets of this few, for one place and a slice of amounts. Making one with 3 rules takes about 0.1 ms, so
#: that even a request whose ruleset must be made first is routed in time; 16 rules would take 0.4 ms.
_FEW = 3
#: Compiled rulesets kept alive at a time, at roughly 20 KB for each rule in them.
_MAX_RULESETS = 512
_serial = itertools.count(1)


class EngineError(RuntimeError):
    """The engine gave no answer, or not exactly one, twice in a row."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing looks at: ids as they stand in the reference data, and the amount in minor units of the base
    currency (0 or more, below 2^63; 0 where a small amount rounds to nothing)."""

    category_id: str
    department_id: str
    region: str
    currency: str
    base_minor: int


#: Which rules a ruleset holds (a mask), and whether it serves one department, region and currency only.
_Leaf = tuple[int, bool]


class RulesEngine:
    """Evaluates one version of the rules file. For one thread only: the library's rulesets are not locked."""

    def __init__(self, file: RulesFile, version: int) -> None:
        self._file = file
        self._version = version
        self._cells = Cells(file)
        self._slices = Slices(file, self._cells)
        categories = (self._cells.category.other, *self._cells.category.by_name.values())
        self._whole = {mask for mask in categories if self._fits(mask)}
        self._compiled: OrderedDict[_Leaf, _Compiled] = OrderedDict()
        self._finalizer = weakref.finalize(self, _close, self._compiled)

    def route(self, facts: Facts) -> Rule:
        """The first rule that matches, else the default. Raises `TypeError` or `ValueError` for facts that
        durable_rules would misread, `EngineError` if it does not answer."""
        amount = facts.base_minor
        if type(amount) is not int:
            raise TypeError(f"base_minor is {type(amount).__name__}: expected an integer of minor units")
        if not 0 <= amount < _LIMIT:
            raise ValueError(f"base_minor is {amount}: expected 0 or more and less than 2^63")
        names = (facts.department_id, facts.region, facts.currency)
        if not all(isinstance(name, str) for name in (*names, facts.category_id)):
            raise TypeError("category_id, department_id, region and currency must be strings")
        cells = self._cells
        mask, place = cells.category.mask(facts.category_id), False
        if mask not in self._whole:
            mask &= cells.department.mask(names[0]) & cells.region.mask(names[1]) & cells.currency.mask(names[2])
            mask, place = self._slices.narrow(mask, cells.band(amount), _FEW), True
        index = self._ask(
            (mask, place),
            {
                "department": cells.department.code(names[0]),
                "region": cells.region.code(names[1]),
                "currency": cells.currency.code(names[2]),
                "base_minor": amount,
            },
        )
        return self._file.default if index is None else self._file.rules[index]

    def band(self, base_minor: int) -> int:
        """A number for the amount: no rule tells two amounts with the same one apart."""
        return self._cells.band(base_minor)

    def close(self) -> None:
        """Free the library's memory now rather than when this object goes."""
        self._finalizer()

    def _fits(self, mask: int) -> bool:
        """Whether one ruleset carries all these rules, whatever they ask for."""
        if mask.bit_count() > _WHOLE:
            return False
        return sum(len(self._conditions(self._file.rules[index], False)) for index in bits(mask)) <= _WHOLE_VARIANTS

    def _ask(self, leaf: _Leaf, fact: dict[str, int]) -> int | None:
        reason: Exception | None = None
        for _ in range(2):
            compiled = self._compiled.get(leaf)
            if compiled is None:
                compiled = self._compile(leaf)
            else:
                self._compiled.move_to_end(leaf)
            try:
                return compiled.ask(fact)
            except BaseException as error:  # whatever it is (a signal too): the event may still be inside
                del self._compiled[leaf]
                compiled.delete()
                if not isinstance(error, Exception):
                    raise
                reason = error
        raise EngineError(f"rules version {self._version}: no clear answer for {fact}") from reason

    def _compile(self, leaf: _Leaf) -> _Compiled:
        if len(self._compiled) >= _MAX_RULESETS:
            self._compiled.popitem(last=False)[1].delete()
        mask, place = leaf
        conditions = [
            (index, condition) for index in bits(mask) for condition in self._conditions(self._file.rules[index], place)
        ]
        found = self._compiled[leaf] = _Compiled(f"route_v{self._version}_{next(_serial)}", conditions)
        return found

    def _conditions(self, rule: Rule, place: bool) -> list[dict[str, Any]]:
        """One condition for each combination of names: amounts first, so that the combinations share their nodes. The
        category, and with `place` the department, region and currency, are known to match already."""
        low, high = rule.when.bounds
        amounts: list[dict[str, Any]] = []
        if low > 0:
            amounts.append({"$gte": {"base_minor": low}})
        if high is not None:
            amounts.append({"$lte": {"base_minor": high}})
        asked = (
            ("department", self._cells.department, rule.when.department),
            ("region", self._cells.region, rule.when.region),
            ("currency", self._cells.currency, rule.when.currency),
        )
        choices = [
            [{field: axis.code(name)} for name in names]
            for field, axis, names in asked
            if names is not None and not place
        ]
        return [_all_of([*amounts, *combination]) for combination in itertools.product(*choices)]


class _Compiled:
    """One ruleset of the library. It records which rule fired; its actions do no more, for what they raise is lost."""

    def __init__(self, name: str, conditions: list[tuple[int, dict[str, Any]]]) -> None:
        self._fired: list[int | None] = []
        self._done = 0
        definition: dict[str, Any] = {}
        for index, condition in conditions:
            self._add(definition, condition, index)
        self._add(definition, _all_of([]), None)
        self._ruleset = Ruleset(name, None, definition)

    def _add(self, definition: dict[str, Any], condition: dict[str, Any], index: int | None) -> None:
        priority = len(definition) + 1

        def record(_: object) -> None:
            self._fired.append(index)

        definition[f"r{priority}"] = {"pri": priority, "all": [{"m": condition}], "run": record}

    def ask(self, fact: dict[str, int]) -> int | None:
        """The index of the rule that fired, None for the default."""
        self._fired.clear()
        self._done = 0
        self._ruleset.do_actions(self._ruleset.assert_event(fact), self._complete)
        if self._done != 1 or len(self._fired) != 1:
            raise EngineError(f"{len(self._fired)} rules fired and {self._done} actions completed, expected one")
        return self._fired[0]

    def _complete(self, error: BaseException | None, _: object) -> None:
        if error:
            raise EngineError(f"durable_rules failed: {error}")
        self._done += 1

    def delete(self) -> None:
        """Free what the library holds: the one session's state first, then the ruleset."""
        handle = self._ruleset._handle
        with contextlib.suppress(Exception):  # there is no state before the first event
            durable_rules_engine.delete_state(handle, "0")
        durable_rules_engine.delete_ruleset(handle)


def _all_of(terms: list[dict[str, Any]]) -> dict[str, Any]:
    if not terms:
        return {"$ex": {"base_minor": 1}}
    return terms[0] if len(terms) == 1 else {"$and": terms}


def _close(compiled: OrderedDict[_Leaf, _Compiled]) -> None:
    while compiled:
        compiled.popitem()[1].delete()
