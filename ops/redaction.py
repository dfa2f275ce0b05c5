"""The last line of defence against secrets in logs: what is known to be one, or looks like one, is cut out of every line.

Code still must not log secrets. This is for texts that others make: an exception of a driver, a URL in an error, a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, unquote_plus

from pydantic import SecretStr
from structlog.typing import EventDict, WrappedLogger

from ops.settings import Settings

REDACTED = "[redacted]"
#: What one text of a line may hold; an exception may carry all that somebody sent.
LONGEST_TEXT = 20_000
_SHORTEST_SECRET = 8
#: Of several keys in one text each is a secret; what is shorter than any key is left out, or plain words would be.
_SHORTEST_KEY = 16
_DEEPEST = 6
_NAME = re.compile(
    r"(^|[_-])(authorization|proxy[_-]authorization|cookie|password|passwd|passphrase|secret|token|jwt|dpop|api[_-]?key|"
    r"private[_-]?key|token[_-]?keys?|cursor[_-]?key|checkpoint[_-]?key|database[_-]?url|redis[_-]?url|dsn)$",
    re.IGNORECASE,
)
_FIELD = r"(?:password|passwd|secret|(?:access_|refresh_|id_)?token|client_secret|code_verifier)"
# In the order in which they are tried: a private key; a JWT, or what begins like one; what follows an HTTP scheme's word; the
# login of a URL; a field of JSON or a repr, and of a form; what pydantic quotes; the 43 characters of 256 random bits in base64url.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,4}"), REDACTED),
    (re.compile(r"\b(Bearer|DPoP|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"([a-z][a-z0-9+.-]{1,20}://)[^\s/\"'<>]*@"), rf"\1{REDACTED}@"),
    (re.compile(rf"({_FIELD}\\?[\"']?\s*[=:]\s*)(\\?[\"']).*?\2", re.IGNORECASE | re.DOTALL), rf"\1{REDACTED}"),
    (re.compile(rf"\b({_FIELD}=)[^\s&\"'\[]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"(input_value=).{0,400}?(, input_type=)", re.DOTALL), rf"\1{REDACTED}\2"),
    (
        re.compile(
            r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*[0-9])(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"
        ),
        REDACTED,
    ),
)
_IN_QUERY = re.compile(r"[?&][a-z_]*(?:password|passwd|passphrase|secret|token)=([^&#\s]+)", re.IGNORECASE)
_known: set[str] = set()


def remember(*secrets: str) -> None:
    """Never let these texts into a log; for secrets that come while a process runs. Short ones are left out."""
    _known.update(one for one in secrets if len(one) >= _SHORTEST_SECRET)


def remember_settings(settings: Settings) -> None:
    """The secrets of the settings, and those within them: a URL's password, a key's private part, the lines of a PEM."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            remember_secret(value.get_secret_value())


def remember_secret(text: str) -> None:
    """Never let this secret into a log, nor what is one within it; for those that are changed while a process runs."""
    remember(*_parts(text))


def _parts(secret: str) -> Iterator[str]:
    _, is_url, rest = secret.partition("://")
    if is_url:
        # A URL that cannot be parsed must not come out in pieces either, in the error that says so.
        login = rest.rpartition("@")[0]
        password = login.partition(":")[2]
        yield from (login, password, unquote(password), *re.split("[:@/?#]", password))
        for found in _IN_QUERY.findall(rest):
            yield from (found, unquote(found), unquote_plus(found))
        return
    yield secret
    yield from (key for key in secret.split() if len(key) >= _SHORTEST_KEY)
    if "PRIVATE KEY-----" in secret:
        yield from (line for line in secret.splitlines() if "-----" not in line)
    try:
        keys = json.loads(secret)
    except ValueError:
        return
    for key in keys if isinstance(keys, list) else ():
        if isinstance(key, dict) and isinstance(key.get("d"), str):
            yield key["d"]


def redact(text: str) -> str:
    """The text without what is or looks like a secret, and not longer than a log line's text may be."""
    found = text[: 2 * LONGEST_TEXT]  # not cut to its length yet: half a secret would not be known
    for secret in tuple(_known):  # another thread may add one meanwhile
        if secret in found:
            found = found.replace(secret, REDACTED)
    for shape, instead in _SHAPES:
        found = shape.sub(instead, found)
    if len(text) > LONGEST_TEXT:
        return f"{found[:LONGEST_TEXT]}… (cut; it had {len(text)} characters)"
    return found


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every text of the event, however deep, and every value under a secret's name."""
    return {redact(str(name)): _value(name, value, 0) for name, value in event.items()}


def _value(name: Any, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(name, str) and _NAME.search(name):
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if depth < _DEEPEST and isinstance(value, dict):
        return {redact(str(key)): _value(key, inner, depth + 1) for key, inner in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_value(None, inner, depth + 1) for inner in value]
    return redact(repr(value))
