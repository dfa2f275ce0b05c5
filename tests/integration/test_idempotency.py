"""The same command twice is one command; a 202 is a promise."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import shapes
from tests.client import API, ROUTE_L1_L2, Api, submission
from tests.stack import wait_until


def replayed(answer: httpx.Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def test_the_same_submission_twice_is_one_request(api: Api) -> None:
    """Otherwise a phone that repeats itself would ask for the money twice."""
    key, body = str(uuid.uuid4()), submission()
    first = api.post("sam.sales", "/requests", body, key=key)
    second = api.post("sam.sales", "/requests", body, key=key)
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert first.headers["Command-Id"] == second.headers["Command-Id"]
    assert first.headers["Location"] == second.headers["Location"] == f"{API}/requests/{first.json()['id']}"
    assert (replayed(first), replayed(second)) == (False, True)


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    """Otherwise a client's mistake would silently lose a request."""
    key, body = str(uuid.uuid4()), submission()
    first = api.post("sam.sales", "/requests", body, key=key)
    other = api.post("sam.sales", "/requests", {**body, "amount": "421.00"}, key=key)
    shapes.refused(other, 422, "idempotency-key-reused")
    assert not replayed(other)
    again = api.post("sam.sales", "/requests", body, key=key)
    assert (again.status_code, again.json()) == (201, first.json())


def test_a_key_belongs_to_its_user_and_its_path(api: Api) -> None:
    """Otherwise two people's keys could meet, and one of them would get the other's request."""
    key, body = str(uuid.uuid4()), submission()
    mine = api.post("sam.sales", "/requests", body, key=key).json()
    hers = api.post("sue.sales", "/requests", body, key=key)
    assert hers.status_code == 201
    assert hers.json()["id"] != mine["id"]
    assert hers.json()["requester_id"] == "sue.sales"
    decided = api.post("l1.emea", f"/approvals/{mine['id']}/approve", {}, key=key)
    assert decided.status_code == 200
    assert not replayed(decided)


def test_a_decision_repeated_gives_its_first_answer(api: Api) -> None:
    """Otherwise an approver whose connection broke would be told that they had voted before."""
    request, key = api.submit(**ROUTE_L1_L2), str(uuid.uuid4())
    path = f"/approvals/{request['id']}/approve"
    first = api.post("l1.emea", path, {"comment": "fine"}, key=key)
    api.approved("l2", request)
    second = api.post("l1.emea", path, {"comment": "fine"}, key=key)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert replayed(second)
    assert second.headers["ETag"] == f'"{first.json()["version"]}"'


def test_a_refusal_repeated_is_the_same_refusal(api: Api) -> None:
    """Otherwise a repeated command could do later what was refused at first."""
    request, key = api.submit(**ROUTE_L1_L2), str(uuid.uuid4())
    path = f"/approvals/{request['id']}/approve"
    first = shapes.refused(api.post("l2", path, {}, key=key), 409, "not-an-approver")
    api.approved("l1.emea", request)
    answer = api.post("l2", path, {}, key=key)
    second = shapes.refused(answer, 409, "not-an-approver")
    assert replayed(answer)
    assert {**first, "correlation_id": ""} == {**second, "correlation_id": ""}
    assert api.post("l2", path, {}, key=str(uuid.uuid4())).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 129, "tab\there"])
def test_a_bad_key_is_said_to_be_bad(api: Api, key: str) -> None:
    """Otherwise a client would believe itself to be protected."""
    problem = shapes.refused(api.post("sam.sales", "/requests", submission(), key=key), 422, "invalid")
    assert "Idempotency-Key" in problem["errors"][0]["pointer"]


def test_one_key_sent_thirty_times_at_once_is_one_request(api: Api) -> None:
    """Otherwise impatient clicking would file a request thirty times."""
    key, body = str(uuid.uuid4()), submission()
    api.token("sue.sales")
    gate = threading.Barrier(30)

    def send(_: int) -> httpx.Response:
        gate.wait(20)
        return api.post("sue.sales", "/requests", body, key=key)

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(send, range(30)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.text for answer in answers}) == 1
    assert sum(1 for answer in answers if not replayed(answer)) == 1


def settled(api: Api, who: str, command_id: str) -> dict[str, object]:
    found: dict[str, object] = {}

    def done() -> bool:
        found.update(shapes.answer(api.get(who, f"/commands/{command_id}"), 200, shapes.command))
        return found["status"] != "pending"

    wait_until(done, 15, f"command {command_id} has no outcome")
    return found


def test_a_command_that_nobody_waits_for_is_promised(api: Api) -> None:
    """Otherwise a client on a slow line could not know whether its request was filed."""
    answer = api.post("sam.sales", "/requests", submission(), headers={"Prefer": "respond-async"})
    command = shapes.answer(answer, 202, shapes.command)
    assert command["status"] == "pending"
    assert answer.headers["Location"] == f"{API}/commands/{command['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["Command-Id"] == command["id"]
    done = settled(api, "sam.sales", command["id"])
    assert done["status"] == "accepted"
    request = done["request"]
    assert isinstance(request, dict)
    assert api.read("sam.sales", request)["id"] == request["id"]


def test_a_refusal_that_nobody_waits_for_is_there_too(api: Api) -> None:
    """Otherwise a client would wait for ever for what was refused."""
    answer = api.post("sam.sales", "/requests", submission(currency="CHF"), headers={"Prefer": "respond-async"})
    done = settled(api, "sam.sales", answer.json()["id"])
    assert done["status"] == "refused"
    assert done["request"] is None
    problem = done["problem"]
    assert isinstance(problem, dict)
    assert (problem["code"], problem["status"]) == ("currency-not-supported", 409)


def test_a_promise_is_kept_for_its_author_alone(api: Api) -> None:
    """Otherwise anybody could look into other people's commands."""
    command = api.post("sam.sales", "/requests", submission(), headers={"Prefer": "respond-async"}).json()
    for _ in range(2):
        shapes.refused(api.get("sue.sales", f"/commands/{command['id']}"), 404, "not-found")
        settled(api, "sam.sales", command["id"])
    shapes.refused(api.get("sam.sales", f"/commands/{uuid.uuid4()}"), 404, "not-found")
    shapes.refused(api.get("sam.sales", "/commands/no-id"), 404, "not-found")


def test_waiting_as_long_as_preferred(api: Api) -> None:
    """Otherwise a client could not say how long it can wait."""
    answer = api.post("sam.sales", "/requests", submission(), headers={"Prefer": "wait=5"})
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=5"
