"""How this installation is known to the provider: the settings `ATHENA_OIDC_*`, checked when the gateway starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.identity.provider.addresses import is_issuer, is_redirect
from ops.secrets.secret import Secret
from ops.settings import Settings
from ops.stack.errors import WrongSettings

#: It is carried in `state`.
LONGEST_REDIRECT = 500
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,187}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Registration:
    """The text of `secret` is empty for a public client; without `domains`, e-mail addresses of any domain are let in."""

    issuer: str
    client_id: str
    secret: Secret
    redirect_uris: tuple[str, ...]
    scopes: str
    domains: frozenset[str]


def registration(settings: Settings, secret: Secret) -> Registration | None:
    """None when no provider is set.

    Raises:
        SystemExit: a setting is missing or no good; the sentence names it.
    """
    issuer, client_id = settings.oidc_issuer, settings.oidc_client_id
    uris, scopes = settings.oidc_redirect_uri.split(), settings.oidc_scopes.split()
    domains = settings.oidc_email_domains.lower().split()
    if not issuer:
        return None
    for holds, sentence in (
        (
            is_issuer(issuer),
            "ATHENA_OIDC_ISSUER must be the provider's https address, as its discovery document names it.",
        ),
        (bool(client_id), "ATHENA_OIDC_CLIENT_ID must be set where ATHENA_OIDC_ISSUER is."),
        (
            bool(uris) and all(is_redirect(uri) and len(uri) <= LONGEST_REDIRECT for uri in uris),
            "ATHENA_OIDC_REDIRECT_URI must name where the provider sends people back to: https, http on this machine, or an "
            "app's own scheme such as com.example.athena:/signed-in; without fragment, up to 500 characters, split at blanks.",
        ),
        ({"openid", "email"} <= set(scopes), "ATHENA_OIDC_SCOPES must hold openid and email."),
        (
            all(_DOMAIN.fullmatch(domain) for domain in domains),
            "ATHENA_OIDC_EMAIL_DOMAINS must be domains such as example.com, split at blanks.",
        ),
    ):
        if not holds:
            raise WrongSettings(sentence)
    return Registration(issuer, client_id, secret, tuple(uris), " ".join(scopes), frozenset(domains))
