"""Keys, tokens and calls for the gateway's unit tests; nothing here stands in for Kafka or PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.http.call import Call
from gateway.identity.tokens import Tokens
from ops.settings import Settings

ISSUER = "https://athena-budget.dev"
AUDIENCE = "athena-api"


def make_jwk(kid: str) -> dict[str, str]:
    key = Ed25519PrivateKey.generate()

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": kid,
        "d": encoded(key.private_bytes_raw()),
        "x": encoded(key.public_key().public_bytes_raw()),
    }


@pytest.fixture(scope="session")
def jwks() -> list[dict[str, str]]:
    return [make_jwk("first"), make_jwk("second")]


@pytest.fixture
def tokens(jwks: list[dict[str, str]]) -> Tokens:
    return Tokens(json.dumps(jwks), ISSUER, AUDIENCE)


@pytest.fixture
def make_call() -> Callable[..., Call]:
    """A call with a body in chunks and headers; of the services it has the settings, which a test may change."""

    def make(
        *chunks: bytes,
        query: bytes = b"",
        method: str = "POST",
        path: str = "/",
        settings: dict[str, Any] | None = None,
        **headers: str,
    ) -> Call:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        messages = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1}
            for number, chunk in enumerate(chunks)
        ] or [{"type": "http.request", "body": b"", "more_body": False}]
        left = iter(messages)

        async def receive() -> dict[str, Any]:
            return next(left)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": raw,
            "client": ("192.0.2.7", 4711),
        }
        return Call(scope, receive, SimpleNamespace(settings=Settings(**settings or {})))  # type: ignore[arg-type]

    return make
