"""Updates in pages: what a device that was offline has afterwards is what the server has."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from agents.projector.store import Store
from gateway.feed.bookmarks import Bookmark, write
from gateway.feed.pages import scope_of
from gateway.http.cursors import Cursors
from ops.secrets.secret import Secret
from tests import shapes
from tests.client import ROUTE_L1_L2, ROUTE_L1_L2_ALL, Api
from tests.device import Device
from tests.organisation import person
from tests.stack import Stack

OWN, APPROVALS = "/requests/updates", "/approvals/updates"
WHO = "pat.sync"


@pytest.fixture(scope="module")
def pat(stack: Stack, api: Api) -> str:
    """Somebody in sales whom no other test uses."""
    person(stack, api, WHO, ("sales",), "emea-sales")
    return WHO


def held(api: Api, who: str) -> dict[str, int]:
    """Versions by id of somebody's own requests, as the list has them."""
    return {item["id"]: item["version"] for item in api.get(who, "/requests", limit=200).json()["items"]}


def kept(device: Device) -> dict[str, int]:
    return {id_: item["version"] for id_, item in device.kept.items()}


def test_a_device_that_follows_has_what_the_server_has(api: Api, pat: str) -> None:
    """A phone would show a request as it was days ago, or not at all."""
    device = Device(api, pat, OWN, limit=3)
    made = [api.submit(pat) for _ in range(8)]
    api.read(pat, made[-1])
    for one in made:
        api.read(pat, one)
    assert device.sync() == 3
    assert kept(device) == held(api, pat)
    before = dict(device.shown)
    assert device.sync() == 1 and device.shown == before, "what had not changed came again"
    approved = api.approved("l1.emea", made[0])
    withdrawn = api.post(pat, f"/requests/{made[1]['id']}/withdraw", {}).json()
    for one in (approved, withdrawn):
        api.read(pat, one)
    device.sync()
    assert kept(device) == held(api, pat)
    assert device.kept[made[0]["id"]] == approved
    assert set(device.shown.values()) == {1}


def test_a_page_twice_changes_nothing(api: Api, pat: str) -> None:
    """A lost answer, asked for again, would leave the device in another state."""
    api.read(pat, api.submit(pat))
    device = Device(api, pat, OWN, limit=2)
    first = device.page()
    cursor = first["cursor"]
    second, again = device.page(cursor=cursor), device.page(cursor=cursor)
    assert {**second, "server_time": 0, "cursor": 0} == {**again, "server_time": 0, "cursor": 0}
    device.sync(cursor=again["cursor"])
    assert kept(device) == held(api, pat)


def test_an_approver_is_told_what_waits_and_what_no_longer_does(api: Api) -> None:
    """Somebody would be asked to vote on what is settled, or lose sight of what they voted on."""
    one, other, boss = (Device(api, who, APPROVALS, limit=200) for who in ("l1.emea", "l1b.emea", "l2"))
    requests = [api.submit(**ROUTE_L1_L2) for _ in range(4)]
    for request in requests:
        api.read("sam.sales", request)
    ids = [request["id"] for request in requests]
    for device in (one, other, boss):
        device.sync()
        # Of requests of other tests beside this one, some may be decided between two of its pages.
        assert not set(ids) & set(device.gone), "nothing is gone that was not told before"
    assert set(ids) <= set(one.kept) and set(ids) <= set(other.kept)
    assert not set(ids) & set(boss.kept), "what does not wait for them yet"
    api.read("sam.sales", api.approved("l1.emea", requests[0]))
    api.read("sam.sales", api.post("sam.sales", f"/requests/{ids[1]}/withdraw", {}).json())
    api.read("sam.sales", api.approved("l1b.emea", requests[2]))
    back = api.decide("l1b.emea", "rollback", requests[2]).json()
    api.read("sam.sales", back)
    last = api.post("sam.sales", f"/requests/{ids[3]}/comments", {"text": "Please."}).json()
    api.read("sam.sales", last)
    for device in (one, other, boss):
        device.sync()
    assert other.gone[ids[0]] == "decided" and ids[0] not in other.kept
    assert one.kept[ids[0]]["version"] == 2, "their own decision stays with them"
    assert one.gone[ids[1]] == other.gone[ids[1]] == "withdrawn"
    assert one.kept[ids[2]]["version"] == 3 and other.kept[ids[2]]["version"] == 3
    assert ids[0] in boss.kept and ids[2] not in boss.kept
    assert one.kept[ids[3]]["version"] == 2, "a comment came"
    # What somebody decided is followed to its end.
    done = api.decide("l2", "reject", ids[0], comment="No.").json()
    api.read("sam.sales", done)
    for device in (one, other, boss):
        device.sync()
    assert one.kept[ids[0]] == done == boss.kept[ids[0]] and ids[0] not in other.kept


def test_a_rolled_back_decision_is_gone_for_those_who_came_after(api: Api) -> None:
    """The next level would go on seeing what is not theirs any more."""
    request = api.submit(**ROUTE_L1_L2_ALL)
    api.read("sam.sales", request)
    for level in (1, 2):
        at = "l1.emea" if level == 1 else "l2"
        if request["current_level"] == "L1":
            request = api.approved(at, request)
    api.read("sam.sales", request)
    boss = Device(api, "l2", APPROVALS, limit=200)
    boss.sync()
    if request["current_level"] != "L2":
        pytest.fail("the route of this test is another")
    assert request["id"] in boss.kept
    api.read("sam.sales", api.decide("l1.emea", "rollback", request).json())
    boss.sync()
    assert boss.gone[request["id"]] == "rolled-back"


def test_last_sync_goes_back_to_a_mark_before_it(stack: Stack, api: Api, pat: str) -> None:
    """A device that kept nothing but a time would miss what committed late, or get everything each time."""
    old = api.submit(pat)
    api.read(pat, old)

    async def mark() -> None:
        store = Store(stack.home.database_url("projector"))
        await store.mark(90)
        await store.close()

    database_marks = "SELECT count(*) FROM audit.sync_marks"
    asyncio.run(mark())
    assert stack_value(stack, database_marks) > 0
    stack_value(stack, "DELETE FROM audit.sync_marks")
    asyncio.run(mark())
    new = api.submit(pat)
    api.read(pat, new)
    device = Device(api, pat, OWN, limit=200)
    later = (datetime.now(UTC) + timedelta(minutes=4, seconds=59)).isoformat().replace("+00:00", "Z")
    # The slack for a clock that was set back goes before the mark: everything, which is sound.
    device.sync(lastSync=device_time())
    assert {old["id"], new["id"]} <= set(device.kept)
    stack_value(stack, "UPDATE audit.sync_marks SET at = at - interval '10 minutes'")
    other = Device(api, pat, OWN, limit=200)
    other.sync(lastSync=later)
    assert new["id"] in other.kept and old["id"] not in other.kept
    future = Device(api, pat, OWN, limit=200)
    future.sync(lastSync="2100-01-01T00:00:00Z")
    assert old["id"] in future.kept, "the time of another clock says nothing"
    ancient = Device(api, pat, OWN, limit=200)
    ancient.sync(lastSync="0001-01-01T00:00:00Z")
    assert kept(ancient) == held(api, pat)


def device_time() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def stack_value(stack: Stack, sql: str) -> int:
    """One number, or nothing of interest, as the superuser."""

    async def ask() -> int:
        connection = await asyncpg.connect(stack.postgres, timeout=10)
        try:
            return int(await connection.fetchval(sql) or 0)
        finally:
            await connection.close(timeout=5)

    return asyncio.run(ask())


def test_cursors_are_their_owners_and_of_one_endpoint(api: Api, pat: str) -> None:
    """Somebody else's could be read on, or a position be made up."""
    cursor = api.get(pat, OWN).json()["cursor"]
    answers = [
        api.get("sue.sales", OWN, cursor=cursor),
        api.get("l1.apac", OWN, cursor=cursor),
        api.get("l1.apac", APPROVALS, cursor=cursor),
        api.get(pat, OWN, cursor=cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")),
        api.get(pat, OWN, cursor=""),
        api.get(pat, OWN, cursor="A" * 9000),
        api.get(pat, OWN, cursor=cursor, lastSync=device_time()),
        api.get(pat, OWN, lastSync="yesterday"),
        api.get(pat, OWN, limit=201),
    ]
    for answer in answers:
        shapes.refused(answer, 422, "invalid")


def forged(stack: Stack, who: str, mark: Bookmark) -> str:
    """A cursor as a gateway would have written it."""
    key = stack.home.secret("cursor-key").read_text(encoding="utf-8")
    return Cursors(Secret("cursor_key", key)).seal(scope_of(who, OWN[1:]), write(mark))


def test_what_is_not_here_any_more_or_not_yet_asks_to_begin_anew(stack: Stack, api: Api, pat: str) -> None:
    """A device would wait for ever for what a restored server does not know, or miss what was forgotten."""
    now = int(time.time())
    good = forged(stack, pat, Bookmark(now, {0: 0, 1: 0}))
    assert api.get(pat, OWN, cursor=good).status_code == 200
    for bad in (Bookmark(now, {0: 10**9}), Bookmark(now, {10: 1}), Bookmark(now - 91 * 86400, {0: 0})):
        shapes.refused(api.get(pat, OWN, cursor=forged(stack, pat, bad)), 410, "resync-required")


def test_nothing_is_there_for_whom_it_does_not_concern(api: Api) -> None:
    """A colleague would follow somebody else's requests."""
    request = api.submit("sam.sales", **ROUTE_L1_L2)
    api.read("sam.sales", request)
    for who, path in (("sue.sales", OWN), ("l1.apac", OWN), ("l1.apac", APPROVALS), ("l1.hq", APPROVALS)):
        device = Device(api, who, path, limit=200)
        device.sync()
        assert request["id"] not in {*device.kept, *device.gone}
