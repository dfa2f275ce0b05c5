"""Records as the first release wrote them: a JSON object behind the header. Read only; the next write is of today's format."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.events import EVENT_LIST, AnyEvent
from tables.emission import Emission, Refusal


def read(body: bytes) -> tuple[list[AnyEvent], list[tuple[str, int]], dict[str, Any]]:
    """The events, (payload hash, offset) of the command of each, and what else the record held."""
    found = orjson.loads(body)
    events = list(EVENT_LIST.validate_python(found["events"]))
    made = [(payload_hash, offset) for payload_hash, offset in found["made"]]
    refusals = [Refusal(*packed) for packed in found["refusals"]]
    facts = {name: found[name] for name in ("entity", "request_id", "offset", "seq", "head")}
    emissions = [Emission(*packed) for packed in found["emissions"]]
    return events, made, facts | {"refusals": {one.command_id: one for one in refusals}, "emissions": emissions}
