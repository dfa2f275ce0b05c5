"""Random rules files as text, and what trying every case says about them: nothing of the check is used here."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import oracle
from rule_samples import Assigned

from rules.check import Reference
from rules.engine import Facts
from rules.model import LEVELS, Finding, Rule, RulesFile, When
from rules.staffing import resolve_pool
from schemas.money import convert_minor, max_minor, parse_minor

CATEGORIES = ("travel", "meals", "hardware")
PLACES = (("hq", "global"), ("emea-sales", "emea"), ("apac-sales", "apac"))
PEOPLE = ("ann", "bob", "cyd", "dan")
#: Largest bound in a file, in minor units of the base: amounts beyond it are all alike.
MOST = 40
RATES = {"JPY": ("0.5", "0.0066", "3"), "EUR": ("1.5", "1.0850", "0.01"), "KWD": ("3.333", "0.1", "12345678901")}


@dataclass
class Written:
    """A file as text, and where each rule (`default` too) begins: line and column."""

    text: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


def write(dice: random.Random) -> Written:
    """One file, in one of the layouts that YAML has."""
    lines = ["# by chance", "schema: 1", "base_currency: USD"]
    rates = [f'{code}: "{dice.choice(some)}"' for code, some in RATES.items() if dice.random() < 0.6]
    lines.append(f"fx: {{{', '.join(rates)}}}")
    currencies = ["USD", *(rate[:3] for rate in rates)]
    places = {}
    number = dice.randrange(1, 8)
    lines.append("rules:")
    for rule in range(number):
        if dice.random() < 0.2:
            lines.append("" if dice.random() < 0.5 else "  # a comment")
        places[f"r{rule}"] = (len(lines) + 1, 5)
        parts = [f"id: r{rule}", *_rule(dice, currencies)]
        if dice.random() < 0.5:
            lines.append(f"  - {{{', '.join(parts)}}}")
        else:
            lines += [f"  - {parts[0]}", *(f"    {part}" for part in parts[1:])]
    places["default"] = (len(lines) + 1, 10)
    lines.append(f"default: {{{', '.join(['id: default', *_route(dice)])}}}")
    return Written("\n".join(lines) + "\n", places)


def _rule(dice: random.Random, currencies: list[str]) -> Iterator[str]:
    when = []
    for key, names in (
        ("category", (*CATEGORIES, "gone")),
        ("department", [one for one, _ in PLACES]),
        ("region", ["global", "emea", "apac", "nowhere"]),
        ("currency", currencies),
    ):
        if dice.random() < 0.35:
            when.append(f"{key}: [{', '.join(dice.sample(names, dice.randint(1, min(2, len(names)))))}]")
    low, high = sorted(dice.sample(range(MOST + 1), 2))
    bounds = {
        "gte": dice.choice([None, low]), "lt": dice.choice([None, high]), "gt": None, "lte": None,
    }  # fmt: skip
    if dice.random() < 0.3:
        bounds = {"gt": dice.choice([None, low - 1 if low else None]), "lte": high, "gte": None, "lt": None}
    said = ", ".join(f'{name}: "{bound / 100:.2f}"' for name, bound in bounds.items() if bound is not None)
    if said:
        when.append(f"amount: {{{said}}}")
    if when:
        yield f"when: {{{', '.join(when)}}}"
    yield from _route(dice)


def _route(dice: random.Random) -> Iterator[str]:
    levels = sorted(dice.sample(LEVELS, dice.randint(1, 3)))
    quorum = {level: dice.choice(["any", "all", "1", "2"]) for level in levels if dice.random() < 0.4}
    yield f"levels: [{', '.join(levels)}]"
    if quorum:
        yield f"quorum: {{{', '.join(f'{level}: {value}' for level, value in quorum.items())}}}"


def organise(dice: random.Random) -> Reference:
    """Few people, so that some routes cannot be staffed."""
    places = dice.sample(PLACES, dice.randint(1, 3))
    assigned = [
        Assigned(
            category, level, dice.choice(PEOPLE),
            dice.choice([None, None, places[0][0]]), dice.choice([None, None, "emea"]),
        )
        for category in CATEGORIES
        for level in LEVELS
        for _ in range(dice.choice([0, 1, 2, 2, 3]))
    ]  # fmt: skip
    asking = [(dice.choice((*PEOPLE, "zoe")), dice.choice(places)[0]) for _ in range(dice.randrange(5))]
    managers = frozenset(one for one in PEOPLE if dice.random() < 0.85)
    categories = dice.sample(CATEGORIES, dice.randint(1, 3))
    return Reference(categories, places, assigned, managers, dice.choice([None, asking, asking]))


@dataclass
class Tried:
    """What trying every case has shown, by rule id."""

    reached: set[str] = field(default_factory=set)
    nobody: set[str] = field(default_factory=set)
    some: set[str] = field(default_factory=set)
    overlapping: set[tuple[str, str]] = field(default_factory=set)
    #: Cases as (category, department, currency, amount in the base): all there are, and those that fall to the default.
    every: set[tuple[str, str, str, int]] = field(default_factory=set)
    left: set[tuple[str, str, str, int]] = field(default_factory=set)
    cases: int = 0


def amounts(file: RulesFile, currency: str) -> Iterator[tuple[int, int]]:
    """(minor, base) one by one until two amounts beyond every bound were seen; the first of those that convert into the same."""
    rate = file.rate(currency)
    assert rate is not None
    beyond, minor, last = 0, 1, -1
    while beyond < 2:
        base = convert_minor(minor, currency, file.base_currency, rate)
        if base != last:
            beyond += base > MOST
            yield minor, base
        minor, last = minor + 1, base


def alone(file: RulesFile, rule: Rule, facts: Facts) -> bool:
    """Whether the rule matches, whatever stands above it."""
    nothing = Rule("nothing", When(), ("L1",))
    return oracle.route(RulesFile(1, file.base_currency, 1, file.fx, (rule,), nothing), facts) is rule


def possible(needs: list[tuple[int, frozenset[str]]]) -> bool:
    """Whether different people can give all votes: by trying to give them, one after the other."""
    votes = [pool for needed, pool in needs for _ in range(needed)]

    def give(number: int, used: frozenset[str]) -> bool:
        return number == len(votes) or any(give(number + 1, used | {one}) for one in votes[number] - used)

    return all(pool for _, pool in needs) and give(0, frozenset())


def staffed(rule: Rule, facts: Facts, reference: Reference, requester: str) -> bool:
    """Whether a request like this, by that person, can be decided."""
    needs = []
    for level in rule.levels:
        named = resolve_pool(reference.assignments, facts.category_id, level, facts.department_id, facts.region)
        pool = frozenset(one for one in named if one in reference.managers and one != requester)
        wanted = rule.quorum_of(level)
        needs.append(({"any": 1, "all": max(1, len(pool))}.get(str(wanted)) or int(wanted), pool))
    return possible(needs)


def try_all(file: RulesFile, reference: Reference) -> Tried:
    """Every category, place, currency and amount there is."""
    tried = Tried()
    verdicts: dict[tuple[str, str, str], tuple[bool, bool]] = {}
    for currency in file.currencies:
        for _, base in amounts(file, currency):
            for category in reference.categories:
                for place in reference.departments:
                    facts = Facts(category, *place, currency, base)
                    rule = oracle.route(file, facts)
                    tried.cases += 1
                    tried.reached.add(rule.id)
                    case = (category, place[0], currency, base)
                    tried.every.add(case)
                    if rule is file.default:
                        tried.left.add(case)
                    key = (rule.id, category, place[0])
                    if key not in verdicts:
                        verdicts[key] = _verdict(rule, facts, reference)
                    nobody, some = verdicts[key]
                    if nobody:
                        tried.nobody.add(rule.id)
                    if some:
                        tried.some.add(rule.id)
                    matching = [one.id for one in file.rules if alone(file, one, facts)]
                    tried.overlapping |= {(a, b) for at, a in enumerate(matching) for b in matching[at + 1 :]}
    return tried


def _verdict(rule: Rule, facts: Facts, reference: Reference) -> tuple[bool, bool]:
    """(nobody's request can be decided, somebody's cannot though others' can)."""
    if not staffed(rule, facts, reference, ""):
        return True, False
    asking = [
        who for who in PEOPLE if reference.requesters is None or (who, facts.department_id) in reference.requesters
    ]
    return False, any(not staffed(rule, facts, reference, who) for who in asking)


_GAP = re.compile(
    r"Only `default` catches (?:every category|categor(?:y|ies) (.+?)) in (?:every department|departments? (.+?))"
    r"(?:, paid in (.+?))?: (.+)[.]"
)
_BAND = re.compile(r"any amount|below ([\d.]+) USD|from ([\d.]+) USD|([\d.]+) to ([\d.]+) USD")


def gaps(findings: list[Finding], every: set[tuple[str, str, str, int]]) -> set[tuple[str, str, str, int]]:
    """The cases that only the default catches, as the sentences say it."""
    found = set()
    for finding in findings:
        match = _GAP.fullmatch(finding.message)
        assert match is not None, finding.message
        categories, departments, currencies = (
            None if said is None else said.split(", ") for said in match.groups()[:3]
        )
        bands = [_BAND.fullmatch(part) for part in match[4].split(", ")]
        assert all(bands), finding.message
        for case in every:
            named = ((categories, case[0]), (departments, case[1]), (currencies, case[2]))
            if all(said is None or name in said for said, name in named) and any(_in(band, case[3]) for band in bands):
                found.add(case)
    return found


def _in(band: re.Match[str] | None, base: int) -> bool:
    assert band is not None
    below, low, first, last = (None if said is None else round(Decimal(said) * 100) for said in band.groups())
    if below is not None:
        return base < below
    if low is not None:
        return base >= low
    return first is None or last is None or first <= base <= last


def overflowing(file: RulesFile) -> set[str]:
    """Currencies of which some amount passes 2^63 minor units of the base."""
    found = set()
    for code in file.currencies:
        rate = file.rate(code)
        assert rate is not None
        largest = Decimal(max_minor(code)).scaleb(-{"JPY": 0, "KWD": 3}.get(code, 2)) * rate * 100
        if largest >= 2**63:
            found.add(code)
    return found


def reproduces(file: RulesFile, reference: Reference, finding: Finding) -> bool:
    """Whether the finding's example shows what the finding says."""
    example = finding.example
    if example is None:
        return finding.code in ("unknown-reference", "nothing-to-check") or (
            finding.code == "unreachable-rule" and "no " in finding.message
        )
    rate = file.rate(example["currency"])
    assert rate is not None
    base = convert_minor(parse_minor(example["amount"], example["currency"]), example["currency"], "USD", rate)
    if finding.code == "amount-overflow":
        return base >= 2**63
    facts = Facts(example["category_id"], example["department_id"], example["region"], example["currency"], base)
    there = facts.category_id in reference.categories and (facts.department_id, facts.region) in reference.departments
    taken_by = oracle.route(file, facts)
    named = [rule for rule in (*file.rules, file.default) if rule.id in finding.rule_ids]
    match finding.code:
        case "unreachable-rule":
            mine = next(rule for rule in named if rule.id == finding.rule_ids[0])
            return there and alone(file, mine, facts) and taken_by.id in finding.rule_ids[1:]
        case "overlapping-rules":
            return there and all(alone(file, rule, facts) for rule in named)
        case "unstaffable-route" | "unstaffable-for-requester":
            requester = example.get("requester_id", "")
            fails = not staffed(taken_by, facts, reference, requester)
            others = finding.code == "unstaffable-route" or staffed(taken_by, facts, reference, "")
            return there and taken_by.id == finding.rule_ids[0] and fails and others
    return there and taken_by.id == finding.rule_ids[0]
