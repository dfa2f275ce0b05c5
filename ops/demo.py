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
from typing import Any

import httpx

from ops.seed import rules_text
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.temporary_stack import athena, stack

OK, WRONG, UNREACHABLE = 0, 1, 3
PASSWORD = "athena-demo-2026"  # noqa: S105 - the public demo's
SHORT_WINDOW_S = 3
CLOSED_WITHIN_S = 20.0
Json = dict[str, Any]


class WentWrongError(Exception):
    """The product did something else than the story says."""


def say(text: str) -> None:
    """One line for the reader."""
    print(text, flush=True)  # noqa: T201 - what the program is for


class Cast:
    """The demo's people at one gateway, each signed in when first needed."""

    def __init__(self, home: Home) -> None:
        self._http = httpx.Client(base_url=f"{home.endpoints()['gateway']}/api/v1", timeout=30, verify=home.trust)
        self._tokens: dict[str, str] = {}
        self.checks = 0

    def call(self, who: str, method: str, path: str, body: Json | None = None, **headers: str) -> httpx.Response:
        """One call by one person."""
        if who not in self._tokens:
            answer = self._http.post("/auth/login", json={"email": f"{who}@athena.test", "password": PASSWORD})
            self.expect(answer.status_code == 200, f"{who} can sign in", answer)
            self._tokens[who] = answer.json()["access_token"]
        headers["Authorization"] = f"Bearer {self._tokens[who]}"
        return self._http.request(method, path, json=body, headers=headers)

    def expect(self, holds: bool, what: str, answer: httpx.Response | None = None) -> None:
        """Count a check. Raises WentWrongError, with the answer, when it does not hold."""
        self.checks += 1
        if not holds:
            shown = "" if answer is None else f"; the answer was {answer.status_code} {answer.text[:400]}"
            raise WentWrongError(f"expected that {what}{shown}")

    def submit(self, who: str, category: str, amount: str, currency: str, title: str, **headers: str) -> httpx.Response:
        """File a request."""
        body = {
            "category_id": category,
            "reason_id": f"{category}-general",
            "title": title,
            "amount": amount,
            "currency": currency,
        }
        return self.call(who, "POST", "/requests", body, **headers)

    def filed(self, who: str, category: str, amount: str, currency: str, title: str, rule: str, levels: str) -> Json:
        """File a request that goes by this rule over these levels, as the read side then has it."""
        answer = self.submit(who, category, amount, currency, title)
        self.expect(answer.status_code == 201, f"{who} can file {title!r}", answer)
        request: Json = answer.json()
        route = request["route"]
        found = ", ".join(level["level"] for level in route["levels"])
        self.expect((route["rule_id"], found) == (rule, levels), f"it goes by {rule} over {levels}", answer)
        seen = self.call(who, "GET", f"/requests/{request['id']}?min_version={request['version']}")
        self.expect(
            seen.status_code == 200 and seen.json() == request, f"{who} sees the request that was just filed", seen
        )
        base = request["base_amount"]
        say(f"  {who} files {title!r}: {amount} {currency} ({base['amount']} {base['currency']}), rule {rule}: {found}")
        return request

    def decided(self, who: str, verb: str, request: Json, status: str, comment: str | None = None) -> Json:
        """Approve, reject or roll back, with this status as the result."""
        body: Json = {"expected_version": request["version"]} | ({} if comment is None else {"comment": comment})
        answer = self.call(who, "POST", f"/approvals/{request['id']}/{verb}", body)
        self.expect(
            answer.status_code == 200 and answer.json()["status"] == status,
            f"after {who}: {verb} it is {status}",
            answer,
        )
        said = "" if comment is None else f" ({comment!r})"
        say(f"  {who}: {verb}{said} -> {status}")
        after: Json = answer.json()
        return after

    def refused(self, answer: httpx.Response, status: int, code: str, what: str) -> None:
        """This answer must be that refusal."""
        found = answer.json().get("code") if answer.status_code >= 400 else None
        self.expect((answer.status_code, found) == (status, code), f"{what} is refused with {status} {code}", answer)
        say(f"  {what}: refused, {status} {code}: {answer.json()['detail']}")

    def read(self, who: str, request: Json) -> Json:
        """The request as the read side has it now."""
        answer = self.call(who, "GET", f"/requests/{request['id']}?min_version={request['version']}")
        self.expect(answer.status_code == 200, f"{who} can see the request", answer)
        found: Json = answer.json()
        return found


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
    """The admin publishes a shorter rollback window; requests under way keep theirs."""
    before = cast.call("admin", "GET", "/rules").json()["version"]
    text = rules_text().replace("rollback_window: 24h ", f"rollback_window: {SHORT_WINDOW_S}s ")
    push_rules(home, text, "A short window, for the demo")
    wait(
        lambda: cast.call("admin", "GET", "/rules").json()["version"] == before + 1,
        "the gateway has the new rules",
        cast,
        10,
    )
    say(f"  rules version {before + 1} is published: rollback_window {SHORT_WINDOW_S}s (`athena rules push`)")


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
    """What this version does not do yet is said, not shown."""
    say(
        "  not in this version: POST /requests/sync and /approvals/sync come in a later step, and so does this part of the story"
    )


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
