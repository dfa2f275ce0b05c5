"""Reading: one's own writes, lists and their cursors, who sees what, exact shapes."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import shapes
from tests.client import ROUTE_ALL, ROUTE_L1_L2, Api, submission


def pages(api: Api, who: str, path: str, item: shapes.Check, **params: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(200):
        page = shapes.answer(api.get(who, path, **params, **cursor), 200, shapes.page(item))
        assert len(page["items"]) <= params.get("limit", 50)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError(f"{path} has no end")


def test_a_client_sees_its_own_writes(api: Api) -> None:
    """Otherwise what somebody just did would seem undone."""
    for _ in range(10):
        request = api.submit(**ROUTE_L1_L2)
        assert api.read("sam.sales", request) == request
        after = api.approved("l1.emea", request)
        seen = api.get("sam.sales", f"/requests/{request['id']}", min_version=2)
        assert seen.json() == after
        assert seen.headers["ETag"] == '"2"'


def test_min_version_waits_and_then_says_unavailable(api: Api) -> None:
    """Otherwise a client would take an old state for the newest, or wait for ever."""
    request = api.submit()
    began = time.monotonic()
    answer = api.get("sam.sales", f"/requests/{request['id']}", min_version=2)
    shapes.refused(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert 1.5 <= time.monotonic() - began < 6


def test_min_version_of_what_is_not_yours_is_as_of_what_is_not_there(api: Api) -> None:
    """Otherwise the answer, or its time, would tell what is there."""
    request = api.submit("ana.sales")
    api.read("ana.sales", request)
    answers = [api.get("sam.sales", f"/requests/{id_}", min_version=1) for id_ in (request["id"], str(uuid.uuid4()))]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "9" * 30])
def test_a_bent_min_version_is_refused(api: Api, value: str) -> None:
    """Otherwise a client's mistake would read as an old state."""
    request = api.submit()
    shapes.refused(api.get("sam.sales", f"/requests/{request['id']}", min_version=value), 422, "invalid")


def test_the_status_history_tells_the_whole_story(api: Api) -> None:
    """Otherwise nobody could tell how a decision came about."""
    request = api.submit(**ROUTE_L1_L2)
    api.approved("l1.emea", request)
    api.decide("l1.emea", "rollback", request, comment="too early")
    api.post("l1b.emea", f"/requests/{request['id']}/comments", {"text": "Which course?\nAnd where?"})
    api.approved("l1b.emea", request)
    last = api.decide("l2", "reject", request, comment="No: not this year.").json()
    api.read("sam.sales", last)
    items = pages(api, "sam.sales", f"/requests/{request['id']}/status", shapes.status_item, limit=2)
    assert [(item["version"], item["action"], item["actor_id"], item["level"], item["status"]) for item in items] == [
        (1, "submit", "sam.sales", None, "pending_l1"),
        (2, "approve", "l1.emea", "L1", "pending_l2"),
        (3, "rollback", "l1.emea", "L1", "pending_l1"),
        (4, "comment", "l1b.emea", "L1", "pending_l1"),
        (5, "approve", "l1b.emea", "L1", "pending_l2"),
        (6, "reject", "l2", "L2", "rejected"),
    ]
    assert [item["comment"] for item in items] == [
        None,
        None,
        "too early",
        "Which course?\nAnd where?",
        None,
        "No: not this year.",
    ]


def test_lists_are_newest_first_and_page_without_loss(api: Api) -> None:
    """Otherwise a request could be on no page, or on two."""
    filed = [api.submit("sue.sales", title=f"Trip {number}") for number in range(7)]
    api.read("sue.sales", filed[-1])
    for request in filed:
        api.read("sue.sales", request)
    found = pages(api, "sue.sales", "/requests", shapes.request, limit=3)
    ids = [item["id"] for item in found]
    assert len(ids) == len(set(ids))
    times = [item["created_at"] for item in found]
    assert times == sorted(times, reverse=True)
    mine = {request["id"] for request in filed}
    assert [id_ for id_ in ids if id_ in mine] == [request["id"] for request in reversed(filed)]
    assert all(item["requester_id"] == "sue.sales" for item in found)


def test_a_page_is_stable_while_others_file(api: Api) -> None:
    """Otherwise whoever pages would miss what moved."""
    before = [api.submit("sue.sales") for _ in range(4)]
    for request in before:
        api.read("sue.sales", request)
    first = api.get("sue.sales", "/requests", limit=2).json()
    api.read("sue.sales", api.submit("sue.sales"))
    second = api.get("sue.sales", "/requests", limit=2, cursor=first["next_cursor"]).json()
    shown = [item["id"] for item in first["items"] + second["items"]]
    expected = {request["id"] for request in before}
    assert [id_ for id_ in shown if id_ in expected] == [request["id"] for request in reversed(before)]


def test_filters_of_requests(api: Api) -> None:
    """Otherwise a list would show what was not asked for."""
    request = api.approved("l1.emea", api.submit(category_id="meals"))
    api.read("sam.sales", request)
    page = shapes.page(shapes.request)
    found = shapes.answer(api.get("sam.sales", "/requests", status="approved", category_id="meals"), 200, page)["items"]
    assert request["id"] in {item["id"] for item in found}
    assert all((item["status"], item["category_id"]) == ("approved", "meals") for item in found)
    since = shapes.answer(api.get("sam.sales", "/requests", since=request["updated_at"]), 200, page)["items"]
    assert request["id"] in {item["id"] for item in since}
    assert all(item["updated_at"] >= request["updated_at"] for item in since)
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert shapes.answer(api.get("sam.sales", "/requests", since=future), 200, page)["items"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"status": "pending"}, {"status": ""}, {"category_id": "nope"}, {"since": "yesterday"}, {"since": "2026-02-30T00:00:00Z"},
        {"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"limit": "-1"}, {"cursor": "abc"}, {"cursor": ""},
    ],
)  # fmt: skip
def test_a_wrong_filter_is_refused(api: Api, params: dict[str, str]) -> None:
    """Otherwise a typing error would look like an empty list."""
    shapes.refused(api.get("sam.sales", "/requests", **params), 422, "invalid")


def test_bent_and_foreign_cursors_are_refused(api: Api) -> None:
    """Otherwise a cursor could be made to show what it must not."""
    for request in [api.submit("sue.sales") for _ in range(2)]:
        api.read("sue.sales", request)
    cursor = api.get("sue.sales", "/requests", limit=1).json()["next_cursor"]
    assert api.get("sue.sales", "/requests", limit=1, cursor=cursor).status_code == 200
    middle = len(cursor) // 2
    bent = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    for one in (bent, cursor[:-1], cursor + "A", cursor.upper(), "x" * 5000):
        shapes.refused(api.get("sue.sales", "/requests", limit=1, cursor=one), 422, "invalid")
    shapes.refused(api.get("sam.sales", "/requests", limit=1, cursor=cursor), 422, "invalid")
    shapes.refused(api.get("sue.sales", "/requests", limit=1, cursor=cursor, status="approved"), 422, "invalid")
    shapes.refused(api.get("sue.sales", "/categories", limit=1, cursor=cursor), 422, "invalid")


def test_everybody_sees_what_is_theirs(api: Api) -> None:
    """Otherwise people would see other people's requests, or not their own."""
    request = api.submit("ana.sales", **ROUTE_ALL)
    api.read("ana.sales", request)
    for who in ("ana.sales", "l1.apac", "l2", "l2b", "l3", "admin", "auditor"):
        assert api.get(who, f"/requests/{request['id']}").status_code == 200, who
        found = pages(api, who, "/requests", shapes.request, limit=200)
        assert request["id"] in {item["id"] for item in found}, who
    for who in ("sam.sales", "sue.sales", "l1.emea", "l1.hq"):
        shapes.refused(api.get(who, f"/requests/{request['id']}"), 404, "not-found")
        found = pages(api, who, "/requests", shapes.request, limit=200)
        assert request["id"] not in {item["id"] for item in found}, who


def test_somebody_with_two_roles_sees_the_union(api: Api) -> None:
    """Otherwise a manager who also sells would lose sight of one half."""
    request = api.submit("ana.sales")
    api.read("l1.apac", request)
    assert api.get("l1.apac", f"/requests/{request['id']}").status_code == 200


def incoming(api: Api, who: str) -> set[str]:
    return {item["id"] for item in pages(api, who, "/approvals/incoming", shapes.request, limit=200)}


def test_incoming_holds_what_waits_for_the_caller(api: Api) -> None:
    """Otherwise approvers would not see their work, or see it after it is done."""
    request = api.submit(**ROUTE_L1_L2)
    id_ = request["id"]
    api.read("l1.emea", request)
    assert [id_ in incoming(api, who) for who in ("l1.emea", "l1b.emea", "l2", "l1.apac")] == [True, True, False, False]
    request = api.approved("l1.emea", request)
    api.read("l2", request)
    assert [id_ in incoming(api, who) for who in ("l1.emea", "l1b.emea", "l2", "l2b")] == [False, False, True, True]
    back = api.decide("l1.emea", "rollback", request).json()
    api.read("l2", back)
    assert [id_ in incoming(api, who) for who in ("l1.emea", "l1b.emea", "l2", "l2b")] == [True, True, False, False]


def test_the_history_of_decisions(api: Api) -> None:
    """Otherwise an approver could not find the decision to take back."""
    request = api.approved("l1b.emea", api.submit(**ROUTE_L1_L2))
    rejected = api.decide("l1b.emea", "reject", api.submit(), comment="no").json()
    api.read("l1b.emea", request)
    api.read("l1b.emea", rejected)
    page = shapes.answer(api.get("l1b.emea", "/approvals/history", limit=200), 200, shapes.page(shapes.decision))
    mine = {item["request_id"]: item for item in page["items"]}
    assert (mine[rejected["id"]]["action"], mine[request["id"]]["action"]) == ("reject", "approve")
    assert mine[request["id"]]["can_roll_back"]
    assert mine[request["id"]]["rollback_until"] == request["rollback_until"]
    after = api.approved("l2", request)
    api.read("l1b.emea", after)
    page = shapes.answer(api.get("l1b.emea", "/approvals/history", limit=200), 200, shapes.page(shapes.decision))
    assert not next(item for item in page["items"] if item["request_id"] == request["id"])["can_roll_back"]
    times = [item["at"] for item in page["items"]]
    assert times == sorted(times, reverse=True)


def test_people_on_a_request_see_each_others_names(api: Api) -> None:
    """Otherwise nobody would know whom to ask, or everybody could read everybody's address."""
    request = api.submit()
    api.read("sam.sales", request)
    shapes.answer(api.get("sam.sales", "/users/l1.emea"), 200, shapes.person)
    shapes.answer(api.get("l1.emea", "/users/sam.sales"), 200, shapes.person)
    shapes.answer(api.get("auditor", "/users/sam.sales"), 200, shapes.user)
    shapes.answer(api.get("sam.sales", "/users/sam.sales"), 200, shapes.user)
    for who in ("auditor", "no.body"):
        shapes.refused(api.get("sam.sales", f"/users/{who}"), 404, "not-found")


def test_correlation_ids_go_all_the_way(api: Api) -> None:
    """Otherwise support could not follow a call through the logs."""
    mine = f"support-{uuid.uuid4()}"[:40]
    answer = api.post("sam.sales", "/requests", submission(), headers={"X-Correlation-Id": mine})
    assert answer.headers["X-Correlation-Id"] == mine
    request = answer.json()
    api.read("sam.sales", request)
    logs = shapes.answer(
        api.get("auditor", "/audit/logs", requestId=request["id"]), 200, shapes.page(shapes.audit_item)
    )
    assert [item["correlation_id"] for item in logs["items"]] == [mine]
    bent = api.get("sam.sales", "/users/me")
    assert bent.headers["X-Correlation-Id"] != mine
    short = api.call("sam.sales", "GET", "/users/me", headers={"X-Correlation-Id": "no good!"})
    assert short.headers["X-Correlation-Id"] != "no good!"
