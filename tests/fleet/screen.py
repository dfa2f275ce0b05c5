"""What a person taps, given what the phone shows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.client import submission
from tests.fleet.disk import Kept
from tests.fleet.plan import Kind, Tap

Item = dict[str, Any]

#: Ops for `/requests/sync`; all others are for `/approvals/sync`.
FILING = ("submit", "withdraw")
#: What somebody taps who does not have the screen for it.
_WITHOUT_SALES: dict[str, Kind] = {
    "submit": "approve", "resubmit": "rollback", "withdraw": "reject", "broken": "approve",
}  # fmt: skip
_WITHOUT_MANAGER: dict[str, Kind] = {"approve": "submit", "reject": "withdraw", "rollback": "resubmit"}
_KINDS = (
    {"category_id": "travel", "amount": "420.00", "currency": "EUR"},
    {"category_id": "training", "amount": "1500.00", "currency": "USD"},
    {"category_id": "hardware", "amount": "2000.00", "currency": "EUR"},
    {"category_id": "marketing", "amount": "75000.00", "currency": "EUR"},
    {"category_id": "meals", "amount": "12.00", "currency": "CHF"},
)
_BROKEN: tuple[Item, ...] = ({"amount": "1.2345"}, {"title": ""}, {"category_id": "no-such"}, {"colour": "red"})


def items_of(tap: Tap, user_id: str, roles: Sequence[str], kept: Kept, skew: timedelta) -> list[Item]:
    """The items that a tap puts into the outbox: one, two for a change of mind, none where there is nothing to tap on."""
    kind = tap.kind
    if "sales" not in roles:
        kind = _WITHOUT_SALES.get(kind, kind)
    if "manager" not in roles:
        kind = _WITHOUT_MANAGER.get(kind, kind)
    found = _MAKERS[kind](tap, user_id, kept)
    if any(("sales" if one["op"] in FILING else "manager") not in roles for one in found):
        return []
    return [_stamped(one, skew) for one in found]


def _stamped(item: Item, skew: timedelta) -> Item:
    return item | {"op_id": str(uuid.uuid4()), "device_time": (datetime.now(UTC) + skew).isoformat("T", "milliseconds")}


def _item(op: str, request_id: str, body: Item, version: int | None = None) -> Item:
    return {"op": op, "request_id": request_id, "expected_version": version, "body": body}


def _submit(tap: Tap, _user_id: str, _kept: Kept, **more: Any) -> list[Item]:
    body = submission(**_KINDS[tap.choice % len(_KINDS)], **more)
    return [_item("submit", str(uuid.uuid4()), body)]


def _resubmit(tap: Tap, user_id: str, kept: Kept) -> list[Item]:
    """A new request in the place of an old one, which is withdrawn first if it still waits."""
    old = _pick(tap, [*kept.requests.rows, *_unsent(kept)])
    if old is None:
        return []
    row = kept.requests.rows.get(old)
    first = [_item("withdraw", old, {})] if row is None or row["current_level"] else []
    return [*first, *_submit(tap, user_id, kept, supersedes=old)]


def _withdraw(tap: Tap, _user_id: str, kept: Kept) -> list[Item]:
    """Also what was filed a moment ago and is not sent yet, and what is decided already as far as this phone knows."""
    id_ = _pick(tap, [*kept.requests.rows, *_unsent(kept)])
    return [] if id_ is None else [_item("withdraw", id_, {}, _seen(tap, kept.requests.rows.get(id_)))]


def _vote(op: str, tap: Tap, user_id: str, kept: Kept) -> list[Item]:
    row = _row(tap, [one for one in kept.approvals.rows.values() if _waits_for(user_id, one)])
    comment = {"comment": "As agreed."} if op == "reject" or tap.choice % 3 == 0 else {}
    return [] if row is None else [_item(op, row["id"], comment, _seen(tap, row))]


def _rollback(tap: Tap, user_id: str, kept: Kept) -> list[Item]:
    row = _row(tap, [one for one in kept.approvals.rows.values() if _voted(user_id, one)])
    return [] if row is None else [_item("rollback", row["id"], {}, _seen(tap, row))]


def _change_of_mind(tap: Tap, user_id: str, kept: Kept) -> list[Item]:
    """Done and undone before anything is sent."""
    found = _vote("approve", tap, user_id, kept) or _submit(tap, user_id, kept)
    back = "rollback" if found[0]["op"] == "approve" else "withdraw"
    return [*found, _item(back, found[0]["request_id"], {})]


def _broken(tap: Tap, user_id: str, kept: Kept) -> list[Item]:
    """From an app with a mistake in it."""
    found = _submit(tap, user_id, kept)[0]
    return [found | {"body": found["body"] | _BROKEN[tap.choice % len(_BROKEN)]}]


_MAKERS: dict[str, Callable[[Tap, str, Kept], list[Item]]] = {
    "submit": _submit,
    "resubmit": _resubmit,
    "withdraw": _withdraw,
    "approve": lambda tap, user_id, kept: _vote("approve", tap, user_id, kept),
    "reject": lambda tap, user_id, kept: _vote("reject", tap, user_id, kept),
    "rollback": _rollback,
    "change_of_mind": _change_of_mind,
    "broken": _broken,
}


def _pick(tap: Tap, ids: Sequence[str]) -> str | None:
    return sorted(ids)[tap.choice % len(ids)] if ids else None


def _row(tap: Tap, rows: Sequence[Item]) -> Item | None:
    return sorted(rows, key=lambda one: str(one["id"]))[tap.choice % len(rows)] if rows else None


def _seen(tap: Tap, row: Item | None) -> int | None:
    return None if tap.blind or row is None else int(row["version"])


def _unsent(kept: Kept) -> list[str]:
    return [one["request_id"] for one in kept.outbox if one["op"] == "submit"]


def _waits_for(user_id: str, row: Item) -> bool:
    level = next((one for one in row["route"]["levels"] if one["level"] == row["current_level"]), None)
    return level is not None and user_id in level["approvers"]


def _voted(user_id: str, row: Item) -> bool:
    return any(vote["approver_id"] == user_id for level in row["route"]["levels"] for vote in level["votes"])
