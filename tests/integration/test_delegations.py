"""A manager is away: somebody else votes for them, on the real log, and both are on record everywhere."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import shapes
from tests.client import Api
from tests.integration.test_departures import Firm
from tests.organisation import person, put_seen
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("changing")

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


class Office(Firm):
    """A firm whose managers sign in, and name each other."""

    def somebody(self, level: str | None = None, *roles: str) -> str:
        id_ = f"m{uuid.uuid4().hex[:10]}"
        person(self.stack, self.api, id_, roles or ("manager",), "emea-sales")
        if level is not None:
            self.assign(id_, level)
        return id_

    def delegate(
        self, delegator: str, delegate: str, begins: timedelta = -HOUR, ends: timedelta = HOUR
    ) -> dict[str, Any]:
        body = {"delegate_id": delegate, "from": (now() + begins).isoformat(), "until": (now() + ends).isoformat()}
        answer = self.api.post(delegator, "/delegations", body)
        found: dict[str, Any] = shapes.answer(answer, 201, shapes.delegation)
        assert answer.headers["location"].endswith(found["id"])
        assert answer.headers["etag"] == '"1"'
        return found

    def incoming(self, who: str) -> list[str]:
        answer = shapes.answer(self.api.get(who, "/approvals/incoming", limit=200), 200, shapes.page(shapes.request))
        return [one["id"] for one in answer["items"]]

    def listed(self, who: str) -> list[str]:
        return [one["id"] for one in self.api.get(who, "/requests", limit=200).json()["items"]]


@pytest.fixture
def office(changing: Stack, changing_api: Api) -> Iterator[Office]:
    found = Office(changing, changing_api)
    yield found
    put_seen(changing, changing_api, "category", found.category, name=found.category, active=False)


def test_a_delegate_sees_decides_and_takes_back_and_both_are_on_record(office: Office) -> None:
    """A request waits for somebody who is away; or nobody can tell later who decided, and for whom."""
    away, there, other, later = (office.somebody(level) for level in ("L1", None, "L1", "L2"))
    request = office.file()
    office.now(request)
    api, id_ = office.api, str(request["id"])
    for path in (f"/requests/{id_}", f"/requests/{id_}/status"):
        shapes.refused(api.get(there, path), 404, "not-found")
    shapes.refused(api.decide(there, "approve", id_), 404, "not-found")
    assert id_ not in office.incoming(there)
    office.delegate(away, there)
    assert id_ in office.incoming(there)
    assert id_ in office.listed(there)
    assert api.get(there, f"/requests/{id_}").status_code == 200
    assert api.get(there, f"/users/{away}").json()["name"] == away.title()
    answer = api.decide(there, "approve", id_, comment="For a colleague")
    done = shapes.answer(answer, 200, shapes.request)
    (vote,) = done["route"]["levels"][0]["votes"]
    assert (vote["approver_id"], vote["delegate_id"]) == (away, there)
    assert done["status"] == "pending_l2"
    assert api.read(there, done) == api.read("sam.sales", done)
    items = api.get("sam.sales", f"/requests/{id_}/status").json()["items"]
    shapes.status_item(items[-1], "item")
    assert "on_behalf_of" not in items[0]
    assert (items[-1]["actor_id"], items[-1]["on_behalf_of"], items[-1]["action"]) == (there, away, "approve")
    assert [one["request_id"] for one in api.get(there, "/approvals/history").json()["items"]] == [id_]
    assert api.get(away, "/approvals/history").json()["items"] == []
    shapes.refused(api.decide(away, "approve", id_), 409, "already-voted")
    shapes.refused(api.decide(away, "rollback", id_), 409, "not-your-decision")
    back = shapes.answer(api.decide(there, "rollback", id_), 200, shapes.request)
    assert back["status"] == "pending_l1"
    assert api.approved(other, back)["status"] == "pending_l2"
    assert api.approved(later, back)["status"] == "approved"
    verdict = api.get("auditor", "/audit/verify", requestId=id_).json()
    assert (verdict["ok"], verdict["first_break"]) == (True, None)


def test_what_waits_is_shown_once_and_not_to_who_cannot_decide(office: Office) -> None:
    """A delegate's list holds what they cannot decide, or a page of it comes up short."""
    first, second, there = office.somebody("L1"), office.somebody("L1"), office.somebody(None, "sales", "manager")
    office.somebody("L2")
    office.delegate(first, there)
    office.delegate(second, there)
    requests = [str(office.file()["id"]) for _ in range(5)]
    own = office.api.submit(there, category_id=office.category, amount="2000.00", currency="USD")
    office.api.read("admin", own)
    assert office.incoming(there) == requests[::-1]
    assert office.incoming(first) == [own["id"], *requests[::-1]]
    seen, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        page = office.api.get(there, "/approvals/incoming", limit=2, **more).json()
        assert len(page["items"]) == 2 or page["next_cursor"] is None
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == requests[::-1]
    assert office.listed(there) == [own["id"], *requests[::-1]]
    shapes.refused(office.api.decide(there, "approve", own), 409, "self-approval")
    done = office.api.approved(there, office.api.read(there, {"id": requests[0], "version": 1}))
    office.api.read(there, done)
    assert requests[0] not in office.incoming(there)


def test_who_has_used_their_vote_up_finds_it_on_no_list(office: Office) -> None:
    """A task is on somebody's list for good: they voted at the level before, in another's name or their own."""
    away, there, both = office.somebody("L1"), office.somebody("L2"), office.somebody("L1")
    office.assign(both, "L2")
    free, after = office.somebody("L2"), office.somebody("L3")
    office.delegate(away, there)
    office.delegate(both, after)
    first, second = office.file(), office.file()
    for voter, request in ((there, first), (both, second)):
        office.api.read(voter, office.api.approved(voter, office.api.read(voter, request)))
    for who, waiting in ((free, [second, first]), (there, [second]), (both, [first]), (after, [first])):
        assert office.incoming(who) == [str(one["id"]) for one in waiting], who
    shapes.refused(office.api.decide(there, "approve", office.api.read(there, first)), 409, "already-voted")


def test_nobody_is_made_a_delegate_by_themself(office: Office) -> None:
    """An administrator makes themself a manager, then somebody's delegate, and approves what was filed before."""
    away, boss = office.somebody("L1"), office.somebody(None, "admin", "manager")
    office.somebody("L2")
    request = str(office.file()["id"])
    body = {
        "delegator_id": away, "delegate_id": boss, "from": now().isoformat(), "until": (now() + HOUR).isoformat()
    }  # fmt: skip
    shapes.refused(office.api.post(boss, "/delegations", body), 403, "actor-not-allowed")
    assert request not in office.incoming(boss)
    office.delegate(away, boss)
    assert request in office.incoming(boss)
    # Other tests of this stack count on the one administrator.
    assert office.api.call("admin", "DELETE", f"/users/{boss}").status_code == 204


def test_a_repeat_of_what_was_deleted_since_is_answered_as_before(office: Office) -> None:
    """A client that repeats a call hears for ever that the outcome is still to come."""
    away, there = office.somebody("L1"), office.somebody()
    body = {"delegate_id": there, "from": now().isoformat(), "until": (now() + HOUR).isoformat()}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = office.api.post(away, "/delegations", body, headers=key)
    made = shapes.answer(first, 201, shapes.delegation)
    assert office.api.call(away, "DELETE", f"/delegations/{made['id']}").status_code == 204
    again = office.api.post(away, "/delegations", body, headers=key)
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (201, made, "true")
    assert office.api.get(away, "/delegations").json()["items"] == []


def test_its_time_begins_and_ends_by_itself_and_can_be_ended(office: Office) -> None:
    """Somebody decides in another's name before they were asked, or after it was over."""
    away, there = office.somebody("L1"), office.somebody()
    office.somebody("L2")
    request = str(office.file()["id"])
    soon = office.delegate(away, there, timedelta(seconds=3), timedelta(seconds=6))
    shapes.refused(office.api.decide(there, "approve", request), 404, "not-found")
    wait_until(lambda: request in office.incoming(there), 10, "a delegation does not begin")
    assert office.api.get(there, f"/requests/{request}").status_code == 200
    wait_until(lambda: request not in office.incoming(there), 10, "a delegation does not end")
    shapes.refused(office.api.get(there, f"/requests/{request}"), 404, "not-found")
    shapes.refused(office.api.decide(there, "approve", request), 404, "not-found")
    again = office.delegate(away, there)
    assert request in office.incoming(there)
    assert (
        office.api.call(away, "DELETE", f"/delegations/{again['id']}", headers={"If-Match": '"2"'}).status_code == 412
    )
    assert (
        office.api.call(away, "DELETE", f"/delegations/{again['id']}", headers={"If-Match": '"1"'}).status_code == 204
    )
    assert request not in office.incoming(there)
    shapes.refused(office.api.decide(there, "approve", request), 404, "not-found")
    shapes.refused(office.api.call(away, "DELETE", f"/delegations/{again['id']}"), 404, "not-found")
    left = office.api.get(away, "/delegations").json()["items"]
    assert [one["id"] for one in left] == [soon["id"]]


def test_the_list_is_ones_own_and_every_change_is_on_record(office: Office) -> None:
    """A stranger sees who is on holiday; or nobody knows who let whom decide."""
    away, there, stranger = office.somebody("L1"), office.somebody(), office.somebody()
    spans = [(timedelta(days=number), timedelta(days=number, hours=12)) for number in (3, 1, 2)]
    made = [office.delegate(away, there, *span) for span in spans]
    in_order = [made[number]["id"] for number in (0, 2, 1)]
    for who in (away, there):
        found = office.api.get(who, "/delegations", limit=2).json()
        rest = office.api.get(who, "/delegations", limit=2, cursor=found["next_cursor"]).json()
        assert [one["id"] for one in (*found["items"], *rest["items"])] == in_order
        assert rest["next_cursor"] is None
    assert office.api.get(stranger, "/delegations").json()["items"] == []
    everybody = [one["id"] for one in office.api.get("admin", "/delegations", limit=200).json()["items"]]
    assert set(in_order) <= set(everybody)
    body = {"delegate_id": there, "from": now().isoformat(), "until": (now() + HOUR).isoformat()}
    for wrong, status, code in (
        ({**body, "until": (now() + timedelta(days=2)).isoformat()}, 409, "delegation-overlaps"),
        ({**body, "delegate_id": "sam.sales"}, 422, "unknown-reference"),
        ({**body, "delegate_id": "nobody-here"}, 422, "unknown-reference"),
        ({**body, "delegate_id": away}, 422, "invalid"),
        ({**body, "until": body["from"]}, 422, "invalid"),
        ({**body, "until": (now() + timedelta(days=91)).isoformat()}, 422, "invalid"),
        ({**body, "until": "tomorrow"}, 422, "invalid"),
        ({**body, "delegator_id": stranger}, 403, "actor-not-allowed"),
    ):  # fmt: skip
        shapes.refused(office.api.post(away, "/delegations", wrong), status, code)
    shapes.refused(office.api.post("admin", "/delegations", body), 422, "invalid")
    for_them = office.api.post("admin", "/delegations", {**body, "delegator_id": stranger})
    assert for_them.json()["delegator_id"] == stranger
    assert office.api.call("admin", "DELETE", f"/delegations/{for_them.json()['id']}").status_code == 204
    shapes.refused(office.api.call(there, "DELETE", f"/delegations/{made[0]['id']}"), 403, "actor-not-allowed")
    shapes.refused(office.api.call(stranger, "DELETE", f"/delegations/{made[0]['id']}"), 404, "not-found")

    def on_record() -> bool:
        items = office.api.get("auditor", "/audit/logs", userId="admin", limit=200).json()["items"]
        chain = [one for one in items if one["entity"] == f"delegation:{for_them.json()['id']}"]
        return [one["action"] for one in chain] == ["delegation-deleted", "delegation-created"]

    wait_until(on_record, 10, "a delegation is not on record")
