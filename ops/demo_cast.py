"""The people of the demo, and what they do over HTTP, told as it happens."""

from __future__ import annotations

from typing import Any

import httpx

from ops.stack.home import Home

PASSWORD = "athena-demo-2026"  # noqa: S105 - the public demo's
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
