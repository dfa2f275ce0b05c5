"""What a batch asks of the database, and what stops it before it gets there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from agents.projector.batch import Batch
from agents.projector.record import Poison, parse
from tests.unit.projector.stories import Chain, Story, reference, value_of


@dataclass
class Record:
    """As aiokafka hands it over."""

    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def batch_of(records: list[dict[str, Any]], start: int = 10) -> Batch:
    batch = Batch()
    found = [Record(start + index, value_of(record)) for index, record in enumerate(records)]
    batch.extend(2, start, found, start + len(found))
    return batch


def requests_of(batch: Batch) -> list[tuple[Any, ...]]:
    return list(zip(*batch.columns()[33:45], strict=True))


def test_the_newest_document_counts_and_the_batch_names_what_must_be_there_before() -> None:
    """Else a gap between batches would go unnoticed, or an older state would win."""
    records = Story(1).submit().approve().approve().approve().records
    batch = batch_of(records[1:])
    (row,) = requests_of(batch)
    assert row[1:4] == (1, 4, "approved")
    assert batch.columns()[30:33] == [(records[1]["entity"],), (1,), (records[0]["hash"],)]
    assert (batch.starts, batch.nexts) == ({2: 10}, {2: 13})


def test_a_repeat_before_newer_records_only_raises_what_must_be_there() -> None:
    """Else a client's late retry would stop the projector."""
    records = Story(2).submit().approve().approve().approve().records
    (row,) = requests_of(batch_of([records[1], records[3]]))
    assert row[1:3] == (3, 4)


def test_waiting_is_the_open_pool_less_who_has_voted() -> None:
    """Else approvers would be asked for what they have done."""
    story = Story(3).submit().approve()
    (row,) = requests_of(batch_of(story.records))
    assert set(row[10].split(",")) == {"l2.a", "l2.b"}
    (row,) = requests_of(batch_of(story.approve().approve().records))
    assert row[10] == ""


def test_a_vote_that_was_rolled_back_in_the_same_batch_is_not_written() -> None:
    """Else a decision that no longer stands would be shown."""
    batch = batch_of(Story(4).submit().approve().rollback().records)
    assert batch.columns()[49] == ()
    (row,) = requests_of(batch)
    assert row[11] == ""


def test_everybody_ever_on_the_request_takes_part_however_batches_fall() -> None:
    """Else a former approver would lose sight of it, depending on how busy the projector was."""
    batch = batch_of(Story(5).submit().reassign("L1", ("l1.c",)).records)
    assert {"l1.a", "l1.c", "l3.b"} <= set(batch.columns()[46])


def test_a_refused_repeat_of_an_id_does_not_hide_what_the_first_command_became() -> None:
    """Else GET /commands/{id} would call an accepted command refused."""
    story = Story(6).submit().refused("idempotency-key-reused")
    assert list(batch_of(story.records).columns()[58]) == ["accepted"]


def test_the_newest_change_of_an_entity_counts() -> None:
    """Else a removed assignment would come back."""
    chain = Chain("assignment:x")
    records = [reference("assignment", "x", {"version": 1}, chain), reference("assignment", "x", None, chain)]
    assert batch_of(records).columns()[67] == (None,)


def test_a_fence_marker_is_passed_over_and_counted() -> None:
    """Else every change of a partition's worker would stop the projector."""
    batch = Batch()
    batch.extend(0, 5, [Record(5, b"", [("ce_type", b"athena.fence")])], 6)
    assert batch.rows == [] and batch.nexts == {0: 6}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda record: record | {"actor_id": "somebody"}, "hash is not"),
        (lambda record: record | {"event": {"type": "Approved"}}, "not the one"),
        (lambda record: {"a": 1}, "no audit record"),
    ],
)
def test_a_record_that_is_not_what_its_hashes_say_stops_at_its_offset(damage: Any, why: str) -> None:
    """Else a forged audit record would be shown as a fact; those before it are still written."""
    records = Story(7).submit().approve().records
    batch = Batch()
    found = [Record(3, value_of(records[0])), Record(4, orjson.dumps(damage(records[1])))]
    with pytest.raises(Poison, match=why) as caught:
        batch.extend(1, 3, found, 5)
    assert (caught.value.partition, caught.value.offset) == (1, 4)
    assert batch.nexts == {1: 4} and len(batch.rows) == 1


def test_two_records_of_one_place_with_different_bytes_stop_it() -> None:
    """Else two histories of one request could both be taken for true."""
    record = Story(8).submit().records[0]
    with pytest.raises(Poison, match="different bytes"):
        batch_of([record, record | {"request": None}])


def test_a_chain_that_does_not_link_stops_it() -> None:
    """Else a record could be exchanged for another one."""
    first, other = Story(9).submit().approve().records, Story(9).submit().comment().approve().records
    with pytest.raises(Poison, match="prev_hash"):
        batch_of([first[0], first[1], other[2]])


def test_the_first_of_a_chain_names_no_predecessor() -> None:
    """Else a chain could begin in the middle."""
    chain = Chain("user:x")
    chain.prev = "a" * 64
    with pytest.raises(Poison, match="64 zeros"):
        parse(value_of(reference("user", "x", {"version": 1}, chain)), [])
