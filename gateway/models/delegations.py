"""The body that names a delegate."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from gateway.http.queries import time_of
from schemas.base import EntityId, Wire
from schemas.reference import LONGEST_DELEGATION_MS


def _millis(value: Any) -> int:
    found = time_of(value) if isinstance(value, str) else None
    if found is None or found < 0:
        raise ValueError("must be a time such as 2026-11-22T09:30:00.000Z")
    return found


#: A time in RFC 3339; inside, milliseconds since 1970.
Moment = Annotated[int, BeforeValidator(_millis), WithJsonSchema({"type": "string", "format": "date-time"})]


class NewDelegationBody(Wire):
    """From `from` until before `until`, at most 90 days. `delegator_id` is the caller unless an admin names somebody."""

    model_config = ConfigDict(serialize_by_alias=True)

    delegate_id: EntityId
    from_: Annotated[Moment, Field(alias="from")]
    until: Moment
    delegator_id: EntityId | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until <= self.from_:
            raise ValueError("until must be later than from")
        if self.until - self.from_ > LONGEST_DELEGATION_MS:
            raise ValueError("a delegate can be named for 90 days at most")
        return self
