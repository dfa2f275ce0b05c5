"""The check against trying every case, for rules files by chance: a verdict that differs lets money pass the wrong people, or keeps
an admin from publishing what is right.

`ATHENA_TEST_RULES_FILES=500` tries so many; `ATHENA_TEST_RULES_SEED` is the first one's seed.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import brute_force
import pytest

from rules.check import check
from rules.file import parse_rules
from rules.model import Finding, RulesFileError

FILES = int(os.environ.get("ATHENA_TEST_RULES_FILES", "60"))
FIRST = int(os.environ.get("ATHENA_TEST_RULES_SEED", "1"))


def ids(findings: list[Finding], code: str) -> set[str]:
    return {one.rule_ids[0] for one in findings if one.code == code}


@pytest.mark.timeout(3600)
def test_every_verdict_is_that_of_trying_every_case() -> None:
    """Both ways: what is found is true, and what is true is found; and each example shows it, at its place in the file."""
    told: Counter[str] = Counter()
    cases = 0
    for seed in range(FIRST, FIRST + FILES):
        dice = random.Random(seed)
        written, reference = brute_force.write(dice), brute_force.organise(dice)
        try:
            file = parse_rules(written.text)
        except RulesFileError as error:
            raise AssertionError(f"seed {seed}: {error}\n{written.text}") from error
        findings = check(file, reference)
        tried = brute_force.try_all(file, reference)
        cases += tried.cases
        where = f"seed {seed}\n{written.text}"
        assert ids(findings, "unreachable-rule") == {rule.id for rule in file.rules} - tried.reached, where
        assert ids(findings, "unstaffable-route") == tried.nobody, where
        assert ids(findings, "unstaffable-for-requester") == tried.some, where
        assert {one.rule_ids for one in findings if one.code == "overlapping-rules"} == {
            pair for pair in tried.overlapping if pair[1] in tried.reached
        }, where
        gaps = [one for one in findings if one.code == "default-only"]
        assert brute_force.gaps(gaps, tried.every) == tried.left, where
        overflows = {str((one.example or {}).get("currency")) for one in findings if one.code == "amount-overflow"}
        assert overflows == brute_force.overflowing(file), where
        for one in findings:
            told[one.code] += 1
            assert brute_force.reproduces(file, reference, one), f"{one}\n{where}"
            if one.code != "amount-overflow":
                place = written.places[one.rule_ids[-1] if one.code == "overlapping-rules" else one.rule_ids[0]]
                assert (one.line, one.column) == place, f"{one}\n{where}"
    print(f"{FILES} files, {cases} cases, findings: {dict(told)}")  # noqa: T201 - what was tried
    # A generator that makes no such case would prove nothing.
    assert set(told) >= {
        "unreachable-rule", "unstaffable-route", "unstaffable-for-requester", "default-only", "overlapping-rules",
        "amount-overflow", "unknown-reference",
    }  # fmt: skip
