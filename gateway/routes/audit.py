"""Reading the audit log, and verifying it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from gateway.http.access import OVERSEER
from gateway.http.answers import Answer, json_answer, page_of
from gateway.http.call import Call
from gateway.http.describe import CURSOR, LIMIT, Group, Query
from gateway.http.problems import invalid_at
from gateway.http.queries import Page, matching, moment, query
from gateway.models import answers
from gateway.sql import audit, chains
from gateway.sql.database import Row
from gateway.values import rfc3339_of, uuid_or_none
from ops.postgres.clients import with_tls

group = Group("Audit")

_TEXT = {"type": "string", "maxLength": 64}
_TIME = {"type": "string", "format": "date-time"}
_UUID = {"type": "string", "format": "uuid"}
_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}")
_ACTION = re.compile(r"[a-z][a-z-]{0,40}")
_REQUEST_ID = (
    Query("requestId", _UUID, "Only records of this request."),
    Query("request_id", _UUID, "The same as `requestId`."),
)


def _either(found: dict[str, str], one: str, other: str) -> dict[str, str]:
    """Both spellings of a filter as the second one. Raises Problem 422 when they differ."""
    if one in found and other in found and found[one] != found[other]:
        raise invalid_at(f"/query/{one}", f"differs from {other}; give one of them")
    return found if one not in found else {**found, other: found[one]}


def _request_id(found: dict[str, str]) -> str | None:
    text = _either(found, "requestId", "request_id").get("request_id")
    if text is None:
        return None
    request_id = uuid_or_none(text)
    if request_id is None:
        raise invalid_at("/query/requestId", "must be a request's id, a UUID")
    return request_id


@group.endpoint(
    "GET",
    "/audit/logs",
    OVERSEER,
    {200: answers.Page[answers.AuditItem]},
    query=(
        LIMIT,
        CURSOR,
        Query("userId", _TEXT, "Only what this user did."),
        Query("user_id", _TEXT, "The same as `userId`."),
        *_REQUEST_ID,
        Query("action", _TEXT, "Only this action, such as `approve`."),
        Query("from", _TIME, "Only at or after this time."),
        Query("to", _TIME, "Only before this time."),
    ),
)
async def logs(call: Call) -> Answer:
    """Audit records, newest first."""
    caller = call.caller
    found = _either(query(call), "userId", "user_id")
    user = matching(found, "user_id", _ACTOR, "is not a user's id")
    action = matching(found, "action", _ACTION, "is not an action such as approve")
    request = _request_id(found)
    since, until = moment(found, "from"), moment(found, "to")
    filters = {"user": user, "request": request, "action": action, "from": since, "to": until}
    page = Page.of(call, found, user_id=caller.id, endpoint="audit/records", length=3, **filters)
    after = None if page.after is None else (datetime.fromisoformat(page.after[0]), page.after[1], page.after[2])
    rows = await audit.page(
        call.services.database,
        user_id=user,
        request_id=request,
        action=action,
        since=since,
        until=until,
        after=after,
        limit=page.limit,
    )
    shown = rows[: page.limit]
    last = shown[-1] if shown else None
    position = None if last is None else [last["at"].isoformat(), last["partition"], last["log_offset"]]
    return page_of([_item(row) for row in shown], page.next(rows, position))


def _item(row: Row) -> dict[str, Any]:
    item = dict(row)
    item["at"] = rfc3339_of(row["at"])
    del item["partition"], item["log_offset"]
    return item


@group.endpoint("GET", "/audit/verify", OVERSEER, {200: answers.AuditVerdict}, query=_REQUEST_ID)
async def verify(call: Call) -> Answer:
    """Recompute the hash chains, of one request or all, from the rows and from the log, and name the first break.

    Without `requestId` the signed checkpoints are verified, too.
    """
    request = _request_id(query(call))
    services = call.services
    kafka = services.settings.kafka
    if request is None:
        async with services.verification.turn():
            dsn = with_tls(services.database_url.current(), services.settings.tls)
            return json_answer(await chains.verify_all(dsn, kafka, services.vkeys))
    async with services.verification_of_one.turn():
        return json_answer(await chains.verify_one(services.database, kafka, request))
