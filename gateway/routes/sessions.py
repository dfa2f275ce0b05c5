"""The caller's own sign-ins: which there are, and ending one."""

from __future__ import annotations

from gateway.http.access import SIGNED_IN
from gateway.http.answers import NO_CONTENT, Answer, page_of
from gateway.http.call import Call
from gateway.http.describe import CURSOR, LIMIT, Group
from gateway.http.problems import not_found
from gateway.http.queries import Page, query
from gateway.models import answers
from gateway.routes.requests import page_position
from gateway.sql import sessions
from gateway.values import rfc3339_of, uuid_or_none

group = Group("Signing in")


@group.endpoint("GET", "/auth/sessions", SIGNED_IN, {200: answers.Page[answers.Session]}, query=(LIMIT, CURSOR))
async def own(call: Call) -> Answer:
    """The caller's own sessions that have not ended, newest first."""
    caller = call.caller
    page = Page.of(call, query(call), user_id=caller.id, endpoint="auth/sessions", length=2)
    rows = await sessions.page(call.services.database, caller.id, page_position(page.after), page.limit)
    shown = rows[: page.limit]
    items = [
        {
            "id": row["id"],
            "device_id": row["device_id"],
            "created_at": rfc3339_of(row["created_at"]),
            "last_used_at": rfc3339_of(row["last_used_at"]),
            "expires_at": rfc3339_of(row["expires_at"]),
            "source_address": row["source_address"],
            "user_agent": row["user_agent"],
            "current": row["id"] == caller.session_id,
        }
        for row in shown
    ]
    position = [shown[-1]["created_at"].isoformat(), shown[-1]["id"]] if shown else None
    return page_of(items, page.next(rows, position))


@group.endpoint("DELETE", "/auth/sessions/{id}", SIGNED_IN, {204: None})
async def end(call: Call) -> Answer:
    """End one of the caller's own sessions: its tokens are worth nothing from now on, and its device is a stranger's."""
    caller = call.caller
    services = call.services
    session_id = uuid_or_none(call.path_values["id"])
    if session_id is None or not await sessions.end(services.database, session_id, caller.id):
        raise not_found()
    services.revocations.note(session_id)
    await services.security.record(call, "session-ended", caller.id, roles=caller.user.roles)
    return NO_CONTENT
