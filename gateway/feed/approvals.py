"""Pages of what waits for an approver, and for those for whom they decide.

When somebody new names them as a delegate, what waits for that person is gone through once; when a delegation ends, what was
given because of it is gone. Both are walks in the order of positions, and the vector stands still meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.feed.bookmarks import Bookmark, Walk
from gateway.feed.pages import Page, moved_to, not_ahead, resync_required, seconds_of
from gateway.feed.principals import hash_of, known_by, principals
from gateway.http.call import Call
from gateway.sql import updates
from gateway.sql.updates import Found
from schemas.catalog import Catalog

#: The action by which somebody no longer had to act, in the words of the answer.
WHY = {
    "approve": "decided",
    "reject": "decided",
    "withdraw": "withdrawn",
    "rollback": "rolled-back",
    "reassign": "reassigned",
    "delegation": "delegation-ended",
}


def why(left_by: str | None) -> str:
    """Why it is gone."""
    return WHY.get(left_by or "", "decided")


async def page(call: Call, mark: Bookmark, limit: int) -> Page:
    """The next page that has something, or the last one."""
    people = principals(call.services.catalog, call.caller.id, call.services.now_ms())
    while True:
        mark = turned(mark, tuple(hash_of(one) for one in people[1:]))
        found = await (_straight(call, mark, people, limit) if mark.walk is None else _walked(call, mark, limit))
        if found.documents or found.gone or not found.has_more:
            return found
        mark = found.mark


def turned(mark: Bookmark, now: tuple[bytes, ...]) -> Bookmark:
    """The bookmark with a walk begun where those for whom the caller decides are others than before."""
    walk = mark.walk
    if walk is not None:
        if walk.joins == (walk.hashed in now):
            return mark
        others = tuple(one for one in mark.others if one != walk.hashed)
        return replace(mark, others=others, walk=Walk(not walk.joins, walk.hashed))
    if not any(mark.vector.values()):
        return replace(mark, others=now)
    joined = next((one for one in now if one not in mark.others), None)
    left = next((one for one in mark.others if one not in now), None)
    if joined is not None:
        return replace(mark, walk=Walk(True, joined))
    return mark if left is None else replace(mark, walk=Walk(False, left))


async def _straight(call: Call, mark: Bookmark, people: Sequence[str], limit: int) -> Page:
    database, user_id = call.services.database, call.caller.id
    found = await not_ahead(
        database, mark, lambda: updates.approvals(database, user_id, people, mark.vector, limit, told=mark.told)
    )
    return _page(found, mark.moved(seconds_of(found), moved_to(mark, found)), found.last is not None)


async def _walked(call: Call, mark: Bookmark, limit: int) -> Page:
    database, user_id = call.services.database, call.caller.id
    walk = mark.walk
    assert walk is not None
    catalog = call.services.catalog
    who = known(catalog, walk.hashed)
    # Those for whom the vector holds, and not those of now: whoever comes or goes during a walk has one of their own after it.
    others = [known(catalog, one) for one in mark.others if one != walk.hashed]
    people = (user_id, *others, who) if walk.joins else (user_id, *others)
    at = (walk.partition, walk.offset)
    found = await not_ahead(
        database,
        mark,
        lambda: updates.of_one(database, user_id, people, mark.vector, limit, who, at, joins=walk.joins),
    )
    after = replace(mark, issued=seconds_of(found))
    if found.last is not None:
        after = replace(after, walk=replace(walk, partition=found.last[0], offset=found.last[1] + 1))
    else:
        rest = tuple(one for one in mark.others if one != walk.hashed)
        after = replace(after, walk=None, others=(*rest, walk.hashed) if walk.joins else rest)
    return _page(found, after, has_more=True)


def known(catalog: Catalog, hashed: bytes) -> str:
    """Whose hash it is. Raises Problem 410 when they are not there any more."""
    found = known_by(catalog, hashed)
    if found is None:
        raise resync_required("Somebody for whom you decided is not there any more.")
    return found


def _page(found: Found, after: Bookmark, has_more: bool) -> Page:
    """One request may be there for several people: it is shown once."""
    shown = {row.id: row.document for row in found.rows if row.document is not None}
    gone = {row.id: why(row.left_by) for row in found.rows if row.document is None}
    return Page(list(shown.values()), list(gone.items()), after, has_more, found.server_time)
