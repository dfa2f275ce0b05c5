"""What phones send when they are online again, and what they hear of each item (`api.md`, Sync)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gateway.models import answers
from gateway.models.bodies import DecisionBody, RejectBody, SeenVersion, SubmitBody
from schemas.base import Uuid, Wire

#: Items of one batch.
MAX_ITEMS = 200

ClientId = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,128}$")]
#: RFC 3339 with any offset: the device's own clock, whatever it shows.
DeviceTime = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$", max_length=40),
]


class _Item(Wire):
    op_id: Uuid
    request_id: Uuid
    device_time: DeviceTime | None = None


class SubmitItem(_Item):
    """`request_id` is made by the client, and becomes the request's id."""

    op: Literal["submit"]
    expected_version: None = None
    body: SubmitBody


class WithdrawItem(_Item):
    op: Literal["withdraw"]
    expected_version: SeenVersion | None = None
    body: DecisionBody = DecisionBody()


class ApproveItem(_Item):
    op: Literal["approve"]
    expected_version: SeenVersion | None = None
    body: DecisionBody = DecisionBody()


class RejectItem(_Item):
    op: Literal["reject"]
    expected_version: SeenVersion | None = None
    body: RejectBody


class RollbackItem(_Item):
    op: Literal["rollback"]
    expected_version: SeenVersion | None = None
    body: DecisionBody = DecisionBody()


AnyItem = SubmitItem | WithdrawItem | ApproveItem | RejectItem | RollbackItem


class Envelope(Wire):
    """What the batch as a whole must be; each item is then looked at by itself."""

    client_id: ClientId
    items: Annotated[list[Any], Field(max_length=MAX_ITEMS)]


class RequestsBatch(Wire):
    """`client_id` names the installation of the app. Items are done in order; an item that does not have this shape is `rejected`
    by itself, and the others go on.
    """

    client_id: ClientId
    items: Annotated[list[Annotated[SubmitItem | WithdrawItem, Field(discriminator="op")]], Field(max_length=MAX_ITEMS)]


class ApprovalsBatch(Wire):
    """As `RequestsBatch`, for decisions."""

    client_id: ClientId
    items: Annotated[
        list[Annotated[ApproveItem | RejectItem | RollbackItem, Field(discriminator="op")]],
        Field(max_length=MAX_ITEMS),
    ]


#: `duplicate` says which of these it was.
FirstResult = Literal["applied", "conflict", "rejected"]


class ItemResult(answers.Shape):
    """What became of one item.

    - `applied`: done, and committed. `duplicate`: this op id was done before, with `first_result`.
    - `conflict`: refused, since the request is not what the client thought it was; `problem` says why, `request` what it is.
    - `rejected`: refused for good, by `problem`; its pointers are into the item.
    - `retry`: nothing is known yet; send the same item again `after` so many seconds.
    - `blocked`: not tried, since the earlier item `depends_on` (an op id) of this batch came to nothing, or has to come first.

    `request` is the row after the item (of a `duplicate` perhaps a later one), where the caller may see it.
    """

    op_id: str | None
    result: Literal["applied", "duplicate", "conflict", "rejected", "retry", "blocked"]
    first_result: FirstResult | None = None
    request: answers.Request | None = None
    problem: answers.Problem | None = None
    after: Annotated[int, Field(ge=1)] | None = None
    depends_on: str | None = None


class BatchResult(answers.Shape):
    """One result per item, in their order."""

    results: list[ItemResult]
