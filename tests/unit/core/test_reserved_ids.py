"""Ids that the product uses itself belong to no person."""

from __future__ import annotations

import uuid

import pytest
from pydantic import ValidationError

from schemas.commands import SYSTEM
from schemas.reference import PutEntity
from schemas.security import NOBODY


@pytest.mark.parametrize("id_", [SYSTEM, NOBODY])
def test_no_account_has_an_id_of_the_product_s_own(id_: str) -> None:
    """Somebody would decide as the system, or be taken for all those who fail to sign in."""
    body = {"kind": "user", "email": "x@athena.test", "name": "X", "roles": (), "department_id": "hq"}
    facts = {"command_id": str(uuid.uuid4()), "actor_id": "admin", "correlation_id": str(uuid.uuid4())}
    with pytest.raises(ValidationError, match="the product's own"):
        PutEntity.model_validate({**facts, "entity_id": id_, "body": body})
    assert PutEntity.model_validate({**facts, "entity_id": "somebody", "body": body}).entity_id == "somebody"
