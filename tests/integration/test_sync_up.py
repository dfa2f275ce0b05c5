"""What phones did offline, sent in batches: in order, each item by itself, each op once."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from schemas.codes import Code
from tests import shapes
from tests.batches import CLIENT, item, sync, told
from tests.client import ROUTE_L1_L2, Api, submission
from tests.stack import Stack, wait_until


def batch(*items: Any, client: str = CLIENT) -> dict[str, Any]:
    return {"client_id": client, "items": list(items)}


def settled(api: Api, who: str, request_id: str, version: int) -> dict[str, Any]:
    return api.read(who, {"id": request_id, "version": version})


def test_a_day_offline_comes_in_as_it_was_done(api: Api) -> None:
    """Somebody who worked in a plane would have to do it all again."""
    filed, second = item("submit"), item("submit")
    results = sync(api, "sam.sales", [filed, second, item("withdraw", filed["request_id"], expected_version=1)])
    assert told(results) == ["applied"] * 3
    assert [each["request"]["id"] for each in results] == [
        filed["request_id"],
        second["request_id"],
        filed["request_id"],
    ]
    assert [each["request"]["status"] for each in results] == ["pending_l1", "pending_l1", "withdrawn"]
    decided = [item("approve", second["request_id"], body={"comment": "Good."}), item("rollback", second["request_id"])]
    done = sync(api, "l1.emea", decided)
    assert told(done) == ["applied"] * 2
    assert done[0]["request"]["route"]["levels"][0]["votes"][0]["comment"] == "Good."
    assert settled(api, "sam.sales", second["request_id"], 3)["status"] == "pending_l1"


def test_a_batch_sent_again_changes_nothing_and_says_the_same(api: Api) -> None:
    """A phone whose answer got lost would file twice, or never learn what became of it."""
    filed = item("submit")
    items = [filed, item("withdraw", filed["request_id"], expected_version=9), item("withdraw", filed["request_id"])]
    first = sync(api, "sam.sales", items)
    assert told(first) == ["applied", "conflict stale-version", "blocked"]
    assert first[2]["depends_on"] == items[1]["op_id"]
    for moment in ("at once", "later"):
        if moment == "later":
            settled(api, "sam.sales", filed["request_id"], 1)
            wait_until(lambda: audited(api, filed["request_id"]) == 2, 20, "the refusal is not on record")
        again = sync(api, "sam.sales", [each | {"device_time": "2031-01-01T00:00:00Z"} for each in items])
        assert told(again) == ["duplicate applied", "duplicate conflict stale-version", "blocked"], moment
        assert [each.get("request") for each in again] == [each.get("request") for each in first]
    assert audited(api, filed["request_id"]) == 2


def audited(api: Api, request_id: str) -> int:
    return len(api.get("auditor", "/audit/logs", requestId=request_id).json()["items"])


def test_an_op_id_is_bound_to_what_it_asked_for(api: Api) -> None:
    """Two taps would be taken for one, and the second one be lost without a word."""
    filed = item("submit")
    assert told(sync(api, "sam.sales", [filed])) == ["applied"]
    other_text = filed | {"body": submission(title="Another one")}
    other_request = filed | {"request_id": str(uuid.uuid4())}
    other_op = item("withdraw", filed["request_id"], op_id=filed["op_id"])
    for changed in (other_text, other_request, other_op):
        for _ in range(2):
            assert told(sync(api, "sam.sales", [changed])) == ["rejected op-id-reused"]
    assert api.get("sam.sales", f"/requests/{other_request['request_id']}").status_code == 404
    spelled = filed | {"op_id": filed["op_id"].upper(), "request_id": filed["request_id"].upper()}
    assert told(sync(api, "sam.sales", [spelled])) == ["duplicate applied"]
    assert told(sync(api, "sam.sales", [other_request], client="phone-2")) == ["applied"], "another device's op ids"
    mine = other_request | {"request_id": str(uuid.uuid4())}
    assert told(sync(api, "sue.sales", [mine])) == ["applied"], "another person's op ids"


def test_an_op_twice_in_one_batch_is_done_once(api: Api) -> None:
    """A queue that holds a tap twice would file twice."""
    filed = item("submit")
    results = sync(api, "sam.sales", [filed, filed, filed | {"body": submission(title="Other")}])
    assert told(results) == ["applied", "duplicate applied", "rejected op-id-reused"]
    assert results[1]["request"] == results[0]["request"]


def test_a_bad_item_under_the_op_id_of_a_good_one_spoils_nothing(api: Api) -> None:
    """A queue that gave an id twice would lose the request that was meant, although it can be filed or is."""
    foreign = api.submit("sue.sales")["id"]
    api.read("sue.sales", {"id": foreign, "version": 1})
    for good_first in (True, False):
        good = item("submit")
        bad = good | {"body": submission(supersedes=foreign)}
        results = sync(api, "sam.sales", [good, bad] if good_first else [bad, good])
        wanted = ["applied", "rejected invalid"]
        assert told(results) == (wanted if good_first else wanted[::-1])
    other = good | {"body": submission(title="Other")}
    for moment in ("bound", "on the read side"):
        if moment == "on the read side":
            settled(api, "sam.sales", good["request_id"], 1)
        results = sync(api, "sam.sales", [other, good, good])
        assert told(results) == ["rejected op-id-reused", "duplicate applied", "duplicate applied"], moment


def test_a_bad_item_costs_nobody_else_anything(api: Api) -> None:
    """One bug in one form would keep a whole day's work on the phone."""
    good = item("submit"), item("submit")
    bad: list[tuple[Any, list[str]]] = [
        (item("submit", body=submission(amount="1.234")), ["/body/amount"]),
        (item("submit", body=submission(title="")), ["/body/title"]),
        (item("submit", body=submission(category_id="none")), ["/body/category_id"]),
        (item("submit", expected_version=1), ["/expected_version"]),
        (item("submit", "no-uuid"), ["/request_id"]),
        (item("withdraw", device_time="yesterday"), ["/device_time"]),
        (item("withdraw", body={"expected_version": 1}, expected_version=2), ["/body/expected_version"]),
        (item("approve"), ["/op"]),
        (item("submit", more=1), ["/more"]),
        (item("submit", op_id="1"), ["/op_id"]),
        ({"op": "submit"}, ["/op_id", "/request_id", "/body"]),
        ("nothing", [""]),
        ([], [""]),
    ]
    results = sync(api, "sam.sales", [good[0], *(each for each, _ in bad), good[1]])
    assert told(results) == ["applied", *["rejected invalid"] * len(bad), "applied"]
    for (_, pointers), result in zip(bad, results[1:-1], strict=True):
        assert [each["pointer"] for each in result["problem"]["errors"]] == pointers
    corrected = bad[1][0] | {"body": submission()}
    assert told(sync(api, "sam.sales", [corrected])) == ["applied"], "what could not be read binds nothing"


def test_what_depends_on_a_failed_item_is_not_tried(api: Api) -> None:
    """A withdrawal would undo something else than the person saw."""
    one, other = item("submit", body=submission(amount="0")), item("submit")
    after = [item("withdraw", one["request_id"]), item("withdraw", one["request_id"])]
    instead = item("submit", body=submission(supersedes=one["request_id"]))
    results = sync(api, "sam.sales", [one, *after, instead, other])
    assert told(results) == ["rejected invalid", "blocked", "blocked", "blocked", "applied"]
    assert [each.get("depends_on") for each in results[1:4]] == [each["op_id"] for each in (one, *after)]


def test_what_is_superseded_must_be_ones_own(api: Api) -> None:
    """A new request could be put in the place of somebody else's, or one's own not be."""
    filed = item("submit")
    instead = item("submit", body=submission(supersedes=filed["request_id"]))
    results = sync(api, "sam.sales", [filed, item("withdraw", filed["request_id"]), instead])
    assert told(results) == ["applied"] * 3
    assert results[2]["request"]["supersedes"] == filed["request_id"]
    later = item("submit", body=submission(supersedes=instead["request_id"]))
    assert told(sync(api, "sam.sales", [later])) == ["applied"]
    theirs = [item("submit", body=submission(supersedes=id_)) for id_ in (filed["request_id"], str(uuid.uuid4()))]
    refused = sync(api, "sue.sales", theirs)
    assert told(refused) == ["rejected invalid"] * 2
    assert refused[0]["problem"] == refused[1]["problem"]
    backwards = [item("submit", body=submission(supersedes=filed["request_id"])), item("submit", filed["request_id"])]
    assert told(sync(api, "sue.sales", backwards)) == ["rejected invalid", "rejected not-found"]


def test_the_state_of_a_request_makes_a_conflict_and_shows_it(api: Api) -> None:
    """A phone would throw a tap away, or try it for ever, and show an old picture meanwhile."""
    request = api.submit(**ROUTE_L1_L2)
    one, other = item("approve", request["id"], expected_version=1), item("approve", request["id"], expected_version=1)
    assert told(sync(api, "l1.emea", [one])) == ["applied"]
    late = sync(api, "l1b.emea", [other], client="tablet")
    assert told(late) == ["conflict stale-version"]
    assert (late[0]["request"]["version"], late[0]["request"]["status"]) == (2, "pending_l2")
    for what, who, again, code in [
        ("approve", "l1b.emea", item("approve", request["id"]), "not-an-approver"),
        ("approve", "l1.emea", item("approve", request["id"]), "already-voted"),
        ("rollback", "l2", item("rollback", request["id"]), "not-your-decision"),
    ]:
        result = sync(api, who, [again])
        assert told(result) == [f"conflict {code}"], what
        assert result[0]["request"]["version"] == 2
    taken = sync(api, "sam.sales", [item("submit", request["id"])])
    assert told(taken) == ["conflict request-exists"]
    assert taken[0]["request"]["id"] == request["id"]


def test_what_holds_for_good_is_rejected(api: Api) -> None:
    """A phone would keep it and try for ever."""
    foreign, met = api.submit("sue.sales"), api.submit("ana.sales")
    assert told(sync(api, "l1.hq", [item("approve", foreign["id"]), item("approve")])) == ["rejected not-found"] * 2
    assert told(sync(api, "sam.sales", [item("withdraw", foreign["id"]), item("submit", foreign["id"])])) == [
        "rejected not-found",
        "blocked",
    ]
    assert told(sync(api, "sam.sales", [item("submit", foreign["id"])])) == ["rejected not-found"]
    assert told(sync(api, "l1.apac", [item("withdraw", met["id"])])) == ["rejected not-your-request"]


@pytest.mark.parametrize("who", ["l1.hq", "l1.apac"])
def test_somebody_else_s_request_is_like_none(api: Api, who: str) -> None:
    """A colleague could try batches out to learn what there is."""
    foreign = api.submit("sam.sales")
    ops = ["approve", "reject", "rollback"]
    for id_ in (foreign["id"], str(uuid.uuid4())):
        results = [sync(api, who, [item(op, id_, expected_version=1)])[0] for op in ops]
        for result in results:
            result["problem"].pop("correlation_id")
            assert {name: result[name] for name in result if name != "op_id"} == {
                "result": "rejected",
                "problem": {
                    "type": "https://athena-budget.dev/problems/not-found", "title": "Not found", "status": 404,
                    "detail": results[0]["problem"]["detail"], "code": "not-found",
                },
            }  # fmt: skip


def test_requests_of_one_batch_are_filed_in_its_order(api: Api) -> None:
    """The newest would stand below older ones in every list."""
    items = [item("submit") for _ in range(60)]
    results = sync(api, "ana.sales", items)
    assert told(results) == ["applied"] * 60
    times = [each["request"]["created_at"] for each in results]
    assert times == sorted(times)


def test_the_same_batch_sent_several_times_at_once_is_one(api: Api, stack: Stack) -> None:
    """An impatient phone on a bad line would file a request for every try."""
    filed = [item("submit") for _ in range(10)]
    items = [*filed, *(item("withdraw", each["request_id"]) for each in filed)]
    api.token("sue.sales")
    with ThreadPoolExecutor(6) as pool:
        several = list(pool.map(lambda _: sync(api, "sue.sales", items), range(6)))
    for place in range(20):
        found = [told(results)[place] for results in several]
        assert set(found) == {"applied", "duplicate applied"}
        assert found.count("applied") == 1, found
    for each in filed:
        row = settled(api, "sue.sales", each["request_id"], 2)
        assert (row["version"], row["status"]) == (2, "withdrawn")


def test_the_envelope_is_for_the_whole_batch(api: Api) -> None:
    """A batch that cannot be read would be answered as if it were empty."""
    for path in ("/requests/sync", "/approvals/sync"):
        who = "l1.apac"
        shapes.refused(api.post(who, path, {}), 422, "invalid")
        shapes.refused(api.post(who, path, batch(client="")), 422, "invalid")
        shapes.refused(api.post(who, path, batch() | {"more": 1}), 422, "invalid")
        shapes.refused(api.post(who, path, batch(*[{}] * 201)), 422, "invalid")
        shapes.refused(
            api.call(who, "POST", path, content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed"
        )
        shapes.refused(api.call(who, "POST", path, content=b"{}"), 415, "unsupported-media-type")
        large = batch({"x": "y" * 4 * 1024 * 1024})
        shapes.refused(api.post(who, path, large), 413, "too-large")
        assert shapes.answer(api.post(who, path, batch()), 200, shapes.batch) == {"results": []}
        within = batch({"x": "y" * 3 * 1024 * 1024})
        assert told(shapes.answer(api.post(who, path, within), 200, shapes.batch)["results"]) == ["rejected invalid"]


def test_the_device_s_clock_is_kept_as_evidence_and_decides_nothing(api: Api, stack: Stack) -> None:
    """A phone set back by a day could roll a decision back that is final."""
    filed = item("submit", device_time="2019-02-03T04:05:06.789+01:00")
    assert told(sync(api, "sam.sales", [filed])) == ["applied"]
    row = settled(api, "sam.sales", filed["request_id"], 1)
    assert row["created_at"] > "2026"

    async def evidence() -> str:
        connection = await asyncpg.connect(stack.postgres, timeout=10)
        try:
            found = await connection.fetchval(
                "SELECT content FROM audit.personal WHERE entity = $1 AND seq = 1", f"request:{filed['request_id']}"
            )
            return str(found)
        finally:
            await connection.close(timeout=5)

    assert filed["device_time"] in asyncio.run(evidence())


def test_two_hundred_items_are_one_batch(api: Api) -> None:
    """After two weeks offline there is much to say at once."""
    filed = [item("submit") for _ in range(100)]
    results = sync(api, "sam.sales", [*filed, *(item("withdraw", each["request_id"]) for each in filed)])
    assert told(results) == ["applied"] * 200


def test_every_code_of_the_domain_has_its_place() -> None:
    """A new refusal would be taken for final without anybody having thought about it."""
    from gateway.sync.results import CONFLICTS  # noqa: PLC0415

    for_good = {
        Code.CATEGORY_INACTIVE, Code.REASON_NOT_VALID, Code.CURRENCY_NOT_SUPPORTED, Code.NO_APPROVER, Code.SELF_APPROVAL,
        Code.NOT_YOUR_REQUEST, Code.NOT_VISIBLE, Code.NOT_FOUND, Code.ACTOR_NOT_ALLOWED, Code.IDEMPOTENCY_KEY_REUSED,
        Code.TOO_MANY_EVENTS, Code.UNKNOWN_REFERENCE,
    }  # fmt: skip
    no_part_of_a_sync = {
        Code.PRECONDITION_FAILED, Code.EMAIL_TAKEN, Code.LAST_ADMIN, Code.RULES_INVALID, Code.APPROVER_INACTIVE,
        Code.ENTITY_EXISTS, Code.FAILED, Code.DELEGATION_OVER, Code.DELEGATION_OVERLAPS, Code.TOO_MANY_DELEGATIONS,
    }  # fmt: skip
    assert set(Code) == CONFLICTS | for_good | no_part_of_a_sync
