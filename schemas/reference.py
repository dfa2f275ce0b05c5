"""Reference data as it stands on `athena.reference`, and the commands that change it.

The key of a record is `<kind>:<id>`; a value of null removes it. Every process reads the topic to its end before it works.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, model_validator

from schemas.base import SCHEMA_VERSION, CorrelationId, EntityId, Level, Millis, Name, Stored, Uuid, Version, Wire
from schemas.commands import SYSTEM
from schemas.security import NOBODY

Role = Literal["sales", "manager", "admin", "auditor"]
Email = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f-\x9f]{1,64}@[^@\s\x00-\x1f\x7f-\x9f]{1,189}$")
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{4,14}$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class EntityBase(Stored):
    """`version` starts at 1 and goes up by one with each change of this entity."""

    schema_version: int = SCHEMA_VERSION
    id: EntityId
    version: int


class User(EntityBase):
    kind: Literal["user"] = "user"
    email: str
    name: str
    roles: tuple[Role, ...]
    department_id: str
    phone: str | None = None
    locale: str = "en"
    active: bool = True
    created_at: Millis = 0


class Department(EntityBase):
    kind: Literal["department"] = "department"
    name: str
    region: str


class Category(EntityBase):
    kind: Literal["category"] = "category"
    name: str
    active: bool = True


class Reason(EntityBase):
    kind: Literal["reason"] = "reason"
    text: str
    category_id: str | None
    active: bool = True


class Assignment(EntityBase):
    kind: Literal["assignment"] = "assignment"
    category_id: str
    level: Level
    approver_id: str
    department_id: str | None = None
    region: str | None = None

    @property
    def place(self) -> tuple[str, str, str, str | None, str | None]:
        """What it says, whatever its id: no two say the same."""
        return self.category_id, self.level, self.approver_id, self.department_id, self.region


class Delegation(EntityBase):
    """From `from_ms` until before `until_ms` (ms by the log's clock) the delegate may vote wherever the delegator may."""

    kind: Literal["delegation"] = "delegation"
    delegator_id: str
    delegate_id: str
    from_ms: Millis
    until_ms: Millis

    def holds(self, at_ms: int) -> bool:
        """Whether it is in force at that time."""
        return self.from_ms <= at_ms < self.until_ms


#: Characters of a rules file that is checked and compiled where it arrives: about 9 ms for each 1,000 of them. A larger one is
#: checked at the gateway first, and in a process and a thread of its own at the worker: 1 s for 1,000 rules.
SMALL_RULES = 4096


class Rules(EntityBase):
    """One published version of the rules file; `id` is the version as text."""

    kind: Literal["rules"] = "rules"
    author_id: str
    at: Millis
    comment: str | None
    yaml: str
    findings: tuple[dict[str, object], ...] = ()


Entity = User | Department | Category | Reason | Assignment | Delegation | Rules
ENTITIES: TypeAdapter[Entity] = TypeAdapter(Annotated[Entity, Field(discriminator="kind")])


def entity_key(kind: str, id_: str) -> str:
    """Key of the record on `athena.reference`, and the name of the entity's audit chain."""
    return f"{kind}:{id_}"


class UserBody(Wire):
    """`active` None: as it is; what is new is active."""

    kind: Literal["user"] = "user"
    email: Email
    name: Name
    roles: Annotated[tuple[Role, ...], Field(max_length=4)]
    department_id: EntityId
    phone: Phone | None = None
    locale: Locale = "en"
    active: bool | None = True


class DepartmentBody(Wire):
    kind: Literal["department"] = "department"
    name: Name
    region: Region


class CategoryBody(Wire):
    """`active` as in `UserBody`."""

    kind: Literal["category"] = "category"
    name: Name
    active: bool | None = True


class ReasonBody(Wire):
    """`active` as in `UserBody`."""

    kind: Literal["reason"] = "reason"
    text: Name
    category_id: EntityId | None = None
    active: bool | None = True


class AssignmentBody(Wire):
    kind: Literal["assignment"] = "assignment"
    category_id: EntityId
    level: Level
    approver_id: EntityId
    department_id: EntityId | None = None
    region: Region | None = None


#: Longest time for which somebody can name a delegate.
LONGEST_DELEGATION_MS = 90 * 24 * 60 * 60 * 1000
#: The last millisecond that RFC 3339 can write.
_LAST_MS = 253_402_300_799_999


class DelegationBody(Wire):
    """`delegate_id` votes for `delegator_id` from `from_ms` until before `until_ms`, at most 90 days."""

    kind: Literal["delegation"] = "delegation"
    delegator_id: EntityId
    delegate_id: EntityId
    from_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]
    until_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.delegate_id == self.delegator_id:
            raise ValueError("nobody is their own delegate")
        if not 0 < self.until_ms - self.from_ms <= LONGEST_DELEGATION_MS:
            raise ValueError("a delegation ends after it begins, and at most 90 days later")
        return self


def _one_mebibyte(text: str) -> str:
    if len(text.encode()) > 1024 * 1024:
        raise ValueError("is larger than 1 MiB of UTF-8")
    return text


class RulesBody(Wire):
    """`yaml` is the file's text, comments and layout included; at most 1 MiB of UTF-8."""

    kind: Literal["rules"] = "rules"
    yaml: Annotated[str, AfterValidator(_one_mebibyte)]
    comment: Annotated[str, StringConstraints(max_length=4000)] | None = None


Body = Annotated[
    UserBody | DepartmentBody | CategoryBody | ReasonBody | AssignmentBody | DelegationBody | RulesBody,
    Field(discriminator="kind"),
]


#: Ids of the product's own, which no account may have.
RESERVED_IDS = frozenset({SYSTEM, NOBODY})


class ReferenceCommandBase(Wire):
    """`expected_version` 0 means "does not exist yet", None "whatever it is now". For rules it is the newest version."""

    schema_version: Literal[1] = SCHEMA_VERSION
    command_id: Uuid
    actor_id: EntityId
    correlation_id: CorrelationId
    source_address: Annotated[str, StringConstraints(max_length=64)] | None = None
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    expected_version: Version | None = None


class PutEntity(ReferenceCommandBase):
    """Create or replace; for rules `entity_id` is `rules` and the new version's id is given by the worker."""

    type: Literal["PutEntity"] = "PutEntity"
    entity_id: EntityId
    body: Body

    @model_validator(mode="after")
    def _no_account_is_ours(self) -> Self:
        if isinstance(self.body, UserBody) and self.entity_id in RESERVED_IDS:
            raise ValueError(f"no account may have the id {self.entity_id!r}: it is the product's own")
        return self


#: What can be taken away; everything else is only replaced.
Removable = Literal["user", "category", "assignment", "delegation"]


class RemoveEntity(ReferenceCommandBase):
    """Deactivate a user or category, delete an assignment or a delegation."""

    type: Literal["RemoveEntity"] = "RemoveEntity"
    kind: Removable
    entity_id: EntityId


ReferenceCommand = PutEntity | RemoveEntity
REFERENCE_COMMANDS: TypeAdapter[ReferenceCommand] = TypeAdapter(
    Annotated[ReferenceCommand, Field(discriminator="type")]
)
