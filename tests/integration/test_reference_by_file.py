"""Files of reference data over HTTP: out and in again, checked whole, taken over row by row, and once whatever happens."""

from __future__ import annotations

import csv
import io
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gateway.reference_files.sheets import SHEETS
from tests import gateways, shapes
from tests.client import Api
from tests.integration.test_users_over_http import GOOD, made, sign_in, token_of
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("changing")

counts = shapes.exactly({name: shapes.number() for name in ("created", "changed", "unchanged", "rows")})
CSV = {"Content-Type": "text/csv"}


def sent(api: Api, plural: str, data: str | bytes, **more: Any) -> httpx.Response:
    raw = data if isinstance(data, bytes) else data.encode()
    return api.call("admin", "PUT", f"/import/{plural}", content=raw, headers=CSV | more, timeout=120)


def taken(api: Api, plural: str, data: str | bytes) -> tuple[int, int, int]:
    """(created, changed, unchanged) of a file that must be taken over."""
    found = shapes.answer(sent(api, plural, data), 200, counts)
    assert found["created"] + found["changed"] + found["unchanged"] == found["rows"]
    return found["created"], found["changed"], found["unchanged"]


def rows(api: Api, plural: str, contains: str = "") -> list[dict[str, str]]:
    """The rows of the export that hold a text."""
    answer = api.get("admin", f"/export/{plural}.csv")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == f'attachment; filename="{plural}.csv"'
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    return [row for row in found if contains in str(row)]


def written(rows: list[dict[str, str]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def office(api: Api, mark: str) -> str:
    """A department for hundreds of people: others look through the lists of theirs."""
    assert taken(api, "departments", f"id,name,region\nbulk-{mark},Bulk {mark},emea\n") == (1, 0, 0)
    return f"bulk-{mark}"


@pytest.fixture
def mark() -> str:
    """A word that tells a test's rows from others'."""
    return uuid.uuid4().hex[:10]


@pytest.mark.parametrize("plural", SHEETS)
def test_a_file_sent_back_as_it_came_changes_nothing(changing_api: Api, plural: str) -> None:
    """Somebody who only looked at a file changes everybody's version, and fills the audit log."""
    before = changing_api.get("admin", f"/export/{plural}.csv")
    rows_there = before.text.count("\r\n") - 1
    assert rows_there > 0
    assert taken(changing_api, plural, before.content) == (0, 0, rows_there)
    assert changing_api.get("admin", f"/export/{plural}.csv").content == before.content


def test_people_come_and_change_by_a_file_each_on_record(changing_api: Api, mark: str) -> None:
    """People who came by a file cannot work, or nobody can tell who let them in."""
    data = (
        "email,name,roles,department_id,phone,locale\r\n"
        f"a.{mark}@athena.test,\"Zoë, O'Neill\",sales manager,hq,'+49301234,de\r\n"
        f"b.{mark}@athena.test,=1+1,sales,emea-sales,,\r\n"
    )
    correlation = str(uuid.uuid4())
    answer = sent(changing_api, "users", data, **{"X-Correlation-Id": correlation})
    assert shapes.answer(answer, 200, counts) == {"created": 2, "changed": 0, "unchanged": 0, "rows": 2}
    first, second = rows(changing_api, "users", mark)
    if first["email"].startswith("b."):
        first, second = second, first
    shown = shapes.answer(changing_api.get("admin", f"/users/{first['id']}"), 200, shapes.user)
    assert (shown["name"], shown["roles"], shown["phone"], shown["locale"], shown["active"], shown["version"]) == (
        "Zoë, O'Neill", ["sales", "manager"], "+49301234", "de", True, 1,
    )  # fmt: skip
    assert (second["name"], second["locale"]) == ("'=1+1", "en"), "what a spreadsheet would run is led by an apostrophe"
    assert changing_api.get("admin", f"/users/{second['id']}").json()["name"] == "=1+1"
    assert taken(changing_api, "users", data) == (0, 0, 2), "the same file again makes people twice"
    second["name"] = "Bo"
    assert taken(changing_api, "users", written([first, second])) == (0, 1, 1)
    items: list[dict[str, Any]] = []

    def on_record() -> bool:
        found = changing_api.get("auditor", "/audit/logs", userId="admin", limit=200).json()["items"]
        items[:] = [item for item in found if item["correlation_id"] == correlation]
        return len(items) == 2

    wait_until(on_record, 10, f"not each row is on record: {items}")
    assert {(item["entity"], item["action"], item["outcome"]) for item in items} == {
        (f"user:{row['id']}", "user-created", "accepted") for row in (first, second)
    }


def test_one_wrong_line_and_nothing_is_taken_over(changing_api: Api, mark: str) -> None:
    """Half of a file is taken over, and nobody knows which."""
    data = (
        "email,name,roles,department_id\n"
        f"a.{mark}@athena.test,A,sales,hq\n"
        f"b.{mark}@athena.test,B,boss,hq\n"
        f"c.{mark}@athena.test,C,sales,nowhere\n"
        "admin@athena.test,Nobody,,hq\n"
        f"A.{mark}@athena.test,D,sales,hq\n"
    )
    problem = shapes.refused(sent(changing_api, "users", data), 422, "invalid")
    assert [error["pointer"] for error in problem["errors"]] == [
        "/rows/3/roles", "/rows/4/department_id", "/rows/5", "/rows/6",
    ]  # fmt: skip
    assert "last active administrator" in problem["errors"][2]["detail"] and "line 2" in problem["errors"][3]["detail"]
    assert rows(changing_api, "users", mark) == [] and rows(changing_api, "users", "Nadia Okafor") != []
    assert list(changing_api.get("admin", "/users", q=mark).json()["items"]) == []


def test_what_is_no_such_file_is_refused_at_once(changing_api: Api) -> None:
    """A client sends the wrong thing, and is told something else."""
    for kind in ("application/json", "text/csv; charset=latin-1", "text/plain"):
        answer = changing_api.call(
            "admin", "PUT", "/import/reasons", content=b"id,text\n", headers={"Content-Type": kind}
        )
        shapes.refused(answer, 415, "unsupported-media-type")
    shapes.refused(sent(changing_api, "reasons", b"id,text\nx,\xff\n"), 400, "malformed")
    shapes.refused(sent(changing_api, "reasons", "id,text\nx," + "y" * 2**20), 413, "too-large")
    shapes.refused(sent(changing_api, "reasons", b""), 422, "invalid")
    shapes.refused(sent(changing_api, "rules", "id\n"), 404, "not-found")
    assert changing_api.get("admin", "/export/rules.csv").status_code == 404


def test_the_other_kinds_come_by_file_too(changing_api: Api, mark: str) -> None:
    """A company is set up by hand, one by one."""
    assert taken(changing_api, "departments", f"id,name,region\nd-{mark},Office {mark},emea\n") == (1, 0, 0)
    assert taken(changing_api, "categories", f"id,name,active\nc-{mark},Category {mark},\n") == (1, 0, 0)
    assert taken(changing_api, "reasons", f"id,text,category_id\nr-{mark},For {mark},c-{mark}\n") == (1, 0, 0)
    people = "category_id,level,approver_id,department_id,region\n" + "".join(
        f"c-{mark},{level},{person},,\n" for level, person in (("L1", "l1.emea"), ("L2", "l2"), ("L3", "l3"))
    )
    assert taken(changing_api, "assignments", people) == (3, 0, 0)
    assert taken(changing_api, "assignments", people) == (0, 0, 3)
    request = changing_api.submit(category_id=f"c-{mark}", reason_id=f"r-{mark}")
    assert request["route"]["levels"][0]["approvers"] == ["l1.emea"]
    stale = f"id,name,version\nc-{mark},Other,7\n"
    problem = shapes.refused(sent(changing_api, "categories", stale), 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/rows/2/version"
    assert taken(changing_api, "categories", f"id,active,version\nc-{mark},false,1\n") == (0, 1, 0)
    assert taken(changing_api, "categories", f"id,active,version\nc-{mark},FALSE,1\n") == (0, 0, 1)


def test_who_is_let_go_by_a_file_is_out_and_stays_out(changing_api: Api) -> None:
    """A session of before works again on the day its owner comes back."""
    user = made(changing_api, password=GOOD)
    mine = token_of(changing_api, user)
    assert taken(changing_api, "users", f"id,active\n{user['id']},false\n") == (0, 1, 0)
    assert changing_api.call(None, "GET", "/users/me", headers=mine).status_code == 401
    assert sign_in(changing_api, user).status_code == 401
    assert taken(changing_api, "users", f"id,active\n{user['id']},true\n") == (0, 1, 0)
    assert sign_in(changing_api, user).status_code == 200, "the password is still theirs"
    time.sleep(1.0)  # as long as a gateway may take to hear of an ended session
    assert changing_api.call(None, "GET", "/users/me", headers=mine).status_code == 401


def test_two_administrators_at_once_lose_nothing_of_each_other(changing: Stack, changing_api: Api, mark: str) -> None:
    """One file silently overwrites the other, or a row is made twice."""
    ids = [f"c-{mark}-{number}" for number in range(150)]
    begin = "id,name,active\n" + "".join(f"{id_},Start {mark},false\n" for id_ in ids)
    with gateways.started(changing, ATHENA_RATE_LIMITS="off") as second, ThreadPoolExecutor(2) as pool:
        apis = [changing_api, Api(second.base)]
        for api in apis:
            api.token("admin")
        answers = list(pool.map(lambda api: sent(api, "categories", begin), apis))
        assert [answer.status_code for answer in answers] == [200, 200], (
            "the same file twice at once is done twice or not at all"
        )
        assert sum(answer.json()["created"] for answer in answers) == len(ids)
        files = [begin.replace("Start", word) for word in ("One", "Two")]
        answers = list(pool.map(sent, apis, ["categories"] * 2, files))
        changed = 0
        for answer in answers:
            if answer.status_code == 200:
                changed += answer.json()["changed"]
            else:
                problem = shapes.refused(answer, 409, "import-incomplete")
                changed += int(problem["detail"].partition(" ")[0])
        after = rows(changing_api, "categories", mark)
        assert {row["id"] for row in after} == set(ids)
        assert sum(int(row["version"]) - 1 for row in after) == changed, "a change was overwritten unseen"
        assert taken(changing_api, "categories", files[0])[0] == 0
        assert {row["name"] for row in rows(changing_api, "categories", mark)} == {f"One {mark}"}


def test_a_gateway_that_dies_in_the_middle_leaves_a_file_that_can_be_sent_again(
    changing: Stack, changing_api: Api, mark: str
) -> None:
    """After a crash nobody knows which rows were taken over, and the file can neither be sent again nor left."""
    people, home = 1500, office(changing_api, mark)
    data = "email,name,roles,department_id\n" + "".join(
        f"p{number}.{mark}@athena.test,Person {number},sales,{home}\n" for number in range(people)
    )
    with gateways.started(changing, ATHENA_RATE_LIMITS="off") as doomed:
        other = Api(doomed.base)
        other.token("admin")

        lost: list[httpx.TransportError] = []

        def send_and_lose() -> None:
            try:
                sent(other, "users", data)
            except httpx.TransportError as error:
                lost.append(error)

        thread = threading.Thread(target=send_and_lose)
        thread.start()
        wait_until(
            lambda: changing_api.get("admin", "/users", q=mark, limit=1).json()["items"], 20, "nothing of the file came"
        )
        doomed.process.kill()
        thread.join(20)
        assert not thread.is_alive() and lost, "the gateway answered before it was killed"
    began = time.monotonic()
    created, changed, unchanged = taken(changing_api, "users", data)
    print(f"{unchanged} rows were there, {created} more in {time.monotonic() - began:.1f} s")  # noqa: T201 - shown with -rP
    assert (changed, created + unchanged) == (0, people) and 0 < unchanged < people
    after = rows(changing_api, "users", mark)
    assert len(after) == people and {row["version"] for row in after} == {"1"}
    assert taken(changing_api, "users", data) == (0, 0, people)


def test_a_worker_that_dies_in_the_middle_costs_time_alone(changing: Stack, changing_api: Api, mark: str) -> None:
    """Rows that were on their way when a worker died are lost, or made twice."""
    people, home = 800, office(changing_api, mark)
    data = "email,name,roles,department_id\n" + "".join(
        f"w{number}.{mark}@athena.test,Person {number},,{home}\n" for number in range(people)
    )
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(sent(changing_api, "users", data)))
    thread.start()
    wait_until(
        lambda: changing_api.get("admin", "/users", q=mark, limit=1).json()["items"], 20, "nothing of the file came"
    )
    changing.kill("worker")
    thread.join(120)
    assert not thread.is_alive()
    if answers[0].status_code != 200:  # the worker took longer than a call waits
        shapes.refused(answers[0], 503, "unavailable")
        assert "Send the same file again" in answers[0].json()["detail"] and answers[0].headers["retry-after"]
        wait_until(lambda: sent(changing_api, "users", data).status_code == 200, 120, "no worker came back")
    created, changed, unchanged = taken(changing_api, "users", data)
    assert (changed, created + unchanged) == (0, people)
    after = rows(changing_api, "users", mark)
    assert len(after) == people and {row["version"] for row in after} == {"1"}
