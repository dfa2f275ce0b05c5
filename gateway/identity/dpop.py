"""DPoP proofs (RFC 9449): a client that signs in with one gets tokens that are worth nothing without its key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK

from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.http.public import PublicUrl
from gateway.identity.replays import Replays

TYPE = "dpop+jwt"
#: Algorithm by key type and curve, and the members that are the public key (RFC 7638, 3.2; RFC 8037, 2).
KEYS = {("EC", "P-256"): ("ES256", ("crv", "kty", "x", "y")), ("OKP", "Ed25519"): ("EdDSA", ("crv", "kty", "x"))}
#: How far a device's clock may be off, in seconds, either way.
WINDOW = 60
LONGEST_PROOF = 2048
LONGEST_JTI = 256
_HEADER = frozenset({"typ", "alg", "jwk", "kid"})


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds for its call; `jkt` is the RFC 7638 thumbprint of the key that signed it."""

    jkt: str
    jti: str


class ProofError(Exception):
    """The proof proves nothing; the text says why."""


class Proofs:
    """Checks proofs, and knows which were used."""

    def __init__(self, public: PublicUrl, clock: Callable[[], float] = time.time) -> None:
        self._public = public
        self._clock = clock
        # A proof is good from 60 s before until 60 s after its own time.
        self._replays = Replays(2 * WINDOW + 5.0)

    def at_sign_in(self, call: Call) -> Proof | None:
        """The proof of a call that has no access token yet, None when it brings none. Raises Problem 401."""
        try:
            text = _only(call)
            return None if text is None else self._read(text, call, None)
        except ProofError as error:
            raise bad_proof(str(error)) from None

    def spend(self, proof: Proof | None, user_id: str) -> None:
        """Use up the proof of a call that this user may make. Raises Problem 401, 503."""
        if proof is not None and not self._replays.spend(proof.jkt, proof.jti, user_id):
            raise bad_proof("was used before")

    def of_call(self, call: Call, access_token: str, jkt: str) -> Proof:
        """The proof of a call with a bound access token. Raises Problem 401."""
        try:
            text = _only(call)
            if text is None:
                raise ProofError("is missing")
            proof = self._read(text, call, access_token)
        except ProofError as error:
            raise bad_proof(str(error)) from None
        if not hmac.compare_digest(proof.jkt, jkt):
            raise bad_binding()
        return proof

    def _read(self, text: str, call: Call, access_token: str | None) -> Proof:
        method, path = call.scope["method"], call.scope.get("raw_path") or call.scope["path"].encode()
        proof = self.read(text, method, path.decode("latin-1"), access_token)
        if self._replays.seen(proof.jkt, proof.jti):
            raise ProofError("was used before")
        return proof

    def read(self, text: str, method: str, path: str, access_token: str | None) -> Proof:
        """Check a proof per RFC 9449, 4.3, for a call of this method and (percent-encoded) path.

        Raises:
            ProofError: it does not hold.
        """
        if len(text) > LONGEST_PROOF:
            raise ProofError("is too long")
        try:
            header = jwt.get_unverified_header(text)
            public, algorithm = _public_key(header)
            claims: dict[str, Any] = jwt.decode(
                text,
                PyJWK(public, algorithm).key,
                algorithms=[algorithm],
                options={"require": ["jti", "htm", "htu", "iat"], "verify_iat": False, "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise ProofError(f"cannot be verified ({type(error).__name__})") from None
        self._check(claims, method, path, access_token)
        return Proof(thumbprint(public), claims["jti"])

    def _check(self, claims: dict[str, Any], method: str, path: str, access_token: str | None) -> None:
        jti, at, uri = claims["jti"], claims["iat"], claims["htu"]
        if not isinstance(jti, str) or not 1 <= len(jti) <= LONGEST_JTI:
            raise ProofError("has no proper jti")
        if claims["htm"] != method:
            raise ProofError("is for another method")
        if not isinstance(uri, str) or not self._public.names(uri, path):
            raise ProofError("is for another address")
        now = self._clock()
        if isinstance(at, bool) or not isinstance(at, int | float) or not now - WINDOW <= at <= now + WINDOW:
            raise ProofError("is not of this minute")
        if access_token is not None:
            wanted = _base64url(hashlib.sha256(access_token.encode()).digest())
            given = claims.get("ath")
            if not isinstance(given, str) or not hmac.compare_digest(given.encode(), wanted.encode()):
                raise ProofError("is for another access token")


def thumbprint(public: dict[str, str]) -> str:
    """RFC 7638: of the members that `_public_key` leaves, in their order, without blanks."""
    text = json.dumps(public, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _base64url(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def bad_proof(why: str) -> Problem:
    """401 as in RFC 9449, 7.1."""
    return _refused("invalid_dpop_proof", f"The DPoP proof {why}.")


def bad_binding() -> Problem:
    """401: the token and the way in which it was sent do not belong together."""
    return _refused("invalid_token", "The access token is bound to another key, or was sent under the wrong scheme.")


def _refused(error: str, detail: str) -> Problem:
    challenge = f'DPoP error="{error}", algs="ES256 EdDSA"'
    return Problem(401, "unauthenticated", detail, headers=((b"www-authenticate", challenge.encode()),))


def _only(call: Call) -> str | None:
    """The `DPoP` header, of which there is one or none."""
    found = [value for name, value in call.scope["headers"] if name == b"dpop"]
    if len(found) > 1:
        raise ProofError("is there twice")
    return found[0].decode("latin-1") if found else None


def _public_key(header: dict[str, Any]) -> tuple[dict[str, str], str]:
    """The public key in a proof's header and its algorithm; nothing else of the header is taken."""
    if header.get("typ") != TYPE or not header.keys() <= _HEADER:
        raise ProofError("has another header than a proof's")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or not all(isinstance(jwk.get(name), str) for name in ("kty", "crv")):
        raise ProofError("names no key")
    algorithm, members = KEYS.get((jwk["kty"], jwk["crv"]), (None, ()))
    if algorithm is None or header.get("alg") != algorithm:
        raise ProofError("is not signed with ES256 or EdDSA")
    if jwk.keys() - {*members, "kid", "use", "alg", "key_ops"}:
        raise ProofError("has more than a public key")
    public = {name: jwk.get(name) for name in members}
    if not all(isinstance(value, str) for value in public.values()):
        raise ProofError("names no key")
    return {name: str(value) for name, value in public.items()}, algorithm


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
