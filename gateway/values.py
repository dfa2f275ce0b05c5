"""Texts from paths and queries as values, and times from PostgreSQL as texts."""

from __future__ import annotations

import re
from datetime import datetime

from schemas.base import rfc3339

ENTITY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid_or_none(text: str) -> str | None:
    """The UUID in its normal spelling, None for anything else."""
    lower = text.lower()
    return lower if _UUID.fullmatch(lower) else None


def rfc3339_of(at: datetime) -> str:
    """A time as answered: UTC, milliseconds."""
    return rfc3339(round(at.timestamp() * 1000))
