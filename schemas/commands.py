"""Commands on `athena.commands`: imperative, untrusted, one request each."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from schemas.base import (
    SCHEMA_VERSION,
    CorrelationId,
    EntityId,
    Level,
    LongText,
    RequiredText,
    Title,
    Uuid,
    Version,
    Wire,
)
from schemas.money import parse_minor

SYSTEM = "system"

_AMOUNT = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,3})?$"
#: Zero fits the validator's pattern, and is refused with a sentence of its own; clients see at once that it will not do.
AmountText = Annotated[
    str,
    StringConstraints(pattern=_AMOUNT),
    Field(json_schema_extra={"pattern": r"^(?!0(\.0+)?$)" + _AMOUNT.removeprefix("^")}),
]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class CommandBase(Wire):
    """What every command carries.

    `reference_offset` is the next offset of `athena.reference` that the sender had yet to apply (0: knows nothing): the
    worker decides only once it has applied as much. `salt` (32 hex digits, random per command) hides the personal parts in
    the audit chain. `device_time` is evidence only.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    command_id: Uuid
    request_id: Uuid
    actor_id: EntityId
    correlation_id: CorrelationId
    source_address: Annotated[str, StringConstraints(max_length=64)] | None = None
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    reference_offset: Version = 0
    expected_version: Version | None = None
    device_time: Annotated[str, StringConstraints(max_length=40)] | None = None


class SubmitRequest(CommandBase):
    """`amount` is above zero, with no more decimals than `currency` has; anything else is no command."""

    type: Literal["SubmitRequest"] = "SubmitRequest"
    category_id: EntityId
    reason_id: EntityId
    title: Title
    description: LongText | None = None
    amount: AmountText
    currency: CurrencyCode
    supersedes: Uuid | None = None

    @model_validator(mode="after")
    def _amount_of_the_currency(self) -> Self:
        parse_minor(self.amount, self.currency)
        return self


class Approve(CommandBase):
    type: Literal["Approve"] = "Approve"
    comment: LongText | None = None


class Reject(CommandBase):
    type: Literal["Reject"] = "Reject"
    comment: RequiredText


class Rollback(CommandBase):
    type: Literal["Rollback"] = "Rollback"
    comment: LongText | None = None


class Withdraw(CommandBase):
    type: Literal["Withdraw"] = "Withdraw"
    comment: LongText | None = None


class Reassign(CommandBase):
    type: Literal["Reassign"] = "Reassign"
    level: Level


class Comment(CommandBase):
    type: Literal["Comment"] = "Comment"
    text: RequiredText


class CloseWindow(CommandBase):
    """From the sweep: `decision_version` names the decision whose window has passed."""

    type: Literal["CloseWindow"] = "CloseWindow"
    decision_version: Annotated[Version, Field(ge=1)]


class Remind(CommandBase):
    """From the sweep: the level that opened at `opened_version` has waited for `remind_after`."""

    type: Literal["Remind"] = "Remind"
    opened_version: Annotated[Version, Field(ge=1)]


class Escalate(CommandBase):
    """From the sweep: the level that opened at `opened_version` has waited for `escalate_after`."""

    type: Literal["Escalate"] = "Escalate"
    opened_version: Annotated[Version, Field(ge=1)]


AnyCommand = (
    SubmitRequest | Approve | Reject | Rollback | Withdraw | Reassign | Comment | CloseWindow | Remind | Escalate
)
Command = Annotated[AnyCommand, Field(discriminator="type")]
COMMANDS: TypeAdapter[AnyCommand] = TypeAdapter(Command)

#: What the sweep sends when a time has come. Whenever it comes, it does nothing or what is due.
TIMED = (CloseWindow, Remind, Escalate)

#: Parts of a command that do not belong to what it asks for: a retry may differ in them.
NOT_PAYLOAD = frozenset(
    {"schema_version", "command_id", "correlation_id", "source_address", "salt", "reference_offset", "device_time"}
)
