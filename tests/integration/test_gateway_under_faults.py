"""The gateway while the workers lag, while PostgreSQL or the broker is frozen, and after: bounded answers, nothing lost."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import asyncpg
import httpx
import pytest

from tests import stack as stacks
from tests.client import Api, submission
from tests.stack import Stack, frozen, wait_until

LIMIT = 30
_REPLACE = """
UPDATE catalog.entities SET document = replace(document, $2, $3)
WHERE kind = 'user' AND id = $1 AND document LIKE '%' || $2 || '%'"""
NO_WAIT = {"Prefer": "respond-async"}
#: A send may take 5 s, an answer of PostgreSQL 2 s and 5 s; the rest is a busy machine.
LONGEST_ANSWER = 25.0


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with stacks.own(ATHENA_RATE_LIMITS="off", ATHENA_BACKPRESSURE_LAG=str(LIMIT)) as stack:
        yield stack


@pytest.fixture
def person(own: Stack) -> Api:
    own.wait_ready()
    return Api(own.gateway)


@contextmanager
def document_of(own: Stack, user_id: str, before: str, after: str) -> Iterator[None]:
    """In the account's document on the read side one text stands in the place of another meanwhile."""

    def put(old: str, new: str) -> None:
        async def run() -> str:
            connection = await asyncpg.connect(own.postgres, timeout=10)
            try:
                return str(await connection.execute(_REPLACE, user_id, old, new))
            finally:
                await connection.close()

        assert asyncio.run(run()) == "UPDATE 1"

    put(before, after)
    try:
        yield
    finally:
        put(after, before)


def figures(own: Stack) -> dict[str, float]:
    """The gateway's figures without labels."""
    text = httpx.get(own.endpoints["metrics"]["gateway"], timeout=10).text
    lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in lines}


def test_submissions_are_refused_while_the_workers_lag_and_all_else_goes_on(own: Stack, person: Api) -> None:
    """Otherwise a pile of new requests would bury the votes on those that are there, or an accepted one would be lost."""
    voted, rejected, withdrawn = person.submit(), person.submit(), person.submit()
    for one in (voted, rejected, withdrawn):
        person.read("sam.sales", one)
    person.token("l1.emea")
    promised: dict[str, str] = {}
    with frozen(own.pid("worker")):

        def sheds() -> bool:
            key = str(uuid.uuid4())
            answer = person.post("sam.sales", "/requests", submission(title=key), key=key, headers=NO_WAIT)
            if answer.status_code == 202:
                promised[key] = answer.json()["id"]
                return False
            assert answer.status_code == 503, answer.text
            return True

        wait_until(sheds, 60, "no submission was refused")
        assert len(promised) > LIMIT - 3
        refused = person.post("sam.sales", "/requests", submission(), key="never taken", headers=NO_WAIT)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert figures(own)["athena_gateway_shedding"] == 1
        assert figures(own)["athena_gateway_worker_lag_records"] > LIMIT
        assert figures(own)["athena_gateway_submissions_shed_total"] >= 2
        waiting = [
            person.post("l1.emea", f"/approvals/{voted['id']}/approve", {}, headers=NO_WAIT),
            person.post("l1.emea", f"/approvals/{rejected['id']}/reject", {"comment": "no"}, headers=NO_WAIT),
            person.post("sam.sales", f"/requests/{withdrawn['id']}/withdraw", {}, headers=NO_WAIT),
            person.post("sam.sales", f"/requests/{voted['id']}/comments", {"text": "soon?"}, headers=NO_WAIT),
        ]
        assert [answer.status_code for answer in waiting] == [202] * 4, [answer.text for answer in waiting]
        assert person.get("sam.sales", "/requests").status_code == 200
        assert person.get("sam.sales", f"/requests/{voted['id']}").status_code == 200
        assert httpx.get(f"{own.gateway}/livez", timeout=10).status_code == 200
        key, command_id = next(iter(promised.items()))
        again = person.post("sam.sales", "/requests", submission(title=key), key=key, headers=NO_WAIT)
        assert (again.status_code, again.json()["id"]) == (202, command_id), "a repeat of what was taken is nothing new"
        own.kill("gateway")
        own.wait_ready()
        wait_until(lambda: figures(own)["athena_gateway_shedding"] == 1, 30, "the new gateway does not see the lag")
        again = person.post("sam.sales", "/requests", submission(title=key), key=key, headers=NO_WAIT)
        assert (again.status_code, again.json()["id"]) == (202, command_id), "another gateway does not know its promise"
    every = [*promised.values(), *(answer.json()["id"] for answer in waiting)]
    owners = ["sam.sales"] * len(promised) + ["l1.emea", "l1.emea", "sam.sales", "sam.sales"]

    def kept() -> bool:
        found = [person.get(who, f"/commands/{one}") for who, one in zip(owners, every, strict=True)]
        return all(answer.status_code == 200 and answer.json()["status"] == "accepted" for answer in found)

    wait_until(kept, 90, "not every promise was kept")
    wait_until(lambda: figures(own)["athena_gateway_shedding"] == 0, 30, "the gate does not open again")
    taken = person.post("sam.sales", "/requests", submission(), key="never taken")
    assert taken.status_code == 201, taken.text
    assert "Idempotent-Replayed" not in taken.headers
    repeated = person.post("sam.sales", "/requests", submission(title=key), key=key)
    assert (repeated.status_code, repeated.headers["Idempotent-Replayed"]) == (201, "true")


def test_an_account_that_nobody_decides_on_yet_is_finished_by_repeating(own: Stack, person: Api) -> None:
    """Workers that are slow leave an accepted account without the password that its answer promised."""
    body = {
        "email": "slow@athena.test",
        "name": "Slow",
        "roles": [],
        "department_id": "hq",
        "password": "seven quiet otters",
    }
    person.token("admin")
    with frozen(own.pid("worker")):
        taken = person.post("admin", "/users", body, key="slow account", headers={"Prefer": "wait=1"})
        assert (taken.status_code, taken.json()["code"], taken.headers["Retry-After"]) == (503, "unavailable", "1")
        assert "same Idempotency-Key" in taken.json()["detail"]

    def repeated() -> bool:
        answer = person.post("admin", "/users", body, key="slow account")
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    wait_until(repeated, 60, "what was taken is never finished")
    assert person.login("slow", "seven quiet otters").status_code == 200


def test_a_frozen_database_costs_reads_and_nothing_else(own: Stack, person: Api) -> None:
    """Otherwise calls would hang on a database that is away, or the gateway would have to be restarted after."""
    request = person.submit()
    pid = own.pid("gateway")
    slowest = 0.0

    def timed(method: str, path: str, **more: object) -> httpx.Response:
        nonlocal slowest
        began = time.monotonic()
        answer = person.http.request(method, path, **more)  # type: ignore[arg-type]
        slowest = max(slowest, time.monotonic() - began)
        return answer

    bearer = {"Authorization": f"Bearer {person.token('sam.sales')}"}
    key = {"Idempotency-Key": "while the database is away"}
    body = submission()
    with frozen(own.pid("postgres")):
        filed = timed("POST", "/api/v1/requests", headers=bearer, json=submission())
        assert filed.status_code == 201, "knows who was signed out until 5 s ago, and the log is there"
        first = timed("POST", "/api/v1/requests", headers=bearer | key | NO_WAIT, json=body)
        assert first.status_code == 503, "a 202 that one gateway alone remembers is broken by its next restart"
        for _ in range(3):
            answer = timed("GET", f"/api/v1/requests/{request['id']}", headers=bearer)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            assert timed("GET", "/livez").status_code == 200
        assert timed("GET", "/readyz").status_code == 503
        login = timed(
            "POST", "/api/v1/auth/login", json={"email": "sue.sales@athena.test", "password": "athena-demo-2026"}
        )
        assert login.status_code == 503
        blind = timed("POST", "/api/v1/requests", headers=bearer | NO_WAIT, json=submission())
        assert blind.status_code == 503, "a session that may have been ended must not go on acting"
    own.wait_ready(60)
    assert own.pid("gateway") == pid
    assert slowest < LONGEST_ANSWER
    wait_until(
        lambda: person.get("sam.sales", f"/requests/{request['id']}").status_code == 200, 20, "reads do not come back"
    )
    again = person.post("sam.sales", "/requests", body, key=key["Idempotency-Key"])
    assert (again.status_code, again.headers.get("Idempotent-Replayed")) == (201, "true"), again.text


def test_a_frozen_broker_answers_in_time_and_takes_each_submission_once(own: Stack, person: Api) -> None:
    """Otherwise people would wait for ever, or file the same request twice by trying again."""
    pid = own.pid("gateway")
    person.submit()
    bodies = {str(uuid.uuid4()): submission() for _ in range(40)}
    person.token("sam.sales")
    slowest = 0.0
    lock = threading.Lock()

    def send(item: tuple[str, dict[str, object]]) -> int:
        nonlocal slowest
        began = time.monotonic()
        answer = person.post("sam.sales", "/requests", item[1], key=item[0], headers=NO_WAIT)
        with lock:
            slowest = max(slowest, time.monotonic() - began)
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code

    with ThreadPoolExecutor(40) as pool:
        with frozen(own.pid("kafka")):
            statuses = list(pool.map(send, bodies.items()))
            assert set(statuses) <= {202, 503}, statuses
            assert 503 in statuses
            assert person.get("sam.sales", "/requests").status_code == 200, "reads need no broker"
            assert httpx.get(f"{own.gateway}/livez", timeout=10).status_code == 200
            assert httpx.get(f"{own.gateway}/readyz", timeout=20).status_code == 503
            time.sleep(8)
            assert person.get("sam.sales", "/requests").status_code == 200, "accounts are in PostgreSQL too"
            with document_of(own, "sam.sales", '"active":true', '"active":false'):
                assert person.get("sam.sales", "/requests").status_code == 401, "a deactivation was not heard of"
        assert slowest < LONGEST_ANSWER
        own.wait_ready(60)
        assert own.pid("gateway") == pid

        def all_taken() -> bool:
            return set(pool.map(send, bodies.items())) <= {202}

        wait_until(all_taken, 60, "submissions are not taken again")
        answers = list(
            pool.map(lambda item: person.post("sam.sales", "/requests", item[1], key=item[0]), bodies.items())
        )
    assert [answer.status_code for answer in answers] == [201] * len(bodies)
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == len(bodies)
    # The projector's group may have lost its member while the broker stood still: it joins again first.
    for id_ in ids:
        wait_until(
            lambda at=id_: person.get("sam.sales", f"/requests/{at}", min_version=1).status_code == 200,
            30,
            "the read side does not catch up",
        )
    titles = {str(body["title"]) for body in bodies.values()}
    shown = person.get("sam.sales", "/requests", limit=200).json()["items"]
    assert sorted(item["title"] for item in shown if item["title"] in titles) == sorted(titles)
