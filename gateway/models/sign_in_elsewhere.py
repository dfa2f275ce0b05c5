"""What clients send and get when a person signs in with the outside provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.models.answers import Shape
from gateway.models.bodies import DeviceId
from schemas.base import Wire

Printable = StringConstraints(pattern=r"^[ -~]+$")


class StartBody(Wire):
    """`code_challenge`: SHA-256 of a fresh verifier that the client keeps (RFC 7636, S256).

    `redirect_uri`: one of those that are set; the first one when left out.
    """

    code_challenge: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    redirect_uri: Annotated[str, Printable, Field(max_length=2048)] | None = None


class FinishBody(Wire):
    """`state`, `code` and `iss` as they came with the redirect; `code_verifier` that of the challenge."""

    state: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,1024}$")]
    code: Annotated[str, Printable, Field(min_length=1, max_length=4096)]
    code_verifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{43,128}$")]
    iss: Annotated[str, Printable, Field(max_length=2048)] | None = None
    device_id: DeviceId | None = None


class Started(Shape):
    """Open `authorization_url` in the person's browser; take only the redirect that brings `state` back."""

    authorization_url: str
    state: str
    expires_in: Annotated[int, Field(ge=1)]
