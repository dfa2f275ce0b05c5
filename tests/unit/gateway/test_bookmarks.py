"""A bookmark that is read otherwise than it was written would make a device miss something, without a word."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.feed import bookmarks
from gateway.feed.approvals import turned
from gateway.feed.bookmarks import Bookmark, Walk, cut, is_ahead, later, read, write
from gateway.feed.principals import HASH_BYTES, MOST, hash_of

OFFSET = st.integers(0, 2**50)
VECTOR = st.lists(OFFSET, max_size=60).map(lambda offsets: dict(enumerate(offsets)))
HASH = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)
WALK = st.builds(Walk, st.booleans(), HASH, st.integers(0, 999), OFFSET)
MARK = st.builds(
    Bookmark, st.integers(0, 2**39), VECTOR, st.booleans(), st.lists(HASH, max_size=MOST).map(tuple), st.none() | WALK
)
ANN, BOB = hash_of("ann"), hash_of("bob")


@given(MARK)
def test_it_is_read_as_it_was_written(mark: Bookmark) -> None:
    """Somebody would go on somewhere else."""
    assert read(write(mark)) == mark


@given(MARK, st.data())
def test_half_of_it_is_an_error_or_another_place_but_no_crash(mark: Bookmark, data: st.DataObject) -> None:
    """An older layout would be an error of the server."""
    whole = write(mark)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    with contextlib.suppress(ValueError):
        read(part)


def test_vectors_of_48_partitions_fit_into_a_cursor_of_1024_characters() -> None:
    """A large installation's devices could not follow."""
    mark = Bookmark(2**31, dict.fromkeys(range(48), 2**34), False, tuple([ANN] * MOST), Walk(True, BOB, 47, 2**34))
    assert len(base64.urlsafe_b64encode(b"m" * 28 + write(mark))) <= 1024


@pytest.mark.parametrize("payload", [b"", b"\x02", b"\x01\x00", b"\x01\x00" + b"\xff" * 40])
def test_another_layout_is_refused(payload: bytes) -> None:
    """A cursor from after a downgrade would be taken for another place."""
    with pytest.raises(ValueError, match=r"layout|early|end"):
        read(payload)


@given(VECTOR, st.lists(OFFSET, min_size=1, max_size=60), st.data())
def test_a_cut_passes_over_nothing(begun: bookmarks.Vector, more: list[int], data: st.DataObject) -> None:
    """What lies behind the last row of a page would never come."""
    applied = {number: begun.get(number, 0) + growth for number, growth in enumerate(more)}
    partition = data.draw(st.sampled_from(sorted(applied)))
    offset = data.draw(st.integers(begun.get(partition, 0), begun.get(partition, 0) + more[partition]))
    found = cut(begun, applied, partition, offset)
    for number, end in applied.items():
        if number < partition:
            assert found[number] == end
        elif number > partition:
            assert found[number] == begun.get(number, 0)
    assert found[partition] == offset + 1


def test_ahead_and_later() -> None:
    """A restored server would be taken for one that is up to date."""
    assert is_ahead({0: 5}, {0: 4}) and is_ahead({3: 1}, {0: 9}) and not is_ahead({0: 4, 1: 0}, {0: 4})
    assert later({0: 5, 1: 2}, {1: 3, 2: 1}) == {0: 5, 1: 3, 2: 1}


def test_walks_begin_where_those_for_whom_one_decides_are_others() -> None:
    """A new delegate would never see what has been waiting, or a former one would keep it."""
    fresh = turned(Bookmark(0, {}), (ANN,))
    assert (fresh.others, fresh.walk) == ((ANN,), None), "from the beginning everything comes anyway"
    before = Bookmark(0, {0: 5})
    joining = turned(before, (ANN,))
    assert joining.walk == Walk(True, ANN) and joining.others == ()
    assert turned(joining, (ANN,)) == joining
    assert turned(joining, ()).walk == Walk(False, ANN), "it ended before all had been shown"
    known = Bookmark(0, {0: 5}, others=(ANN, BOB))
    assert turned(known, (ANN, BOB)).walk is None
    leaving = turned(known, (BOB,))
    assert leaving.walk == Walk(False, ANN)
    back = turned(leaving, (ANN, BOB))
    assert back.walk == Walk(True, ANN) and back.others == (BOB,)
