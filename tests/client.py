"""A person at the API: signs in, sends commands, looks; every call has a limit."""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from typing import Any, Literal

import httpx

API = "/api/v1"
PASSWORD = "athena-demo-2026"
#: Tokens live for 10 minutes; a new one is fetched well before.
TOKEN_AGE = 400.0
ROUTE_L1 = {"category_id": "travel", "amount": "420.00", "currency": "EUR"}
ROUTE_L1_L2 = {"category_id": "training", "amount": "1500.00", "currency": "USD"}
ROUTE_L1_L2_ALL = {"category_id": "hardware", "amount": "2000.00", "currency": "EUR"}
ROUTE_ALL = {"category_id": "marketing", "amount": "75000.00", "currency": "EUR"}


class Api:
    """One gateway. `who` is a login before the `@`, None for nobody."""

    def __init__(self, base: str, trust: ssl.SSLContext | Literal[True] = True) -> None:
        self.base = base
        self.http = httpx.Client(base_url=base, timeout=40, verify=trust, limits=httpx.Limits(max_connections=220))
        self._tokens: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def token(self, who: str) -> str:
        """An access token, from an earlier sign-in if it is fresh."""
        with self._lock:
            at, token = self._tokens.get(who, (0.0, ""))
            if not token or time.monotonic() - at > TOKEN_AGE:
                answer = self.login(who)
                assert answer.status_code == 200, answer.text
                token = answer.json()["access_token"]
                self._tokens[who] = (time.monotonic(), token)
        return token

    def login(self, who: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Sign in; `more` goes into the body."""
        body = {"email": f"{who}@athena.test", "password": password, **more}
        return self.http.post(f"{API}/auth/login", json=body)

    def call(
        self,
        who: str | None,
        method: str,
        path: str,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Any call below `/api/v1`; `key` is the Idempotency-Key, `more` goes to httpx."""
        sent = dict(headers or {})
        if who is not None:
            sent["Authorization"] = f"Bearer {self.token(who)}"
        if key is not None:
            sent["Idempotency-Key"] = key
        return self.http.request(method, API + path, headers=sent, **more)

    def get(self, who: str | None, path: str, **params: Any) -> httpx.Response:
        return self.call(who, "GET", path, params=params)

    def post(self, who: str | None, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return (
            self.call(who, "POST", path, json=body, **more)
            if body is not None
            else self.call(who, "POST", path, **more)
        )

    def submit(self, who: str = "sam.sales", **fields: Any) -> dict[str, Any]:
        """File a request that must be accepted; unnamed fields are those of a small trip."""
        answer = self.post(who, "/requests", submission(**fields))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def decide(self, who: str, verb: str, request: dict[str, Any] | str, **body: Any) -> httpx.Response:
        """Approve, reject or roll back."""
        id_ = request if isinstance(request, str) else request["id"]
        return self.post(who, f"/approvals/{id_}/{verb}", body)

    def approved(self, who: str, request: dict[str, Any]) -> dict[str, Any]:
        """An approval that must be accepted."""
        answer = self.decide(who, "approve", request)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def read(self, who: str, request: dict[str, Any], version: int | None = None) -> dict[str, Any]:
        """The request from the read side, at that version or later."""
        answer = self.get(who, f"/requests/{request['id']}", min_version=version or request["version"])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def bearer(grant: dict[str, Any]) -> dict[str, str]:
    """The header that uses a grant's access token."""
    return {"Authorization": f"Bearer {grant['access_token']}"}


def submission(**fields: Any) -> dict[str, Any]:
    """The body of a submission."""
    body: dict[str, Any] = {"title": f"Trip {uuid.uuid4()}", **ROUTE_L1, **fields}
    body.setdefault("reason_id", f"{body['category_id']}-general")
    return body
