"""The two halves of a sign-in: where to send the person, and who came back."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from gateway.http.cursors import Cursors
from gateway.identity.provider import id_token
from gateway.identity.provider.begun import Begun
from gateway.identity.provider.discovery import Discovery, Metadata
from gateway.identity.provider.failures import Away, Unproven
from gateway.identity.provider.id_token import Expected, Identity
from gateway.identity.provider.registration import Registration
from gateway.identity.provider.wire import Wire

#: RFC 6749, 5.2: the provider has something against this client, not against the code.
_OUR_FAULT = ("invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope")


class Provider:
    """One provider, one registration."""

    def __init__(self, registration: Registration, signer: Cursors) -> None:
        self.registration = registration
        self._signer = signer
        self._wire = Wire()
        self._discovery = Discovery(registration.issuer, self._wire)

    async def stop(self) -> None:
        await self._wire.stop()

    async def begin(self, challenge: str, redirect_uri: str) -> tuple[str, str]:
        """The address to open in the person's browser, and the `state` that comes back. Raises Away."""
        metadata = await self._discovery.metadata()
        begun = Begun.now(challenge, redirect_uri)
        state = begun.state(self._signer, self.registration)
        parameters = {
            "response_type": "code",
            "client_id": self.registration.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.registration.scopes,
            "state": state,
            "nonce": begun.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        place = urlsplit(metadata.authorization_endpoint)
        query = urlencode([*parse_qsl(place.query), *parameters.items()])
        return urlunsplit(place._replace(query=query)), state

    async def check(self, state: str, verifier: str, issuer: str | None) -> Begun:
        """The sign-in that this client began, and whose answer came from this provider (RFC 9207).

        Raises:
            Away: the provider's metadata cannot be had.
            Unproven: another client began it, or none; or the answer is another provider's.
        """
        begun = Begun.read(state, self._signer, self.registration)
        if not begun.is_of(verifier):
            raise Unproven("state", "another client began this sign-in")
        if issuer is None and not (await self._discovery.metadata()).names_itself:
            return begun
        if issuer != self.registration.issuer:
            raise Unproven("state", "the answer does not name this provider as its issuer")
        return begun

    async def identify(self, begun: Begun, code: str, verifier: str) -> Identity:
        """Who signed in: the code is redeemed, the ID token verified.

        Raises:
            Away: the provider cannot be reached, or does not accept this client.
            Unproven: the code is no good, or the token does not prove who it is.
        """
        tokens = await self._redeem(await self._discovery.metadata(), begun, code, verifier)
        token, access = tokens.get("id_token"), tokens.get("access_token")
        header = id_token.header_of(token)
        key = await self._discovery.key(header)
        expected = Expected(
            self.registration.issuer,
            self.registration.client_id,
            begun.nonce,
            access if isinstance(access, str) else None,
        )
        identity = id_token.verify(str(token), header, key, expected)
        if self.registration.domains and identity.email.partition("@")[2] not in self.registration.domains:
            raise Unproven("email", "the e-mail address is of a domain that is not let in")
        return identity

    async def _redeem(self, metadata: Metadata, begun: Begun, code: str, verifier: str) -> dict[str, Any]:
        ours = self.registration
        status, found = await self._send(metadata, begun, code, verifier)
        if found.get("error") in _OUR_FAULT and await ours.secret.refetch():
            # Our secret was changed a moment ago. Who is not known has used no code up (RFC 6749, 3.2.1).
            status, found = await self._send(metadata, begun, code, verifier)
        if status == 200:
            return found
        if found.get("error") in _OUR_FAULT:
            raise Away(
                "client", "the provider does not accept this client; look at ATHENA_OIDC_CLIENT_ID and its secret"
            )
        raise Unproven("code", f"the provider does not take the code (status {status})")

    async def _send(self, metadata: Metadata, begun: Begun, code: str, verifier: str) -> tuple[int, dict[str, Any]]:
        ours, secret = self.registration, self.registration.secret.current()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect_uri,
            "code_verifier": verifier,
        }
        basic = None
        if secret and metadata.basic:
            # RFC 6749, 2.3.1: both are form-encoded first.
            basic = (quote_plus(ours.client_id), quote_plus(secret))
        else:
            form["client_id"] = ours.client_id
            if secret:
                form["client_secret"] = secret
        return await self._wire.post(metadata.token_endpoint, form, basic)
