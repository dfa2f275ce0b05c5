"""Which addresses and settings of an outside provider are let in."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.identity.provider.addresses import is_endpoint, is_issuer, is_redirect
from gateway.identity.provider.registration import registration
from ops.secrets.secret import Secret
from ops.settings import Settings

SECRET = Secret("oidc_client_secret", "secret")
ISSUER = "https://id.example.com/realms/work"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (ISSUER, True),
        ("https://tenant.eu.auth0.com/", True),
        ("http://localhost:9400", True),
        ("http://127.0.0.1:9400", True),
        ("http://[::1]:9400", True),
        ("http://id.example.com", False),
        ("http://localhost.evil.example", False),
        ("https://id.example.com/?realm=work", False),
        ("https://id.example.com/#work", False),
        ("https://user@id.example.com", False),
        ("https://id.example.com:port", False),
        ("https:///realms", False),
        ("https://id.example.com\\@evil.example", False),
        ("https://id.example.com/ work", False),
        ("ftp://id.example.com", False),
        ("id.example.com", False),
        ("", False),
    ],
)
def test_an_issuer_is_on_https(text: str, good: bool) -> None:
    """Passwords' worth of secrets would go over the network in clear."""
    assert is_issuer(text) is good


@pytest.mark.parametrize(
    ("text", "issuer", "good"),
    [
        ("https://id.example.com/token", ISSUER, True),
        # Cognito's endpoints are on another host than its issuer.
        (
            "https://athena.auth.eu-west-1.amazoncognito.com/oauth2/token",
            "https://cognito-idp.eu-west-1.amazonaws.com/p",
            True,
        ),
        ("https://10.1.2.3/token", "https://10.1.2.3", True),
        ("http://localhost:9400/token", "http://127.0.0.1:9400", True),
        ("http://id.example.com/token", ISSUER, False),
        ("http://127.0.0.1:9100/metrics", ISSUER, False),
        ("https://127.0.0.1:8443/", ISSUER, False),
        ("https://localhost/", ISSUER, False),
        ("https://db.localhost/", ISSUER, False),
        ("https://[::1]/", ISSUER, False),
        ("https://[::ffff:127.0.0.1]/", ISSUER, False),
        ("https://169.254.169.254/latest/meta-data", ISSUER, False),
        ("https://0.0.0.0/", ISSUER, False),
        ("https://[fe80::1]/", ISSUER, False),
        ("file:///etc/passwd", ISSUER, False),
        ("https://user:secret@id.example.com/token", ISSUER, False),
        ("https://id.example.com/token#part", ISSUER, False),
        ("", ISSUER, False),
        (None, ISSUER, False),
        (7, ISSUER, False),
    ],
)
def test_discovery_cannot_point_at_what_runs_beside_the_gateway(text: object, issuer: str, good: bool) -> None:
    """The provider could make the gateway call the machine's own services, or a cloud's metadata."""
    assert is_endpoint(text, issuer) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://portal.example.com/signed-in", True),
        ("http://127.0.0.1:3000/signed-in", True),
        ("com.example.athena:/signed-in", True),
        ("http://portal.example.com/signed-in", False),
        ("athena:/signed-in", False),
        ("javascript:alert(1)", False),
        ("data:text/html,hello", False),
        ("https://portal.example.com/#signed-in", False),
        ("/signed-in", False),
    ],
)
def test_people_are_sent_back_to_safe_places_alone(text: str, good: bool) -> None:
    """A code would travel in clear, or to a page that anybody can make."""
    assert is_redirect(text) is good


def settings(**changes: Any) -> Settings:
    good = {
        "oidc_issuer": ISSUER,
        "oidc_client_id": "athena",
        "oidc_redirect_uri": "https://portal.example.com/signed-in com.example.athena:/signed-in",
        "oidc_email_domains": "Example.com example.org",
    }
    return Settings(**(good | changes))


def test_settings_that_fit_are_taken() -> None:
    """A provider that is set would not be used, or one would be used that is not set."""
    found = registration(settings(), SECRET)
    assert found is not None
    assert found.redirect_uris == ("https://portal.example.com/signed-in", "com.example.athena:/signed-in")
    assert (found.secret, found.scopes, found.domains) == (SECRET, "openid email", {"example.com", "example.org"})
    assert registration(settings(oidc_issuer=""), SECRET) is None
    assert registration(Settings(), SECRET) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("oidc_issuer", "http://id.example.com"),
        ("oidc_client_id", ""),
        ("oidc_redirect_uri", ""),
        ("oidc_redirect_uri", "https://portal.example.com/signed-in javascript:alert(1)"),
        ("oidc_redirect_uri", "https://portal.example.com/" + "a" * 500),
        ("oidc_scopes", "openid"),
        ("oidc_scopes", "email profile"),
        ("oidc_email_domains", "@example.com"),
        ("oidc_email_domains", "example.com,example.org"),
    ],
)
def test_settings_that_do_not_fit_stop_the_start(variable: str, value: str) -> None:
    """A mistake in a setting would show only when the first person cannot sign in, or when a stranger can."""
    with pytest.raises(SystemExit, match=f"ATHENA_{variable.upper()}"):
        registration(settings(**{variable: value}), SECRET)
