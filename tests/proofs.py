"""A client's DPoP key and the proofs it signs, right ones and bent ones (RFC 9449)."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm


class Key:
    """An ES256 key, or with `ed25519` an EdDSA key."""

    def __init__(self, *, ed25519: bool = False) -> None:
        self.private: EllipticCurvePrivateKey | Ed25519PrivateKey = (
            Ed25519PrivateKey.generate() if ed25519 else generate_private_key(SECP256R1())
        )
        self.algorithm = "EdDSA" if ed25519 else "ES256"

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key."""
        public = self.private.public_key()
        to_jwk = OKPAlgorithm.to_jwk if self.algorithm == "EdDSA" else ECAlgorithm.to_jwk
        found = to_jwk(public, as_dict=True)  # type: ignore[arg-type]
        return {name: value for name, value in found.items() if name in ("kty", "crv", "x", "y")}

    @property
    def jkt(self) -> str:
        """Its RFC 7638 thumbprint."""
        return base64url(hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())

    def proof(
        self,
        method: str,
        url: str,
        token: str | None = None,
        *,
        header: dict[str, Any] | None = None,
        without: tuple[str, ...] = (),
        **claims: Any,
    ) -> str:
        """A proof for one call; `header` and `claims` replace members of it, `without` leaves claims out."""
        said: dict[str, Any] = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
        if token is not None:
            said["ath"] = base64url(hashlib.sha256(token.encode()).digest())
        said = {name: value for name, value in (said | claims).items() if name not in without}
        head = {"typ": "dpop+jwt", "jwk": self.jwk} | (header or {})
        return jwt.encode(said, self.private, self.algorithm, headers=head)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    """A JWT of these parts, whatever they are."""
    parts = [base64url(json.dumps(part).encode()) for part in (header, claims)]
    return ".".join([*parts, signature])
