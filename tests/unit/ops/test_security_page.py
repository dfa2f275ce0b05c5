"""The page on security can be believed: whole, and each test that it names is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+)\.(\d+)\.(\d+) \| (yes|part|gap|n/a) \| (.+) \|$", re.MULTILINE)
#: Requirements of levels 1 and 2 by chapter, counted in OWASP ASVS 5.0.0.
REQUIREMENTS = {2: 11, 3: 19, 4: 10, 6: 35, 7: 18, 8: 7, 9: 7, 10: 29, 12: 9, 13: 13, 14: 9, 16: 16}


def test_every_requirement_has_its_row() -> None:
    """A requirement that we would rather not talk about would be missing, and nobody would see it."""
    rows = [tuple(map(int, row[:3])) for row in ROW.findall(PAGE)]
    assert len(rows) == len(set(rows))
    assert rows == sorted(rows)
    assert Counter(chapter for chapter, *_ in rows) == REQUIREMENTS


def test_what_it_names_is_there() -> None:
    """An auditor would look for a test that was renamed, or never written."""
    named = set(re.findall(r"`((?:U/|I/|tests/|gateway/|rules/|docs/|schemas/)[\w/.-]+)`", PAGE))
    assert len(named) > 30
    paths = {name: ROOT / re.sub("^I/", "tests/integration/", re.sub("^U/", "tests/unit/", name)) for name in named}
    assert {name for name, path in paths.items() if not path.exists()} == set()
