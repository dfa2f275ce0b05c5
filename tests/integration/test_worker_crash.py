"""After `kill -9` the worker has exactly the state it had before: Faust alone would lose it silently."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from typing import Any

import pytest

from schemas import topics
from tables.record import Record
from tests import invariants
from tests.client import ROUTE_ALL, ROUTE_L1_L2, ROUTE_L1_L2_ALL, Api
from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("changing")


def table_of(stack: Stack) -> dict[str, dict[str, Any]]:
    """The worker's table by its changelog: per request all that counts; what is kept for a redelivery comes and goes."""
    found = {}
    for entry in asyncio.run(invariants.read(stack.kafka, topics.REQUESTS_CHANGELOG)):
        if entry.key and not entry.key.startswith(b"\x00"):
            record = Record.decode(entry.value)
            found[entry.key.decode()] = {
                "state": record.state,
                "events": record.events,
                "made": record.made,
                "head": record.head,
                "seq": record.seq,
            }
    return found


def chains_of(stack: Stack) -> dict[tuple[str, int], str]:
    found = invariants.Found()
    log = invariants.Log(found)
    asyncio.run(log.load(stack.kafka))
    assert not found.problems
    return {place: record["hash"] for place, record in log.audit.items()}


@pytest.mark.timeout(300)
def test_state_is_the_same_before_and_after_a_kill(changing: Stack, changing_api: Api) -> None:
    """Otherwise every request would begin again, or be gone, after a crash that nobody noticed."""
    api = changing_api
    requests = []
    for route in (ROUTE_ALL, ROUTE_L1_L2, ROUTE_L1_L2_ALL) * 4:
        request = api.submit(**route)
        requests.append(api.approved("l1.emea", request))
    for request in requests[:3]:
        api.decide("l2", "approve", request)
    api.decide("l1.emea", "rollback", requests[4])
    key = "before-the-kill-" + requests[0]["id"]
    first = api.post("l2b", f"/approvals/{requests[5]['id']}/approve", {"comment": "once"}, key=key)
    assert first.status_code == 200
    asyncio.run(invariants.caught_up(changing.home))
    documents = {request["id"]: api.get("auditor", f"/requests/{request['id']}").json() for request in requests}
    table, chains = table_of(changing), chains_of(changing)

    changing.kill("worker")

    # The first command that waits for the new worker; the chains of requests it touches go on from where they were.
    probe = api.post("sam.sales", "/requests", {
        "category_id": "travel", "reason_id": "travel-general", "title": "after the kill", "amount": "1.00", "currency": "EUR"
    }, headers={"Prefer": "wait=40"})  # fmt: skip
    assert probe.status_code == 201, probe.text
    again = table_of(changing)
    assert {id_: again.get(id_) for id_ in table} == table
    assert {place: hash_ for place, hash_ in chains_of(changing).items() if place in chains} == chains
    for id_, document in documents.items():
        assert api.get("auditor", f"/requests/{id_}").json() == document

    # And it decides from that state: votes count, repeats are known, versions go on.
    repeated = api.post(
        "l2b", f"/approvals/{requests[5]['id']}/approve", {"comment": "once"}, key=key, headers={"Prefer": "wait=40"}
    )
    assert (repeated.status_code, repeated.json()) == (200, first.json())
    assert repeated.headers["Idempotent-Replayed"] == "true"
    assert api.decide("l1.emea", "approve", requests[7]).json()["code"] == "already-voted"
    assert api.approved("l2", requests[8])["version"] == 3
    found = asyncio.run(invariants.check(changing.home))
    assert not found.problems, "\n".join(found.problems[:20])


@pytest.mark.timeout(300)
def test_the_worker_recovers_without_its_local_store(changing: Stack, changing_api: Api) -> None:
    """Otherwise a broken disk would take the decisions with it."""
    api = changing_api
    request = api.approved("l1.emea", api.submit(**ROUTE_L1_L2))
    before = table_of(changing)
    folder, away = changing.home.data / "worker", changing.home.path / "lost"
    away.mkdir()
    pid = changing.pid("worker")
    os.kill(pid, signal.SIGSTOP)
    for part in folder.iterdir():
        part.rename(away / part.name)
    changing.kill("worker")
    shutil.rmtree(away)
    after = api.post("l2", f"/approvals/{request['id']}/approve", {}, headers={"Prefer": "wait=40"})
    assert (after.status_code, after.json()["status"]) == (200, "approved")
    now = table_of(changing)
    assert {id_: now[id_] for id_ in before if id_ != request["id"]} == {
        id_: found for id_, found in before.items() if id_ != request["id"]
    }
