"""Query parameters and headers that steer an answer are read exactly, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from gateway.http.call import Call
from gateway.http.preferences import preference
from gateway.http.problems import Problem
from gateway.http.queries import matching, moment, query, whole
from gateway.values import uuid_or_none


@pytest.mark.parametrize("text", ["0", "201", "-1", "1.5", "", "x", "1e2", "٣", "99999999999999999999", " 5", "+5"])
def test_a_limit_out_of_bounds_is_refused(text: str) -> None:
    """One call could ask for everything."""
    with pytest.raises(Problem) as caught:
        whole({"limit": text}, "limit", 1, 200)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T09:30:00.000Z", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22t09:30:00z", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22T10:30:00.5+01:00", datetime(2026, 11, 22, 9, 30, 0, 500000, tzinfo=UTC)),
        ("2026-11-22T10:30:00 01:00", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("2026-11-22T09:30:00.123456789-00:30", datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(text: str, expected: datetime) -> None:
    """A filter by time would leave out the wrong records."""
    assert moment({"since": text}, "since") == expected


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-22", "2026-11-22T09:30:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "1700000000",
     "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2026-11-22T25:00:00Z", "2026-11-22T09:30:00+99:00",
     "٢٠٢٦-11-22T00:00:00Z"],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    """A mistyped filter would be left out in silence."""
    with pytest.raises(Problem) as caught:
        moment({"since": text}, "since")
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("raw", "status"), [(b"a=1&a=2", 422), (b"a=%ff", 400), ("a=é".encode(), 400), (b"&".join([b"a=1"] * 60), 400)]
)
def test_odd_query_strings_are_refused(make_call: Callable[..., Call], raw: bytes, status: int) -> None:
    """Two filters of one name would mean something else to each reader."""
    with pytest.raises(Problem) as caught:
        query(make_call(query=raw))
    assert caught.value.status == status


def test_a_pattern_is_held_to_the_end() -> None:
    """A line break could get into a statement's value."""
    with pytest.raises(Problem):
        matching({"x": "abc\n"}, "x", re.compile("[a-z]+"), "no")


@pytest.mark.parametrize(
    ("header", "seconds", "applied"),
    [
        (None, 10.0, None), ("", 10.0, None), ("respond-async", 0.0, b"respond-async"), ("wait=3", 3.0, b"wait=3"),
        ("wait=0", 0.0, b"wait=0"), ("respond-async, wait=5", 5.0, b"wait=5"), ("wait=9999", 60.0, b"wait=60"),
        ('wait="7"', 7.0, b"wait=7"), ("wait=x", 10.0, None), ("wait=-1", 10.0, None), ("return=minimal", 10.0, None),
        ("Respond-Async; foo=1", 0.0, b"respond-async"), ("wait=1, wait=9", 1.0, b"wait=1"),
    ],
)  # fmt: skip
def test_preferences(header: str | None, seconds: float, applied: bytes | None) -> None:
    """A phone that wants no waiting would wait."""
    found = preference(header, 10.0)
    assert (found.seconds, found.applied) == (seconds, applied)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me",
        "0f8fad5b-d9cb-469f-a165-70867728950",
        "0f8fad5bd9cb469fa16570867728950e",
        "{0f8fad5b-d9cb-469f-a165-70867728950e}",
    ],
)
def test_what_is_no_uuid_is_no_request(text: str) -> None:
    """A path with noise would be an error of the server."""
    assert uuid_or_none(text) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcd-1234", True), ("short", False), ("x" * 65, False), ("bad value!", False), ("é" * 9, False)],
)
def test_correlation_ids_are_kept_or_made(make_call: Callable[..., Call], given: str, kept: bool) -> None:
    """A text of the client could forge lines in a log."""
    call = make_call(x_correlation_id=given)
    assert (call.correlation_id == given) is kept
    assert re.fullmatch("[A-Za-z0-9-]{8,64}", call.correlation_id)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("nonsense", False),
    ],
)
def test_only_a_well_formed_traceparent_is_passed_on(make_call: Callable[..., Call], given: str, kept: bool) -> None:
    """A trace would break, or noise would reach every later system."""
    assert (make_call(traceparent=given).traceparent == given) is kept
