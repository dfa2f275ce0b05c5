"""Batches of what a phone did offline, made and sent."""

from __future__ import annotations

import uuid
from typing import Any

from tests import shapes
from tests.client import Api, submission

CLIENT = "phone-1"


def item(op: str, request_id: str | None = None, *, op_id: str | None = None, **more: Any) -> dict[str, Any]:
    """One item; a submission gets a small trip as its body, and a rejection a comment."""
    found: dict[str, Any] = {
        "op_id": op_id or str(uuid.uuid4()),
        "op": op,
        "request_id": request_id or str(uuid.uuid4()),
        "expected_version": None,
        "device_time": "2026-11-22T09:30:00+09:00",
        "body": {"submit": submission, "reject": lambda: {"comment": "No."}}.get(op, dict)(),
    }
    return found | more


def sync(
    api: Api, who: str, items: list[Any], *, client: str = CLIENT, what: str | None = None
) -> list[dict[str, Any]]:
    """The results of a batch that must be taken, one per item in their order. `what`: `requests` or `approvals`."""
    if what is None:
        what = "requests" if items and items[0]["op"] in ("submit", "withdraw") else "approvals"
    answer = api.post(who, f"/{what}/sync", {"client_id": client, "items": items})
    results: list[dict[str, Any]] = shapes.answer(answer, 200, shapes.batch)["results"]
    assert [each["op_id"] for each in results] == [
        each.get("op_id") if isinstance(each, dict) else None for each in items
    ]
    return results


def told(results: list[dict[str, Any]]) -> list[str]:
    """Each result in a word or two: `applied`, `conflict stale-version`, `duplicate applied`, `blocked`."""
    return [
        " ".join(
            filter(
                None, (each["result"], each.get("first_result"), each["problem"]["code"] if "problem" in each else None)
            )
        )
        for each in results
    ]
