"""Exact shapes of what the API answers: the key sets and types of `api.md`, checked strictly. Each raises AssertionError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx

Check = Callable[[Any, str], None]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STATUSES = ("pending_l1", "pending_l2", "pending_l3", "approved", "finalized", "rejected", "closed", "withdrawn")
ACTIONS = (
    "submit",
    "approve",
    "reject",
    "rollback",
    "withdraw",
    "reassign",
    "comment",
    "finalize",
    "close",
    "remind",
    "escalate",
)
LEVELS = ("L1", "L2", "L3")


def matching(pattern: str | re.Pattern[str]) -> Check:
    def check(value: Any, at: str) -> None:
        assert isinstance(value, str), f"{at}: expected a text, found {value!r}"
        assert re.fullmatch(pattern, value), f"{at}: {value!r} does not match {pattern}"

    return check


def one_of(*values: str) -> Check:
    def check(value: Any, at: str) -> None:
        assert isinstance(value, str), f"{at}: expected a text, found {value!r}"
        assert value in values, f"{at}: {value!r} is none of {values}"

    return check


def number(least: int = 0) -> Check:
    def check(value: Any, at: str) -> None:
        assert type(value) is int, f"{at}: expected a whole number, found {value!r}"
        assert value >= least, f"{at}: {value} is below {least}"

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, at: str) -> None:
        if value is not None:
            inner(value, at)

    return check


def many(inner: Check, least: int = 0) -> Check:
    def check(value: Any, at: str) -> None:
        assert isinstance(value, list), f"{at}: expected a list, found {value!r}"
        assert len(value) >= least, f"{at}: expected at least {least} items, found {len(value)}"
        for index, item in enumerate(value):
            inner(item, f"{at}/{index}")

    return check


def exactly(fields: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    more = optional or {}

    def check(value: Any, at: str) -> None:
        assert isinstance(value, dict), f"{at}: expected an object, found {value!r}"
        missing, extra = set(fields) - set(value), set(value) - set(fields) - set(more)
        assert not missing, f"{at}: misses {sorted(missing)}"
        assert not extra, f"{at}: has {sorted(extra)} besides what api.md names"
        for name, inner in (*fields.items(), *more.items()):
            if name in value:
                inner(value[name], f"{at}/{name}")

    return check


text = matching(re.compile(r".+", re.DOTALL))
any_text = matching(re.compile(r".*", re.DOTALL))
time = matching(TIME)
uuid = matching(UUID)
level = one_of(*LEVELS)


def flag(value: Any, at: str) -> None:
    assert type(value) is bool, f"{at}: expected true or false, found {value!r}"


money = exactly({"amount": matching(r"(0|[1-9][0-9]*)(\.[0-9]{1,4})?"), "currency": matching(r"[A-Z]{3}")})
vote = exactly(
    {"approver_id": text, "decision": one_of("approve", "reject"), "at": time, "comment": nullable(any_text)},
    {"delegate_id": text},
)
route_level = exactly(
    {"level": level, "quorum": number(1), "approvers": many(text, 1), "votes": many(vote)}, {"escalated": many(text, 1)}
)
_request = exactly(
    {
        "id": uuid, "version": number(1), "status": one_of(*STATUSES), "title": text, "description": nullable(any_text),
        "amount": money, "base_amount": money, "category_id": text, "reason_id": text, "department_id": text,
        "requester_id": text, "supersedes": nullable(uuid),
        "route": exactly({"rules_version": number(1), "rule_id": text, "levels": many(route_level, 1)}),
        "current_level": nullable(level), "created_at": time, "updated_at": time, "rollback_until": nullable(time),
        "finalized_at": nullable(time),
    }
)  # fmt: skip


def request(value: Any, at: str = "request") -> None:
    """A request as answered, with what must hold between its fields."""
    _request(value, at)
    pending = value["status"].startswith("pending_")
    assert (value["current_level"] is not None) == pending, f"{at}: current_level beside status {value['status']}"
    if pending:
        assert value["status"] == f"pending_{value['current_level'].lower()}", f"{at}: level beside status"
    assert (value["finalized_at"] is not None) == (value["status"] == "finalized"), f"{at}: finalized_at"
    names = [one["level"] for one in value["route"]["levels"]]
    assert names == sorted(set(names)), f"{at}: levels {names}"


user = exactly(
    {
        "id": text, "email": matching(r"[^@\s]+@[^@\s]+"), "name": text,
        "roles": many(one_of("sales", "manager", "admin", "auditor")), "department_id": text, "region": text,
        "phone": nullable(text), "locale": text, "active": flag, "created_at": time, "version": number(1),
    }
)  # fmt: skip
person = exactly({"id": text, "name": text, "department_id": text})
department = exactly({"id": text, "name": text, "region": text, "version": number(1)})
category = exactly({"id": text, "name": text, "active": flag, "version": number(1)})
reason = exactly({"id": text, "text": text, "category_id": nullable(text), "active": flag, "version": number(1)})
assignment = exactly(
    {
        "id": text, "category_id": text, "level": level, "approver_id": text, "department_id": nullable(text),
        "region": nullable(text), "version": number(1),
    }
)  # fmt: skip
delegation = exactly(
    {
        "id": text, "delegator_id": text, "delegate_id": text, "from": time, "until": time, "version": number(1),
    }
)  # fmt: skip
rules = exactly({"version": number(1), "author_id": text, "at": time, "comment": nullable(any_text), "yaml": text})
status_item = exactly(
    {
        "version": number(1), "status": one_of(*STATUSES), "at": time, "actor_id": text, "action": one_of(*ACTIONS),
        "level": nullable(level), "comment": nullable(any_text),
    },
    {"on_behalf_of": text},
)  # fmt: skip
decision = exactly(
    {
        "request_id": uuid, "action": one_of("approve", "reject"), "level": level, "at": time,
        "rollback_until": nullable(time), "can_roll_back": flag,
    }
)  # fmt: skip
audit_item = exactly(
    {
        "entity": matching(r"[a-z-]+:.+"), "seq": number(1), "request_id": nullable(uuid), "version": nullable(number(1)),
        "actor_id": text, "actor_roles": many(text), "action": text, "level": nullable(level), "at": time,
        "outcome": one_of("accepted", "refused"), "code": nullable(text), "status_before": nullable(one_of(*STATUSES)),
        "status_after": nullable(one_of(*STATUSES)), "correlation_id": text, "source_address": nullable(text),
        "prev_hash": matching(r"[0-9a-f]{64}"), "hash": matching(r"[0-9a-f]{64}"),
    }
)  # fmt: skip
verdict = exactly(
    {
        "ok": flag, "chains": number(0), "records": number(0),
        "first_break": nullable(exactly({"entity": text, "seq": nullable(number(0)), "why": text})),
    }
)  # fmt: skip
problem = exactly(
    {
        "type": matching(r"https://athena-budget\.dev/problems/[a-z-]+"), "title": text, "status": number(400),
        "detail": text, "code": matching(r"[a-z-]+"), "correlation_id": matching(r"[A-Za-z0-9-]{8,64}"),
    },
    {"errors": many(exactly({"pointer": any_text, "detail": text}), 1)},
)  # fmt: skip
_command = exactly(
    {
        "id": uuid, "status": one_of("pending", "accepted", "refused"), "request": nullable(request),
        "problem": nullable(problem),
    }
)  # fmt: skip
grant = exactly({"access_token": text, "token_type": one_of("Bearer"), "expires_in": number(1), "refresh_token": text})
jwks = exactly(
    {
        "keys": many(
            exactly(
                {
                    "kty": one_of("OKP"), "crv": one_of("Ed25519"), "x": text, "kid": text, "use": one_of("sig"),
                    "alg": one_of("EdDSA"),
                }
            ),
            1,
        )
    }
)  # fmt: skip


def command(value: Any, at: str = "command") -> None:
    """A command as answered: a problem exactly when it was refused."""
    _command(value, at)
    assert (value["problem"] is not None) == (value["status"] == "refused"), f"{at}: problem beside {value['status']}"


_results = exactly({"results": many(exactly({"op_id": nullable(any_text), "result": text}, {
    "first_result": one_of("applied", "conflict", "rejected"), "request": request, "problem": problem, "after": number(1),
    "depends_on": nullable(any_text),
}))})  # fmt: skip
#: What a result holds besides op id and result; `?`: perhaps.
_PARTS = {
    "applied": "request", "conflict": "problem request", "rejected": "problem request?", "retry": "after",
    "blocked": "depends_on",
}  # fmt: skip


def batch(value: Any, at: str = "batch") -> None:
    """The answer to a sync: each result has the parts that belong to it."""
    _results(value, at)
    for index, found in enumerate(value["results"]):
        kind = found["result"]
        parts = _PARTS[found["first_result"]] + " first_result" if kind == "duplicate" else _PARTS[kind]
        have = set(found) - {"op_id", "result"}
        may = {part.rstrip("?") for part in parts.split()}
        must = {part for part in parts.split() if not part.endswith("?")}
        assert must <= have <= may, f"{at}/results/{index}: {kind} has {sorted(have)}, expected {parts}"


def page(item: Check) -> Check:
    """A list as answered."""
    return exactly({"items": many(item), "next_cursor": nullable(text)})


updates = exactly(
    {
        "items": many(request),
        "gone": many(exactly({"id": uuid, "why": one_of("decided", "withdrawn", "reassigned", "rolled-back", "delegation-ended")})),
        "cursor": matching(r"[A-Za-z0-9_-]{20,1024}"), "has_more": flag, "server_time": time,
    }
)  # fmt: skip


def answer(found: httpx.Response, status: int, check: Check) -> Any:
    """The JSON of an answer of that status and shape, with the headers that every answer has."""
    assert found.status_code == status, f"expected {status}, found {found.status_code}: {found.text[:500]}"
    assert found.headers["content-type"].partition(";")[0] == "application/json", found.headers["content-type"]
    assert found.headers["x-correlation-id"]
    value = found.json()
    check(value, found.request.url.path)
    return value


def refused(found: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer of that status and code, with all that RFC 9457 and api.md ask of it."""
    assert found.status_code == status, f"expected {status} {code}, found {found.status_code}: {found.text[:500]}"
    assert found.headers["content-type"].partition(";")[0] == "application/problem+json"
    value: dict[str, Any] = found.json()
    problem(value, found.request.url.path)
    assert value["code"] == code, f"expected {code}, found {found.text[:500]}"
    assert value["status"] == status
    assert value["type"].endswith(f"/{code}")
    assert value["correlation_id"] == found.headers["x-correlation-id"]
    return value
