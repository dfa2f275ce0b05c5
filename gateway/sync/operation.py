"""One item of a batch, read by itself: an operation that can be sent as a command, or the problem why it is none."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from gateway.http.bodies import field_errors
from gateway.http.problems import Problem, invalid, invalid_at
from gateway.models.sync import AnyItem, ApproveItem, RejectItem, RollbackItem, SubmitItem, WithdrawItem
from schemas.catalog import Catalog
from schemas.commands import Approve, CommandBase, Reject, Rollback, SubmitRequest, Withdraw
from schemas.envelope import derived_id
from schemas.money import MoneyError, parse_minor

_KINDS: dict[str, tuple[type[AnyItem], type[CommandBase]]] = {
    "submit": (SubmitItem, SubmitRequest),
    "withdraw": (WithdrawItem, Withdraw),
    "approve": (ApproveItem, Approve),
    "reject": (RejectItem, Reject),
    "rollback": (RollbackItem, Rollback),
}
#: Command id and hash.
Content = tuple[str, bytes]
_NO_CATEGORY, _NO_REASON = "is no category", "is no reason"
#: Characters of an op id that is none, and is answered all the same.
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """`op_id` is spelled as it was sent. `fields` are those of the command that come from the item; `hash` identifies what is asked
    for (device time apart, which a repeat may tell anew), `command_id` the op id of this user and client.
    """

    op_id: str
    command_id: str
    kind: type[CommandBase]
    request_id: str
    fields: dict[str, Any]
    hash: bytes

    @property
    def content(self) -> Content:
        """This op with what it asks for: an op id used twice has two."""
        return self.command_id, self.hash

    @property
    def supersedes(self) -> str | None:
        """The request that a submission stands in for."""
        return self.fields.get("supersedes")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that is no operation. `request_id` where it names one: later items for that request depend on it."""

    op_id: str | None
    request_id: str | None
    problem: Problem

    @property
    def of_unknown_reference(self) -> bool:
        """Whether it names a category or a reason that is none, or that this gateway has yet to read."""
        return any(error["detail"] in (_NO_CATEGORY, _NO_REASON) for error in self.problem.errors)


def command_id_of(user_id: str, client_id: str, op_id: str) -> str:
    """The id of the command of an op; of every spelling of the op id the same."""
    return derived_id("sync", user_id, client_id, op_id.lower())


def read(item: Any, takes: Collection[str], user_id: str, client_id: str, catalog: Catalog) -> Operation | Unreadable:
    """The operation in an item, if it is one of `takes`."""
    try:
        op = item.get("op") if isinstance(item, dict) else None
        if not isinstance(item, dict):
            raise invalid_at("", "is not an object")
        if not isinstance(op, str) or op not in takes:
            raise invalid_at("/op", f"must be one of {', '.join(takes)}")
        shape, kind = _KINDS[op]
        return _operation(_checked(shape, item), kind, user_id, client_id, str(item["op_id"]), catalog)
    except Problem as problem:
        return Unreadable(_shown(item), _request_of(item), problem)


def _checked(shape: type[AnyItem], item: dict[str, Any]) -> AnyItem:
    try:
        return shape.model_validate(item)
    except ValidationError as error:
        raise invalid(*field_errors(error)) from None


def _operation(
    item: AnyItem, kind: type[CommandBase], user_id: str, client_id: str, op_id: str, catalog: Catalog
) -> Operation:
    fields = item.body.model_dump()
    if isinstance(item, SubmitItem):
        _possible(item, catalog)
    else:
        fields["expected_version"] = _seen(item.expected_version, item.body.expected_version)
    # What is not given is left out: a field that a later release adds must not make another op of what a phone repeats then.
    given = {name: value for name, value in fields.items() if value is not None}
    asked = orjson.dumps([item.op, item.request_id, given], option=orjson.OPT_SORT_KEYS)
    return Operation(
        op_id=op_id,
        command_id=command_id_of(user_id, client_id, item.op_id),
        kind=kind,
        request_id=item.request_id,
        fields=fields | {"device_time": item.device_time},
        hash=hashlib.sha256(asked).digest()[:16],
    )


def _seen(of_item: int | None, of_body: int | None) -> int | None:
    """The version that was seen: in the item, or in the body as for the POST."""
    if of_item is not None and of_body is not None and of_item != of_body:
        raise invalid_at("/body/expected_version", "differs from the item's own")
    return of_body if of_item is None else of_item


def _possible(item: SubmitItem, catalog: Catalog) -> None:
    """What `POST /requests` looks at before it makes a command."""
    body = item.body
    try:
        parse_minor(body.amount, body.currency)
    except MoneyError as error:
        raise invalid_at("/body/amount", str(error)) from None
    if body.category_id not in catalog.categories:
        raise invalid_at("/body/category_id", _NO_CATEGORY)
    if body.reason_id not in catalog.reasons:
        raise invalid_at("/body/reason_id", _NO_REASON)
    if body.supersedes == item.request_id:
        raise invalid_at("/body/supersedes", "is the request itself")


def _shown(item: Any) -> str | None:
    op_id = item.get("op_id") if isinstance(item, dict) else None
    return op_id[:_SHOWN] if isinstance(op_id, str) else None


def _request_of(item: Any) -> str | None:
    request_id = item.get("request_id") if isinstance(item, dict) else None
    return request_id.lower() if isinstance(request_id, str) else None
