"""Signing in with the outside provider. A client begins, opens the browser, and ends with what the redirect brings back."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from gateway import metrics
from gateway.http.access import ANYONE
from gateway.http.answers import Answer, json_answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.http.problems import Problem, invalid_at, not_found, unavailable
from gateway.identity.browser import handed_over, is_browser
from gateway.identity.devices import Device, set_cookie
from gateway.identity.provider.begun import SECONDS
from gateway.identity.provider.failures import Away, Unproven
from gateway.identity.provider.id_token import Identity
from gateway.identity.provider.provider import Provider
from gateway.models.answers import Grant
from gateway.models.sign_in_elsewhere import FinishBody, StartBody, Started
from gateway.routes.auth import CLIENT
from gateway.sql import credentials, provider_links
from schemas.reference import User
from schemas.security import NOBODY

log = structlog.get_logger(__name__)

group = Group("Signing in")

#: `code` of the audit record of a sign-in by the provider; by password it has none.
METHOD = "oidc"
_RETRY_AFTER = 2


@group.endpoint("POST", "/auth/oidc/start", ANYONE, {200: Started}, body=StartBody, problems=(404,))
async def start(call: Call) -> Answer:
    """Begin a sign-in with the outside provider. 404: none is set."""
    provider = await _provider(call)
    body = await read_body(call, StartBody)
    known = provider.registration.redirect_uris
    redirect_uri = known[0] if body.redirect_uri is None else body.redirect_uri
    if redirect_uri not in known:
        raise invalid_at("/redirect_uri", "is not one of those that are set")
    try:
        url, state = await provider.begin(body.code_challenge, redirect_uri)
    except Away as failure:
        raise _away(call, failure) from None
    return json_answer({"authorization_url": url, "state": state, "expires_in": SECONDS})


@group.endpoint(
    "POST", "/auth/oidc/finish", ANYONE, {200: Grant}, body=FinishBody, headers=(CLIENT,), problems=(401, 403, 404)
)
async def finish(call: Call) -> Answer:
    """End it: the tokens of a new session. Works once, and for the client that began it. With a DPoP proof, bound to its key."""
    provider = await _provider(call)
    body = await read_body(call, FinishBody)
    services = call.services
    # What is wrong with the call itself does not use the sign-in up.
    is_browser(call)
    proof = services.proofs.at_sign_in(call)
    device = Device.of(call, body.device_id, proof.jkt if proof else None)
    user_id = NOBODY
    try:
        begun = await provider.check(body.state, body.code_verifier, body.iss)
        if not await provider_links.use_up(services.database, begun.nonce, datetime.fromtimestamp(begun.expires, UTC)):
            raise Unproven("state", "this sign-in was ended before")
        identity = await provider.identify(begun, body.code, body.code_verifier)
        linked = await provider_links.linked(services.database, identity.issuer, identity.subject)
        user_id = linked or services.catalog.users_by_email.get(identity.email, NOBODY)
        user = await services.accounts.current(user_id)
        if user is None or not user.active:
            raise Unproven("person", "there is no active account for this person")
        if linked is None:
            await _link(call, identity, user)
    except Away as failure:
        raise _away(call, failure) from None
    except Unproven as failure:
        raise _refused(call, failure, user_id) from None
    services.proofs.spend(proof, user.id)
    _, known = await credentials.standing(services.database, user.id, device.places)
    device = services.cookies.given(device, user.id, known)
    grant = await services.grants.open(user, device)
    assert grant is not None  # only a password that changed meanwhile keeps a session from being opened
    await services.security.record(call, "login", user.id, roles=user.roles, code=METHOD)
    metrics.SIGN_INS.labels("succeeded").inc()
    document, headers = handed_over(call, grant.document)
    return json_answer(document, headers=(set_cookie(call, device), *headers))


async def _link(call: Call, identity: Identity, user: User) -> None:
    """The person's first sign-in: from now on the subject says whose account it is, whatever their e-mail address."""
    if await provider_links.link(call.services.database, identity.issuer, identity.subject, user.id) != user.id:
        raise Unproven("person", "the account with this e-mail address is linked to somebody else at the provider")


async def _provider(call: Call) -> Provider:
    """Raises Problem 404 without one, 429 for an address that signs in too often."""
    provider = call.services.provider
    if provider is None:
        raise not_found()
    await call.services.limits.sign_in(call.address)
    return provider


def _away(call: Call, failure: Away) -> Problem:
    metrics.PROVIDER_FAILURES.labels(failure.why).inc()
    log.warning(
        "the sign-in provider gave no usable answer",
        why=failure.why,
        error=str(failure),
        correlation_id=call.correlation_id,
    )
    return unavailable("The provider that people sign in with cannot be reached.", _RETRY_AFTER)


def _refused(call: Call, failure: Unproven, user_id: str) -> Problem:
    """The one answer to every sign-in that fails; why, only the log says."""
    metrics.PROVIDER_FAILURES.labels(failure.why).inc()
    metrics.SIGN_INS.labels("failed").inc()
    log.info(
        "a sign-in by the provider is refused", why=failure.why, error=str(failure), correlation_id=call.correlation_id
    )
    call.services.security.note(call, "login-failed", user_id, code="unauthenticated")
    return Problem(401, "unauthenticated", "Signing in did not work, or took too long. Begin again.")
