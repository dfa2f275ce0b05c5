"""The bench's arithmetic, tables and plots."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ops.bench.figures import median, percentile, slope
from ops.bench.page import markdown, paste, write_page
from ops.bench.profile import summary
from ops.bench.result import Plot, Result, Table, Target
from ops.bench.svg import HEIGHT, WIDTH, line_plot


def test_percentiles_and_medians_are_values_that_were_seen() -> None:
    """Otherwise a page would show latencies that nobody had."""
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (51.0, 100.0, 7.0)
    assert percentile([], 50) is None
    assert (median([3, 1, 2]), median([4, 1, 3, 2])) == (2, 2.5)
    with pytest.raises(ValueError, match="no values"):
        median([])


def test_growth_is_the_slope_of_the_line_of_least_squares() -> None:
    """Otherwise a leak would be called noise, or noise a leak."""
    assert slope([(x, 5 + 3 * x) for x in range(10)]) == pytest.approx(3)
    # By hand: x̄ = 1, ȳ = 8/3; (−1·−8/3 + 0 + 1·7/3) / 2.
    assert slope([(0, 0), (1, 3), (2, 5)]) == pytest.approx(2.5)
    assert slope([(1, 2), (1, 4)]) is None
    assert slope([]) is None


def test_a_table_keeps_its_columns_whatever_a_cell_says() -> None:
    """Otherwise a statement with a pipe would break the page."""
    text = markdown(["what", "n"], [["a|b", 12345], [None, 0.12345]])
    assert text.splitlines()[2:] == ["| a\\|b | 12,345 |", "| – | 0.1235 |"]


@pytest.mark.parametrize("log_x", [False, True])
def test_a_plot_is_well_formed_and_keeps_its_points_in_the_frame(log_x: bool) -> None:
    """Otherwise the page would show a broken picture."""
    series = {"all <&": [(1, 10.0), (1000, 0.0)], "worker": [(10, 7.5)]}
    root = ET.fromstring(line_plot('cost "a"', "held", "ms", series, log_x=log_x))  # noqa: S314 - our own
    places = [
        (float(one.get("cx", "")), float(one.get("cy", ""))) for one in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert len(places) == 3
    assert all(0 < left < WIDTH and 0 < down < HEIGHT for left, down in places)
    assert places[0][0] < places[2][0] < places[1][0], "x goes to the right"
    assert places[0][1] < places[2][1] < places[1][1], "y goes up"


def test_a_plot_of_nothing_is_refused() -> None:
    """Otherwise an empty run would look like a flat one."""
    with pytest.raises(ValueError, match="no point"):
        line_plot("none", "x", "y", {"all": []})


def test_a_folder_of_results_becomes_a_page_with_its_plots(tmp_path: Path) -> None:
    """Otherwise nobody could put a run's figures into the documentation."""
    result = Result(
        [Table("Costs", ["n", "ms"], [[1, 2.0]], "A note.")],
        [Plot("flat-held", "Cost", "held", "ms", {"all": [(1.0, 2.0), (10.0, 2.0)]}, log_x=True)],
        [Target("growth", 1.3, 1.1), Target("rate", 5000, 4000, at_least=True), Target("not measured", None, 1)],
        ["Something was seen."],
    )
    (tmp_path / "flat.json").write_text(json.dumps(result.document("flat", "short", 1.0)))
    (tmp_path / "other.json").write_text("[]")
    page = write_page(tmp_path).read_text()
    assert "| growth | 1.3 | ≤ 1.1 | **no** |" in page
    assert "| rate | 5000 | ≥ 4000 | yes |" in page
    assert "| not measured | – | ≤ 1 | **no** |" in page
    for part in ("**Costs**", "A note.", "![Cost](flat-held.svg)", "- Something was seen."):
        assert part in page
    ET.parse(tmp_path / "flat-held.svg")  # noqa: S314 - our own


def test_figures_go_into_the_places_that_a_page_has_for_them(tmp_path: Path) -> None:
    """Otherwise somebody would copy them by hand, and old ones would stay beside new ones."""
    results, page = tmp_path / "results", tmp_path / "performance.md"
    results.mkdir()
    plot = Plot("flat-held", "Cost", "held", "ms", {"all": [(1.0, 2.0)]})
    for name in ("flat", "raw"):
        document = Result([Table("Costs", ["n"], [[7]])], [plot] if name == "flat" else []).document(name, "short", 1.0)
        (results / f"{name}.json").write_text(json.dumps(document))
    page.write_text("Before.\n<!-- bench:flat -->\nold\n<!-- end -->\nAfter.\n")
    write_page(results)
    for _ in range(2):
        assert paste(results, page) == ["flat"]
    text = page.read_text()
    assert text.startswith("Before.\n<!-- bench:flat -->\n### flat\n")
    assert text.endswith("<!-- end -->\nAfter.\n")
    assert text.count("**Costs**") == 1
    assert "old" not in text
    assert "![Cost](figures/flat-held.svg)" in text
    assert (tmp_path / "figures" / "flat-held.svg").exists()


def test_samples_are_summed_up_by_part_and_function() -> None:
    """Otherwise a profile would name the wrong part as the dearest, or say that waiting is."""
    loop = "run (agents/worker.py:1)"
    lines = [
        f"{loop};append (aiokafka/producer/batch.py:2);digest (hmac.py:198) 30",
        f"{loop};append (aiokafka/producer/batch.py:2) 10",
        f"{loop};send (aiokafka/conn.py:5);StreamWriter.write (asyncio/streams.py:343) 60",
        "run (threading.py:1);_worker (concurrent/futures/thread.py:81) 900",
        "_run_code (<frozen runpy>:88) 0",
    ]
    parts, functions = summary(lines, 2.0).split("-- by function")
    assert "  0.800 ms  40.0%  aiokafka/producer" in parts
    assert "  1.200 ms  60.0%  writes to sockets" in parts
    assert "  0.600 ms  30.0%  digest (hmac.py:198)" in functions
    assert "_worker" not in functions
    assert summary([], 1.0) == "no samples"
