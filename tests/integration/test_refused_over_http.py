"""Every refusal of the domain that a person can meet over HTTP, with its status and its code."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests import shapes
from tests.client import ROUTE_ALL, ROUTE_L1, ROUTE_L1_L2, ROUTE_L1_L2_ALL, Api, submission
from tests.organisation import person, push_rules, put, put_seen, rules_with_window
from tests.stack import Stack, wait_until

changes = pytest.mark.xdist_group("changing")


def test_currency_not_supported(api: Api) -> None:
    """Otherwise an amount in a currency without a rate would be compared as if it were dollars."""
    for currency in ("CHF", "KWD", "XXX"):
        shapes.refused(api.post("sam.sales", "/requests", submission(currency=currency)), 409, "currency-not-supported")


def test_reason_not_valid(api: Api) -> None:
    """Otherwise the reasons on record would mean nothing."""
    answer = api.post("sam.sales", "/requests", submission(reason_id="meals-general"))
    shapes.refused(answer, 409, "reason-not-valid")


def test_no_approver(api: Api) -> None:
    """Otherwise a request of somebody who is their own only approver would wait for ever."""
    shapes.refused(api.post("l1.apac", "/requests", submission()), 409, "no-approver")


@pytest.mark.parametrize(
    ("field", "value"),
    [("category_id", "no-such"), ("reason_id", "no-such"), ("supersedes", "0f8fad5b-d9cb-469f-a165-70867728950e")],
)
def test_unknown_references(api: Api, field: str, value: str) -> None:
    """Otherwise a typing error would file a request that nobody can make sense of."""
    body = submission() | {field: value}
    problem = shapes.refused(api.post("sam.sales", "/requests", body), 422, "invalid")
    assert problem["errors"][0]["pointer"] == f"/{field}"


def test_not_pending(api: Api) -> None:
    """Otherwise a finished request could be decided again."""
    request = api.approved("l1.emea", api.submit())
    shapes.refused(api.decide("l1b.emea", "approve", request), 409, "not-pending")
    shapes.refused(api.decide("l1b.emea", "reject", request, comment="late"), 409, "not-pending")
    shapes.refused(api.post("sam.sales", f"/requests/{request['id']}/withdraw", {}), 409, "not-pending")


def test_not_pending_after_a_withdrawal(api: Api) -> None:
    """Otherwise a withdrawn request could come back to life."""
    request = api.approved("l1.emea", api.submit(**ROUTE_L1_L2))
    withdrawn = api.post("sam.sales", f"/requests/{request['id']}/withdraw", {"comment": "changed my mind"})
    assert shapes.answer(withdrawn, 200, shapes.request)["status"] == "withdrawn"
    shapes.refused(api.decide("l2", "approve", request), 409, "not-pending")
    shapes.refused(api.decide("l1.emea", "rollback", request), 409, "not-pending")
    shapes.refused(api.post("sam.sales", f"/requests/{request['id']}/withdraw", {}), 409, "not-pending")


def test_not_an_approver(api: Api) -> None:
    """Otherwise the third level could decide before the first has looked."""
    request = api.submit(**ROUTE_ALL)
    for who in ("l2", "l3"):
        shapes.refused(api.decide(who, "approve", request), 409, "not-an-approver")
    shapes.refused(api.decide("l3", "reject", request, comment="no"), 409, "not-an-approver")


def test_already_voted(api: Api) -> None:
    """Otherwise one person could fill a quorum of two."""
    request = api.approved("l1.emea", api.submit(**ROUTE_L1_L2_ALL))
    shapes.refused(api.decide("l1.emea", "approve", request), 409, "already-voted")
    request = api.approved("l2", request)
    assert request["status"] == "pending_l2"
    shapes.refused(api.decide("l2", "approve", request), 409, "already-voted")
    shapes.refused(api.decide("l2", "reject", request, comment="no"), 409, "already-voted")


def test_stale_version(api: Api) -> None:
    """Otherwise somebody would decide on something they have not seen."""
    request = api.submit(**ROUTE_L1_L2)
    api.approved("l1.emea", request)
    shapes.refused(api.decide("l2", "approve", request, expected_version=1), 409, "stale-version")
    shapes.refused(api.decide("l2", "approve", request, expected_version=99), 409, "stale-version")
    shapes.refused(
        api.post("sam.sales", f"/requests/{request['id']}/withdraw", {"expected_version": 1}), 409, "stale-version"
    )
    shapes.refused(api.decide("l1.emea", "rollback", request, expected_version=1), 409, "stale-version")
    accepted = api.decide("l2", "approve", request, expected_version=2)
    assert accepted.status_code == 200


def test_comments_make_nothing_stale(api: Api) -> None:
    """Otherwise a talkative colleague would block every decision."""
    request = api.submit()
    said = api.post("l1b.emea", f"/requests/{request['id']}/comments", {"text": "Which customer?"})
    assert shapes.answer(said, 200, shapes.request)["version"] == 2
    assert api.decide("l1.emea", "approve", request, expected_version=1).status_code == 200


def test_not_your_decision_superseded_and_nothing_to_roll_back(api: Api) -> None:
    """Otherwise one person could undo another's decision, or one that others have built on."""
    request = api.submit(**ROUTE_ALL)
    shapes.refused(api.decide("l1.emea", "rollback", request), 409, "nothing-to-roll-back")
    request = api.approved("l1.emea", request)
    shapes.refused(api.decide("l2", "rollback", request), 409, "not-your-decision")
    request = api.approved("l2", request)
    shapes.refused(api.decide("l1.emea", "rollback", request), 409, "superseded")
    back = shapes.answer(api.decide("l2", "rollback", request), 200, shapes.request)
    assert (back["status"], back["version"]) == ("pending_l2", 4)
    back = shapes.answer(api.decide("l1.emea", "rollback", request), 200, shapes.request)
    assert back["status"] == "pending_l1"
    assert not any(level["votes"] for level in back["route"]["levels"])
    shapes.refused(api.decide("l1.emea", "rollback", request), 409, "nothing-to-roll-back")


def test_not_your_request(api: Api) -> None:
    """Otherwise an approver could make a request go away."""
    request = api.submit("ana.sales")
    shapes.refused(api.post("l1.apac", f"/requests/{request['id']}/withdraw", {}), 409, "not-your-request")


def test_what_is_not_yours_looks_like_what_is_not_there(api: Api) -> None:
    """Otherwise ids could be tried out to learn what others ask for."""
    request = api.submit("ana.sales")
    api.read("ana.sales", request)
    missing = {"id": str(uuid.uuid4())}
    for one in (request, missing):
        path = f"/requests/{one['id']}"
        answers = [
            api.get("sam.sales", path),
            api.get("l1.emea", path),
            api.get("sam.sales", f"{path}/status"),
            api.post("sam.sales", f"{path}/withdraw", {}),
            api.post("sam.sales", f"{path}/comments", {"text": "hello"}),
            api.decide("l1.emea", "approve", one["id"]),
            api.decide("l1.emea", "reject", one["id"], comment="no"),
            api.decide("l1.emea", "rollback", one["id"]),
        ]
        for answer in answers:
            found = answer.json()
            assert (answer.status_code, found["status"]) == (404, 404), answer.text
            assert found["code"] in ("not-found", "not-visible")
    assert api.read("ana.sales", request)["version"] == 1
    same = [
        api.post("sam.sales", f"/requests/{one['id']}/comments", {"text": "x"}).json()["code"]
        for one in (request, missing)
    ]
    assert same[0] == same[1], f"a comment tells what is there: {same}"


def test_reassign_is_refused_when_nothing_is_open(api: Api) -> None:
    """Otherwise an administrator could change the approvers of what is decided."""
    request = api.approved("l1.emea", api.submit())
    shapes.refused(api.post("admin", f"/requests/{request['id']}/reassign", {"level": "L1"}), 409, "not-pending")


@changes
def test_self_approval(changing: Stack, changing_api: Api) -> None:
    """Otherwise somebody who is both could approve their own request."""
    person(changing, changing_api, "both.roles", ("sales", "manager"), "emea-sales")
    put_seen(
        changing, changing_api, "assignment", "travel-l1-both.roles",
        category_id="travel", level="L1", approver_id="both.roles", region="emea",
    )  # fmt: skip
    request = changing_api.submit("both.roles")
    assert "both.roles" not in request["route"]["levels"][0]["approvers"]
    for verb, body in (("approve", {}), ("reject", {"comment": "no"})):
        shapes.refused(changing_api.decide("both.roles", verb, request, **body), 409, "self-approval")


@changes
def test_needed_later(changing: Stack, changing_api: Api, tmp_path: Path) -> None:
    """Otherwise a vote could leave a later level without anybody, and the request would be stuck."""
    person(changing, changing_api, "only.one", ("manager",), "hq")
    person(changing, changing_api, "first.one", ("manager",), "hq")
    put_seen(changing, changing_api, "category", "events", name="Events")
    put_seen(changing, changing_api, "reason", "events-general", text="Events", category_id="events")
    for level, approver in (("L1", "first.one"), ("L1", "only.one"), ("L2", "only.one"), ("L3", "l3")):
        put_seen(
            changing, changing_api, "assignment", f"events-{level.lower()}-{approver}",
            category_id="events", level=level, approver_id=approver,
        )  # fmt: skip
    request = changing_api.submit(category_id="events", amount="2000.00", currency="USD")
    assert [level["level"] for level in request["route"]["levels"]] == ["L1", "L2"]
    shapes.refused(changing_api.decide("only.one", "approve", request), 409, "needed-later")
    request = changing_api.approved("first.one", request)
    assert changing_api.approved("only.one", request)["status"] == "approved"


@changes
def test_category_inactive_and_reason_inactive(changing: Stack, changing_api: Api) -> None:
    """Otherwise money would go on flowing into what was closed."""
    put_seen(changing, changing_api, "category", "old-stuff", name="Old stuff", active=True)
    put_seen(changing, changing_api, "reason", "old-stuff-general", text="Old", category_id="old-stuff")
    put_seen(changing, changing_api, "category", "old-stuff", name="Old stuff", active=False)
    answer = changing_api.post("sam.sales", "/requests", submission(category_id="old-stuff"))
    shapes.refused(answer, 409, "category-inactive")
    put_seen(changing, changing_api, "reason", "travel-old", text="Old", category_id="travel", active=False)
    answer = changing_api.post("sam.sales", "/requests", submission(reason_id="travel-old"))
    shapes.refused(answer, 409, "reason-not-valid")


@changes
def test_an_account_that_is_gone_is_out_within_a_second(changing: Stack, changing_api: Api) -> None:
    """Otherwise somebody who was let go could still approve."""
    person(changing, changing_api, "leaver", ("manager",), "emea-sales")
    assert changing_api.get("leaver", "/users/me").status_code == 200
    put(
        changing, "user", "leaver", email="leaver@athena.test", name="Leaver", roles=("manager",), department_id="emea-sales",
        active=False,
    )  # fmt: skip
    wait_until(
        lambda: changing_api.get("leaver", "/users/me").status_code == 401, 1.5, "a deactivated account still gets in"
    )
    assert changing_api.login("leaver").status_code == 401


@changes
def test_a_lost_role_is_lost_whatever_the_token_says(changing: Stack, changing_api: Api) -> None:
    """Otherwise a token would be worth more than the books."""
    person(changing, changing_api, "mover", ("manager", "sales"), "emea-sales")
    assert changing_api.get("mover", "/approvals/incoming").status_code == 200
    put(
        changing, "user", "mover", email="mover@athena.test", name="Mover", roles=("sales",), department_id="emea-sales"
    )  # fmt: skip
    wait_until(
        lambda: changing_api.get("mover", "/approvals/incoming").status_code == 403, 1.5, "a lost role still works"
    )


@changes
def test_rollback_by_somebody_who_is_no_manager_any_more(changing: Stack, changing_api: Api) -> None:
    """Otherwise somebody without the role could still change the outcome."""
    person(changing, changing_api, "was.manager", ("manager", "sales"), "emea-sales")
    put_seen(
        changing, changing_api, "assignment", "meals-l1-was.manager",
        category_id="meals", level="L1", approver_id="was.manager", region="emea",
    )  # fmt: skip
    request = changing_api.submit(category_id="meals", **{k: v for k, v in ROUTE_L1.items() if k != "category_id"})
    request = changing_api.approved("was.manager", request)
    put(
        changing, "user", "was.manager", email="was.manager@athena.test", name="Was", roles=("sales",), department_id="emea-sales"
    )  # fmt: skip
    wait_until(
        lambda: changing_api.get("was.manager", "/approvals/incoming").status_code == 403, 1.5, "the role still works"
    )
    answer = changing_api.decide("was.manager", "rollback", request)
    shapes.refused(answer, 403, "forbidden")


@changes
def test_window_closed(changing: Stack, changing_api: Api, tmp_path: Path) -> None:
    """Otherwise money could be paid out for an approval that is then taken back."""
    push_rules(changing, changing_api, tmp_path, rules_with_window("1s"))
    try:
        request = changing_api.approved("l1.emea", changing_api.submit())
        wait_until(
            lambda: changing_api.read("sam.sales", request)["status"] == "finalized", 15, "the window does not close"
        )
        shapes.refused(changing_api.decide("l1.emea", "rollback", request), 409, "window-closed")
    finally:
        push_rules(changing, changing_api, tmp_path, rules_with_window("24h"))
