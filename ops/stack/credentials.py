"""The secrets of a home: made once, kept in files that only this user may read."""

from __future__ import annotations

import base64
import json
import secrets

from ops.stack.home import ROLES, Home

TOKEN_KEYS = "token-keys.json"  # noqa: S105 - a file's name
CURSOR_KEY = "cursor-key"


def create_missing(home: Home) -> None:
    """Make the secrets that the home lacks: database passwords, the token signing key, the cursor key."""
    for role in ROLES.values():
        name = f"password-{role}"
        if not home.secret(name).exists():
            home.write_secret(name, secrets.token_urlsafe(24))
    if not home.secret(CURSOR_KEY).exists():
        home.write_secret(CURSOR_KEY, secrets.token_urlsafe(48))
    if not home.secret(TOKEN_KEYS).exists():
        home.write_secret(TOKEN_KEYS, json.dumps([new_token_key()]))


def write_database_urls(home: Home) -> None:
    """Write each role's PostgreSQL URL to its file; again on every start, since a port may have changed."""
    for process in ROLES:
        home.write_secret(f"database-url-{process}", home.database_url(process))


def new_token_key() -> dict[str, str]:
    """A new Ed25519 private key as a JWK with `kid`."""
    # Imported here: it takes longer than all else that a start on an existing home does.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": secrets.token_hex(8),
        "d": _base64url(key.private_bytes_raw()),
        "x": _base64url(key.public_key().public_bytes_raw()),
    }


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
