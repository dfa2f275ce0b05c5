"""RFC 9457 problems: the one shape of every error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import orjson

from gateway.http.answers import Answer, RawHeaders
from schemas.codes import DETAIL, Code, status_of

TYPE_PREFIX = "https://athena-budget.dev/problems/"
MEDIA_TYPE = b"application/problem+json"

TITLES = {
    "unauthenticated": "Sign in first",
    "forbidden": "Not allowed",
    "not-found": "Not found",
    "method-not-allowed": "Method not allowed",
    "invalid": "The content is not valid",
    "malformed": "The request cannot be read",
    "too-large": "The request is too large",
    "unsupported-media-type": "Unsupported media type",
    "precondition-failed": "It has changed meanwhile",
    "precondition-required": "Say which version you mean",
    "rate-limited": "Too many requests",
    "import-incomplete": "Not all of the file was taken over",
    "unavailable": "Not available right now",
    "internal": "Something went wrong here",
}


class FieldError(TypedDict):
    """`pointer` is a JSON pointer into the body, or `/query/<name>`, `/header/<name>`."""

    pointer: str
    detail: str


class Problem(Exception):
    """Raised anywhere in a call; the edge answers it."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: RawHeaders = (),
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers
        #: What the check of a rules file says.
        self.findings = list(findings)

    def document(self, correlation_id: str) -> dict[str, object]:
        """The problem as a JSON object."""
        found: dict[str, object] = {
            "type": TYPE_PREFIX + self.code,
            "title": TITLES.get(self.code) or self.code.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "correlation_id": correlation_id,
        }
        if self.errors:
            found["errors"] = self.errors
        if self.findings:
            found["findings"] = self.findings
        return found

    def answer(self, correlation_id: str) -> Answer:
        """The problem as an answer."""
        return Answer(orjson.dumps(self.document(correlation_id)), self.status, MEDIA_TYPE, self.headers)


def unauthenticated() -> Problem:
    """One answer for every way in which a caller is not known."""
    headers = ((b"www-authenticate", b"Bearer"),)
    return Problem(401, "unauthenticated", "Sign in, and send the access token as a Bearer token.", headers=headers)


def forbidden() -> Problem:
    return Problem(403, "forbidden", "Your roles do not allow this.")


def not_found() -> Problem:
    return Problem(404, "not-found", DETAIL[Code.NOT_FOUND])


def malformed(detail: str) -> Problem:
    return Problem(400, "malformed", detail)


def invalid(*errors: FieldError) -> Problem:
    """422: each error names its place."""
    return Problem(
        422, "invalid", "The content is not valid. See `errors` for each place and what is wrong there.", errors=errors
    )


def invalid_at(pointer: str, detail: str) -> Problem:
    """422 about one place."""
    return invalid({"pointer": pointer, "detail": detail})


def unavailable(detail: str, retry_after: int = 1) -> Problem:
    return Problem(503, "unavailable", detail, headers=((b"retry-after", str(retry_after).encode()),))


def internal() -> Problem:
    return Problem(500, "internal", "Something went wrong here. Give the correlation id to an operator.")


def refusal(code: str, detail: str | None, pointer: str | None = None) -> Problem:
    """A refusal by the domain, as a problem."""
    try:
        known = Code(code)
    except ValueError:
        return Problem(409, code, detail or "The command was refused.")
    text = detail or DETAIL[known]
    errors: list[FieldError] = [{"pointer": pointer, "detail": text}] if pointer else []
    return Problem(status_of(known), code, text, errors=errors)
