"""The secrets of a home: made once, kept in files that only this user may read."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

from ops.stack import via
from ops.stack.errors import StackError
from ops.stack.home import ROLES, Home
from ops.stack.records import write_text

if TYPE_CHECKING:
    from schemas.notes import VerifierKey

TOKEN_KEYS = "token-keys.json"  # noqa: S105 - a file's name
CURSOR_KEY = "cursor-key"
CHECKPOINT_KEY = "checkpoint-key.pem"


def create_missing(home: Home) -> None:
    """Make the secrets that the home lacks: database passwords, the token signing key, the cursor key, the checkpoints' key, the
    certificates.
    """
    for role in ROLES.values():
        name = f"password-{role}"
        if not home.secret(name).exists():
            home.write_secret(name, secrets.token_urlsafe(24))
    if not home.secret(CURSOR_KEY).exists():
        home.write_secret(CURSOR_KEY, secrets.token_urlsafe(48))
    if not home.secret(TOKEN_KEYS).exists():
        home.write_secret(TOKEN_KEYS, json.dumps([new_token_key()]))
    home.certificates.create_missing()
    if not home.secret(CHECKPOINT_KEY).exists():
        home.write_secret(CHECKPOINT_KEY, new_checkpoint_key())
        home.vkeys_file.unlink(missing_ok=True)
    if not home.vkeys_file.exists():
        write_text(home.vkeys_file, "".join(f"{key}\n" for key in checkpoint_vkeys(home)))
        home.vkeys_file.chmod(0o644)


def write_database_urls(home: Home) -> None:
    """Write each role's PostgreSQL URL to its file; again on every start, since a port may have changed."""
    ways = via.ways(via.POSTGRES)
    for process in ROLES:
        home.write_secret(f"database-url-{process}", home.database_url(process, ways.get(process)))


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


def new_checkpoint_key() -> str:
    """A new Ed25519 private key in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()


def checkpoint_vkeys(home: Home) -> list[VerifierKey]:
    """The verifier key of each audit partition, from the home's private key.

    Raises:
        StackError: this home was never started, or its key cannot be read.
    """
    from schemas.checkpoints import origin_of  # noqa: PLC0415 - as above
    from schemas.notes import NoteError, VerifierKey, load_private_key  # noqa: PLC0415

    try:
        key = load_private_key(home.secret(CHECKPOINT_KEY).read_text(encoding="utf-8"))
    except (OSError, NoteError) as error:
        raise StackError(
            f"The home {home.path} has no checkpoint key: {error}. Start it: athena up --home {home.path}"
        ) from error
    public = key.public_key().public_bytes_raw()
    count = int(home.choices().get("partitions", 4))
    return [VerifierKey(origin_of(home.installation, number), public) for number in range(count)]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
