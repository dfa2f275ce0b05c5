"""How each endpoint of the tables is called: its path with the object's id, and a body that is right in itself."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.reference_files.sheets import SHEETS
from ops.seed import rules_text
from tests.access_matrix.house import FIRST_APPROVER, OWNERS, PEOPLE, House
from tests.batches import item
from tests.client import PASSWORD, ROUTE_ALL, submission

MISSING = str(uuid.UUID(int=0xA))
BODIES: dict[str, Callable[[], Any]] = {
    "POST /requests": lambda: submission(**ROUTE_ALL),
    "POST /requests/{id}/comments": lambda: {"text": "What is it for?"},
    "POST /requests/{id}/reassign": lambda: {"level": "L1"},
    "POST /requests/sync": lambda: {"client_id": "c", "items": [item("submit", body=submission(**ROUTE_ALL))]},
    "POST /approvals/sync": lambda: {"client_id": "c", "items": [item("approve")]},
    "POST /approvals/{id}/approve": lambda: {},
    "POST /approvals/{id}/reject": lambda: {"comment": "Not this year."},
    "POST /approvals/{id}/rollback": lambda: {},
    "POST /users": lambda: {"email": f"{uuid.uuid4()}@athena.test", "name": "New", "roles": [], "department_id": "hq"},
    "PUT /users/{id}": lambda: {"email": "spare@athena.test", "name": "Spare", "roles": [], "department_id": "hq"},
    "POST /departments": lambda: {"name": "New", "region": "emea"},
    "PUT /rules": lambda: {"yaml": rules_text()},
    "POST /rules/check": lambda: {"yaml": rules_text()},
    "POST /rules/simulate": lambda: {"yaml": rules_text()},
    "PUT /departments/{id}": lambda: {"name": "Spare", "region": "emea"},
    # Inactive, like the house's own: the rules that are published in another test need nobody for it.
    "POST /categories": lambda: {"name": "New", "active": False},
    "PUT /categories/{id}": lambda: {"name": "Spare"},
    "POST /reasons": lambda: {"text": "New"},
    "PUT /reasons/{id}": lambda: {"text": "Spare"},
    "POST /assignments": lambda: {
        "category_id": "meals",
        "level": "L3",
        "approver_id": "l3",
        "region": uuid.uuid4().hex,
    },
    **{f"PUT /import/{plural}": lambda: b"id\n" for plural in SHEETS},
    # Without a delegator it is one's own, so an administrator who is no manager must name one.
    "POST /delegations": lambda: delegation("second.apac"),
    "POST /auth/login": lambda: {"email": "sam.sales@athena.test", "password": PASSWORD},
    "POST /auth/refresh": lambda: {"refresh_token": "nobody-has-this-one"},
    "POST /auth/oidc/start": lambda: {"code_challenge": "c" * 43},
    "POST /auth/oidc/finish": lambda: {"state": "s", "code": "c", "code_verifier": "v" * 43},
    "POST /auth/password": lambda: {"current": "not-the-password", "new": "seven quiet otters"},
    "POST /auth/password/first": lambda: {"token": "nobody-has-this-one", "new": "seven quiet otters"},
}
#: Words of the tables: status and code.
WORDS: dict[str, tuple[int, str | None]] = {
    "self": (409, "self-approval"),
    "pool": (409, "not-an-approver"),
    "theirs": (409, "not-your-decision"),
    "yours": (409, "not-your-request"),
    "whole": (200, None),
    "person": (200, None),
}
CODES = {401: "unauthenticated", 403: "forbidden", 404: "not-found"}


def delegation(delegate: str) -> dict[str, str]:
    """The body of a delegation, for an hour of its own in the years to come."""
    begins = datetime(2100, 1, 1, tzinfo=UTC) + timedelta(hours=secrets.randbelow(20_000_000))
    return {
        "delegate_id": delegate,
        "from": begins.isoformat(),
        "until": (begins + timedelta(hours=1)).isoformat(),
    }


def object_id(house: House, method: str, path: str, name: str) -> str:
    """Id of the object for one call: a fresh one where the call would change it."""
    if name == "missing":
        return MISSING
    if name == "malformed":
        return "no-such-id"
    if path.startswith("/rules/"):
        return name
    if path.startswith("/users/"):
        return PEOPLE.get(name, name)
    if name == "spare":
        return house.assignment() if path.startswith("/assignments/") else name
    if path.startswith("/commands/"):
        return house.command_of_sam()
    if path.startswith("/delegations/"):
        assert name == "l1's"
        made = house.call("l1", "POST", "/delegations", json=delegation("second.apac"))
        assert made.status_code == 201, made.text
        return str(made.json()["id"])
    assert name in OWNERS, name
    if path.startswith("/auth/sessions/"):
        return house.session_of(OWNERS[name])
    if method == "GET":
        return str(house.standing[name]["id"])
    request = house.file(name)
    if path.endswith("/rollback"):
        house.api.approved(PEOPLE[FIRST_APPROVER[name]], request)
    return str(request["id"])


def expected(word: str) -> tuple[int, str | None]:
    """Status and code of a cell; None for a code that is not told apart."""
    status, code = WORDS[word] if word in WORDS else (int(word), None)
    return status, code or CODES.get(status)


def check(line: str, who: str, wanted: str, answer: Any) -> str | None:
    """What is wrong with an answer, None when it is as expected."""
    status, code = expected(wanted)
    found = answer.status_code
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    if found != status:
        return f"{line} as {who}: expected {wanted}, got {found} {answer.text[:200]}"
    if (
        problem
        and code is not None
        and answer.json()["code"] not in (code, *(["not-visible"] if status == 404 else []))
    ):
        return f"{line} as {who}: expected {code}, got {answer.json()['code']}"
    if wanted == "whole" and "email" not in answer.json():
        return f"{line} as {who}: the account is not shown whole"
    if wanted == "person" and set(answer.json()) != {"id", "name", "department_id"}:
        return f"{line} as {who}: shows {sorted(answer.json())}"
    return None


def fingerprint(answer: Any) -> tuple[Any, ...]:
    """All of an answer that a caller could tell two apart by."""
    body = {name: value for name, value in answer.json().items() if name != "correlation_id"}
    own = {"x-correlation-id", "date", "command-id"}
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    return (answer.status_code, repr(sorted(body.items())), repr(sorted(headers.items())))
