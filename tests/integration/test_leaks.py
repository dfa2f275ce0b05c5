"""What somebody may not see behaves as what does not exist: in every byte of an answer, and in the time that it takes."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests import shapes
from tests.access_matrix.calls import fingerprint
from tests.batches import item
from tests.client import ROUTE_ALL, Api, submission

#: Of each kind so many answers are timed, in turns, and the fastest quarter is compared: other tests run beside this one, and hold
#: up half of the answers at times. On an idle machine they differ by a few percent.
TIMED = 40
RATIO = 2.0
LATEST = {"If-None-Match": '"1"'}
READ: list[tuple[str, dict[str, Any]]] = [
    ("/requests/{id}", {}),
    ("/requests/{id}", {"headers": LATEST}),
    ("/requests/{id}", {"headers": {"If-Match": '"1"'}}),
    ("/requests/{id}", {"params": {"min_version": "x"}}),
    ("/requests/{id}/status", {}),
    ("/requests/{id}/status", {"params": {"limit": 1}, "headers": LATEST}),
    ("/requests/{id}/status", {"params": {"cursor": "AAAA"}}),
]
COMMANDS: list[tuple[str, str, Any]] = [
    ("any", "/requests/{id}/withdraw", {}),
    ("any", "/requests/{id}/withdraw", {"expected_version": 1}),
    ("any", "/requests/{id}/withdraw", {"expected_version": 99}),
    ("any", "/requests/{id}/withdraw", {"expected_version": -1}),
    ("any", "/requests/{id}/comments", {"text": "What is it for?"}),
    ("any", "/requests/{id}/comments", {}),
    ("any", "/requests/{id}/reassign", {"level": "L1"}),
    ("manager", "/approvals/{id}/approve", {"expected_version": 1}),
    ("manager", "/approvals/{id}/approve", {"comment": "Yes.", "expected_version": 99}),
    ("manager", "/approvals/{id}/reject", {"comment": "No."}),
    ("manager", "/approvals/{id}/reject", {}),
    ("manager", "/approvals/{id}/rollback", {}),
]
#: Who has no part in what sam.sales files, with every role that there is without sight of everything.
STRANGERS = ("sue.sales", "ana.sales", "l1.apac", "l1.hq")
MANAGERS = ("l1.apac", "l1.hq")


@pytest.fixture(scope="module")
def foreign(api: Api) -> str:
    """A request of sam.sales, on the read side."""
    request = api.submit("sam.sales", **ROUTE_ALL)
    api.read("sam.sales", request)
    return str(request["id"])


def missing() -> str:
    return str(uuid.uuid4())


def same(one: httpx.Response, other: httpx.Response) -> None:
    """Nothing but the correlation id tells them apart."""
    assert fingerprint(one) == fingerprint(other), f"{one.request.url} and {other.request.url} can be told apart"


@pytest.mark.parametrize("who", STRANGERS)
def test_reading_what_is_not_ones_own_is_like_reading_nothing(api: Api, foreign: str, who: str) -> None:
    """A colleague could find out that a request exists, and how far it is."""
    for path, more in READ:
        answers = [api.call(who, "GET", path.format(id=id_), **more) for id_ in (foreign, missing())]
        assert answers[0].status_code in {404, 422, 503}
        same(*answers)
        assert "etag" not in answers[0].headers


@pytest.mark.parametrize("who", STRANGERS)
def test_commands_on_what_is_not_ones_own_are_like_commands_on_nothing(api: Api, foreign: str, who: str) -> None:
    """A colleague could try decisions out to learn what there is."""
    for whose, path, body in COMMANDS:
        if whose == "manager" and who not in MANAGERS:
            continue
        answers = [api.post(who, path.format(id=id_), body) for id_ in (foreign, missing())]
        assert answers[0].status_code in {403, 404, 422}, answers[0].text
        same(*answers)


@pytest.mark.parametrize("who", STRANGERS)
def test_what_became_of_a_command_does_not_tell_either(api: Api, foreign: str, who: str) -> None:
    """What the first answer hides could be read from the command a moment later, or from its repeat."""
    texts = [("/requests/{id}/withdraw", {}), ("/requests/{id}/comments", {"text": "?"})]
    if who in MANAGERS:
        texts.append(("/approvals/{id}/approve", {}))
    for path, body in texts:
        documents: list[Any] = []
        for id_ in (foreign, missing()):
            key = str(uuid.uuid4())
            first = api.post(who, path.format(id=id_), body, key=key)
            repeat = api.post(who, path.format(id=id_), body, key=key)
            assert repeat.headers["idempotent-replayed"] == "true"
            command = _settled(api, who, first.headers["command-id"])
            assert command["request"] is None
            command["problem"].pop("correlation_id")
            documents.append((fingerprint(repeat), command["status"], command["problem"]))
        assert documents[0] == documents[1]


def _settled(api: Api, who: str, command_id: str) -> dict[str, Any]:
    """The command once the read side has it."""
    until = time.monotonic() + 15
    while True:
        command: dict[str, Any] = shapes.answer(api.get(who, f"/commands/{command_id}"), 200, shapes.command)
        if command["status"] != "pending":
            return command
        assert time.monotonic() < until, command
        time.sleep(0.05)


def test_commands_of_others_are_not_there_for_anybody(api: Api) -> None:
    """Who knows an id could read what somebody did."""
    answer = api.post("sam.sales", "/requests", submission())
    command_id = answer.headers["command-id"]
    assert api.get("sam.sales", f"/commands/{command_id}").status_code == 200
    for who in (*STRANGERS, "l1.emea", "l2", "l3", "admin", "auditor"):
        answers = [api.get(who, f"/commands/{id_}") for id_ in (command_id, missing())]
        shapes.refused(answers[0], 404, "not-found")
        same(*answers)


def test_a_key_that_somebody_else_used_is_a_new_one(api: Api) -> None:
    """Who guesses a key could learn that it was used, or get somebody else's answer."""
    key = str(uuid.uuid4())
    mine = api.post("sam.sales", "/requests", submission(title="Mine"), key=key)
    theirs = api.post("sue.sales", "/requests", submission(title="Theirs"), key=key)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert "idempotent-replayed" not in theirs.headers


def test_what_one_supersedes_is_ones_own_or_nothing(api: Api, foreign: str) -> None:
    """A submission could be used to ask whether a request exists."""
    answers = _at_once(api, lambda id_: api.post("sue.sales", "/requests", submission(supersedes=id_)), foreign)
    shapes.refused(answers[0], 422, "invalid")
    same(*answers)


@pytest.mark.parametrize("who", ["sue.sales", "ana.sales", "l1.hq"])
def test_people_whom_one_does_not_meet_are_not_there(api: Api, who: str) -> None:
    """Anybody could look up who works here."""
    unmet = {"sue.sales": "ana.sales", "ana.sales": "sue.sales", "l1.hq": "ana.sales"}[who]
    answers = [
        api.get(who, f"/users/{id_}") for id_ in (unmet, "nobody.there", "sam.sales" if who != "l1.hq" else "x.y")
    ]
    shapes.refused(answers[0], 404, "not-found")
    for answer in answers[1:]:
        same(answers[0], answer)


def test_a_cursor_of_somebody_else_is_like_a_made_up_one(api: Api) -> None:
    """A page of somebody else's list could be read on, or its end be learned."""
    for _ in range(2):
        api.read("sam.sales", api.submit("sam.sales"))
    cursor = api.get("sam.sales", "/requests", limit=1).json()["next_cursor"]
    assert api.get("sam.sales", "/requests", limit=1, cursor=cursor).status_code == 200
    for who in (*STRANGERS, "admin"):
        for made_up in (cursor[:-4] + "AAAA", "AAAA"):
            answers = [api.get(who, "/requests", limit=1, cursor=each) for each in (cursor, made_up)]
            shapes.refused(answers[0], 422, "invalid")
            same(*answers)
    other_filter = api.get("sam.sales", "/requests", limit=1, cursor=cursor, category_id="meals")
    shapes.refused(other_filter, 422, "invalid")


@pytest.mark.parametrize("who", STRANGERS)
def test_a_list_does_not_change_when_others_file(api: Api, who: str) -> None:
    """From counts, cursors or tags one could see how busy the others are."""
    before_it = api.submit("sam.sales")["created_at"]
    for _ in range(3):
        last = api.submit("sam.sales")
    api.read("sam.sales", last)
    for path, params in (
        ("/requests", {"since": before_it}),
        ("/requests", {"since": before_it, "category_id": "travel"}),
    ):
        answers = [
            api.get(who, path, limit=1, **params),
            api.get(who, path, limit=1, **{**params, "since": "2100-01-01T00:00:00Z"}),
        ]
        assert answers[0].json() == {"items": [], "next_cursor": None}
        assert fingerprint(answers[0]) == fingerprint(answers[1])


def test_updates_say_nothing_of_others(api: Api) -> None:
    """From the items, or from how long a cursor is, one could see that others file."""
    for who, path in (
        ("sue.sales", "/requests/updates"),
        ("l1.apac", "/requests/updates"),
        ("l1.hq", "/approvals/updates"),
    ):
        page = {"cursor": api.get(who, path).json()["cursor"], "has_more": True}
        while page["has_more"]:
            page = api.get(who, path, cursor=page["cursor"], limit=200).json()
        api.read("sam.sales", api.submit("sam.sales"))
        after = api.get(who, path, cursor=page["cursor"]).json()
        assert (after["items"], after["gone"], after["has_more"]) == ([], [], False)
        assert abs(len(after["cursor"]) - len(page["cursor"])) <= 3
        # Sealed anew each time, so that nobody sees whether anything has happened.
        assert api.get(who, path, cursor=after["cursor"]).json()["cursor"] != after["cursor"]


def _undisturbed(calls: list[Callable[[], httpx.Response]]) -> list[float]:
    """Milliseconds of each kind of call, made in turns: the lower quartile."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(TIMED):
        for taken, call in zip(times, calls, strict=True):
            began = time.perf_counter()
            call()
            taken.append((time.perf_counter() - began) * 1000)
    return [statistics.quantiles(each, n=4)[0] for each in times]


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        ("sue.sales", "GET", "/requests/{id}"),
        ("l1.hq", "GET", "/requests/{id}/status"),
        ("sue.sales", "POST", "/requests/{id}/withdraw"),
        ("l1.hq", "POST", "/approvals/{id}/approve"),
    ],
)
def test_hidden_and_missing_take_the_same_time(api: Api, foreign: str, who: str, method: str, path: str) -> None:
    """A clock would tell what the words hide."""
    api.token(who)
    hidden, nothing = _undisturbed(
        [
            lambda: api.call(who, method, path.format(id=foreign)),
            lambda: api.call(who, method, path.format(id=missing())),
        ]
    )
    assert max(hidden, nothing) / min(hidden, nothing) < RATIO, f"hidden {hidden:.2f} ms, missing {nothing:.2f} ms"


@pytest.mark.parametrize(
    ("who", "what", "op"), [("sue.sales", "requests", "withdraw"), ("l1.hq", "approvals", "approve")]
)
def test_hidden_and_missing_take_the_same_time_in_a_batch(api: Api, foreign: str, who: str, what: str, op: str) -> None:
    """A phone could ask with a batch what it may not ask with a call."""
    api.token(who)

    def send(id_: str) -> httpx.Response:
        return api.post(who, f"/{what}/sync", {"client_id": "c", "items": [item(op, id_)]})

    hidden, nothing = _undisturbed([lambda: send(foreign), lambda: send(missing())])
    assert max(hidden, nothing) / min(hidden, nothing) < RATIO, f"hidden {hidden:.2f} ms, missing {nothing:.2f} ms"


@pytest.mark.parametrize("version", [0, 1, 99])
def test_waiting_for_a_version_does_not_tell(api: Api, foreign: str, version: int) -> None:
    """Who waits for a version would see that there is something to wait for."""
    answers = _at_once(api, lambda id_: api.get("sue.sales", f"/requests/{id_}", min_version=version), foreign)
    shapes.refused(answers[0], 503, "unavailable")
    same(*answers)
    took = [answer.elapsed.total_seconds() for answer in answers]
    assert max(took) / min(took) < RATIO, took


def _at_once(api: Api, call: Callable[[str], httpx.Response], foreign: str) -> list[httpx.Response]:
    """The answers about the foreign request and about a missing one, for calls that wait 2 s."""
    api.token("sue.sales")
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, (foreign, missing())))
