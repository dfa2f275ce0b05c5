"""What the worker counts for its operators."""

from __future__ import annotations

from agents.requests import _result
from rules.decide import Decision
from schemas.codes import Code
from schemas.events import Reassigned


def reassigned(*, unstaffed: bool) -> Decision:
    return Decision(
        Reassigned(
            version=2,
            at=1,
            actor_id="system",
            command_id="0f8fad5b-d9cb-469f-a165-70867728950e",
            level="L1",
            approvers=("l1.emea",),
            quorum=1,
            dropped=(),
            unstaffed=unstaffed,
        )
    )


def test_a_level_that_cannot_be_staffed_is_counted_apart() -> None:
    """Otherwise a request would wait for people who are gone, and nobody would hear of it."""
    assert _result(reassigned(unstaffed=True)) == "unstaffed"
    assert _result(reassigned(unstaffed=False)) == "accepted"
    assert _result(Decision(refusal=Code.NO_APPROVER)) == "no-approver"
