"""Signing in and out."""

from __future__ import annotations

from gateway import metrics
from gateway.http.access import ANYONE, SIGNED_IN
from gateway.http.answers import Answer, json_answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import Group, Query
from gateway.http.problems import Problem
from gateway.identity.browser import forgotten, handed_over, presented, without_session
from gateway.identity.devices import Device, set_cookie
from gateway.identity.grants import Refused
from gateway.models.answers import Grant, Jwks
from gateway.models.bodies import LoginBody, RefreshBody
from gateway.sql import sessions
from schemas.security import NOBODY

CLIENT = Query(
    "X-Athena-Client",
    {"type": "string", "enum": ["browser"]},
    "`browser`: the refresh token is kept in a cookie that no script can read, and never in a body.",
)
#: A new key signs two minutes after it is published (`athena keys rotate`), so whoever keeps this for 30 s knows it by then.
JWKS_HEADERS = ((b"cache-control", b"public, max-age=30"),)

group = Group("Signing in")
public = Group("Signing in", prefix="")


def _wrong() -> Problem:
    """The one answer to every sign-in that fails."""
    return Problem(401, "unauthenticated", "E-mail address or password is wrong, or the session is over.")


@group.endpoint("POST", "/auth/login", ANYONE, {200: Grant}, body=LoginBody, headers=(CLIENT,), problems=(401, 403))
async def login(call: Call) -> Answer:
    """Sign in with e-mail address and password. With a DPoP proof (RFC 9449), the tokens are bound to its key.

    Keep the device cookie of the answer and send it with the next sign-in, from an app too: by it the device is known while
    somebody floods the account or the address.
    """
    body = await read_body(call, LoginBody)
    services = call.services
    proof = services.proofs.at_sign_in(call)
    device = Device.of(call, body.device_id, proof.jkt if proof else None)
    account = body.email.strip().lower()
    id_ = services.catalog.users_by_email.get(account)
    user_id = NOBODY if id_ is None else id_
    ahead = services.cookies.made(user_id, device.cookie)
    stored, known = await services.pace.standing(user_id, device.places, ahead=ahead)
    strong = [place for place in device.strong_places if place in known]
    weak = [place for place in device.weak_places if place in known]
    if not strong:
        await services.limits.sign_in(device.address)
    async with services.pace.attempt(account, device.address, strong, weak, ahead=ahead) as turn:
        # As the account is after the wait.
        user = None if id_ is None else await services.accounts.current(id_)
        usable = stored if user is not None and user.active else None
        grant = None
        if await services.passwords.matches(user_id, usable, body.password, known=turn.known) and user is not None:
            services.proofs.spend(proof, user.id)
            device = services.cookies.given(device, user.id, known)
            grant = await services.grants.open(user, device, stored)
        if user is None or grant is None:
            metrics.SIGN_INS.labels("failed").inc()
            services.security.note(call, "login-failed", user_id, code="unauthenticated")
            raise _wrong()
        await services.pace.right(turn)
    await services.security.record(call, "login", user.id, roles=user.roles)
    metrics.SIGN_INS.labels("succeeded").inc()
    document, headers = handed_over(call, grant.document)
    return json_answer(document, headers=(set_cookie(call, device), *headers))


@group.endpoint("POST", "/auth/refresh", ANYONE, {200: Grant}, body=RefreshBody, headers=(CLIENT,), problems=(401, 403))
async def refresh(call: Call) -> Answer:
    """Renew the tokens. Each refresh token works once; a second use ends the session. Bound ones need a proof of their key."""
    body = await read_body(call, RefreshBody)
    services = call.services
    token = presented(call, body.refresh_token)
    if token is None:
        raise _wrong()
    proof = services.proofs.at_sign_in(call)
    device = Device.of(call, body.device_id, proof.jkt if proof else None)
    grant = await services.grants.renew(token, device, services.accounts)
    if isinstance(grant, Refused):
        if grant.session_id is not None and grant.user_id is not None:
            services.revocations.note(grant.session_id)
            services.security.note(call, "refresh-reused", grant.user_id, code="unauthenticated")
        raise without_session(call, _wrong())
    services.proofs.spend(proof, grant.user_id)
    document, headers = handed_over(call, grant.document)
    return json_answer(document, headers=headers)


@group.endpoint("POST", "/auth/logout", SIGNED_IN, {204: None})
async def logout(call: Call) -> Answer:
    """End this session: all of its tokens are worth nothing from now on."""
    caller = call.caller
    services = call.services
    await sessions.revoke(services.database, caller.session_id)
    services.revocations.note(caller.session_id)
    await services.security.record(call, "logout", caller.id, roles=caller.user.roles)
    return Answer(b"", 204, headers=forgotten(call))


@public.endpoint("GET", "/.well-known/jwks.json", ANYONE, {200: Jwks})
async def jwks(call: Call) -> Answer:
    """The public keys of access tokens. A new key is here before it signs: keep this no longer than its `Cache-Control` says."""
    return json_answer(call.services.tokens.jwks, headers=JWKS_HEADERS)
