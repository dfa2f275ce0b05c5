"""The rules file that is measured: 20 rules, of which the workload's always need L1, L2 and L3."""

from __future__ import annotations

CATEGORIES = ("travel", "hardware", "meals", "training", "marketing")
BANDS = ((20000, None, "L1, L2, L3"), (5000, 20000, "L1, L2"), (1000, 5000, "L1"), (0, 1000, "L1"))


def rules_text() -> str:
    """YAML of five categories by four bands of amounts; base currency EUR, so that nothing is converted."""
    lines = ["schema: 1", "base_currency: EUR", "rollback_window: 24h", "fx: {}", "rules:"]
    for category in CATEGORIES:
        for index, (low, high, levels) in enumerate(BANDS):
            below = f', lt: "{high}"' if high else ""
            lines.append(f"  - id: {category}-{index}")
            lines.append(f'    when: {{category: [{category}], amount: {{gte: "{low}"{below}}}}}')
            lines.append(f"    levels: [{levels}]")
    lines.append("default: {id: rest, levels: [L1]}")
    return "\n".join(lines) + "\n"
