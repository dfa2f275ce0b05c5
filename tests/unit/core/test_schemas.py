"""What all parts share: ids, times and field types."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import rfc3339
from schemas.commands import COMMANDS
from schemas.envelope import NAMESPACE, derived_id
from tests.unit.core.organisation import approve, close, submit


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_derived_ids_are_version_5_uuids(parts: list[str]) -> None:
    """Another program cannot compute the id of a message, and a repeat is not recognised after an upgrade."""
    assert derived_id(*parts) == str(uuid.uuid5(NAMESPACE, "\x1f".join(parts)))


def test_parts_of_an_id_may_be_numbers() -> None:
    """Two different messages get one id."""
    assert derived_id("a", 1) == derived_id("a", "1") != derived_id("a1")


@given(st.integers(0, 253_402_300_799_999))
def test_times_are_rfc_3339_with_milliseconds(ms: int) -> None:
    """A time comes back a millisecond off, and a window closes early."""
    text = rfc3339(ms)
    read = datetime.fromisoformat(text)
    assert text.endswith("Z") and len(text) == 24
    assert round((read - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000) == ms


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "1.001", "currency": "USD"},
        {"amount": "0"},
        {"amount": "1.5", "currency": "JPY"},
        {"amount": "0.000", "currency": "KWD"},
    ],
)
def test_an_amount_that_its_currency_cannot_have_is_no_command(changes: dict[str, Any]) -> None:
    """Half a yen is asked for, or nothing at all."""
    with pytest.raises(ValueError, match=r"amount|decimals"):
        submit(**changes)


@pytest.mark.parametrize("version", [0, 2**53, 2**70])
def test_a_version_that_no_json_writer_takes_is_no_command(version: int) -> None:
    """Hashing its payload would fail in the middle of deciding, and be told as a bug of ours."""
    command = close(1).model_dump() | {"decision_version": version}
    with pytest.raises(ValueError, match="decision_version"):
        COMMANDS.validate_python(command)
    assert COMMANDS.validate_python(command | {"decision_version": 2**53 - 1})


def test_ids_are_compared_in_small_letters() -> None:
    """One request under two spellings of its id becomes two."""
    command = approve("ann", request_id="0F8FAD5B-D9CB-469F-A165-70867728950E")
    assert command.request_id == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert COMMANDS.validate_python(command.model_dump()) == command
