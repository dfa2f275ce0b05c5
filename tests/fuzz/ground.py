"""What the fuzz works on: people with each mix of roles, and things with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.client import ROUTE_ALL, Api
from tests.organisation import person, put_seen
from tests.stack import Stack

ALL_ROLES = ("sales", "manager", "admin", "auditor")
#: Somebody who may call everything: made by `prepare`.
EVERYBODY = "everybody"
#: Who fuzzes in the long form; None has no token.
WHO = (None, "sam.sales", "l1.apac", "auditor", "admin", EVERYBODY)


def prepare(stack: Stack, api: Api) -> Mapping[str, Sequence[str]]:
    """Make them; real ids by the path up to them."""
    person(stack, api, EVERYBODY, ALL_ROLES, "emea-sales")
    requests = [api.submit(who, **ROUTE_ALL)["id"] for who in ("sam.sales", "sue.sales", "ana.sales", EVERYBODY) * 3]
    # Whom the fuzz may change and deactivate.
    victims = [f"victim{number}" for number in range(3)]
    for victim in victims:
        person(stack, api, victim, ("sales",), "emea-sales")
    for number, one in enumerate(victims):
        put_seen(stack, api, "department", one, name=one, region="emea")
        put_seen(stack, api, "category", one, name=one, active=False)
        put_seen(stack, api, "reason", one, text=one)
        put_seen(stack, api, "assignment", one, category_id="meals", level="L3", approver_id="l3", region=f"r{number}")
    found = {"/requests/": requests, "/approvals/": requests, "/users/": victims, "/rules/versions/": ["1"]}
    return found | {f"/{plural}/": victims for plural in ("departments", "categories", "reasons", "assignments")}
