"""What is known of a batch's operations before anything is sent: done, bound to another content, not to be taken just now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.http.call import Call
from gateway.http.problems import invalid_at
from gateway.sql import requests, sync_ops
from gateway.streams.tail import is_applied
from gateway.sync.operation import Content, Operation, Unreadable
from gateway.sync.results import LATE, Result, of_read_side, rejected, retry, reused
from schemas.commands import SubmitRequest


async def settled(call: Call, items: Sequence[Operation | Unreadable]) -> dict[Content, Result]:
    """Results of what need not be sent. All else is the one content that its op id is bound to from now on.

    Raises Problem 503 when PostgreSQL does not answer; nothing was sent then.
    """
    contents = {one.content: one for one in reversed(items) if isinstance(one, Operation)}
    operations = [one for one in items if isinstance(one, Operation) and contents[one.content] is one]
    database, caller = call.services.database, call.caller
    ids = list({one.command_id for one in operations})
    # What is done is in the read side only after it was bound: read in the other order, an op could look unbound and done.
    done = await sync_ops.done(database, ids, caller)
    claims = await sync_ops.claimed(database, ids)
    found: dict[Content, Result] = {}
    for one in operations:
        row, bound = done.get(one.command_id), claims.get(one.command_id)
        if bound not in (None, one.hash) or (row is not None and row["request_id"] != one.request_id):
            found[one.content] = rejected(one.op_id, reused(), call.correlation_id)
        elif row is not None and (bound is not None or row["outcome"] != "accepted"):
            # Of an accepted op whose binding is forgotten, the worker still knows the content.
            found[one.content] = of_read_side(one, row, call.correlation_id)
    found |= await _not_own(call, [one for one in _asked(items) if one.content not in found])
    # Of several contents the first one that can be the op is it.
    firsts: dict[str, Operation] = {}
    for one in operations:
        if one.content not in found or found[one.content]["result"] != "rejected":
            firsts.setdefault(one.command_id, one)
    left = [one for one in firsts.values() if one.content not in found]
    found |= _shed(call, [one for one in left if one.command_id not in claims])
    left = [one for one in left if one.content not in found]
    claims |= {one.command_id: one.hash for one in firsts.values() if one.command_id not in claims}
    claims |= await sync_ops.claim(database, {one.command_id: claims[one.command_id] for one in left})
    for one in operations:
        if one.content not in found and one.hash != claims[one.command_id]:
            found[one.content] = rejected(one.op_id, reused(), call.correlation_id)
    return found


def _shed(call: Call, unknown: Iterable[Operation]) -> dict[Content, Result]:
    """New submissions, while the workers lag."""
    pressure = call.services.backpressure
    if not pressure.active:
        return {}
    found = {}
    for one in unknown:
        if one.kind is SubmitRequest:
            pressure.refusal()
            found[one.content] = retry(one.op_id, pressure.retry_after())
    return found


def _asked(items: Iterable[Operation | Unreadable]) -> Iterator[Operation]:
    """Submissions in the place of a request that no item before them files: it is to be looked up whose it is."""
    filed: set[str | None] = set()
    for item in items:
        if isinstance(item, Operation) and item.supersedes is not None and item.supersedes not in filed:
            yield item
        # Whoever comes after waits for it, and is not sent unless it is filed, by this caller.
        if isinstance(item, Unreadable) or item.kind is SubmitRequest:
            filed.add(item.request_id)


async def _not_own(call: Call, asked: Sequence[Operation]) -> dict[Content, Result]:
    """Those in the place of what is none of the caller's requests, or cannot be told whose it is yet."""
    old = {one.supersedes for one in asked if one.supersedes is not None}
    database, user_id = call.services.database, call.caller.id
    own = await requests.own_of(database, old, user_id)
    if own == old:
        return {}
    applied = await is_applied(call)
    own = await requests.own_of(database, old, user_id, patience=0)
    problem = invalid_at("/body/supersedes", "is none of your requests")
    return {
        one.content: rejected(one.op_id, problem, call.correlation_id) if applied else retry(one.op_id, LATE)
        for one in asked
        if one.supersedes not in own
    }
