"""One operation into the log and its outcome back, as `gateway.streams.exchange` does it for a POST of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import metrics
from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.streams.exchange import Sending, headers_for, outcome_of
from gateway.sync.operation import Operation
from gateway.sync.results import LATE, LOG_AWAY, Result, of_outcome, rejected, retry
from schemas import topics


async def deliver(call: Call, operation: Operation, until: float, sent: Callable[[], None]) -> Result:
    """The result; `sent` is called once the log has the command, or did not take it. `until`: when patience ends, in the loop's
    seconds.
    """
    services = call.services
    kind = operation.kind.__name__
    if services.outcomes.full or services.stopping:
        metrics.count_command(kind, "unavailable")
        return retry(operation.op_id, LATE)
    command = operation.kind(
        command_id=operation.command_id,
        request_id=operation.request_id,
        actor_id=call.caller.id,
        correlation_id=call.correlation_id,
        source_address=call.address,
        salt=services.nonce(16),
        reference_offset=services.catalog.offset,
        **operation.fields,
    )
    value = command.model_dump_json().encode()
    sending = Sending(operation.command_id, kind, topics.COMMANDS, operation.request_id, value)
    waiter = services.outcomes.expect(operation.command_id)
    try:
        taken = await services.producer.send(
            topics.COMMANDS, sending.key.encode(), sending.value, headers_for(call, sending)
        )
        sent()
        left = until - asyncio.get_running_loop().time()
        outcome = await outcome_of(waiter, taken.offset, left) if left > 0 else None
    except Problem as problem:
        metrics.count_command(kind, "unavailable")
        if problem.status == 503:
            return retry(operation.op_id, LOG_AWAY)
        return rejected(operation.op_id, problem, call.correlation_id)
    finally:
        services.outcomes.forget(operation.command_id, waiter)
    metrics.count_command(kind, "pending" if outcome is None else outcome["status"])
    if outcome is None:
        return retry(operation.op_id, LATE)
    return of_outcome(operation, outcome, outcome["offset"] != taken.offset, call.caller, call.correlation_id)
