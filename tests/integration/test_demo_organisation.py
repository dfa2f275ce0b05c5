"""The demo organisation is what operate.md promises to scripts and people."""

from __future__ import annotations

import pytest

from ops.seed import rules_text
from tests import shapes
from tests.client import Api

PEOPLE = {
    "admin": (["admin"], "hq", "global"),
    "auditor": (["auditor"], "hq", "global"),
    "sam.sales": (["sales"], "emea-sales", "emea"),
    "sue.sales": (["sales"], "emea-sales", "emea"),
    "ana.sales": (["sales"], "apac-sales", "apac"),
    "l1.emea": (["manager"], "emea-sales", "emea"),
    "l1b.emea": (["manager"], "emea-sales", "emea"),
    "l1.apac": (["manager", "sales"], "apac-sales", "apac"),
    "l1.hq": (["manager"], "hq", "global"),
    "l2": (["manager"], "hq", "global"),
    "l2b": (["manager"], "hq", "global"),
    "l3": (["manager"], "hq", "global"),
}
CATEGORIES = {"travel", "meals", "hardware", "marketing", "training"}
STAFF = {
    ("L1", "l1.emea", None, "emea"),
    ("L1", "l1b.emea", None, "emea"),
    ("L1", "l1.apac", None, "apac"),
    ("L1", "l1.hq", None, "global"),
    ("L2", "l2", None, None),
    ("L2", "l2b", None, None),
    ("L3", "l3", None, None),
}


@pytest.mark.parametrize("who", PEOPLE)
def test_everybody_can_sign_in_with_the_documented_login(api: Api, who: str) -> None:
    """Otherwise the first thing a newcomer tries would fail."""
    me = shapes.answer(api.get(who, "/users/me"), 200, shapes.user)
    roles, department, region = PEOPLE[who]
    assert (me["id"], me["email"]) == (who, f"{who}@athena.test")
    assert (sorted(me["roles"]), me["department_id"], me["region"]) == (sorted(roles), department, region)
    assert me["active"]


def test_departments_are_as_documented(api: Api) -> None:
    """Otherwise a script that names a department would file nothing."""
    items = shapes.answer(api.get("sam.sales", "/departments"), 200, shapes.page(shapes.department))["items"]
    found = {item["id"]: item["region"] for item in items}
    assert found == {"hq": "global", "emea-sales": "emea", "apac-sales": "apac"}


def test_categories_and_reasons_are_as_documented(api: Api) -> None:
    """Otherwise a script that files a request by the documented names would be refused."""
    categories = shapes.answer(api.get("sam.sales", "/categories"), 200, shapes.page(shapes.category))["items"]
    assert {item["id"]: (item["name"], item["active"]) for item in categories} == {
        id_: (id_, True) for id_ in CATEGORIES
    }
    reasons = shapes.answer(api.get("sam.sales", "/reasons"), 200, shapes.page(shapes.reason))["items"]
    assert {(item["id"], item["category_id"], item["active"]) for item in reasons} == {
        (f"{id_}-general", id_, True) for id_ in CATEGORIES
    }


def test_assignments_are_as_documented(api: Api) -> None:
    """Otherwise the documented approvers would wait for tasks that never come."""
    items = shapes.answer(api.get("admin", "/assignments", limit=200), 200, shapes.page(shapes.assignment))["items"]
    for category in CATEGORIES:
        found = [
            (item["level"], item["approver_id"], item["department_id"], item["region"])
            for item in items
            if item["category_id"] == category
        ]
        assert len(found) == len(STAFF)
        assert set(found) == STAFF


def test_the_rules_are_the_example_file(api: Api) -> None:
    """Otherwise the worked examples of the documentation would route otherwise than they say."""
    rules = shapes.answer(api.get("admin", "/rules"), 200, shapes.rules)
    assert rules["version"] == 1
    assert rules["yaml"] == rules_text()


@pytest.mark.xdist_group("changing")
def test_a_new_stack_holds_no_requests_but_those_of_tests(changing_api: Api) -> None:
    """Otherwise a fresh installation would begin with other people's requests."""
    titles = {item["title"].split()[0] for item in changing_api.get("auditor", "/requests", limit=200).json()["items"]}
    assert titles <= {"Trip"}
