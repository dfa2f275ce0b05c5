"""A real OpenID Connect provider (oidc-provider-mock) behind a server that can bend its answers, and a client with a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt

from tests.client import API
from tests.provider_keys import signed
from tests.scripted_server import Asked, Reply, ScriptedServer

TOKEN = "/oauth2/token"
KEYS = "/jwks"
DISCOVERY = "/.well-known/openid-configuration"


class Front(ScriptedServer):
    """Passes on to the provider what has no script. `keys` are published beside the provider's own."""

    def __init__(self, port: int) -> None:
        self.keys: list[dict[str, Any]] = []
        self.hide_others = False
        self._provider = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        super().__init__()

    def person(self, subject: str, **claims: Any) -> None:
        """Make or change a person at the provider."""
        self._provider.put(f"/users/{subject}", json=claims).raise_for_status()

    def pass_on(self, asked: Asked) -> Reply:
        """The provider's own answer."""
        path = asked.path + ("?" + asked.query if asked.query else "")
        sent = {
            name: value for name, value in asked.headers.items() if name in {"host", "content-type", "authorization"}
        }
        found = self._provider.request(asked.method, path, headers=sent, content=asked.body)
        kept = {name: value for name, value in found.headers.items() if name in {"content-type", "location"}}
        return Reply(found.content, found.status_code, kept)

    def answer(self, asked: Asked) -> Reply | None:
        script = self.scripts.get(asked.path)
        if script is not None:
            return script(asked)
        reply = self.pass_on(asked)
        if asked.path == KEYS:
            others = [] if self.hide_others else json.loads(reply.body)["keys"]
            return Reply(json.dumps({"keys": [*others, *self.keys]}).encode())
        return reply

    @contextmanager
    def bent_tokens(self, sign: Callable[[dict[str, Any]], str]) -> Iterator[None]:
        """ID tokens are what `sign` makes of the provider's claims meanwhile."""

        def script(asked: Asked) -> Reply:
            reply = self.pass_on(asked)
            answer = json.loads(reply.body)
            answer["id_token"] = sign(jwt.decode(answer["id_token"], options={"verify_signature": False}))
            return Reply(json.dumps(answer).encode(), reply.status)

        with self.scripted(TOKEN, script):
            yield

    def signed_by(self, kid: str, number: int = 0, **changes: Any) -> Callable[[dict[str, Any]], str]:
        """For `bent_tokens`: the claims with these changes, signed with an ES256 key of ours."""
        return lambda claims: signed(claims | changes, "ES256", kid, number)


@contextmanager
def provider() -> Iterator[Front]:
    """The provider and its front, on free ports of loopback."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    with warnings.catch_warnings():
        # It uses parts of Authlib that are to be renamed; Authlib asks to be heard when it is imported.
        import authlib.deprecate  # noqa: F401, PLC0415

        warnings.simplefilter("ignore")
        from oidc_provider_mock import run_server_in_thread  # noqa: PLC0415

    with run_server_in_thread() as server:
        front = Front(server.server_port)
        try:
            yield front
        finally:
            front.stop()


@dataclass(frozen=True)
class Attempt:
    """A sign-in that came back from the provider: what `finish` takes."""

    state: str
    code: str
    code_verifier: str

    def body(self, **changes: Any) -> dict[str, Any]:
        found = {"state": self.state, "code": self.code, "code_verifier": self.code_verifier} | changes
        return {name: value for name, value in found.items() if value is not None}


class Phone:
    """A client with its browser. It comes from a loopback address of its own, so that no test uses up another's rate."""

    def __init__(self, gateway: str) -> None:
        self.address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 1}"
        transport = httpx.HTTPTransport(local_address=self.address)
        self.http = httpx.Client(base_url=gateway, timeout=40, transport=transport)

    def start(self, verifier: str, **more: Any) -> httpx.Response:
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self.http.post(f"{API}/auth/oidc/start", json={"code_challenge": challenge, **more})

    def finish(self, attempt: Attempt, **changes: Any) -> httpx.Response:
        return self.http.post(f"{API}/auth/oidc/finish", json=attempt.body(**changes))

    def come_back(self, subject: str, **more: Any) -> Attempt:
        """Begin, sign in at the provider as `subject`, and come back with a code."""
        verifier = secrets.token_urlsafe(48)
        begun = self.start(verifier, **more)
        assert begun.status_code == 200, begun.text
        found = httpx.post(begun.json()["authorization_url"], data={"sub": subject}, timeout=20)
        assert found.status_code == 302, found.text
        query = parse_qs(urlsplit(found.headers["location"]).query)
        assert query["state"] == [begun.json()["state"]]
        return Attempt(query["state"][0], query["code"][0], verifier)

    def sign_in(self, subject: str, **changes: Any) -> httpx.Response:
        """All of it."""
        return self.finish(self.come_back(subject), **changes)
