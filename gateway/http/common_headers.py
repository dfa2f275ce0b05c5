"""What every answer has, whoever makes it: an endpoint, the edge, or the connection below it."""

from __future__ import annotations

from gateway.http.answers import Answer, Stream

#: No Content-Length either (RFC 9110, 8.6).
NO_BODY = 204
#: Answers are data for programs: nothing of them may be kept, framed, run, or read by another site.
COMMON_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_COMMON_NAMES = frozenset(name for name, _ in COMMON_HEADERS)


def headers_of(answer: Answer, correlation_id: str) -> list[tuple[bytes, bytes]]:
    """All headers of an answer; its own win over the common ones."""
    headers = [(b"x-correlation-id", correlation_id.encode()), *COMMON_HEADERS]
    own = [name for name, _ in answer.headers]
    if not _COMMON_NAMES.isdisjoint(own):
        headers = [header for header in headers if header[0] not in own]
    headers.extend(answer.headers)
    if isinstance(answer, Stream):
        return [*headers, (b"content-type", answer.media_type)]
    if answer.status != NO_BODY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    if answer.body:
        headers.append((b"content-type", answer.media_type))
    return headers
