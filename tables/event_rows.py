"""Events as they are stored in a request's record: rows of values by position, without what the record says anyway.

A row is [layout, ms since the event before, offsets since the event before, actor, *fields of the layout]. Version (its place
in the list) and command id (stored beside it) are not repeated. Missing values at the end are None.

A released layout is never changed, but for optional fields added at its end, which an older program passes over; any other
change of an event is a new number, and the old one stays readable. Stored samples guard them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from schemas.deadlines import Kind
from schemas.events import (
    AnyEvent,
    Approved,
    Commented,
    Escalated,
    EventBase,
    Reassigned,
    Rejected,
    Reminded,
    RolledBack,
    Submitted,
    WindowClosed,
    Withdrawn,
)

_SUBMITTED = (
    "rules_version", "rule_id", "window_ms", "department_id", "region", "category_id", "reason_id", "amount_minor",
    "currency", "base_minor", "base_currency", "fx_rate", "levels", "title", "description", "supersedes",
    "remind_after_ms", "escalate_after_ms",
)  # fmt: skip

LAYOUTS: dict[int, tuple[type[EventBase], tuple[str, ...]]] = {
    1: (Submitted, _SUBMITTED),
    2: (Approved, ("level", "comment", "on_behalf_of")),
    3: (Rejected, ("level", "comment", "on_behalf_of")),
    4: (RolledBack, ("level", "decision_version", "comment")),
    5: (Withdrawn, ("comment",)),
    6: (Reassigned, ("level", "approvers", "quorum", "dropped", "unstaffed")),
    7: (Commented, ("comment",)),
    8: (WindowClosed, ("decision_version", "status")),
    9: (Reminded, ("level", "opened_version")),
    10: (Escalated, ("level", "opened_version", "approvers")),
}
#: The layout in which each event type is written now.
_CURRENT = {cls: number for number, (cls, _) in LAYOUTS.items()}
#: Layouts after which a request waits for nobody, whatever comes; and those that change nothing about that.
_LAST = frozenset({_CURRENT[Withdrawn], _CURRENT[WindowClosed]})
_BESIDE = frozenset({_CURRENT[Commented]})
#: Layouts that neither decide nor open a level: no deadline counts from them.
_STARTS_NOTHING = _BESIDE | {_CURRENT[Reminded], _CURRENT[Escalated]}
_LEVEL = ("level", "quorum", "quorum_rule", "approvers")
_FIRST_FIELD = 4
#: Where the first row, the submit, says how long after an event what time does is due.
_DELAY_AT: dict[Kind, int] = {
    "close": _FIRST_FIELD + _SUBMITTED.index("window_ms"),
    "remind": _FIRST_FIELD + _SUBMITTED.index("remind_after_ms"),
    "escalate": _FIRST_FIELD + _SUBMITTED.index("escalate_after_ms"),
}

Row = list[Any]


def packed(event: AnyEvent, offset: int, before: tuple[int, int]) -> Row:
    """The event's row. `before` is (time in ms, offset) of the event before it, zeros for the first one."""
    number = _CURRENT[type(event)]
    row: Row = [number, event.at - before[0], offset - before[1], event.actor_id]
    for name in LAYOUTS[number][1]:
        value = getattr(event, name)
        if name == "levels":
            value = [[one.level, one.quorum, one.quorum_rule, list(one.approvers)] for one in value]
        row.append(list(value) if isinstance(value, tuple) else value)
    while row[-1] is None:
        row.pop()
    return row


def ended(rows: Sequence[Row]) -> bool:
    """Whether the request these events made is withdrawn, finalized or closed."""
    return next((row[0] in _LAST for row in reversed(rows) if row[0] not in _BESIDE), False)


def started(rows: Sequence[Row], due_at: int, kind: Kind) -> list[int]:
    """Versions of the events from which a deadline may count that is due then; more than one of one millisecond."""
    at, wanted, found = 0, due_at - rows[0][_DELAY_AT[kind]], []
    for version, row in enumerate(rows, 1):
        at += row[1]
        if at == wanted and row[0] not in _STARTS_NOTHING:
            found.append(version)
    return found


def unpacked(rows: Sequence[Row], command_ids: Iterable[str]) -> Iterator[tuple[AnyEvent, int]]:
    """Each event with the offset of its command.

    Raises:
        ValueError: a layout that this program does not know.
    """
    at = offset = 0
    for version, (row, command_id) in enumerate(zip(rows, command_ids, strict=True), 1):
        found = LAYOUTS.get(row[0])
        if found is None:
            raise ValueError(
                f"an event has layout {row[0]!r}, which a newer program wrote; known are 1 to {max(LAYOUTS)}"
            )
        cls, names = found
        at, offset = at + row[1], offset + row[2]
        values = row[_FIRST_FIELD : _FIRST_FIELD + len(names)]
        fields = dict(zip_longest(names, values))
        if "levels" in fields:
            fields["levels"] = [dict(zip(_LEVEL, level, strict=True)) for level in fields["levels"]]
        event: Any = cls(version=version, at=at, actor_id=row[3], command_id=command_id, **fields)
        yield event, offset
