"""One item of a batch, read by itself."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.sync.operation import Operation, Unreadable, command_id_of, read
from schemas.catalog import Catalog
from schemas.commands import Approve, Withdraw
from tests.batches import item

OP, REQUEST = "0f8fad5b-d9cb-469f-a165-70867728950e", "1f8fad5b-d9cb-469f-a165-70867728950e"
DECISIONS = ("approve", "reject", "rollback")


def operation(found: Any, takes: tuple[str, ...] = DECISIONS, client: str = "c") -> Operation:
    result = read(found, takes, "sam", client, Catalog())
    assert isinstance(result, Operation), result
    return result


def test_what_is_bound_to_an_op_id_stays_the_same() -> None:
    """After an update of the gateway a phone's repeat would be refused as another op, or taken for a new one."""
    found = operation(item("approve", REQUEST, op_id=OP, expected_version=3, body={"comment": "Yes."}))
    assert (found.command_id, found.hash.hex()) == (
        "04b97bce-e632-581f-b185-fbcd78e468dc",
        "2013152275f53b1cedf6c27821d25d6d",
    )
    plain = operation(item("withdraw", REQUEST, op_id=OP), ("withdraw",))
    assert plain.hash.hex() == "f24587624165a8d0dea553ce32ee1e78"


def test_an_op_belongs_to_its_user_and_client() -> None:
    """Two phones that count alike would take each other's taps for repeats."""
    ids = {command_id_of(user, client, OP) for user in ("sam", "sue") for client in ("a", "b")}
    assert len(ids) == 4
    assert command_id_of("sam", "a", OP.upper()) in ids


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"device_time": "2001-01-01T00:00:00Z"}, True),
        ({"device_time": None}, True),
        ({"op_id": OP.upper(), "request_id": REQUEST.upper()}, True),
        ({"body": {"comment": None}}, True),
        ({"body": {"comment": "Yes."}}, False),
        ({"expected_version": 2}, False),
        ({"op": "rollback"}, False),
        ({"request_id": OP}, False),
    ],
)
def test_what_makes_another_op(change: dict[str, Any], same: bool) -> None:
    """A repeat would be refused, or another tap be swallowed."""
    first = item("approve", REQUEST, op_id=OP)
    assert (operation(first).hash == operation(first | change).hash) is same


def test_the_version_seen_stands_in_the_item_or_in_the_body() -> None:
    """A vote would count for a version that nobody looked at."""
    seen = [
        operation(item("approve", REQUEST, expected_version=of_item, body=body)).fields["expected_version"]
        for of_item, body in ((3, {}), (None, {"expected_version": 3}), (3, {"expected_version": 3}), (3.0, {}))
    ]
    assert seen == [3, 3, 3, 3]
    assert isinstance(
        read(item("approve", expected_version=2, body={"expected_version": 3}), DECISIONS, "sam", "c", Catalog()),
        Unreadable,
    )


def test_a_command_says_what_the_item_says() -> None:
    """The worker would decide on something else than was tapped."""
    found = operation(
        item("withdraw", REQUEST, op_id=OP, expected_version=1, body={"comment": "No need."}), ("withdraw",)
    )
    assert found.kind is Withdraw
    assert (found.request_id, found.fields["comment"], found.fields["device_time"]) == (
        REQUEST,
        "No need.",
        "2026-11-22T09:30:00+09:00",
    )
    assert operation(item("approve", REQUEST)).kind is Approve


@pytest.mark.parametrize(
    ("bad", "op_id", "request_id"),
    [
        (None, None, None),
        (7, None, None),
        ({"op_id": 7, "request_id": 8, "op": []}, None, None),
        ({"op_id": "x" * 1000, "request_id": REQUEST.upper()}, "x" * 200, REQUEST),
    ],
)
def test_what_is_no_item_is_answered_all_the_same(bad: Any, op_id: str | None, request_id: str | None) -> None:
    """One answer too few, and a phone would take each for another's."""
    found = read(bad, DECISIONS, "sam", "c", Catalog())
    assert isinstance(found, Unreadable)
    assert (found.op_id, found.request_id) == (op_id, request_id)
