"""Whose events they are, and which of a change's events somebody gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.feed.approvals import why
from gateway.feed.principals import principals
from gateway.identity.callers import Caller
from gateway.sql.changes import Change
from schemas.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller as they were when their events began; when something of it changes, these events end."""

    caller: Caller
    #: For whom they decide, themself first.
    people: tuple[str, ...]

    @classmethod
    def of(cls, caller: Caller, catalog: Catalog, now_ms: int) -> Viewer:
        """As they are now."""
        manages = "manager" in caller.roles
        return cls(caller, principals(catalog, caller.id, now_ms) if manages else (caller.id,))

    @property
    def manages(self) -> bool:
        return "manager" in self.caller.roles

    def sees(self, change: Change) -> bool:
        """Whether the request is theirs to see, as in `GET /requests`; for others what waits for these."""
        user_id = self.caller.id
        if self.caller.sees_all or change.requester_id == user_id:
            return True
        return self.manages and (user_id in change.people or self._has_to_act(change))

    def gone(self, change: Change) -> str | None:
        """Why they no longer have to act, if that came about at this place of the log; what they voted on stays theirs."""
        if not self.manages or self._has_to_act(change):
            return None
        own = change.people.get(self.caller.id)
        if own is not None and own.decided:
            return None
        concerns = (change.people.get(one) for one in self.people)
        left = [one for one in concerns if one and one.left_by is not None and one.log_offset == change.log_offset]
        return why(left[0].left_by) if left else None

    def _has_to_act(self, change: Change) -> bool:
        return any((one := change.people.get(name)) is not None and one.waiting for name in self.people)


def of_change(viewer: Viewer, change: Change) -> Iterator[bytes]:
    """The events of a change without their ids."""
    if change.newest and viewer.sees(change):
        yield request_event(change.document)
    gone = viewer.gone(change)
    if gone is not None:
        yield gone_event(change.id, gone)


def request_event(document: str) -> bytes:
    """JSON has no line breaks, so it is one line of data."""
    return b"event: request\ndata: " + document.encode() + b"\n\n"


def gone_event(id_: str, reason: str) -> bytes:
    return f'event: gone\ndata: {{"id":"{id_}","why":"{reason}"}}\n\n'.encode()
