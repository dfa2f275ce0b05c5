"""The query string: each parameter once, each checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from gateway.http.call import Call
from gateway.http.cursors import Cursors
from gateway.http.problems import invalid_at, malformed

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,16}")
# Space for the T is RFC 3339's own choice; space for the plus is what a form decoder makes of an unescaped one.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+\- ])(\d\d:\d\d))")


def query(call: Call) -> dict[str, str]:
    """The query's parameters.

    Raises:
        Problem: 400 for what cannot be read, 422 for a parameter that comes twice.
    """
    raw: bytes = call.scope["query_string"]
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise malformed("The query string cannot be read: use at most 50 parameters, percent-encoded UTF-8.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise invalid_at(f"/query/{name[:40]}", "is given twice; give it once")
        found[name] = value
    return found


def whole(found: dict[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number within bounds, None when it is not given; 422 otherwise."""
    text = found.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not text.isascii() or not least <= int(text) <= most:
        raise invalid_at(f"/query/{name}", f"must be a whole number from {least} to {most}")
    return int(text)


def moment(found: dict[str, str], name: str) -> datetime | None:
    """A time in RFC 3339, None when it is not given; 422 otherwise."""
    text = found.get(name)
    if text is None:
        return None
    moment = instant(text)
    if moment is None:
        raise invalid_at(f"/query/{name}", "must be a time such as 2026-11-22T09:30:00.000Z")
    return moment


def instant(text: str) -> datetime | None:
    """A time in RFC 3339, in UTC; None for what is none."""
    match = _TIME.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    try:
        day, time, fraction, zulu, sign, offset = match.groups()
        zone = "+00:00" if zulu else f"{'-' if sign == '-' else '+'}{offset}"
        micros = ((fraction or "") + "000000")[:6]
        return datetime.fromisoformat(f"{day}T{time}.{micros}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def time_of(text: str) -> int | None:
    """A time in RFC 3339 as milliseconds since 1970, what is below one left off; None for what is none."""
    found = instant(text)
    return None if found is None else (found - _EPOCH) // timedelta(milliseconds=1)


def matching(found: dict[str, str], name: str, pattern: re.Pattern[str], wanted: str) -> str | None:
    """A text of that pattern, None when it is not given; 422 otherwise."""
    text = found.get(name)
    if text is not None and not pattern.fullmatch(text):
        raise invalid_at(f"/query/{name}", wanted)
    return text


@dataclass(slots=True)
class Page:
    """The page that a list call asks for; `scope` binds its cursors."""

    cursors: Cursors
    scope: str
    limit: int
    after: list[Any] | None = field(default=None)

    @classmethod
    def of(cls, call: Call, found: dict[str, str], *, user_id: str, endpoint: str, length: int, **filters: Any) -> Page:
        """Read `limit` and `cursor`; a position has `length` values. Raises Problem 422."""
        limit = whole(found, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
        scope = "\x1f".join([user_id, endpoint, *(f"{name}={filters[name]}" for name in sorted(filters))])
        cursors = call.services.cursors
        cursor = found.get("cursor")
        after = None if cursor is None else cursors.read(scope, cursor, length)
        return cls(cursors, scope, limit, after)

    def next(self, rows: list[Any], position: list[Any] | None) -> str | None:
        """The cursor after `position`, when there were more `rows` than the limit (lists fetch one more)."""
        return self.cursors.write(self.scope, position) if position is not None and len(rows) > self.limit else None
