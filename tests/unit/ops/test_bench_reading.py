"""What the bench reads from PostgreSQL's plans and from the log's times."""

from __future__ import annotations

from typing import Any

from ops.bench.plans import literal, read
from ops.bench.scraped import mean_between
from ops.bench.scraped import read as read_metrics
from ops.bench.trace import STAGES, Call, Seen, table


def explained(*scans: dict[str, Any]) -> dict[str, Any]:
    nodes = [{"Actual Loops": 1, **scan} for scan in scans]
    return {"Plan": {"Node Type": "Limit", "Actual Rows": 50, "Plans": nodes}, "Execution Time": 1.234}


def index(rows: int, **more: Any) -> dict[str, Any]:
    return {"Node Type": "Index Scan", "Relation Name": "requests", "Index Name": "by_age", "Actual Rows": rows, **more}


def test_a_plan_that_reads_what_it_answers_is_an_index_walk() -> None:
    """Otherwise good lists would be called slow."""
    applied = {"Node Type": "Seq Scan", "Relation Name": "applied_offsets", "Actual Rows": 4}
    plan = read(explained(index(51), applied))
    assert plan.is_index_walk(51, plan)
    assert (plan.touched, plan.indexes, plan.ms) == (55, ("by_age",), 1.23)


def test_a_plan_that_drops_most_of_what_it_reads_is_none() -> None:
    """Otherwise a list would look fine until somebody asked for what few requests have."""
    few = read(explained(index(51)))
    assert not read(explained(index(0, **{"Rows Removed by Filter": 600}))).is_index_walk(51, few)
    assert not read(explained(index(2, **{"Actual Loops": 400}))).is_index_walk(51, few)
    many = read(explained(index(2, **{"Actual Loops": 400})))
    assert many.is_index_walk(51, many), "as many with a tenth of the rows: it does not grow"


def test_a_table_that_is_read_whole_is_none() -> None:
    """Otherwise a list of few requests would hide what it costs with many."""
    whole = {"Node Type": "Seq Scan", "Relation Name": "requests", "Actual Rows": 20}
    plan = read(explained(whole))
    assert not plan.is_index_walk(51, plan)
    assert plan.whole == ("requests",)


def test_values_become_literals_of_any_type() -> None:
    """Otherwise a statement would be planned for another question than the gateway asks."""
    assert [literal(value) for value in (None, "it's", 5, True, ["a", 'b"c'], [])] == [
        "NULL", "'it''s'", "'5'", "'True'", """'{"a","b\\"c"}'""", "'{}'",
    ]  # fmt: skip


def test_each_stage_is_the_time_between_two_moments() -> None:
    """Otherwise somebody would tune the wrong process."""
    call = Call("c", "r", 1, 1000.0, 1021.0)
    lost = Call("gone", "r", 2, 1000.0, 1050.0)
    seen = Seen({"c": 1001.0}, {"c": 1003.0}, {("r", 1): 1006.0}, {"c": 1010.0}, {"c": 1015.0})
    rows, traced = table([call, lost], seen)
    assert traced == 1
    assert [row[0] for row in rows[:-1]] == list(STAGES)
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5, 6, 21]


def test_metrics_are_summed_over_their_labels() -> None:
    """Otherwise the lag of one partition would stand for that of all, and a batch's mean would count its buckets."""
    text = '# HELP lag x\n# TYPE lag gauge\nlag{p="0"} 3.0\nlag{p="1"} 4.0\nup 1.0\n'
    assert read_metrics(text) == {"lag": 7.0, "up": 1.0}
    before = read_metrics('s_bucket{le="1"} 9.0\ns_count 2.0\ns_sum 10.0\n')
    assert mean_between(before, {"s_count": 4.0, "s_sum": 16.0}, "s") == 3.0
    assert mean_between(before, before, "s") is None
