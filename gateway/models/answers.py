"""The shapes of answers, for the OpenAPI document; the answers come from the log and the read side as they are."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel

from schemas.reference import Role
from schemas.state import Status

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", examples=["2026-11-22T09:30:00.000Z"])]
Id = Annotated[str, Field(min_length=1, max_length=64)]
RequestId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
LevelName = Literal["L1", "L2", "L3"]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Money(Shape):
    amount: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]{1,4})?$")]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Vote(Shape):
    approver_id: Id
    decision: Literal["approve", "reject"]
    at: Time
    comment: str | None


class RouteLevel(Shape):
    level: LevelName
    quorum: Annotated[int, Field(ge=1)]
    approvers: list[Id]
    votes: list[Vote]


class Route(Shape):
    rules_version: int
    rule_id: str
    levels: list[RouteLevel]


class Request(Shape):
    """A budget request."""

    id: RequestId
    version: Annotated[int, Field(ge=1)]
    status: Status
    title: str | None
    description: str | None
    amount: Money
    base_amount: Money
    category_id: Id
    reason_id: Id
    department_id: Id
    requester_id: Id
    supersedes: RequestId | None
    route: Route
    current_level: LevelName | None
    created_at: Time
    updated_at: Time
    rollback_until: Time | None
    finalized_at: Time | None


class StatusItem(Shape):
    """One event of a request."""

    version: Annotated[int, Field(ge=1)]
    status: Status
    at: Time
    actor_id: Id
    action: Literal["submit", "approve", "reject", "rollback", "withdraw", "reassign", "comment", "finalize", "close"]
    level: LevelName | None
    comment: str | None


class Gone(Shape):
    """What the caller no longer has to do."""

    id: RequestId
    why: Literal["decided", "withdrawn", "reassigned", "rolled-back", "delegation-ended"]


class Updates(Shape):
    """What changed. `server_time` of an answer without `has_more` may be sent as `lastSync` later."""

    items: list[Request]
    gone: list[Gone]
    cursor: str
    has_more: bool
    server_time: Time


class Decision(Shape):
    """`rollback_until` is there while this decision is the newest standing one of its request."""

    request_id: RequestId
    action: Literal["approve", "reject"]
    level: LevelName | None
    at: Time
    rollback_until: Time | None
    can_roll_back: bool


class FieldProblem(Shape):
    pointer: str
    detail: str


class Finding(Shape):
    """`line` and `column` count from 1. `example` is a request that shows it."""

    severity: Literal["error", "warning"]
    code: str
    rule_ids: list[str]
    message: str
    line: int | None
    column: int | None
    example: dict[str, str] | None


class Problem(BaseModel):
    """RFC 9457. `findings` of a rules file that was refused."""

    type: Annotated[str, Field(pattern=r"^https://athena-budget\.dev/problems/")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    correlation_id: str
    errors: list[FieldProblem] = []
    findings: list[Finding] = []


class Command(Shape):
    id: RequestId
    status: Literal["pending", "accepted", "refused"]
    request: Request | None
    problem: Problem | None


class Grant(Shape):
    access_token: str
    token_type: Literal["Bearer", "DPoP"]
    expires_in: Annotated[int, Field(ge=1)]
    refresh_token: str | None


class Session(Shape):
    """One of the caller's sign-ins. `last_used_at`: signed in or renewed; `current`: the one that asks."""

    id: RequestId
    device_id: str | None
    created_at: Time
    last_used_at: Time
    expires_at: Time
    source_address: str | None
    user_agent: str | None
    current: bool


class OkpJwk(Shape):
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class EcJwk(Shape):
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: str
    use: Literal["sig"]
    alg: Literal["ES256"]


class Jwks(Shape):
    keys: list[OkpJwk | EcJwk]


class User(Shape):
    id: Id
    email: str
    name: str
    roles: list[Role]
    department_id: Id
    region: str | None
    phone: str | None
    locale: str
    active: bool
    created_at: Time
    version: int


class Invitation(Shape):
    """`token` sets the person's first password, once. It is shown here alone."""

    token: str
    expires_at: Time


class NewUser(User):
    """`invitation` when no password was given."""

    invitation: Invitation | None = None


class Person(Shape):
    """What people on the same request see of each other."""

    id: Id
    name: str
    department_id: Id


class UserOrPerson(RootModel[User | Person]):
    """Whole for admins, auditors and oneself; a person for those who share a request."""


class Department(Shape):
    id: Id
    name: str
    region: str
    version: int


class Category(Shape):
    id: Id
    name: str
    active: bool
    version: int


class Reason(Shape):
    id: Id
    text: str
    category_id: Id | None
    active: bool
    version: int


class Assignment(Shape):
    id: Id
    category_id: Id
    level: LevelName
    approver_id: Id
    department_id: Id | None
    region: str | None
    version: int


class Import(Shape):
    """How many rows the file had, and what became of them. `unchanged`: it was so already."""

    created: Annotated[int, Field(ge=0)]
    changed: Annotated[int, Field(ge=0)]
    unchanged: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]


class RulesVersion(Shape):
    version: Annotated[int, Field(ge=1)]
    author_id: Id
    at: Time
    comment: str | None
    yaml: str


class CheckedRulesVersion(RulesVersion):
    """`findings`: the warnings with which it was published."""

    findings: list[Finding]


class RulesVersionItem(Shape):
    """Without its text. `warnings`: how many its check had when it was published."""

    version: Annotated[int, Field(ge=1)]
    author_id: Id
    at: Time
    comment: str | None
    warnings: Annotated[int, Field(ge=0)]


class RulesCheck(Shape):
    ok: bool
    findings: list[Finding]


class RuleChanges(Shape):
    """Ids of rules: new ones, those that are gone, those that read otherwise, and those that only stand elsewhere now."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    moved: list[str]


class RulesDiff(Shape):
    """`text` is a unified diff; `settings` names the file's other keys that differ."""

    text: str
    rules: RuleChanges
    settings: list[str]


class Rerouted(Shape):
    """`to` may be `from`, when a rule's levels or quorums differ. `examples` are ids of requests."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    count: Annotated[int, Field(ge=1)]
    examples: list[RequestId]


class BeforeAfter(Shape):
    before: Annotated[int, Field(ge=0)]
    after: Annotated[int, Field(ge=0)]


class Approvals(Shape):
    L1: BeforeAfter
    L2: BeforeAfter
    L3: BeforeAfter


class Escape(Shape):
    count: Annotated[int, Field(ge=0)]
    base_amount: Money


class Escaped(Shape):
    L2: Escape
    L3: Escape


class NotLetIn(Shape):
    """Requests that the candidate would refuse, by code; they are in no other sum but `requests`."""

    no_approver: Annotated[int, Field(ge=0, alias="no-approver")]
    currency_not_supported: Annotated[int, Field(ge=0, alias="currency-not-supported")]


class MedianHours(Shape):
    L1: float | None
    L2: float | None
    L3: float | None


class ApproverHours(Shape):
    """Approvals times `median_hours`, in which people decided lately at that level, from the step before; null: nobody has."""

    before: float
    after: float
    median_hours: MedianHours


class RulesSimulation(Shape):
    """What a candidate would do with the requests on record. `escaped`: those that pass a level now and would not any more."""

    requests: Annotated[int, Field(ge=0)]
    rerouted: Annotated[int, Field(ge=0)]
    by_rule: list[Rerouted]
    approvals: Approvals
    escaped: Escaped
    refused: NotLetIn
    approver_hours: ApproverHours


class AuditItem(Shape):
    entity: str
    seq: Annotated[int, Field(ge=1)]
    request_id: str | None
    version: int | None
    actor_id: str
    actor_roles: list[str]
    action: str
    level: str | None
    at: Time
    outcome: Literal["accepted", "refused"]
    code: str | None
    status_before: str | None
    status_after: str | None
    correlation_id: str
    source_address: str | None
    prev_hash: Hash
    hash: Hash


class AuditBreak(Shape):
    entity: str
    seq: int
    why: str


class AuditVerdict(Shape):
    ok: bool
    chains: int
    records: int
    first_break: AuditBreak | None


class Health(Shape):
    status: Literal["ok", "not-ready"]
    checks: dict[str, bool] = {}


Item = TypeVar("Item")


class Page(Shape, Generic[Item]):
    items: list[Item]
    next_cursor: str | None
