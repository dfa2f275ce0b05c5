"""Batches of what phones did while they were offline."""

from __future__ import annotations

from gateway.http.access import MANAGER, SALES
from gateway.http.answers import Answer, json_answer
from gateway.http.bodies import MAX_SYNC_BODY, read_body
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.models.sync import ApprovalsBatch, BatchResult, Envelope, RequestsBatch
from gateway.streams.known import caught_up
from gateway.sync.batch import run
from gateway.sync.operation import Operation, Unreadable, read

group = Group("Sync")


@group.endpoint("POST", "/requests/sync", SALES, {200: BatchResult}, body=RequestsBatch)
async def requests_sync(call: Call) -> Answer:
    """File and withdraw requests as it was done offline, in order."""
    return await _sync(call, ("submit", "withdraw"))


@group.endpoint("POST", "/approvals/sync", MANAGER, {200: BatchResult}, body=ApprovalsBatch)
async def approvals_sync(call: Call) -> Answer:
    """Decide on requests as it was done offline, in order."""
    return await _sync(call, ("approve", "reject", "rollback"))


async def _sync(call: Call, takes: tuple[str, ...]) -> Answer:
    services, caller = call.services, call.caller
    envelope = await read_body(call, Envelope, limit=MAX_SYNC_BODY)
    if len(envelope.items) > 1:
        # The call itself is counted: each item counts like the POST that it stands for.
        await services.limits.user(caller.id, len(envelope.items) - 1)

    def items() -> list[Operation | Unreadable]:
        return [read(item, takes, caller.id, envelope.client_id, services.catalog) for item in envelope.items]

    found = items()
    if any(isinstance(one, Unreadable) and one.of_unknown_reference for one in found):
        # The phone may know it from another gateway.
        await caught_up(call)
        found = items()
    return json_answer({"results": await run(call, found)})
