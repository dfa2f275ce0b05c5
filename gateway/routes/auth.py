"""Signing in and out."""

from __future__ import annotations

from gateway import metrics
from gateway.http.access import ANYONE, SIGNED_IN
from gateway.http.answers import NO_CONTENT, Answer, json_answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.http.problems import Problem
from gateway.identity.grants import Refused
from gateway.models.answers import Grant, Jwks
from gateway.models.bodies import LoginBody, RefreshBody
from gateway.sql import sessions
from schemas.security import NOBODY

group = Group("Signing in")
public = Group("Signing in", prefix="")


def _wrong() -> Problem:
    """The one answer to every sign-in that fails."""
    return Problem(401, "unauthenticated", "E-mail address or password is wrong, or the session is over.")


@group.endpoint("POST", "/auth/login", ANYONE, {200: Grant}, body=LoginBody, problems=(401,))
async def login(call: Call) -> Answer:
    """Sign in with e-mail address and password."""
    body = await read_body(call, LoginBody)
    services = call.services
    account = body.email.strip().lower()
    user = services.catalog.users.get(services.catalog.users_by_email.get(account, ""))
    user_id = NOBODY if user is None else user.id
    async with services.pace.attempt(account, call.address, body.device_id):
        stored = await sessions.password_hash(services.database, user_id)
        usable = stored if user is not None and user.active else None
        right = await services.passwords.matches(usable, body.password)
    if user is None or not right:
        services.pace.failed(account, call.address)
        metrics.SIGN_INS.labels("failed").inc()
        services.security.note(call, "login-failed", user_id, code="unauthenticated")
        raise _wrong()
    services.pace.succeeded(account, call.address, body.device_id)
    grant = await services.grants.open(user, body.device_id)
    await services.security.record(call, "login", user.id, roles=user.roles)
    metrics.SIGN_INS.labels("succeeded").inc()
    return json_answer(grant.document)


@group.endpoint("POST", "/auth/refresh", ANYONE, {200: Grant}, body=RefreshBody, problems=(401,))
async def refresh(call: Call) -> Answer:
    """Renew the tokens. Each refresh token works once; a second use ends the session."""
    body = await read_body(call, RefreshBody)
    services = call.services
    device = call.text_header(b"user-agent") or ""
    grant = await services.grants.renew(body.refresh_token, device, services.catalog.users)
    if isinstance(grant, Refused):
        if grant.session_id is not None and grant.user_id is not None:
            services.revocations.note(grant.session_id)
            services.security.note(call, "refresh-reused", grant.user_id, code="unauthenticated")
        raise _wrong()
    return json_answer(grant.document)


@group.endpoint("POST", "/auth/logout", SIGNED_IN, {204: None})
async def logout(call: Call) -> Answer:
    """End this session: all of its tokens are worth nothing from now on."""
    caller = call.caller
    services = call.services
    await sessions.revoke(services.database, caller.session_id)
    services.revocations.note(caller.session_id)
    await services.security.record(call, "logout", caller.id, roles=caller.user.roles)
    return NO_CONTENT


@public.endpoint("GET", "/.well-known/jwks.json", ANYONE, {200: Jwks})
async def jwks(call: Call) -> Answer:
    """The public keys of access tokens."""
    return json_answer(call.services.tokens.jwks)
