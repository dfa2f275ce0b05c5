"""The rollback window at its edges, by the log's own time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests import shapes
from tests.client import ROUTE_L1_L2, Api
from tests.organisation import push_rules, rules_with_window
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("changing")
WINDOW = 4.0


@pytest.fixture(scope="module")
def short(changing: Stack, changing_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API under rules with a window of 4 s; the long one is published again afterwards."""
    folder: Path = tmp_path_factory.mktemp("rules")
    push_rules(changing, changing_api, folder, rules_with_window(f"{WINDOW:.0f}s"))
    yield changing_api
    push_rules(changing, changing_api, folder, rules_with_window("24h"))


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def closed(api: Api, request: dict[str, object]) -> bool:
    return api.read("sam.sales", request)["status"] in ("finalized", "closed")


def test_the_window_is_pinned_and_shown(short: Api) -> None:
    """Otherwise an approver would not know how long a mistake can be mended."""
    request = short.approved("l1.emea", short.submit())
    vote = request["route"]["levels"][0]["votes"][0]
    assert seconds_of(request["rollback_until"]) - seconds_of(vote["at"]) == pytest.approx(WINDOW, abs=0.0011)
    assert request["finalized_at"] is None


def test_a_rollback_in_time_and_one_at_the_end(short: Api) -> None:
    """Otherwise the promised time would be shorter, or longer, than what is shown."""
    in_time = short.approved("l1.emea", short.submit())
    late = short.approved("l1.emea", short.submit())
    # As late as can safely be in time, and right after the end.
    wait_until(lambda: time.time() > seconds_of(in_time["rollback_until"]) - 1.0, 10, "time stands still")
    back = shapes.answer(short.decide("l1.emea", "rollback", in_time), 200, shapes.request)
    assert (back["status"], back["rollback_until"]) == ("pending_l1", None)
    wait_until(lambda: time.time() > seconds_of(late["rollback_until"]), 10, "time stands still")
    shapes.refused(short.decide("l1.emea", "rollback", late), 409, "window-closed")


def test_an_approved_request_is_finalized_by_itself(short: Api) -> None:
    """Otherwise nobody would ever be paid."""
    request = short.approved("l1.emea", short.submit())
    wait_until(lambda: closed(short, request), 15, "the window does not close")
    final = short.read("sam.sales", request, request["version"] + 1)
    shapes.request(final)
    assert (final["status"], final["version"], final["rollback_until"]) == ("finalized", request["version"] + 1, None)
    assert seconds_of(final["finalized_at"]) >= seconds_of(request["rollback_until"])
    assert seconds_of(final["finalized_at"]) - seconds_of(request["rollback_until"]) < 10
    last = short.get("sam.sales", f"/requests/{request['id']}/status").json()["items"][-1]
    assert (last["action"], last["actor_id"], last["status"]) == ("finalize", "system", "finalized")
    shapes.refused(short.decide("l1b.emea", "approve", request), 409, "not-pending")


def test_a_rejected_request_is_closed_by_itself(short: Api) -> None:
    """Otherwise a rejection could be reopened for ever."""
    request = short.submit(**ROUTE_L1_L2)
    rejected = short.decide("l1b.emea", "reject", request, comment="not this quarter").json()
    wait_until(lambda: closed(short, rejected), 15, "the window does not close")
    final = short.read("sam.sales", rejected, 3)
    assert (final["status"], final["finalized_at"]) == ("closed", None)
    last = short.get("sam.sales", f"/requests/{request['id']}/status").json()["items"][-1]
    assert last["action"] == "close"
    shapes.refused(short.decide("l1b.emea", "rollback", final), 409, "window-closed")


def test_a_pending_request_waits_as_long_as_it_takes(short: Api) -> None:
    """Otherwise a request that waits for its second level would be closed under its approvers."""
    request = short.approved("l1.emea", short.submit(**ROUTE_L1_L2))
    other = short.approved("l1.emea", short.submit())
    wait_until(lambda: closed(short, other), 15, "the window does not close")
    waiting = short.read("sam.sales", request)
    assert (waiting["status"], waiting["version"]) == ("pending_l2", 2)
    shapes.refused(short.decide("l1.emea", "rollback", request), 409, "window-closed")
    assert short.approved("l2", request)["status"] == "approved"


def test_a_new_decision_opens_a_new_window(short: Api) -> None:
    """Otherwise a decision made after a rollback could never be mended, or for too long."""
    request = short.approved("l1.emea", short.submit())
    short.decide("l1.emea", "rollback", request)
    wait_until(lambda: time.time() > seconds_of(request["rollback_until"]) + 1, 10, "time stands still")
    again = short.approved("l1b.emea", request)
    assert again["status"] == "approved"
    assert seconds_of(again["rollback_until"]) > seconds_of(request["rollback_until"])
    assert short.decide("l1b.emea", "rollback", again).status_code == 200


def test_requests_under_way_keep_their_window(changing: Stack, changing_api: Api, tmp_path: Path) -> None:
    """Otherwise an edit of the rules would change what was promised."""
    push_rules(changing, changing_api, tmp_path, rules_with_window("24h"))
    request = changing_api.submit()
    version = push_rules(changing, changing_api, tmp_path, rules_with_window("1s"))
    assert request["route"]["rules_version"] == version - 1
    approved = changing_api.approved("l1.emea", request)
    new = changing_api.approved("l1.emea", changing_api.submit())
    wait_until(lambda: closed(changing_api, new), 15, "the window does not close")
    assert changing_api.read("sam.sales", approved)["status"] == "approved"
    assert changing_api.decide("l1.emea", "rollback", approved).status_code == 200
    push_rules(changing, changing_api, tmp_path, rules_with_window("24h"))
