"""Field types and the base of every wire model."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

SCHEMA_VERSION: Final = 1

#: Control characters other than newline and tab; also lone surrogates, which no UTF-8 can carry.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff]")
#: The same for clients, as JSON Schema says it; the second one holds something visible besides.
_C = r"\x00-\x08\x0B-\x1F\x7F-\x9F"
_TEXT = Field(json_schema_extra={"pattern": f"^[^{_C}]*$"})
_VISIBLE_TEXT = Field(json_schema_extra={"pattern": rf"^[^{_C}]*[^{_C}\s][^{_C}]*$"})
UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _no_control(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds a control character; only newline and tab are allowed")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write at least one visible character")
    return text


def _uuid(text: str) -> str:
    lower = text.lower()
    if not UUID_PATTERN.fullmatch(lower):
        raise ValueError("is not a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e")
    return lower


Uuid = Annotated[
    str,
    AfterValidator(_uuid),
    Field(json_schema_extra={"format": "uuid", "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"}),
]
#: Ids of reference data and users: what the demo organisation's names look like.
EntityId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(_no_control),
    AfterValidator(_not_blank),
    _VISIBLE_TEXT,
]
#: As a title, in one line.
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_no_control),
    AfterValidator(_not_blank),
    Field(json_schema_extra={"pattern": r"^[^\x00-\x1F\x7F-\x9F]*[^\x00-\x1F\x7F-\x9F\s][^\x00-\x1F\x7F-\x9F]*$"}),
]
LongText = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_no_control), _TEXT]
#: A text that must say something: a rejection's comment.
RequiredText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000),
    AfterValidator(_no_control),
    AfterValidator(_not_blank),
    _VISIBLE_TEXT,
]
CorrelationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{8,64}$")]
Version = Annotated[int, Field(ge=0, le=2**53 - 1)]
Millis = Annotated[int, Field(ge=0, le=2**53 - 1)]
Level = Literal["L1", "L2", "L3"]
LEVELS: tuple[Level, ...] = ("L1", "L2", "L3")


class Wire(BaseModel):
    """A frozen model; an unknown field is an error, for a reader must not guess."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Stored(Wire):
    """As `Wire`, for what was written by an earlier or later version of ourselves: unknown fields are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


@lru_cache(maxsize=10_000)
def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC with milliseconds: `2026-11-22T09:30:00.000Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1000)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def optional(ms: int | None) -> str | None:
    """`rfc3339`, or None for None."""
    return None if ms is None else rfc3339(ms)


def plain(model: BaseModel) -> dict[str, Any]:
    """The model as plain Python values, for orjson."""
    return model.model_dump()
