"""Who stands in for whom, and when: delegations by id, and indexed by either person."""

from __future__ import annotations

from schemas.reference import Delegation

_NONE: dict[str, Delegation] = {}


class Delegations:
    """All delegations there are, also those that are over or yet to begin. One writer; plain dictionaries."""

    def __init__(self) -> None:
        self.all: dict[str, Delegation] = {}
        self._by_delegator: dict[str, dict[str, Delegation]] = {}
        self._by_delegate: dict[str, dict[str, Delegation]] = {}

    def put(self, one: Delegation) -> None:
        """Store it under its id, in the place of the one before."""
        self.drop(one.id)
        self.all[one.id] = one
        self._by_delegator.setdefault(one.delegator_id, {})[one.id] = one
        self._by_delegate.setdefault(one.delegate_id, {})[one.id] = one

    def drop(self, id_: str) -> None:
        """Forget it, if it is there."""
        one = self.all.pop(id_, None)
        if one is None:
            return
        for index, person in ((self._by_delegator, one.delegator_id), (self._by_delegate, one.delegate_id)):
            del index[person][id_]
            if not index[person]:
                del index[person]

    def by(self, user_id: str) -> list[Delegation]:
        """Those this person made."""
        return list(self._by_delegator.get(user_id, _NONE).values())

    def to(self, user_id: str) -> list[Delegation]:
        """Those that name this person as the delegate."""
        return list(self._by_delegate.get(user_id, _NONE).values())
