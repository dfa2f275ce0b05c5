"""What an item is answered, from its command's outcome or from what the read side keeps of it."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.http.problems import Problem, refusal
from gateway.identity.callers import Caller
from gateway.sql.database import Row
from gateway.streams.outcomes import Outcome
from gateway.sync.operation import Operation
from schemas.codes import Code

Result = dict[str, Any]

#: Refusals that come from the state of the request: the client's picture of it is old, and `request` is the new one. All others
#: hold for good, whatever the request looks like.
CONFLICTS = frozenset(
    {
        Code.STALE_VERSION,
        Code.NOT_PENDING,
        Code.ALREADY_VOTED,
        Code.NOT_AN_APPROVER,
        Code.NEEDED_LATER,
        Code.NOT_YOUR_DECISION,
        Code.WINDOW_CLOSED,
        Code.SUPERSEDED,
        Code.NOTHING_TO_ROLL_BACK,
        Code.REQUEST_EXISTS,
    }
)
#: Seconds until an item is worth another try: its outcome was late; the log did not take it; an operator has to look at it.
LATE, LOG_AWAY, FAILED = 2, 5, 60


def of_outcome(operation: Operation, outcome: Outcome, repeated: bool, caller: Caller, correlation_id: str) -> Result:
    """The result of a command that was decided, now or (`repeated`) before."""
    if outcome["status"] == "accepted":
        return _done(operation, "applied", repeated, _shown(outcome["request"], caller))
    code = outcome["code"] or Code.FAILED.value
    if outcome["status"] != "refused":
        return retry(operation.op_id, FAILED)
    if code == Code.IDEMPOTENCY_KEY_REUSED:
        return rejected(operation.op_id, reused(), correlation_id)
    pointer = outcome.get("pointer")
    problem = refusal(code, outcome.get("detail"), f"/body{pointer}" if pointer else None)
    row = _shown(outcome["request"], caller)
    return _done(operation, _kind(code), repeated, row, problem.document(correlation_id))


def of_read_side(operation: Operation, row: Row, correlation_id: str) -> Result:
    """The result of a command that the read side knows; `row` as `sync_ops.done` gives it."""
    request = None if row["document"] is None else orjson.loads(row["document"])
    if row["outcome"] == "accepted":
        return _done(operation, "applied", True, request)
    if row["code"] == Code.IDEMPOTENCY_KEY_REUSED:
        return rejected(operation.op_id, reused(), correlation_id)
    problem = refusal(row["code"], None)
    return _done(operation, _kind(row["code"]), True, request, problem.document(correlation_id))


def again(op_id: str, first: Result) -> Result:
    """The result of an item that stood in this batch before, word for word; `first` is that of the first one."""
    if first["result"] in ("applied", "conflict", "rejected"):
        return {"op_id": op_id, "result": "duplicate", "first_result": first["result"]} | {
            name: value for name, value in first.items() if name in ("request", "problem")
        }
    return first | {"op_id": op_id}


def rejected(op_id: str | None, problem: Problem, correlation_id: str) -> Result:
    return {"op_id": op_id, "result": "rejected", "problem": problem.document(correlation_id)}


def retry(op_id: str, after: int) -> Result:
    return {"op_id": op_id, "result": "retry", "after": after}


def blocked(op_id: str, depends_on: str | None) -> Result:
    """`depends_on` is None where the earlier item has no op id."""
    return {"op_id": op_id, "result": "blocked", "depends_on": depends_on}


def applied(result: Result) -> bool:
    """Whether the item is done, now or before."""
    return "applied" in (result["result"], result.get("first_result"))


def reused() -> Problem:
    return Problem(422, "op-id-reused", "This op id was used before with another content. Use a new one.")


def _done(operation: Operation, kind: str, repeated: bool, request: Any, problem: Any = None) -> Result:
    found: Result = {"op_id": operation.op_id, "result": "duplicate" if repeated else kind}
    if repeated:
        found["first_result"] = kind
    if request is not None:
        found["request"] = request
    if problem is not None:
        found["problem"] = problem
    return found


def _kind(code: str) -> str:
    return "conflict" if code in CONFLICTS else "rejected"


def _shown(request: dict[str, Any] | None, caller: Caller) -> dict[str, Any] | None:
    """The row, where the caller would see it with the roles of now. That they have a part in it, the worker has looked at."""
    if request is None:
        return None
    seen = caller.sees_all or request["requester_id"] == caller.id or "manager" in caller.roles
    return request if seen else None
