"""A request waits for approvers who do nothing: on the real log, with the worker killed in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from schemas import topics
from tests import shapes
from tests.client import Api
from tests.integration.test_delegations import Office, office
from tests.invariants.log import read
from tests.organisation import push_rules, rules_with_window
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("changing")

__all__ = ["office"]


@pytest.fixture(scope="module")
def impatient(changing: Stack, changing_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rules that remind after one second and escalate after two; the usual ones in the end."""
    folder = tmp_path_factory.mktemp("rules")
    usual = rules_with_window("24h")
    times = "remind_after: 1s\nescalate_after: 2s\nrollback_window: 24h "
    push_rules(changing, changing_api, folder, usual.replace("rollback_window: 24h ", times))
    yield
    push_rules(changing, changing_api, folder, usual)


def told(stack: Stack, request_id: str) -> set[tuple[str, str]]:
    """(template, user) of everything that is to be sent about a request."""
    records = asyncio.run(read(stack.kafka, topics.NOTIFICATIONS))
    found = [orjson.loads(one.value) for one in records if one.value and one.value.startswith(b"{")]
    return {(one["template"], one["user_id"]) for one in found if one["request_id"] == request_id}


def test_a_level_that_waits_is_reminded_of_and_then_the_next_one_may_decide(office: Office, impatient: None) -> None:
    """A request is forgotten, and nobody else can help."""
    slow, first, second, stand_in = (office.somebody(level) for level in ("L1", "L2", "L2", None))
    office.delegate(slow, stand_in)
    api = office.api
    request = office.file()
    id_ = str(request["id"])
    api.read("admin", request)
    waited = [("submit", "sam.sales", None), ("remind", "system", "L1"), ("escalate", "system", "L1")]
    wait_until(lambda: office.history(request) == waited, 20, "nothing happens to a request that waits")
    now = api.read("sam.sales", request, 3)
    shapes.request(now)
    assert now["status"] == "pending_l1"
    assert [level.get("escalated") for level in now["route"]["levels"]] == [sorted([first, second]), None]
    for who in (slow, first, second, stand_in):
        assert id_ in office.incoming(who), who
    done = api.approved(first, now)
    assert (done["status"], done["version"]) == ("pending_l2", 4)
    shapes.refused(api.decide(first, "approve", id_), 409, "already-voted")
    shapes.refused(api.decide(slow, "approve", id_), 409, "not-an-approver")
    assert api.approved(second, done)["status"] == "approved"
    for item in api.get("sam.sales", f"/requests/{id_}/status").json()["items"]:
        shapes.status_item(item, "item")
    verdict = api.get("auditor", "/audit/verify", requestId=id_).json()
    assert (verdict["ok"], verdict["first_break"]) == (True, None)
    actions = [
        one["action"] for one in api.get("auditor", "/audit/logs", requestId=id_, action="remind").json()["items"]
    ]
    assert set(actions) == {"remind"}
    wanted = {("reminder", slow), ("reminder", stand_in), ("escalated", first), ("escalated", second)}
    assert {one for one in told(office.stack, id_) if one[0] in ("reminder", "escalated")} - {
        ("reminder", second), ("reminder", first)
    } == wanted  # fmt: skip


def test_after_an_outage_all_that_is_due_happens_once(office: Office, impatient: None) -> None:
    """A worker that was down forgets who waits, or reminds everybody for each second of it."""
    office.somebody("L1")
    office.somebody("L2")
    office.somebody("L2")
    requests = [office.file() for _ in range(4)]
    for request in requests:
        office.api.read("admin", request)
    office.stack.kill("worker")
    waited = [("submit", "sam.sales", None), ("remind", "system", "L1"), ("escalate", "system", "L1")]
    for request in requests:
        wait_until(
            lambda at=request: office.history(at) == waited, 60, "a request is forgotten by a worker that was down"
        )
    another = office.file()
    office.api.read("admin", another)
    office.stack.kill("worker")
    wait_until(lambda: office.history(another) == waited, 60, "a request is forgotten by a worker that was down")
    assert [office.history(request) for request in requests] == [waited] * 4, "done again after the second restart"
