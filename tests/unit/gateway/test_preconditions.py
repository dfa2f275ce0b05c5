"""If-Match: which version of an account or department somebody means to change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.http.preconditions import if_match, required
from gateway.http.problems import Problem


def call(header: str | None) -> Any:
    return SimpleNamespace(text_header={b"if-match": header}.get)


@pytest.mark.parametrize(
    ("header", "current", "expected"),
    [
        ('"3"', 3, 3),
        (' "3" ', 3, 3),
        ("*", 7, None),  # and not 7: a repeat would be another command once there is an 8
        ('"2", "3"', 3, 3),
        ('"2","9"', 3, 9),  # this gateway may have yet to hear of 9
        ('"2"', 3, 2),
        ('W/"3", "2"', 3, 2),
        ('"3",', 3, 3),
        (' ,, "2" ,\t, "3", ,', 3, 3),
    ],
)
def test_the_version_that_is_meant(header: str, current: int, expected: int | None) -> None:
    """A change would be taken for another version than the one that was looked at."""
    assert required(if_match(call(header))).expected(current) == expected


@pytest.mark.parametrize("header", ['W/"3"', '"9007199254740993"', '"three"', '""', '"03"', '"3-gzip"'])
def test_a_tag_that_is_none_of_ours_matches_nothing(header: str) -> None:
    """A change would be made although nobody knows which version it is about."""
    found = if_match(call(header))
    assert found is not None
    with pytest.raises(Problem) as refused:
        found.expected(3)
    assert (refused.value.status, refused.value.code) == (412, "precondition-failed")


@pytest.mark.parametrize(
    "header", ["3", '"3', '"3" "4"', ",", " , ,", "", "*, *", '"3", *', '"' + "x" * 2000 + '"', '"a b"']
)
def test_what_cannot_be_read_is_malformed(header: str) -> None:
    """A typing error in a header would be taken for no condition at all."""
    with pytest.raises(Problem) as refused:
        if_match(call(header))
    assert refused.value.status == 400


def test_no_header_is_no_condition_and_can_be_required() -> None:
    """Two administrators would overwrite each other without noticing."""
    assert if_match(call(None)) is None
    with pytest.raises(Problem) as refused:
        required(None)
    assert (refused.value.status, refused.value.code) == (428, "precondition-required")
