"""Batches while a part of the product is away: nothing is lost or half done, and the same batch again repairs it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.sync.batch import BATCH_SECONDS
from tests import gateways, shapes
from tests import stack as stacks
from tests.batches import CLIENT, item, sync, told
from tests.client import Api, submission
from tests.stack import Stack, frozen, wait_until

pytestmark = pytest.mark.xdist_group("sync-faults")

LIMIT = 5


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with stacks.own(ATHENA_RATE_LIMITS="off", ATHENA_BACKPRESSURE_LAG=str(LIMIT)) as own:
        yield own


@pytest.fixture(scope="module")
def person(own: Stack) -> Api:
    found = Api(own.gateway)
    for who in ("sam.sales", "l1.emea"):
        found.token(who)
    return found


def _place(items: list[Any]) -> str:
    return "requests" if items[0]["op"] in ("submit", "withdraw") else "approvals"


def settled(api: Api, who: str, items: list[Any]) -> list[list[str]]:
    """What each of the same batches says that is taken, until none of it is left to be repeated."""
    found: list[list[str]] = []

    def done() -> bool:
        answer = api.post(who, f"/{_place(items)}/sync", {"client_id": CLIENT, "items": items})
        if answer.status_code == 503:
            return False
        found.append(told(shapes.answer(answer, 200, shapes.batch)["results"]))
        return not {"retry", "blocked"} & set(found[-1])

    wait_until(done, 90, f"still {found[-1:]}")
    return found


def chain() -> list[Any]:
    filed, other = item("submit"), item("submit")
    return [filed, item("withdraw", filed["request_id"], expected_version=1), other]


def test_nobody_decides_for_a_while(own: Stack, person: Api) -> None:
    """A phone would be told that its taps are refused, or wait for ever, or file everything twice."""
    items = chain()
    with frozen(own.pid("worker")):
        began = time.monotonic()
        results = sync(person, "sam.sales", items)
        assert time.monotonic() - began < BATCH_SECONDS + 5
        assert told(results) == ["retry", "blocked", "retry"]
        assert results[0]["after"] >= 1
        assert results[1]["depends_on"] == items[0]["op_id"]
    last = settled(person, "sam.sales", items)[-1]
    assert last == ["duplicate applied", "applied", "duplicate applied"]
    row = person.read("sam.sales", {"id": items[0]["request_id"], "version": 2})
    assert (row["version"], row["status"]) == (2, "withdrawn")


def test_new_submissions_wait_while_the_workers_lag_and_votes_do_not(own: Stack, person: Api) -> None:
    """A fleet that comes back at once would bury the workers, or could not even take work from them."""
    request = person.submit()
    person.read("sam.sales", request)
    taken = item("submit")
    assert told(sync(person, "sam.sales", [taken])) == ["applied"]
    with frozen(own.pid("worker")):

        def sheds() -> bool:
            answer = person.post("sam.sales", "/requests", submission(), headers={"Prefer": "respond-async"})
            return answer.status_code == 503

        wait_until(sheds, 60, "no submission was refused")
        items = [taken, item("submit"), item("submit")]
        began = time.monotonic()
        results = sync(person, "sam.sales", items[1:])
        assert told(results) == ["retry", "retry"]
        assert all(1 <= each["after"] <= 60 for each in results)
        assert time.monotonic() - began < 3, "what is not taken is answered at once"
        vote = item("approve", request["id"])
        assert told(sync(person, "l1.emea", [vote])) == ["retry"], "it is in the log, and not decided yet"
    assert settled(person, "l1.emea", [vote])[-1] == ["duplicate applied"]
    assert settled(person, "sam.sales", items)[-1] == ["duplicate applied", "applied", "applied"]


def test_the_read_side_is_behind(own: Stack, person: Api) -> None:
    """What a phone corrected right after filing it would be refused for good, because we are slow."""
    filed = item("submit")
    instead = item("submit", body=submission(supersedes=filed["request_id"]))
    foreign = item("submit", body=submission(supersedes=str(uuid.uuid4())))
    with frozen(own.pid("projector")):
        assert told(sync(person, "sam.sales", [filed])) == ["applied"]
        assert told(sync(person, "sam.sales", [instead, foreign])) == ["retry", "retry"]
    # It may have lost its place in the group meanwhile.
    seen = f"/requests/{filed['request_id']}"
    wait_until(lambda: person.get("sam.sales", seen).status_code == 200, 60, "the read side does not go on")
    person.read("sam.sales", {"id": filed["request_id"], "version": 1})
    assert settled(person, "sam.sales", [instead, foreign])[-1] == ["applied", "rejected invalid"]


def test_the_log_is_away(own: Stack, person: Api) -> None:
    """A phone would throw its taps away because of our restart, or hang until its battery is empty."""
    items = chain()
    with frozen(own.pid("kafka")):
        began = time.monotonic()
        results = sync(person, "sam.sales", items)
        assert time.monotonic() - began < BATCH_SECONDS
        assert told(results) == ["retry", "blocked", "retry"]
    last = settled(person, "sam.sales", items)[-1]
    assert [each.removeprefix("duplicate ") for each in last] == ["applied"] * 3


def test_the_database_is_away(own: Stack, person: Api) -> None:
    """An op could be done that nobody would know again."""
    items = chain()
    with frozen(own.pid("postgres")):
        answer = person.post("sam.sales", "/requests/sync", {"client_id": "phone-1", "items": items})
        shapes.refused(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]
    assert settled(person, "sam.sales", items)[-1] == ["applied"] * 3


def test_a_gateway_that_dies_in_a_batch_costs_a_repeat(own: Stack, person: Api) -> None:
    """Half a batch would be done, and the other half never, or the first half twice."""
    items = [each for _ in range(30) for each in chain()]
    with frozen(own.pid("worker")):
        headers = {"Authorization": f"Bearer {person.token('sam.sales')}"}
        with gateways.started(own) as second:
            lost = Api(second.base)
            lost.http.timeout = 3
            with pytest.raises(Exception, match="timed out"):
                lost.http.post("/api/v1/requests/sync", json={"client_id": "phone-1", "items": items}, headers=headers)
            second.process.kill()
    last = settled(person, "sam.sales", items)[-1]
    assert {each.removeprefix("duplicate ") for each in last} == {"applied"}
    assert any(each.startswith("duplicate") for each in last), "nothing of the lost batch had gone to the log"


def test_a_batch_counts_like_its_items(own: Stack, person: Api) -> None:
    """One call could carry two hundred commands past the limit; or a full batch would never pass a small one."""
    with gateways.started(own, ATHENA_RATE_LIMITS="on", ATHENA_RATE_USER="1", ATHENA_RATE_USER_BURST="20") as strict:
        api = Api(strict.base)
        token = api.token("sue.sales")
        headers = {"Authorization": f"Bearer {token}"}
        body = {"client_id": "phone-1", "items": [item("withdraw", str(uuid.uuid4())) for _ in range(15)]}
        first = api.http.post("/api/v1/requests/sync", json=body, headers=headers)
        assert told(shapes.answer(first, 200, shapes.batch)["results"]) == ["rejected not-found"] * 15
        second = api.http.post("/api/v1/requests/sync", json=body, headers=headers)
        shapes.refused(second, 429, "rate-limited")
        time.sleep(int(second.headers["Retry-After"]) + 1)
        third = api.http.post("/api/v1/requests/sync", json=body, headers=headers)
        assert told(shapes.answer(third, 200, shapes.batch)["results"]) == ["duplicate rejected not-found"] * 15
