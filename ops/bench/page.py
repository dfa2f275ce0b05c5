"""From a folder of results to what a page shows: `tables.md` and one SVG for each plot; and into a page with places for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ops.bench.svg import line_plot

PAGE = "tables.md"


def write_page(folder: Path) -> Path:
    """Write them from every JSON result in the folder; returns the page."""
    documents = _documents(folder)
    for document in documents:
        for plot in document["plots"]:
            series = {name: [(x, y) for x, y in line] for name, line in plot["series"].items()}
            text = line_plot(plot["title"], plot["x"], plot["y"], series, log_x=plot["log_x"])
            (folder / f"{plot['name']}.svg").write_text(text, encoding="utf-8")
    page = folder / PAGE
    page.write_text("\n".join(_section(document) for document in documents), encoding="utf-8")
    return page


def paste(folder: Path, page: Path, plots: str = "figures") -> list[str]:
    """Put each result between `<!-- bench:NAME -->` and `<!-- end -->` of the page, and its plots into a folder beside it.

    Returns the names of the experiments that the page has a place for. `write_page` comes first.
    """
    text = page.read_text(encoding="utf-8")
    pasted = []
    for document in _documents(folder):
        before, begin, rest = text.partition(f"<!-- bench:{document['experiment']} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            continue
        text = before + begin + _section(document, f"{plots}/") + end + after
        for plot in document["plots"]:
            (page.parent / plots).mkdir(exist_ok=True)
            shutil.copy(folder / f"{plot['name']}.svg", page.parent / plots)
        pasted.append(document["experiment"])
    page.write_text(text, encoding="utf-8")
    return pasted


def _documents(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    return [one for one in found if isinstance(one, dict) and "experiment" in one]


def _section(document: dict[str, Any], plots: str = "") -> str:
    made = f"{document['form']} form, {document['made_at']}, commit {document['commit']}, {document['seconds']:.0f} s"
    machine = f"{document['machine']['cores']} cores, Python {document['machine']['python']}"
    parts = [f"### {document['experiment']}", f"{made}; {machine}.", ""]
    if document["targets"]:
        rows = [
            [
                one["what"],
                one["figure"],
                f"{'≥' if one['at_least'] else '≤'} {one['target']:g}",
                "yes" if one["met"] else "**no**",
            ]
            for one in document["targets"]
        ]
        parts += [markdown(["target", "figure", "wanted", "met"], rows), ""]
    for table in document["tables"]:
        parts += [f"**{table['title']}**", "", markdown(table["columns"], table["rows"]), ""]
        if table["note"]:
            parts += [table["note"], ""]
    parts += [f"![{plot['title']}]({plots}{plot['name']}.svg)\n" for plot in document["plots"]]
    parts += [f"- {note}" for note in document["notes"]]
    return "\n".join(parts).rstrip() + "\n"


def markdown(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; a pipe in a cell is written so that it ends no cell."""
    named = list(columns)
    lines = ["| " + " | ".join(named) + " |", "|" + "---|" * len(named)]
    lines += ["| " + " | ".join(_cell(one) for one in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value).replace("|", "\\|")
