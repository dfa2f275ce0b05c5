"""Reference data, read from this process's copy of it."""

from __future__ import annotations

import bisect
from typing import Any

from gateway.http.access import OVERSEER, SIGNED_IN
from gateway.http.answers import Answer, json_answer
from gateway.http.call import Call
from gateway.http.describe import CURSOR, LIMIT, Group
from gateway.http.queries import Page, query
from gateway.models import answers
from schemas.reference import EntityBase

group = Group("Reference data")

_NOT_SHOWN = frozenset({"kind", "schema_version"})


def entity_document(entity: EntityBase) -> dict[str, Any]:
    """A department, category, reason or assignment as answered."""
    return entity.model_dump(exclude=set(_NOT_SHOWN))


async def _page(call: Call, name: str, table: dict[str, Any]) -> Answer:
    """A page in the order of ids. Its ETag changes with every change of reference data."""
    caller = call.caller
    page = Page.of(call, query(call), user_id=caller.id, endpoint=name, length=1)
    ids = sorted(table)
    start = 0 if page.after is None else bisect.bisect_right(ids, page.after[0])
    shown = ids[start : start + page.limit]
    more = ids[start : start + page.limit + 1]
    items = [entity_document(table[id_]) for id_ in shown]
    document = {"items": items, "next_cursor": page.next(more, [shown[-1]] if shown else None)}
    tag = b'W/"%d"' % call.services.catalog.offset
    return json_answer(document, headers=((b"etag", tag),))


_PAGE = (LIMIT, CURSOR)


@group.endpoint("GET", "/departments", SIGNED_IN, {200: answers.Page[answers.Department]}, query=_PAGE)
async def departments(call: Call) -> Answer:
    """All departments, in the order of their ids."""
    return await _page(call, "departments", call.services.catalog.departments)


@group.endpoint("GET", "/categories", SIGNED_IN, {200: answers.Page[answers.Category]}, query=_PAGE)
async def categories(call: Call) -> Answer:
    """All categories, in the order of their ids."""
    return await _page(call, "categories", call.services.catalog.categories)


@group.endpoint("GET", "/reasons", SIGNED_IN, {200: answers.Page[answers.Reason]}, query=_PAGE)
async def reasons(call: Call) -> Answer:
    """All reasons, in the order of their ids."""
    return await _page(call, "reasons", call.services.catalog.reasons)


@group.endpoint("GET", "/assignments", OVERSEER, {200: answers.Page[answers.Assignment]}, query=_PAGE)
async def assignments(call: Call) -> Answer:
    """All assignments, in the order of their ids."""
    return await _page(call, "assignments", call.services.catalog.assignments)
