"""Reading the rules file: what is let through wrongly here routes every request wrongly."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_samples import EXAMPLE, large

from rules.file import RulesFileError, parse_rules
from rules.model import Finding

MINIMAL = """\
schema: 1
base_currency: USD
fx: {EUR: '1.1'}
rules:
  - {id: a, when: {%s}, levels: [L1]}
default: {id: d, levels: [L1]}"""


def findings(text: str) -> list[Finding]:
    with pytest.raises(RulesFileError) as caught:
        parse_rules(text)
    found = caught.value.findings
    assert found
    for one in found:
        assert one.severity == "error" and one.line is not None and one.column is not None
        assert one.message.endswith(".")
    return found


def test_the_documented_example_is_read() -> None:
    file = parse_rules(EXAMPLE)
    assert (file.schema, file.base_currency, file.rollback_window_ms) == (1, "USD", 86_400_000)
    assert file.fx == {"EUR": Decimal("1.0850"), "JPY": Decimal("0.0066"), "GBP": Decimal("1.27")}
    travel, hardware, large_one = file.rules
    assert travel.when.category == ("travel", "meals")
    assert travel.when.bounds == (0, 99_999)
    assert hardware.when.bounds == (100_000, 4_999_999)
    assert [hardware.quorum_of(level) for level in hardware.levels] == ["any", 2]
    assert large_one.quorum == {"L3": "all"}
    assert (hardware.line, hardware.column) == (9, 5)
    assert file.default.id == "default" and file.default.levels == ("L1", "L2")
    assert file.currencies == ("USD", "EUR", "JPY", "GBP") and file.rate("CHF") is None and file.rate("USD") == 1


def test_json_is_read_too_whatever_its_indent() -> None:
    value = {
        "schema": 1,
        "base_currency": "JPY",
        "rollback_window": "90s",
        "remind_after": "15m",
        "fx": {},
        "rules": [
            {"id": "a", "when": {"amount": {"gte": "0"}, "category": ["\U0001f600"]}, "levels": ["L2"],
             "escalate_after": "2d"}
        ],
        "default": {"id": "d", "levels": ["L1"]},
    }  # fmt: skip
    for text in (
        json.dumps(value),
        json.dumps(value, indent="\t"),
        "\ufeff" + json.dumps(value, indent=2, ensure_ascii=False),
    ):
        file = parse_rules(text)
        assert file.rollback_window_ms == 90_000
        assert file.rules[0].when.category == ("\U0001f600",)
        assert (file.remind_after(file.rules[0]), file.escalate_after(file.rules[0])) == (900_000, 172_800_000)
        assert file.escalate_after(file.default) is None


def test_words_are_words_as_in_yaml_1_2() -> None:
    file = parse_rules(MINIMAL % "region: [no, yes, on, off, 1_000, 12:30]")
    assert file.rules[0].when.region == ("no", "yes", "on", "off", "1_000", "12:30")


def test_rules_may_be_left_out_but_not_be_an_empty_list() -> None:
    assert parse_rules("schema: 1\nbase_currency: USD\ndefault: {id: d, levels: [L1]}").rules == ()
    assert findings("schema: 1\nbase_currency: USD\nrules: []\ndefault: {id: d, levels: [L1]}")[0].code == "empty-list"


@pytest.mark.parametrize(
    ("when", "code", "column", "says"),
    [
        ("amount: {lt: 1000}", "money-not-quoted", 33, '"1000" in quotes'),
        ("amount: {lt: 10.50}", "money-not-quoted", 33, '"10.50" in quotes'),
        ("amount: {lt: .nan}", "money-not-quoted", 33, "quotes"),
        ("amount: {lt: true}", "wrong-type", 33, "amount in quotes"),
        ("amount: {lt: ~}", "wrong-type", 33, "amount in quotes"),
        ('amount: {lt: "1.005"}', "bad-value", 33, "decimals"),
        ('amount: {lt: "-1"}', "bad-value", 33, "digits"),
        ('amount: {lt: "0"}', "empty-band", 28, "no amount"),
        ('amount: {gt: "5", lt: "5.01"}', "empty-band", 28, "no amount"),
        ("amount: {}", "empty-band", 28, "at least one"),
        ('amount: {eq: "5"}', "unknown-key", 29, "`lt`"),
        ('amount: "5"', "wrong-type", 28, "mapping"),
        ("category: []", "empty-list", 30, "[travel]"),
        ("category: travel", "wrong-type", 30, "[travel]"),
        ("category: [7]", "wrong-type", 31, '"7" in quotes'),
        ("category: [true]", "wrong-type", 31, '"true" in quotes'),
        ("category: [[a]]", "wrong-type", 31, "travel"),
        ("currency: [CHF]", "unknown-currency", 31, "fx"),
        ("currency: [eur]", "unknown-currency", 31, "EUR"),
        ("colour: [red]", "unknown-key", 20, "`category`"),
        ("1: [red]", "wrong-type", 20, "word"),
        ("<<: {a: b}", "unknown-key", 20, "`category`"),
        ("region: [a], region: [b]", "duplicate-key", 33, "once"),
        ("region: &x [a]", "anchor", 28, "remove"),
        ("region: *x", "anchor", 28, "write the value"),
        ("region: [!!str a]", "tag", 29, "remove"),
        ("region: [!x a]", "tag", 29, "remove"),
    ],
)
def test_a_wrong_condition_is_refused_where_it_stands(when: str, code: str, column: int, says: str) -> None:
    (found,) = findings(MINIMAL % when)
    assert (found.code, found.line, found.column) == (code, 5, column)
    assert says in found.message


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("schema: 1", "schema: 2", "bad-value", 1),
        ("schema: 1", 'schema: "1"', "bad-value", 1),
        ("schema: 1\n", "", "missing-key", 1),
        ("base_currency: USD", "base_currency: usd", "unknown-currency", 2),
        ("base_currency: USD", "base_currency: XXQ", "unknown-currency", 2),
        ("24h", "0s", "bad-value", 3),
        ("24h", "31d", "bad-value", 3),
        ("24h", "24", "wrong-type", 3),
        ("24h", "1.5h", "bad-value", 3),
        ("24h", "999999999d", "bad-value", 3),
        ('"1.0850"', "1.0850", "money-not-quoted", 4),
        ('"1.0850"', '"0"', "bad-value", 4),
        ('"1.0850"', '"-1"', "bad-value", 4),
        ('"1.0850"', '"1e9"', "bad-value", 4),
        ('"1.0850"', '"' + "1" * 13 + '"', "bad-value", 4),
        ("EUR:", "EUX:", "unknown-currency", 4),
        ("EUR:", "USD:", "bad-value", 4),
        ("id: small-travel", "id: Small", "bad-value", 6),
        ("id: small-travel", "id: 7", "wrong-type", 6),
        ("id: small-travel", "id: " + "a" * 65, "bad-value", 6),
        ("id: small-travel", "id: anything-large", "duplicate-id", 13),
        ("id: small-travel", "id: default", "duplicate-id", 17),
        ("[L1, L2]\n    quorum", "[L2, L1]\n    quorum", "bad-value", 11),
        ("[L1, L2]\n    quorum", "[L1, L1, L2]\n    quorum", "bad-value", 11),
        ("[L1, L2]\n    quorum", "[]\n    quorum", "empty-list", 11),
        ("[L1, L2]\n    quorum", "[L2, L4]\n    quorum", "bad-value", 11),
        ("{L2: 2}", '{L2: "2"}', "bad-value", 12),
        ("{L2: 2}", "{L2: 0}", "bad-value", 12),
        ("{L2: 2}", "{L2: 21}", "bad-value", 12),
        ("{L2: 2}", "{L2: 2.0}", "bad-value", 12),
        ("{L2: 2}", "{L2: most}", "bad-value", 12),
        ("{L2: 2}", "{L3: 2}", "bad-value", 12),
        ("{L2: 2}", "{L2: 2}\n    remind_after: soon", "bad-value", 13),
        ("default: {id: default, levels: [L1, L2]}", "", "missing-key", 1),
        ("default: {id", "default: {when: {}, id", "unknown-key", 17),
        ("default:", "defaults:", "unknown-key", 17),
    ],
)
def test_a_wrong_part_of_the_example_is_refused_where_it_stands(old: str, new: str, code: str, line: int) -> None:
    assert old in EXAMPLE
    assert (code, line) in [(one.code, one.line) for one in findings(EXAMPLE.replace(old, new, 1))]


def test_all_problems_are_told_at_once_in_order_and_with_their_rule() -> None:
    text = EXAMPLE.replace("24h", "31d").replace('lt: "1000"', "lt: 1000").replace("{L3: all}", "{L3: most}")
    found = findings(text)
    assert [(one.line, one.rule_ids) for one in found] == [(3, ()), (7, ("small-travel",)), (16, ("anything-large",))]
    shape = {"severity", "code", "rule_ids", "message", "line", "column", "example"}
    assert set(json.loads(found[0].model_dump_json())) == shape


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "syntax"),
        ("# nothing\n", "syntax"),
        ("a: [1", "syntax"),
        ("a: b: c", "syntax"),
        ("a: \x07", "syntax"),
        ('a: "\\ud800"', "syntax"),
        ("[]", "wrong-type"),
        ("text", "wrong-type"),
        (EXAMPLE + "---\nschema: 1\n", "several-documents"),
        ("a: " + "[" * 60 + "]" * 60, "too-deep"),
        ("#" * (1024 * 1024 + 1), "too-large"),
        ("é" * (600 * 1024), "too-large"),
        ("a: &a [x]\nb: &b [*a, *a]\n", "anchor"),
    ],
)
def test_what_is_no_rules_file_at_all_is_refused(text: str, code: str) -> None:
    assert findings(text)[0].code == code


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 100_000, "- " * 250_000])
def test_a_hostile_file_costs_little(text: str) -> None:
    begin = time.process_time()
    findings(text)
    assert time.process_time() - begin < 5


@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-'\"&*!|>#%@ \n\tabL1", max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parse_rules(text)
    except RulesFileError as error:
        assert all(one.line and one.column and one.message for one in error.findings)


@given(st.integers(0, len(EXAMPLE)), st.text(max_size=3), st.integers(0, 5))
def test_no_slip_of_the_pen_breaks_the_reader(at: int, insert: str, cut: int) -> None:
    try:
        parse_rules(EXAMPLE[:at] + insert + EXAMPLE[at + cut :])
    except RulesFileError as error:
        assert all(one.line and one.column and one.message for one in error.findings)


def test_a_thousand_rules_are_read() -> None:
    assert len(parse_rules(large("spread")).rules) == 1000


def test_a_file_that_is_wrong_everywhere_is_told_so_within_bounds() -> None:
    """Otherwise what is said about it would be larger than a message, and the worker would fail on it for ever."""
    with pytest.raises(RulesFileError) as caught:
        parse_rules("".join(f"k{n}: 1\n" for n in range(3000)))
    found = caught.value.findings
    assert len(found) == 101 and found[-1].code == "too-many-errors" and "3003 places" in found[-1].message
    assert sum(len(one.model_dump_json()) for one in found) < 100_000
