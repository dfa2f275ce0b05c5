"""A sign-in that was begun: carried by the client in `state`, signed, so that beginning one costs us no memory.

It is bound to the client by the challenge of a verifier that the client alone has (PKCE, RFC 7636). Nothing in it is secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from gateway.http.cursors import Cursors
from gateway.http.problems import Problem
from gateway.identity.provider.failures import Unproven
from gateway.identity.provider.registration import Registration

#: How long signing in at the provider may take.
SECONDS = 600
_VALUES = 4


@dataclass(frozen=True, slots=True)
class Begun:
    """`nonce` is also its id: it is used up once. `expires` in seconds since 1970."""

    nonce: str
    expires: int
    challenge: str
    redirect_uri: str

    @classmethod
    def now(cls, challenge: str, redirect_uri: str) -> Begun:
        return cls(secrets.token_urlsafe(32), int(time.time()) + SECONDS, challenge, redirect_uri)

    @classmethod
    def read(cls, state: str, signer: Cursors, registration: Registration) -> Begun:
        """What `state` carries. Raises Unproven for one that is bent, too old, or of another provider or client."""
        try:
            nonce, expires, challenge, redirect_uri = signer.read(_scope(registration), state, _VALUES)
        except Problem:
            raise Unproven("state", "the state is not ours") from None
        if expires <= time.time() or redirect_uri not in registration.redirect_uris:
            raise Unproven("state", "the sign-in took too long, or the settings have changed")
        return cls(nonce, expires, challenge, redirect_uri)

    def state(self, signer: Cursors, registration: Registration) -> str:
        values = [self.nonce, self.expires, self.challenge, self.redirect_uri]
        return signer.write(_scope(registration), values)

    def is_of(self, verifier: str) -> bool:
        """Whether the client that has `verifier` began it."""
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return hmac.compare_digest(challenge, self.challenge)


def _scope(registration: Registration) -> str:
    # A list cursor's scope begins with a user's id, which has no blank.
    return f"provider sign-in\x1f{registration.issuer}\x1f{registration.client_id}"
