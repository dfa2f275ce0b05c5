"""Whether a new submission is taken now, or comes too early for workers that lag."""

from __future__ import annotations

from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.identity.callers import Caller
from gateway.sql import commands
from gateway.streams.exchange import command_id_of


async def admit(call: Call, caller: Caller, path: str) -> None:
    """Return when the submission may go to the log.

    A repeat of one that was taken before always may: it makes nothing new, and gets the first outcome. It is known by its
    Idempotency-Key, from this gateway's memory, from what was promised with a 202, or from the read side. One that was taken
    by another gateway a moment ago and is in none of them is refused like a new one; a 503 is no outcome, so the next repeat
    still gets the first.

    Raises:
        Problem: 503 with Retry-After while the workers lag beyond the limit.
    """
    services = call.services
    if not services.backpressure.active:
        return
    if call.text_header(b"idempotency-key") is not None:
        command_id = command_id_of(call, caller, path)
        try:
            known = await services.issued.is_by(command_id, caller.id)
            if known or await commands.by_id(services.database, command_id, caller.id) is not None:
                return
        except Problem:
            # PostgreSQL is away as well: not known.
            pass
    raise services.backpressure.refusal()
