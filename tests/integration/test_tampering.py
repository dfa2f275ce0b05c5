"""Whatever is done to the audit log behind our back is found, and named. The cases are in `tests/faults/tamper.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import tamper
from tests.faults.tamper import IN_COPY, IN_DATABASE, TABLES, Bench, Case, bench, named

pytestmark = pytest.mark.xdist_group("tampering")


@pytest.fixture(scope="module")
def servers() -> Iterator[Bench]:
    """A log of some hundred records under checkpoints; the projector has ended."""
    with bench() as at:
        yield at


@pytest.fixture
def at(servers: Bench) -> Iterator[Bench]:
    """The bench; whatever a test does is put right after it."""
    yield servers
    servers.restore()


def test_untouched_all_is_whole(at: Bench) -> None:
    """Every other result here would mean nothing."""
    for copy in (False, True):
        report = at.verify(copy=copy, kept=[*at.kept_before, *at.kept])
        assert report.first_break is None
        assert (report.records, report.waiting, report.repeats, report.uncovered, report.derived) == (
            509,
            0,
            0,
            0,
            True,
        )
        assert report.checkpoints > len(at.kept)


def test_every_column_is_tried(at: Bench) -> None:
    """A column added later could be changed unseen."""
    rows = at.rig.query(
        "SELECT table_schema || '.' || table_name || '.' || column_name AS name FROM information_schema.columns "
        "WHERE table_schema || '.' || table_name = ANY($1::text[])",
        list(TABLES),
    )
    tried = {case.what.removeprefix("one byte of ") for case in IN_DATABASE if case.what.startswith("one byte of ")}
    # The personal parts' own names are the two that say what they belong to: without its row, a part counts as erased.
    assert {row["name"] for row in rows} - tried == {"audit.personal.entity", "audit.personal.seq"}


@pytest.mark.parametrize("case", IN_DATABASE, ids=lambda case: case.what)
def test_in_postgresql_it_is_found_and_named(at: Bench, case: Case) -> None:
    """Whoever has the database could rewrite who decided what."""
    expects = case.tamper(at)
    found = at.verify().first_break
    assert named(found, expects), f"{case.what}: expected one of {expects}, found {found}"


@pytest.mark.parametrize("case", IN_COPY, ids=lambda case: case.what)
def test_in_the_stream_it_is_found_and_named(at: Bench, case: Case) -> None:
    """Whoever has the broker's disk could rewrite who decided what."""
    expects = case.tamper(at)
    found = at.verify(copy=True).first_break
    assert named(found, expects), f"{case.what}: expected one of {expects}, found {found}"


def test_a_rewrite_that_is_consistent_everywhere_contradicts_the_checkpoints(at: Bench) -> None:
    """Whoever has both the database and the broker could rewrite history, hashes and all."""
    tamper.rewrite_from(at, 3, "somebody.else")
    assert at.verify(copy=True, keys=False).first_break is None, (
        "without checkpoints nobody could tell: the case is a good one"
    )
    found = at.verify(copy=True).first_break
    assert named(found, [(at.victim.chain.entity, 3)]), found
    assert "checkpoint" in str(found)


def test_a_tail_cut_off_everywhere_contradicts_a_kept_checkpoint(at: Bench) -> None:
    """Whoever has everything but a checkpoint that somebody kept could make the newest records never have been."""
    partition = tamper.cut_tail(at)
    assert at.verify(copy=True).first_break is None, "with the checkpoints cut off, too, nobody could tell"
    assert at.verify(copy=True, kept=at.kept_before).first_break is None, "what was kept before is still there"
    found = at.verify(copy=True, kept=at.kept).first_break
    assert named(found, [(f"athena.audit/{partition}", None)]), found
    assert "tail was cut off" in str(found)


def test_a_rewrite_with_new_checkpoints_contradicts_a_kept_one(at: Bench) -> None:
    """Whoever has the signing key, too, could sign another history, and nobody could tell."""
    tamper.rewrite_from(at, 3, "somebody.else")
    partition, _, _ = at.home_of(at.victim.chain.entity)
    tamper.sign_again(at, partition)
    assert at.verify(copy=True).first_break is None, "signed by the right key over the new history"
    found = at.verify(copy=True, kept=at.kept_before).first_break
    assert named(found, [(f"athena.audit/{partition}", None)]), found
    assert "history was rewritten" in str(found)


def test_a_true_repeat_is_no_break(at: Bench) -> None:
    """After a crash of a worker everybody would cry wolf."""
    partition, lines, places = at.home_of(at.victim.chain.entity)
    again = [{**lines[place], "offset": lines[-1]["offset"] + 1 + n} for n, place in enumerate(places[1:])]
    at.write(partition, [*lines, *again])
    report = at.verify(copy=True)
    assert (report.first_break, report.repeats, report.uncovered) == (None, 4, 4)


def test_what_postgresql_lacks_so_far_is_no_break(at: Bench) -> None:
    """Every lag of the projector would look like tampering."""
    partition, _, _ = at.home_of(at.last.chain.entity)
    at.sql(
        f"DELETE FROM audit.records WHERE entity = '{at.last.chain.entity}'; DELETE FROM audit.personal WHERE entity = "
        f"'{at.last.chain.entity}'; DELETE FROM requests.requests WHERE id = '{at.last.id}'; DELETE FROM requests.history "
        f"WHERE request_id = '{at.last.id}'; CREATE TABLE public.offsets AS TABLE audit.applied_offsets; UPDATE "
        f"audit.applied_offsets SET next_offset = (SELECT max(log_offset) + 1 FROM audit.records WHERE partition = {partition}) "
        f"WHERE partition = {partition}"
    )
    try:
        report = at.verify()
        assert (report.first_break, report.waiting) == (None, 2)
    finally:
        at.sql(
            "UPDATE audit.applied_offsets a SET next_offset = o.next_offset FROM public.offsets o WHERE a.partition = o.partition"
        )
        at.sql("DROP TABLE public.offsets")


def test_an_erased_person_is_no_break(at: Bench) -> None:
    """Nobody's data could be erased without breaking the proof."""
    at.sql(
        f"DELETE FROM audit.personal WHERE entity = '{at.victim.chain.entity}'; UPDATE requests.history SET comment = NULL "
        f"WHERE request_id = '{at.victim.id}'"
    )
    report = at.verify()
    assert report.first_break is None
    assert report.erased == 3
