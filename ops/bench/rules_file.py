"""The rules file that is measured: 20 rules, or as many as wanted, of which the workload's always need L1, L2 and L3."""

from __future__ import annotations

CATEGORIES = ("travel", "hardware", "meals", "training", "marketing")
BANDS = ((20000, None, "L1, L2, L3"), (5000, 20000, "L1, L2"), (1000, 5000, "L1"), (0, 1000, "L1"))
#: The workload's amounts lie between; see `load.submission`.
_LEAST, _MOST = 20_000, 90_000


def rules_text() -> str:
    """YAML of five categories by four bands of amounts; base currency EUR, so that nothing is converted."""
    return _file(
        [
            _rule(f"{category}-{index}", category, str(low), str(high) if high else None, levels)
            for category in CATEGORIES
            for index, (low, high, levels) in enumerate(BANDS)
        ]
    )


def many_rules(count: int) -> str:
    """The same workload routed by `count` rules, a band of amounts each; one rule alone is for every category.

    Raises:
        ValueError: not 1, and no multiple of five.
    """
    if count == 1:
        return _file([_rule("all", ", ".join(CATEGORIES), str(_LEAST), None, "L1, L2, L3")])
    bands, rest = divmod(count, len(CATEGORIES))
    if rest or not bands:
        raise ValueError(f"{count} rules: it must be 1 or a multiple of {len(CATEGORIES)}")
    edges = [f"{_LEAST + (_MOST - _LEAST) * index / bands:.2f}" for index in range(bands)]
    highs = [*edges[1:], None]
    return _file(
        [
            _rule(f"{category}-{index}", category, low, high, "L1, L2, L3")
            for category in CATEGORIES
            for index, (low, high) in enumerate(zip(edges, highs, strict=True))
        ]
    )


def _rule(id_: str, categories: str, low: str, high: str | None, levels: str) -> str:
    below = f', lt: "{high}"' if high else ""
    when = f'{{category: [{categories}], amount: {{gte: "{low}"{below}}}}}'
    return f"  - id: {id_}\n    when: {when}\n    levels: [{levels}]"


def _file(rules: list[str]) -> str:
    head = ["schema: 1", "base_currency: EUR", "rollback_window: 24h", "fx: {}", "rules:"]
    return "\n".join([*head, *rules, "default: {id: rest, levels: [L1]}"]) + "\n"
