"""A stack of its own with the people and the requests of the tables."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx
import jwt

from tests.client import API, ROUTE_ALL, Api, submission
from tests.organisation import person, put_seen
from tests.stack import Stack

#: Name in the tables -> account.
PEOPLE = {
    "sam": "sam.sales", "sue": "sue.sales", "ana": "ana.sales", "apac": "l1.apac", "l1": "l1.emea", "l1b": "l1b.emea",
    "hq": "l1.hq", "l2": "l2", "l3": "l3", "admin": "admin", "audit": "auditor", "idle": "idle", "gone": "gone",
    "ghost": "ghost",
}  # fmt: skip
OWNERS = {"sam's": "sam", "sue's": "sue", "ana's": "ana", "apac's": "apac"}
#: Who approves at L1 what `OWNERS` filed.
FIRST_APPROVER = {"sam's": "l1", "sue's": "l1", "ana's": "apac"}
_EXTRA: dict[str, tuple[tuple[str, ...], str]] = {
    "idle": ((), "emea-sales"),
    "gone": (("sales", "manager", "admin", "auditor"), "emea-sales"),
    # To be changed and deactivated.
    "spare": ((), "hq"),
    # A second approver for apac, without whom nobody could decide on what l1.apac files.
    "second.apac": (("manager",), "apac-sales"),
}


class House:
    """`api` signs in by account; `tokens` are good ones by name in the tables, that of `gone` from before the end."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api = Api(stack.gateway)
        for account, (roles, department) in _EXTRA.items():
            person(stack, self.api, account, roles, department)
        second = {"category_id": "marketing", "level": "L1", "approver_id": "second.apac", "region": "apac"}
        put_seen(stack, self.api, "assignment", "second", **second)
        put_seen(stack, self.api, "department", "spare", name="Spare", region="emea")
        put_seen(stack, self.api, "category", "spare", name="Spare", active=False)
        put_seen(stack, self.api, "reason", "spare", text="Spare")
        self.tokens = {name: self.api.token(account) for name, account in PEOPLE.items() if name != "ghost"}
        roles, department = _EXTRA["gone"]
        person(stack, self.api, "gone", roles, department, active=False)
        self.standing = {name: self.file(name) for name in OWNERS}
        self.decided = self.file("sam's")
        self.api.approved(PEOPLE["l1"], self.decided)
        for request in (*self.standing.values(), self.decided):
            self.api.read("admin", request)

    def file(self, name: str) -> dict[str, Any]:
        """A new request of that owner, waiting at L1."""
        return self.api.submit(PEOPLE[OWNERS[name]], **ROUTE_ALL)

    def sign_in(self, name: str) -> str | None:
        """A token of a session of its own; the old one for who cannot sign in any more."""
        answer = self.api.login(PEOPLE.get(name, name))
        return answer.json()["access_token"] if answer.status_code == 200 else self.tokens.get(name)

    def assignment(self) -> str:
        """Id of a new assignment that nobody needs."""
        body = {"category_id": "marketing", "level": "L1", "approver_id": "l3", "region": uuid.uuid4().hex}
        answer = self.api.post("admin", "/assignments", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def session_of(self, name: str) -> str:
        """Id of a new session of that person."""
        token = self.sign_in(name)
        assert token is not None
        return str(jwt.decode(token, options={"verify_signature": False})["sid"])

    def call(
        self,
        name: str,
        method: str,
        path: str,
        token: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> httpx.Response:
        """A call as that person; `nobody` sends no token."""
        sent = token or self.tokens.get(name)
        headers = dict(headers) if sent is None else {"Authorization": f"Bearer {sent}", **headers}
        if "content" in more:
            headers["Content-Type"] = "text/csv"
        if method == "PUT" or path.endswith("/restore"):
            headers["If-Match"] = "*"
        prefix = "" if path.startswith(("/livez", "/readyz", "/.well-known")) else API
        if path == "/events":
            # It has no end: its head is the answer.
            with self.api.http.stream(method, prefix + path, headers=headers) as answer:
                if answer.status_code != 200:
                    answer.read()
                return answer
        return self.api.http.request(method, prefix + path, headers=headers, **more)

    def everything(self, name: str, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            params = {"limit": 200} if cursor is None else {"limit": 200, "cursor": cursor}
            answer = self.call(name, "GET", path, params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            cursor = page["next_cursor"] if "next_cursor" in page else page["cursor"] if page["has_more"] else None
            if cursor is None:
                return found

    def command_of_sam(self) -> str:
        """Id of a command that sam gave."""
        answer = self.call("sam", "POST", "/requests", json=submission())
        assert answer.status_code == 201, answer.text
        return answer.headers["command-id"]
