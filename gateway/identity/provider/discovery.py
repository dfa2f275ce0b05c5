"""What the provider says of itself: its endpoints and its keys (OpenID Connect Discovery 1.0, 3 and 4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.identity.provider.addresses import is_endpoint
from gateway.identity.provider.failures import Away, Unproven
from gateway.identity.provider.fresh import Fresh
from gateway.identity.provider.id_token import Header, Key, pick
from gateway.identity.provider.wire import Wire

METADATA_SECONDS = 3600.0
KEYS_SECONDS = 600.0
#: A token with a key that is not known makes the keys be fetched before their time, no more often than this.
REFETCH_SECONDS = 30.0
MAX_KEYS = 100


@dataclass(frozen=True, slots=True)
class Metadata:
    """`names_itself`: authorization responses carry `iss` (RFC 9207). `basic`: our secret goes into a header, else the form."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    basic: bool


class Discovery:
    """Kept for an hour, the keys for ten minutes."""

    def __init__(self, issuer: str, wire: Wire, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._wire = wire
        self._clock = clock
        self._metadata = Fresh(self._fetch_metadata, METADATA_SECONDS, clock)
        self._keys = Fresh(self._fetch_keys, KEYS_SECONDS, clock)
        self._refetched = float("-inf")

    async def metadata(self) -> Metadata:
        """The endpoints. Raises Away."""
        return await self._metadata.get()

    async def key(self, header: Header) -> Key:
        """The key that a token's header names.

        Raises:
            Away: the keys cannot be had.
            Unproven: the provider publishes no such key.
        """
        found = pick(await self._keys.get(), header)
        if found is None:
            if self._clock() - self._refetched >= REFETCH_SECONDS:
                self._refetched = self._clock()
                self._keys.expire()
            # Fetched by us or, at this moment, by somebody else.
            found = pick(await self._keys.get(), header)
        if found is None:
            raise Unproven("token", "the provider publishes no such key")
        return found

    async def _fetch_metadata(self) -> Metadata:
        found = await self._wire.document(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise Away(
                "discovery",
                f"the provider names itself {found.get('issuer')!r:.200}; ATHENA_OIDC_ISSUER must be just that",
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not is_endpoint(found.get(name), self._issuer):
                raise Away("discovery", f"the provider's {name} is no address to trust: {found.get(name)!r:.200}")
        methods = found.get("code_challenge_methods_supported", ["S256"])
        if not isinstance(methods, list) or "S256" not in methods:
            raise Away("discovery", "the provider does not know PKCE with S256")
        logins = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Metadata(
            authorization_endpoint=found["authorization_endpoint"],
            token_endpoint=found["token_endpoint"],
            jwks_uri=found["jwks_uri"],
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
            basic=not isinstance(logins, list) or "client_secret_basic" in logins or "client_secret_post" not in logins,
        )

    async def _fetch_keys(self) -> list[dict[str, Any]]:
        found = (await self._wire.document((await self.metadata()).jwks_uri)).get("keys")
        if not isinstance(found, list):
            raise Away("malformed", "the provider's key set has no list of keys")
        return [key for key in found[:MAX_KEYS] if isinstance(key, dict)]
