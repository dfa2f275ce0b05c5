"""What a checkpointer signs, over restarts, takeovers and a log that was touched."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agents.checkpointer.growth import Contradiction, Growth
from agents.checkpointer.kept import Keeper
from schemas.checkpoints import Checkpoint, CheckpointRecord, leaf, opened
from schemas.merkle import Tree
from schemas.notes import VerifierKey, sign

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
AT = "2026-11-22T09:30:00.000Z"
#: Offsets have gaps, where control records lie.
LOG = [(number * 2 + number // 5, orjson.dumps({"hash": f"{number:064x}", "n": number})) for number in range(40)]
END = LOG[-1][0] + 1


def growth(
    last: CheckpointRecord | None, key: Ed25519PrivateKey = KEY, end: int = END, kept: str | None = None
) -> Growth:
    return Growth("here", 0, key, last, 0, end, kept)


def feed(one: Growth, log: list[tuple[int, bytes]], until: int) -> Growth:
    """Count the log from where it begins to before the record number `until`."""
    for offset, value in log[:until]:
        if offset >= one.begin:
            one.feed(offset, value)
    return one


def signed(one: Growth) -> CheckpointRecord:
    record = one.checkpoint(AT)
    one.published()
    return record


def root_of(size: int) -> bytes:
    tree = Tree()
    for _, value in LOG[:size]:
        tree.append(leaf(value))
    return tree.root()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True).map(sorted), st.sets(st.integers(0, 5)))
def test_checkpoints_are_of_one_tree_over_any_restarts(sizes: list[int], restarts: set[int]) -> None:
    """After a crash history would seem to have been rewritten."""
    one, last = growth(None), None
    for number, size in enumerate(sizes):
        if number in restarts:
            one = growth(last)
        feed_from = one.tree.size if last is None or number not in restarts else 0
        for offset, value in LOG[feed_from:size]:
            if number not in restarts or offset >= one.begin:
                one.feed(offset, value)
        before, last = last, signed(one)
        assert last.start == (0 if before is None else before.size)
        key = VerifierKey("here/athena.audit/0", KEY.public_key().public_bytes_raw())
        found = opened(last.note, [key])
        assert (found.size, found.root) == (size, root_of(size))
        assert len(last.leaf_hashes()) == size - last.start
        assert last.last_offset == LOG[size - 1][0]


@given(st.integers(1, 39), st.integers(1, 39))
def test_two_signers_cannot_contradict_each_other(one: int, other: int) -> None:
    """A worker that was frozen and came back could sign another history."""
    first, second = signed(feed(growth(None), LOG, one)), signed(feed(growth(None), LOG, other))
    small, large = sorted((first, second), key=lambda record: record.size)
    # Each goes on from the other's, to the same root.
    assert feed(growth(small), LOG, large.size).tree.root() == large.grown().root()
    assert feed(growth(large), LOG, 40).tree.root() == feed(growth(small), LOG, 40).tree.root() == root_of(40)


def test_a_log_whose_tail_is_gone_is_signed_no_more() -> None:
    """A cut off tail would be signed over, and nobody could tell any more."""
    last = signed(feed(growth(None), LOG, 20))
    with pytest.raises(Contradiction, match="its tail is gone"):
        growth(last, end=LOG[19][0])
    with pytest.raises(Contradiction, match="not the last one"):
        growth(last).feed(LOG[20][0], LOG[20][1])


def test_a_log_whose_last_record_is_another_is_signed_no_more() -> None:
    """A rewritten record would be signed over."""
    last = signed(feed(growth(None), LOG, 20))
    with pytest.raises(Contradiction, match="not the last one"):
        growth(last).feed(LOG[19][0], b"{}")


def test_records_deleted_before_they_were_counted_are_noticed() -> None:
    """Somebody could delete the log's beginning before the first checkpoint."""
    with pytest.raises(Contradiction, match="are gone"):
        Growth("here", 0, KEY, None, 5, END)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 21},
        {"partition": 1},
        {"leaves": ""},
        {"tree": []},
        {"tree": ["AAAA"]},
        {"note": "no note"},
        {"last_offset": END},
        {"last_offset": LOG[18][0]},
        {"last_offset": LOG[20][0]},
        {"start": 1},
    ],
)
def test_a_checkpoint_that_does_not_fit_itself_is_not_continued(change: dict[str, object]) -> None:
    """Whoever can write to the topic could lead the signer astray."""
    last = signed(feed(growth(None), LOG, 20)).model_copy(update=change)
    with pytest.raises(Contradiction):
        growth(last)


def test_subtrees_that_were_exchanged_are_not_continued() -> None:
    """The signer would sign a tree that is not the log's."""
    last = signed(feed(growth(None), LOG, 20))
    forged = last.model_copy(update={"tree": signed(feed(growth(None), LOG, 24)).tree})
    with pytest.raises(Contradiction, match="do not give its root"):
        growth(forged)


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_place_in_the_log_that_was_not_signed_is_not_gone_to(key: Ed25519PrivateKey) -> None:
    """Whoever can write to the topic could have records skipped or counted twice, under the right key."""
    last = signed(feed(growth(None, key), LOG, 20))
    with pytest.raises(Contradiction, match="up to offset"):
        growth(last.model_copy(update={"last_offset": LOG[25][0]}))
    unsaid = Checkpoint("here/athena.audit/0", 20, root_of(20)).text()
    with pytest.raises(Contradiction, match="no line last_offset"):
        growth(last.model_copy(update={"note": sign(unsaid, "here/athena.audit/0", key)}))


def test_the_place_in_the_log_is_under_the_signature() -> None:
    """A proof file or a kept checkpoint would not bind it."""
    last = signed(feed(growth(None), LOG, 20))
    key = VerifierKey("here/athena.audit/0", KEY.public_key().public_bytes_raw())
    assert opened(last.note, [key]).last_offset == last.last_offset == LOG[19][0]
    moved = last.note.replace(f"last_offset {LOG[19][0]}\n", f"last_offset {LOG[18][0]}\n")
    assert moved != last.note
    with pytest.raises(Contradiction, match="not that of this text"):
        growth(last.model_copy(update={"note": moved}))


def test_checkpoints_removed_after_they_were_signed_here_are_missed() -> None:
    """What is left of a cut log would be signed anew, and nobody could tell any more."""
    one = growth(None)
    small, large = signed(feed(one, LOG, 12)), signed(feed(growth(None), LOG, 20))
    with pytest.raises(Contradiction, match="has none"):
        growth(None, kept=large.note)
    with pytest.raises(Contradiction, match="over 12 records, the one kept here over 20"):
        growth(small, kept=large.note)
    # The same, or one that another projector signed since: its records are gone on from.
    for kept in (large.note, small.note, None):
        assert growth(large, kept=kept).signed == 20
    assert growth(None, kept=None).signed == 0


def test_a_topic_that_contradicts_what_was_signed_here_is_not_continued() -> None:
    """Who has the key elsewhere could have another history continued."""
    other = [(offset, value + b" ") for offset, value in LOG]
    mine, theirs = (signed(feed(growth(None), log, 20)) for log in (LOG, other))
    with pytest.raises(Contradiction, match="is another than the one kept here"):
        growth(theirs, kept=mine.note)


@pytest.mark.parametrize("kept", ["", "no note", "here/athena.audit/0\n1\n"])
def test_a_kept_checkpoint_that_cannot_be_read_stops_it_aloud(kept: str) -> None:
    """Spoiling the file would be as good as never having kept one."""
    last = signed(feed(growth(None), LOG, 20))
    with pytest.raises(Contradiction, match="kept here cannot be read"):
        growth(last, kept=kept)


def test_a_kept_checkpoint_counts_under_its_own_name_and_signature() -> None:
    """A data folder taken from elsewhere, or a file with a changed size, would pass for what was signed here."""
    last = signed(feed(growth(None), LOG, 20))
    elsewhere = signed(feed(Growth("there", 0, KEY, None, 0, END), LOG, 12))
    with pytest.raises(Contradiction, match="kept here is of there/"):
        growth(last, kept=elsewhere.note)
    with pytest.raises(Contradiction, match="kept here cannot be read"):
        growth(last, kept=last.note.replace("\n20\n", "\n2\n"))


def test_a_kept_checkpoint_of_the_former_key_still_counts() -> None:
    """With a change of keys what was signed before could be taken away."""
    last = signed(feed(growth(None, OTHER), LOG, 20))
    assert growth(last, kept=last.note).signed == 0
    with pytest.raises(Contradiction, match="has none"):
        growth(None, kept=last.note)


def test_what_was_kept_is_read_back_and_replaced_whole(tmp_path: Path) -> None:
    """After a restart nothing would be known of what was signed here."""
    keeper = Keeper(tmp_path / "data")
    assert keeper.read(3) is None
    for note in ("— first\n", "— second\n"):
        keeper.keep(3, note)
        assert keeper.read(3) == note
    assert keeper.read(2) is None
    assert [one.name for one in keeper.path(3).parent.iterdir()] == [keeper.path(3).name]
    keeper.path(3).write_bytes(b"\xff")
    assert keeper.read(3) not in (None, "— second\n")


def test_another_keys_checkpoint_is_proved_from_the_beginning() -> None:
    """After a change of keys nothing would hold the new ones to what the old ones signed."""
    last = signed(feed(growth(None, OTHER), LOG, 20))
    one = growth(last)
    assert (one.begin, one.signed) == (0, 0)
    feed(one, LOG, 19)
    assert one.pending == 0
    feed_rest = growth(last)
    for offset, value in LOG:
        feed_rest.feed(offset, value)
    assert (feed_rest.signed, feed_rest.pending) == (20, 20)
    assert signed(feed_rest).start == 20
    touched = growth(last)
    with pytest.raises(Contradiction, match="not those that were signed"):
        for offset, value in [(LOG[0][0], b"{}"), *LOG[1:]]:
            touched.feed(offset, value)


def test_a_strangers_checkpoint_over_more_than_there_is_stops_it_aloud() -> None:
    """Whoever can write to the topic could end the signing, and no alert would tell."""
    text = Checkpoint("here/athena.audit/0", 1000, bytes(32), LOG[19][0]).text()
    false = signed(feed(growth(None, OTHER), LOG, 20)).model_copy(
        update={
            "start": 980,
            "size": 1000,
            "note": sign(text, "here/athena.audit/0", OTHER),
            "tree": ["A" * 43 + "="] * 6,
        }
    )
    with pytest.raises(Contradiction, match="has 20 records up to offset"):
        feed(growth(false), LOG, 40)
