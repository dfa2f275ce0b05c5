"""Departments, categories, reasons and assignments over HTTP: made, changed, taken away; and what that does to requests."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests import shapes
from tests.client import Api
from tests.organisation import listed
from tests.stack import wait_until

pytestmark = pytest.mark.xdist_group("changing")

PEOPLE = ("l1.emea", "l2", "l3")


def named() -> str:
    return f"Thing {uuid.uuid4().hex[:8]}"


def made(api: Api, path: str, body: dict[str, Any], shape: Any) -> dict[str, Any]:
    """Something that must be made."""
    answer = api.post("admin", path, body)
    found: dict[str, Any] = shapes.answer(answer, 201, shape)
    assert (found["version"], answer.headers["etag"]) == (1, '"1"')
    assert body.items() <= found.items()
    return found


def category(api: Api, **fields: Any) -> dict[str, Any]:
    """A new category; closed unless it is said otherwise, so that the rules that others publish here need nobody for it."""
    return made(api, "/categories", {"name": named(), "active": False, **fields}, shapes.category)


def put(api: Api, path: str, body: dict[str, Any], version: object = None, **more: Any) -> httpx.Response:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return api.call("admin", "PUT", path, json=body, headers=headers, **more)


def delete(api: Api, path: str, version: object = None, **more: Any) -> httpx.Response:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return api.call("admin", "DELETE", path, headers=headers, **more)


def item(api: Api, path: str, id_: str) -> dict[str, Any] | None:
    """It as its list shows it."""
    return listed(api, path.strip("/"), id_)


@pytest.mark.parametrize(
    ("path", "body", "change", "shape"),
    [
        # In regions that have approvers: else no rules file could be published on this stack any more.
        ("/departments", {"name": "Sales Nordics", "region": "emea"}, {"region": "apac"}, shapes.department),
        ("/categories", {"name": "Fairs", "active": False}, {"name": "Trade fairs"}, shapes.category),
        ("/reasons", {"text": "A fair", "category_id": None}, {"text": "Our fair"}, shapes.reason),
    ],
)
def test_a_change_names_the_version_it_is_about(
    changing_api: Api, path: str, body: dict[str, Any], change: dict[str, Any], shape: Any
) -> None:
    """Two administrators overwrite each other without noticing, or cannot change anything at all."""
    first = made(changing_api, path, body, shape)
    here = f"{path}/{first['id']}"
    assert item(changing_api, path, first["id"]) == first, "who makes it does not find it"
    shapes.refused(put(changing_api, here, body | change), 428, "precondition-required")
    key = str(uuid.uuid4())
    answer = put(changing_api, here, body | change, 1, key=key)
    second = shapes.answer(answer, 200, shape)
    assert (second, answer.headers["etag"]) == (first | change | {"version": 2}, '"2"')
    assert item(changing_api, path, first["id"]) == second
    again = put(changing_api, here, body | change, 1, key=key)
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (200, second, "true")
    for stale in (1, 99):
        shapes.refused(put(changing_api, here, body, stale), 412, "precondition-failed")
    shapes.refused(put(changing_api, f"{path}/{uuid.uuid4()}", body, 1), 404, "not-found")
    shapes.refused(put(changing_api, f"{path}/$", body, 1), 404, "not-found")
    shapes.refused(put(changing_api, here, {}, 2), 422, "invalid")
    shapes.refused(put(changing_api, here, body | {"kind": "x"}, 2), 422, "invalid")
    wait_until(
        lambda: any(
            entry["entity"].endswith(f":{first['id']}") and entry["outcome"] == "refused"
            for entry in changing_api.get("auditor", "/audit/logs", userId="admin").json()["items"]
        ),
        10,
        "what was refused is not on record",
    )


def test_a_category_that_is_closed_takes_nothing_new_and_ends_nothing(changing_api: Api) -> None:
    """Requests go on into a category that was given up, or those under way are lost with it."""
    closing = category(changing_api, active=True)
    here = f"/categories/{closing['id']}"
    reason = made(changing_api, "/reasons", {"text": "Any", "category_id": closing["id"]}, shapes.reason)
    body = {"category_id": closing["id"], "level": "L1"}
    for level, person in zip(("L1", "L2", "L3"), PEOPLE, strict=True):
        made(changing_api, "/assignments", body | {"level": level, "approver_id": person}, shapes.assignment)
    wanted = {"category_id": closing["id"], "reason_id": reason["id"]}
    request = changing_api.submit(**wanted)
    shapes.refused(delete(changing_api, here, 7), 412, "precondition-failed")
    assert delete(changing_api, here, 1).status_code == 204
    assert item(changing_api, "/categories", closing["id"]) == closing | {"active": False, "version": 2}
    problem = changing_api.post("sam.sales", "/requests", request_body(**wanted))
    shapes.refused(problem, 409, "category-inactive")
    assert changing_api.approved("l1.emea", request)["status"] != "pending_l1"
    refused = changing_api.post("admin", "/reasons", {"text": "Another", "category_id": closing["id"]})
    assert shapes.refused(refused, 409, "category-inactive")["errors"][0]["pointer"] == "/category_id"
    renamed = put(changing_api, here, {"name": "Renamed"}, 2)
    assert (renamed.status_code, renamed.json()["active"]) == (200, False), "a new name opens it again"
    assert delete(changing_api, here).status_code == 204
    shapes.refused(delete(changing_api, f"/categories/{uuid.uuid4()}"), 404, "not-found")


def request_body(**fields: Any) -> dict[str, Any]:
    return {"title": "Late", "amount": "10.00", "currency": "EUR", **fields}


def test_a_reason_that_is_taken_back_is_no_reason_any_more(changing_api: Api) -> None:
    """People go on giving a reason that was withdrawn."""
    reason = made(changing_api, "/reasons", {"text": "For once"}, shapes.reason)
    changing_api.submit(category_id="travel", reason_id=reason["id"])
    answer = put(changing_api, f"/reasons/{reason['id']}", {"text": "For once", "active": False}, 1)
    assert (answer.status_code, answer.json()["active"]) == (200, False)
    late = request_body(category_id="travel", reason_id=reason["id"])
    shapes.refused(changing_api.post("sam.sales", "/requests", late), 409, "reason-not-valid")
    unknown = changing_api.post("admin", "/reasons", {"text": "X", "category_id": "nothing"})
    assert shapes.refused(unknown, 422, "unknown-reference")["errors"][0]["pointer"] == "/category_id"


def test_an_assignment_counts_for_what_comes_and_not_for_what_is_under_way(changing_api: Api) -> None:
    """Approvers appear on, or vanish from, requests that others already look at."""
    home = category(changing_api, active=True)
    reason = made(changing_api, "/reasons", {"text": "Any", "category_id": home["id"]}, shapes.reason)
    body = {"category_id": home["id"], "level": "L1", "approver_id": "l1.emea"}
    ids = [
        made(changing_api, "/assignments", body | {"level": level, "approver_id": person}, shapes.assignment)["id"]
        for level, person in zip(("L1", "L2", "L3"), PEOPLE, strict=True)
    ]
    wanted = {"category_id": home["id"], "reason_id": reason["id"], "amount": "10.00", "currency": "USD"}
    before = changing_api.submit(**wanted)
    more = made(changing_api, "/assignments", body | {"approver_id": "l1b.emea"}, shapes.assignment)
    assert delete(changing_api, f"/assignments/{ids[0]}", 1).status_code == 204
    assert item(changing_api, "/assignments", ids[0]) is None
    after = changing_api.submit(**wanted)
    assert [request["route"]["levels"][0]["approvers"] for request in (before, after)] == [["l1.emea"], ["l1b.emea"]]
    assert changing_api.read("admin", before)["route"] == before["route"]
    shapes.refused(delete(changing_api, f"/assignments/{ids[0]}"), 404, "not-found")
    shapes.refused(delete(changing_api, f"/assignments/{more['id']}", 2), 412, "precondition-failed")
    moved = changing_api.post("admin", f"/requests/{before['id']}/reassign", {"level": "L1"})
    assert moved.json()["route"]["levels"][0]["approvers"] == ["l1b.emea"]
    assert delete(changing_api, f"/categories/{home['id']}").status_code == 204


def test_what_cannot_be_an_assignment_is_refused_with_the_place(changing_api: Api) -> None:
    """A request waits for somebody who can never decide, and the administrator was not told."""
    home = category(changing_api)
    opened = category(changing_api, active=True)
    body = {"category_id": opened["id"], "level": "L1", "approver_id": "l1.emea"}
    wrong: list[tuple[dict[str, Any], int, str, str | None]] = [
        ({"approver_id": "nobody"}, 422, "unknown-reference", "/approver_id"),
        ({"category_id": "nothing"}, 422, "unknown-reference", "/category_id"),
        ({"department_id": "nowhere"}, 422, "unknown-reference", "/department_id"),
        ({"department_id": "hq", "region": "emea"}, 422, "invalid", "/region"),
        ({"level": "L4"}, 422, "invalid", "/level"),
        ({"region": "E M"}, 422, "invalid", "/region"),
        ({"category_id": home["id"]}, 409, "category-inactive", "/category_id"),
        ({"approver_id": "sam.sales"}, 409, "approver-inactive", "/approver_id"),
    ]
    for fields, status, code, pointer in wrong:
        problem = shapes.refused(changing_api.post("admin", "/assignments", body | fields), status, code)
        assert [error["pointer"] for error in problem["errors"]] == [pointer], fields
    made(changing_api, "/assignments", body, shapes.assignment)
    shapes.refused(changing_api.post("admin", "/assignments", body), 409, "entity-exists")
    made(changing_api, "/assignments", body | {"department_id": "hq"}, shapes.assignment)
    made(changing_api, "/assignments", body | {"region": "emea"}, shapes.assignment)
    assert delete(changing_api, f"/categories/{opened['id']}").status_code == 204


def test_a_department_that_moves_takes_no_request_along(changing_api: Api) -> None:
    """A request changes its approvers because an office was renamed."""
    own = made(changing_api, "/departments", {"name": named(), "region": "emea"}, shapes.department)
    person = {"email": f"{uuid.uuid4()}@athena.test", "name": "Mo", "roles": ["sales"], "department_id": own["id"]}
    user = changing_api.post("admin", "/users", person | {"password": "seven quiet otters"}).json()
    login = {"email": person["email"], "password": "seven quiet otters"}
    token = changing_api.http.post("/api/v1/auth/login", json=login).json()["access_token"]
    mine = {"Authorization": f"Bearer {token}"}

    def file() -> dict[str, Any]:
        body = request_body(category_id="travel", reason_id="travel-general", amount="420.00")
        answer = changing_api.call(None, "POST", "/requests", json=body, headers=mine)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    before = file()
    answer = put(changing_api, f"/departments/{own['id']}", {"name": own["name"], "region": "apac"}, 1)
    assert answer.status_code == 200
    assert changing_api.get("admin", f"/users/{user['id']}").json()["region"] == "apac"
    pools = [request["route"]["levels"][0]["approvers"] for request in (before, file())]
    assert pools == [["l1.emea", "l1b.emea"], ["l1.apac"]]
    assert changing_api.read("admin", before)["route"] == before["route"]


def test_a_change_that_may_come_later_is_promised(changing_api: Api) -> None:
    """A client that does not wait is left without an answer."""
    headers = {"Prefer": "respond-async"}
    answer = changing_api.post("admin", "/categories", {"name": named(), "active": False}, headers=headers)
    assert answer.status_code == 202
    path = answer.headers["location"].removeprefix("/api/v1")
    wait_until(lambda: changing_api.get("admin", path).json()["status"] == "accepted", 10, "a promise was not kept")
