"""`make demo`: a real story through HTTP, told as it happens; exit 0 only if all came out as it should."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from ops.demo_cast import Cast, Json, WentWrongError, say
from ops.seed import rules_text
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.temporary_stack import athena, stack

OK, WRONG, UNREACHABLE = 0, 1, 3
SHORT_WINDOW_S = 3
CLOSED_WITHIN_S = 20.0


def all_levels(cast: Cast, home: Home) -> None:
    """Three levels, one after the other."""
    request = cast.filed(
        "ana.sales", "marketing", "9000000", "JPY", "Trade fair in Osaka", "anything-large", "L1, L2, L3"
    )
    stranger = cast.call("l1.emea", "GET", f"/requests/{request['id']}")
    cast.refused(stranger, 404, "not-found", "l1.emea, of another region, looks at it")
    early = cast.call("l3", "POST", f"/approvals/{request['id']}/approve", {})
    cast.refused(early, 409, "not-an-approver", "l3 decides before its turn")
    request = cast.decided("l1.apac", "approve", request, "pending_l2")
    request = cast.decided("l2", "approve", request, "pending_l3")
    request = cast.decided("l3", "approve", request, "approved", "A good fair last year.")
    again = cast.call("l3", "POST", f"/approvals/{request['id']}/approve", {})
    cast.refused(again, 409, "not-pending", "l3 approves once more")


def quorum_of_two(cast: Cast, home: Home) -> None:
    """A level that needs two people."""
    request = cast.filed("sue.sales", "hardware", "20000.00", "GBP", "Laptops for the team", "emea-hardware", "L1, L2")
    request = cast.decided("l1b.emea", "approve", request, "pending_l2")
    request = cast.decided("l2", "approve", request, "pending_l2")
    cast.decided("l2b", "approve", request, "approved")


def rejected(cast: Cast, home: Home) -> None:
    """A rejection, and a request that was never right."""
    request = cast.filed("sam.sales", "training", "1500.00", "USD", "Negotiation course", "default", "L1, L2")
    request = cast.decided("l1.emea", "approve", request, "pending_l2")
    cast.decided("l2b", "reject", request, "rejected", "Booked twice already.")
    francs = cast.submit("sam.sales", "travel", "100.00", "CHF", "Train to Basel")
    cast.refused(francs, 409, "currency-not-supported", "100.00 CHF, for which the rules have no rate")
    fractions = cast.submit("ana.sales", "travel", "1.5", "JPY", "Half a yen")
    cast.refused(fractions, 422, "invalid", "1.5 JPY")


def rolled_back_in_time(cast: Cast, home: Home) -> None:
    """Approved by mistake, taken back within the window, then rejected; both stay on record."""
    request = cast.filed("sam.sales", "travel", "420.00", "EUR", "Customer visit in Lyon", "small-travel", "L1")
    request = cast.decided("l1.emea", "approve", request, "approved")
    say(f"    may be rolled back until {request['rollback_until']}")
    request = cast.decided("l1.emea", "rollback", request, "pending_l1", "Wrong one, sorry.")
    request = cast.decided("l1.emea", "reject", request, "rejected", "The customer comes to us.")
    cast.read("sam.sales", request)
    history = cast.call("sam.sales", "GET", f"/requests/{request['id']}/status").json()["items"]
    actions = [item["action"] for item in history]
    cast.expect(
        actions == ["submit", "approve", "rollback", "reject"], f"the history has all four steps, not {actions}"
    )
    say(f"    its history: {', '.join(actions)}")


def sent_twice(cast: Cast, home: Home) -> None:
    """A phone that sends twice files once; and somebody who changes their mind."""
    key = str(uuid.uuid4())
    first = cast.submit("sue.sales", "meals", "64.90", "EUR", "Lunch with a customer", **{"Idempotency-Key": key})
    second = cast.submit("sue.sales", "meals", "64.90", "EUR", "Lunch with a customer", **{"Idempotency-Key": key})
    same = first.status_code == second.status_code == 201 and first.json() == second.json()
    cast.expect(same and second.headers.get("Idempotent-Replayed") == "true", "the same key files one request", second)
    say("  sue.sales sends the same submission twice with one Idempotency-Key: one request, one answer")
    request = first.json()
    answer = cast.call("sue.sales", "POST", f"/requests/{request['id']}/withdraw", {})
    cast.expect(
        answer.status_code == 200 and answer.json()["status"] == "withdrawn", "sue.sales can withdraw it", answer
    )
    say("  sue.sales withdraws it -> withdrawn")


def rules_edited(cast: Cast, home: Home) -> None:
    """The admin tries a file out and publishes a shorter rollback window; requests under way keep theirs."""
    now = cast.call("admin", "GET", "/rules")
    before = now.json()["version"]
    broken = rules_text().replace("levels: [L1, L2]", "levels: [L4]", 1)
    answer = cast.call("admin", "PUT", "/rules", {"yaml": broken}, **{"If-Match": now.headers["etag"]})
    cast.refused(answer, 422, "rules-invalid", "admin publishes a file with a level L4")
    where = answer.json()["findings"][0]
    say(f"    line {where['line']}, column {where['column']}: {where['message']}")
    text = rules_text().replace("rollback_window: 24h ", f"rollback_window: {SHORT_WINDOW_S}s ")
    tried = cast.call("admin", "POST", "/rules/simulate", {"yaml": text})
    cast.expect(tried.status_code == 200 and tried.json()["rerouted"] == 0, "a shorter window reroutes nothing", tried)
    say(f"  admin: POST /rules/simulate: {tried.json()['requests']} requests on record, none would go another way")
    body = {"yaml": text, "comment": "A short window, for the demo"}
    answer = cast.call("admin", "PUT", "/rules", body, **{"If-Match": now.headers["etag"]})
    cast.expect(answer.status_code == 200 and answer.json()["version"] == before + 1, "the file is published", answer)
    say(f"  admin: PUT /rules: version {before + 1} is in force, rollback_window {SHORT_WINDOW_S}s")
    again = cast.call("admin", "PUT", "/rules", body, **{"If-Match": now.headers["etag"]})
    cast.refused(again, 412, "precondition-failed", "another admin publishes on top of the old version")


def rolled_back_too_late(cast: Cast, home: Home) -> None:
    """The window passes, the request is finalized, and nobody can take the approval back."""
    request = cast.filed("sam.sales", "meals", "99.00", "EUR", "Dinner after the fair", "small-travel", "L1")
    cast.expect(request["route"]["rules_version"] > 1, "the new request goes by the new rules")
    request = cast.decided("l1.emea", "approve", request, "approved")
    wait(lambda: cast.read("sam.sales", request)["status"] == "finalized", "its window closes", cast, CLOSED_WITHIN_S)
    say(f"    {SHORT_WINDOW_S} s later, with no person acting: finalized")
    late = cast.call("l1.emea", "POST", f"/approvals/{request['id']}/rollback", {})
    cast.refused(late, 409, "window-closed", "l1.emea rolls back too late")


def offline_batch(cast: Cast, home: Home) -> None:
    """A phone comes back with what was tapped offline; its answer is lost, so it sends everything once more."""
    first, second = _filed_offline("Taxi to the airport"), _filed_offline("Parking")
    nowhere = _item("submit", str(uuid.uuid4()), {**second["body"], "category_id": "no-such-thing"})
    items = [first, _item("withdraw", first["request_id"], {}), second, nowhere]
    phone: Json = {"client_id": "phone-of-sue", "items": items}
    lost = cast.call("sue.sales", "POST", "/requests/sync", phone)
    results = lost.json()["results"] if lost.status_code == 200 else []
    found = [one["result"] for one in results]
    cast.expect(
        found == ["applied", "applied", "applied", "rejected"], f"the batch is done item by item: {found}", lost
    )
    say(f"  sue.sales was offline; her phone sends {len(found)} taps in one batch: {', '.join(found)}")
    say(
        f"    the last one: {results[-1]['problem']['errors'][0]['pointer']} {results[-1]['problem']['errors'][0]['detail']}"
    )
    again = cast.call("sue.sales", "POST", "/requests/sync", phone).json()["results"]
    repeated = [one["result"] for one in again]
    cast.expect(repeated == ["duplicate"] * 3 + ["rejected"], f"the batch once more changes nothing: {repeated}")
    say("  the answer is lost, the same batch goes up again: three duplicates with their first results, nothing twice")
    version = {one["request"]["id"]: one["request"]["version"] for one in results if "request" in one}
    for id_, newest in version.items():
        cast.read("sue.sales", {"id": id_, "version": newest})
    page = cast.call("sue.sales", "GET", "/requests/updates?limit=200").json()
    mine = {item["id"]: item["status"] for item in page["items"]}
    cast.expect(
        mine[first["request_id"]] == "withdrawn" and mine[second["request_id"]] == "pending_l1",
        "the phone's list is the server's",
    )
    nothing = cast.call("sue.sales", "GET", f"/requests/updates?cursor={page['cursor']}").json()
    cast.expect(nothing["items"] == [] == nothing["gone"], "from its cursor on nothing is new")
    say(
        f"  GET /requests/updates: {len(mine)} requests of hers, as the server has them; from that cursor on nothing new"
    )


def _filed_offline(title: str) -> Json:
    body = {
        "category_id": "travel",
        "reason_id": "travel-general",
        "title": title,
        "amount": "38.50",
        "currency": "EUR",
    }
    return _item("submit", str(uuid.uuid4()), body)


def _item(op: str, request_id: str, body: Json) -> Json:
    return {
        "op_id": str(uuid.uuid4()),
        "op": op,
        "request_id": request_id,
        "expected_version": None,
        "device_time": "2026-01-01T08:00:00Z",
        "body": body,
    }


def audited(cast: Cast, home: Home) -> None:
    """Every step is in the audit log, and every chain is whole."""
    logs = cast.call("auditor", "GET", "/audit/logs?limit=200")
    cast.expect(logs.status_code == 200 and len(logs.json()["items"]) > 20, "the auditor sees what happened", logs)
    answer = cast.call("auditor", "GET", "/audit/verify")
    verdict = answer.json()
    cast.expect(answer.status_code == 200 and verdict["ok"], "GET /audit/verify finds every chain whole", answer)
    say(f"  auditor: GET /audit/verify: {verdict['chains']} chains, {verdict['records']} records, all whole")
    done = athena(home, "audit", "verify")
    cast.expect(done.returncode == 0, f"athena audit verify ends with 0: {done.stdout[-300:]}{done.stderr[-300:]}")
    say(f"  athena audit verify: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'ok'}")
    forbidden = cast.call("sam.sales", "GET", "/audit/verify")
    cast.refused(forbidden, 403, "forbidden", "sam.sales looks into the audit log")


STORY: tuple[tuple[str, Callable[[Cast, Home], None]], ...] = (
    ("All three levels, in yen", all_levels),
    ("Two people at one level, in pounds", quorum_of_two),
    ("A rejection, in dollars, and what is refused at once", rejected),
    ("A rollback in time, in euros", rolled_back_in_time),
    ("Sent twice, then withdrawn", sent_twice),
    ("The admin edits the rules", rules_edited),
    ("A rollback too late", rolled_back_too_late),
    ("An offline batch", offline_batch),
    ("The audit check", audited),
)


def push_rules(home: Home, text: str, comment: str) -> None:
    """Publish a rules file as an administrator does it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(text, encoding="utf-8")
        done = athena(home, "rules", "push", str(file), "--comment", comment)
    if done.returncode != 0:
        raise WentWrongError(f"the rules file was not published: {done.stdout.strip()} {done.stderr.strip()}")


def wait(holds: Callable[[], bool], what: str, cast: Cast, seconds: float) -> None:
    """Wait for a condition. Raises WentWrongError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise WentWrongError(f"expected within {seconds:.0f} s that {what}")
        time.sleep(0.1)
    cast.checks += 1


def main() -> int:
    """Exit code 0 all as it should be, 1 something was not, 3 no stack."""
    parser = argparse.ArgumentParser(
        prog="athena demo", description="Drive a story through HTTP; exit 0 if all came out right."
    )
    parser.add_argument(
        "--home", metavar="DIR", default=None, help="a running stack with the demo organisation; else a fresh one"
    )
    arguments = parser.parse_args()
    before: str | None = None
    try:
        with stack(arguments.home, say, ATHENA_RATE_LIMITS=os.environ.get("ATHENA_RATE_LIMITS", "on")) as home:
            cast = Cast(home)
            if arguments.home is not None:
                before = cast.call("admin", "GET", "/rules").json()["yaml"]
            try:
                for title, chapter in STORY:
                    say(f"\n{title}")
                    chapter(cast, home)
            finally:
                if before is not None:
                    push_rules(home, before, "as it was before the demo")
            say(f"\n{cast.checks} checks, all as they should be.")
            return OK
    except WentWrongError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr)  # noqa: T201
        return WRONG
    except (StackError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo could not be played: {error!r}", file=sys.stderr)  # noqa: T201
        return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
