"""Where requests go by amount, category, region and currency, over the whole path."""

from __future__ import annotations

import pytest

from tests import shapes
from tests.client import ROUTE_ALL, ROUTE_L1, ROUTE_L1_L2, ROUTE_L1_L2_ALL, Api

EMEA = ["l1.emea", "l1b.emea"]
BOTH_L2 = ["l2", "l2b"]


def levels_of(request: dict[str, object]) -> list[tuple[str, int, list[str]]]:
    route = request["route"]
    assert isinstance(route, dict)
    return [(level["level"], level["quorum"], sorted(level["approvers"])) for level in route["levels"]]


@pytest.mark.parametrize(
    ("who", "category", "amount", "currency", "rule", "levels", "base"),
    [
        ("sam.sales", "travel", "921.65", "EUR", "small-travel", [("L1", 1, EMEA)], "999.99"),
        ("sam.sales", "meals", "999.99", "USD", "small-travel", [("L1", 1, EMEA)], "999.99"),
        ("sam.sales", "travel", "1000.00", "USD", "default", [("L1", 1, EMEA), ("L2", 1, BOTH_L2)], "1000.00"),
        ("ana.sales", "meals", "1", "JPY", "small-travel", [("L1", 1, ["l1.apac"])], "0.01"),
        ("sam.sales", "hardware", "999.99", "USD", "default", [("L1", 1, EMEA), ("L2", 1, BOTH_L2)], "999.99"),
        ("sue.sales", "hardware", "1000", "USD", "emea-hardware", [("L1", 1, EMEA), ("L2", 2, BOTH_L2)], "1000.00"),
        ("sue.sales", "hardware", "49999.99", "USD", "emea-hardware", [("L1", 1, EMEA), ("L2", 2, BOTH_L2)], "49999.99"),
        ("ana.sales", "hardware", "1000.00", "USD", "default", [("L1", 1, ["l1.apac"]), ("L2", 1, BOTH_L2)], "1000.00"),
        (
            "sue.sales", "hardware", "50000.00", "USD", "anything-large",
            [("L1", 1, EMEA), ("L2", 1, BOTH_L2), ("L3", 1, ["l3"])], "50000.00",
        ),
        (
            "ana.sales", "marketing", "9000000", "JPY", "anything-large",
            [("L1", 1, ["l1.apac"]), ("L2", 1, BOTH_L2), ("L3", 1, ["l3"])], "59400.00",
        ),
        ("ana.sales", "training", "20000.00", "GBP", "default", [("L1", 1, ["l1.apac"]), ("L2", 1, BOTH_L2)], "25400.00"),
    ],
)  # fmt: skip
def test_a_request_goes_where_the_rules_say(
    api: Api,
    who: str,
    category: str,
    amount: str,
    currency: str,
    rule: str,
    levels: list[tuple[str, int, list[str]]],
    base: str,
) -> None:
    """Otherwise money would be approved by the wrong people, or by too few."""
    request = api.submit(who, category_id=category, amount=amount, currency=currency)
    shapes.request(request)
    assert request["route"]["rule_id"] == rule
    assert levels_of(request) == levels
    assert request["base_amount"] == {"amount": base, "currency": "USD"}
    assert (request["version"], request["status"], request["requester_id"]) == (1, "pending_l1", who)


@pytest.mark.parametrize(
    ("route", "steps"),
    [
        (ROUTE_L1, [("l1.emea", "approved")]),
        (ROUTE_L1_L2, [("l1b.emea", "pending_l2"), ("l2b", "approved")]),
        (ROUTE_L1_L2_ALL, [("l1.emea", "pending_l2"), ("l2b", "pending_l2"), ("l2", "approved")]),
        (ROUTE_ALL, [("l1.emea", "pending_l2"), ("l2", "pending_l3"), ("l3", "approved")]),
    ],
)
def test_each_level_opens_when_the_one_before_is_through(
    api: Api, route: dict[str, str], steps: list[tuple[str, str]]
) -> None:
    """Otherwise a request would be approved too early, or never."""
    request = api.submit(**route)
    for version, (who, status) in enumerate(steps, start=2):
        waiting = api.read(who, request)
        assert waiting == request
        request = api.approved(who, request)
        shapes.request(request)
        assert (request["status"], request["version"]) == (status, version)
    assert request["rollback_until"] is not None
    votes = [vote["approver_id"] for level in request["route"]["levels"] for vote in level["votes"]]
    assert votes == [who for who, _ in steps]


def test_an_amount_is_answered_with_all_its_decimals(api: Api) -> None:
    """Otherwise two clients would show two amounts for one request."""
    shown = [
        (("7", "EUR"), "7.00"),
        (("0.01", "GBP"), "0.01"),
        (("1500", "JPY"), "1500"),
        (("999999999999.99", "USD"), "999999999999.99"),
    ]
    for (amount, currency), expected in shown:
        request = api.submit(amount=amount, currency=currency)
        assert request["amount"] == {"amount": expected, "currency": currency}
