"""What a change of the rules file does: an admin who is shown too little, or everything, does not see what they are about to do."""

from __future__ import annotations

from rule_samples import EXAMPLE

from rules.difference import difference

NAMES = ("old", "new")
RULES = [
    "  - {id: a, levels: [L1]}\n",
    "  - {id: b, levels: [L2]}\n",
    "  - {id: c, levels: [L3]}\n",
    "  - {id: d, levels: [L1, L2]}\n",
]


def file(*rules: str) -> str:
    return "schema: 1\nbase_currency: USD\nrules:\n" + "".join(rules) + "default: {id: default, levels: [L1]}\n"


def test_a_rule_that_only_moved_is_the_only_one_that_did() -> None:
    a, b, c, d = RULES
    found = difference(file(a, b, c, d), file(d, a, b, c), NAMES)
    assert found["rules"] == {"added": [], "removed": [], "changed": [], "moved": ["d"]}
    found = difference(file(a, b, c, d), file(b.replace("L2", "L3"), "  - {id: e, levels: [L1]}\n", d, c), NAMES)
    assert (
        found["rules"]["added"] == ["e"] and found["rules"]["removed"] == ["a"] and found["rules"]["changed"] == ["b"]
    )
    assert len(found["rules"]["moved"]) == 1 and found["settings"] == []


def test_layout_alone_changes_no_rule() -> None:
    other = EXAMPLE.replace("# first match wins", "# the first one wins").replace(
        "levels: [L1]\n", "levels:   [ L1 ]\n"
    )
    found = difference(EXAMPLE, other, NAMES)
    assert found["text"].startswith("--- old\n+++ new\n")
    assert (found["rules"], found["settings"]) == ({"added": [], "removed": [], "changed": [], "moved": []}, [])
    assert difference(EXAMPLE, EXAMPLE, NAMES)["text"] == ""


def test_the_rest_of_the_file_is_compared_too() -> None:
    other = (
        EXAMPLE.replace("24h", "1h")
        .replace("1.27", "1.28")
        .replace("id: default, levels: [L1, L2]", "id: default, levels: [L1]")
    )
    found = difference(EXAMPLE, other + "remind_after: 4h", NAMES)
    assert found["settings"] == ["rollback_window", "fx", "remind_after", "default"]
    assert found["text"].endswith("+remind_after: 4h\n\\ No newline at end of file\n")


def test_odd_line_ends_stay_as_they_are() -> None:
    found = difference("a: 1\r\nb: \u2028\n", "a: 1\nb: \u2028\n", NAMES)
    assert found["text"] == "--- old\n+++ new\n@@ -1,2 +1,2 @@\n-a: 1\r\n+a: 1\n b: \u2028\n"
