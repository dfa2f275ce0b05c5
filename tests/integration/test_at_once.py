"""Many people, or one impatient one, at the same moment: one effect each."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests import shapes
from tests.client import ROUTE_L1_L2, ROUTE_L1_L2_ALL, Api

AT_ONCE = 100


def storm(api: Api, senders: list[str], request: dict[str, object]) -> list[tuple[str, httpx.Response]]:
    """Everybody in `senders` approves at once; their answers."""
    for who in set(senders):
        api.token(who)
    gate = threading.Barrier(len(senders))

    def send(who: str) -> tuple[str, httpx.Response]:
        gate.wait(30)
        return who, api.post(who, f"/approvals/{request['id']}/approve", {})

    with ThreadPoolExecutor(len(senders)) as pool:
        return list(pool.map(send, senders))


def history(api: Api, request: dict[str, object]) -> list[tuple[str, str]]:
    items = api.get("auditor", f"/requests/{request['id']}/status").json()["items"]
    return [(item["action"], item["actor_id"]) for item in items]


def test_a_hundred_approvals_by_one_approver_are_one(api: Api) -> None:
    """Otherwise clicking twice would approve twice."""
    request = api.submit(**ROUTE_L1_L2)
    answers = [answer for _, answer in storm(api, ["l1.emea"] * AT_ONCE, request)]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 1, 409: AT_ONCE - 1}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already-voted"}
    after = api.read("sam.sales", request, 2)
    assert (after["version"], after["status"]) == (2, "pending_l2")
    assert history(api, after) == [("submit", "sam.sales"), ("approve", "l1.emea")]


def test_a_hundred_approvals_by_two_approvers_for_one_place_are_one(api: Api) -> None:
    """Otherwise two colleagues who both answer the mail would move a request two levels."""
    request = api.submit(**ROUTE_L1_L2)
    answers = storm(api, ["l1.emea", "l1b.emea"] * (AT_ONCE // 2), request)
    winners = [who for who, answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    after = api.read("sam.sales", request, 2)
    assert (after["version"], after["status"]) == (2, "pending_l2")
    assert history(api, after) == [("submit", "sam.sales"), ("approve", winners[0])]
    codes = {answer.json()["code"] for _, answer in answers if answer.status_code != 200}
    assert codes <= {"already-voted", "not-an-approver"}


def test_two_approvers_of_a_quorum_of_two_both_count_once(api: Api) -> None:
    """Otherwise one of two votes given at the same moment would be lost."""
    request = api.approved("l1.emea", api.submit(**ROUTE_L1_L2_ALL))
    answers = storm(api, ["l2", "l2b"] * (AT_ONCE // 2), request)
    assert sorted(who for who, answer in answers if answer.status_code == 200) == ["l2", "l2b"]
    after = api.read("sam.sales", request, 4)
    shapes.request(after)
    assert (after["version"], after["status"]) == (4, "approved")
    assert sorted(history(api, after)[2:]) == [("approve", "l2"), ("approve", "l2b")]


def test_approving_and_withdrawing_at_once_is_one_or_the_other(api: Api) -> None:
    """Otherwise a request could be both approved and withdrawn."""
    for _ in range(5):
        request = api.submit()
        for who in ("l1.emea", "sam.sales"):
            api.token(who)
        with ThreadPoolExecutor(2) as pool:
            approve = pool.submit(api.decide, "l1.emea", "approve", request)
            withdraw = pool.submit(api.post, "sam.sales", f"/requests/{request['id']}/withdraw", {})
            statuses = sorted([approve.result(40).status_code, withdraw.result(40).status_code])
        assert statuses == [200, 409]
        assert api.read("sam.sales", request, 2)["status"] in ("approved", "withdrawn")
