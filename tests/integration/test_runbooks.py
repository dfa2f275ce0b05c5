"""docs/runbooks.md names what is there: metrics, commands, sections."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.client import Api
from tests.stack import Stack, athena

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/runbooks.md", "docs/operate.md")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_every_metric_that_is_named_exists(stack: Stack, api: Api) -> None:
    """Otherwise an alert would stay silent for ever, because nothing has that name."""
    api.read("sam.sales", api.submit())
    exposed: set[str] = set()
    for address in stack.endpoints["metrics"].values():
        found = httpx.get(address, timeout=10).text
        exposed |= set(re.findall(r"^# TYPE (athena_\w+) ", found, re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"\bathena_(?:gateway|worker|projector|checkpoint|checkpointer)_\w+", text(page))
    }
    assert len(named) > 15
    assert sorted(named - exposed) == []


def test_every_command_that_is_named_exists() -> None:
    """Otherwise an operator in trouble would type what there is not."""
    named = set(re.findall(r"`athena ([a-z-]+(?: [a-z]+)?)", text("docs/runbooks.md")))
    assert len(named) >= 5
    for words in named:
        ran = athena(*words.split(), "--help")
        assert ran.returncode == 0, f"athena {words}: {ran.stderr}"
    options = set(
        re.findall(r"--[a-z-]+", re.search(r"## Dead letters.*?\n## ", text("docs/runbooks.md"), re.DOTALL)[0])
    )  # type: ignore[index]
    known = athena("dead-letters", "list", "--help").stdout + athena("dead-letters", "replay", "--help").stdout
    assert {option for option in options if option not in known} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    """Otherwise the page with the remedy would not be found."""
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor}"
