"""A second, independent model of a request's life: what `domain.md` allows, told from audit records alone.

It shares no code with `rules.decide` or `tables.evolve`, so that a mistake there does not hide itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ops.simulation.failure import holds


@dataclass(slots=True)
class Standing:
    """A decision that stands: `owner` is the approver whose vote it is, `actor` who gave it, which may be their delegate."""

    owner: str
    actor: str
    level: str
    version: int
    at: int
    approves: bool

    @property
    def people(self) -> set[str]:
        return {self.owner, self.actor}


@dataclass(slots=True)
class Route:
    """`rule` is what the rules file said of the quorum; `escalated` are those who were asked besides, None while nobody was."""

    level: str
    quorum: int
    rule: str
    pool: set[str]
    unstaffed: bool = False
    escalated: set[str] | None = None

    @property
    def deciders(self) -> set[str]:
        return self.pool | (self.escalated or set())


@dataclass(slots=True)
class Ledger:
    """One request as the audit stream tells it."""

    id: str
    version: int = 0
    at: int = 0
    status: str | None = None
    requester: str = ""
    category: str = ""
    region: str = ""
    window: int = 0
    route: list[Route] = field(default_factory=list)
    open: int | None = None
    votes: list[Standing] = field(default_factory=list)
    remind_after: int | None = None
    escalate_after: int | None = None
    opened_at: int = 0
    opened_version: int = 0
    reminded: bool = False

    @property
    def voters(self) -> set[str]:
        """Everybody whose one vote is given, or who has given it."""
        return set().union(*(vote.people for vote in self.votes))

    @property
    def remind_at(self) -> int | None:
        """When the open level's people are to be reminded; None when they are not."""
        if self.open is None or self.remind_after is None or self.reminded:
            return None
        return self.opened_at + self.remind_after

    @property
    def escalate_at(self) -> int | None:
        """When the level above is to be asked; None when it is not."""
        route = self.open_route
        if route is None or self.escalate_after is None or route.escalated is not None or route.level == "L3":
            return None
        return self.opened_at + self.escalate_after

    @property
    def open_route(self) -> Route | None:
        return None if self.open is None else self.route[self.open]

    @property
    def newest(self) -> Standing | None:
        return max(self.votes, key=lambda vote: vote.version, default=None)

    def mine(self, actor: str) -> Standing | None:
        """The newest standing decision that a person has made."""
        return max((vote for vote in self.votes if vote.actor == actor), key=lambda vote: vote.version, default=None)

    def accept(self, event: dict[str, Any]) -> None:
        """Take over an event; `Broken` if it should have been refused."""
        holds(event["version"] == self.version + 1, "versions have a gap or a repeat", self.id, self.version, event)
        holds(event["at"] >= self.at, "time of a request runs backwards", self.id, self.at, event)
        self.version, self.at = event["version"], event["at"]
        _ACCEPT[event["type"]](self, event)

    def _submitted(self, event: dict[str, Any]) -> None:
        holds(self.version == 1, "submitted twice", event)
        self.requester, self.window = event["actor_id"], event["window_ms"]
        self.category, self.region = event["category_id"], event["region"]
        self.remind_after, self.escalate_after = event["remind_after_ms"], event["escalate_after_ms"]
        self.route = [
            Route(one["level"], one["quorum"], one["quorum_rule"], set(one["approvers"])) for one in event["levels"]
        ]
        for one in self.route:
            holds(self.requester not in one.pool, "the requester is in a pool", event)
            holds(1 <= one.quorum <= len(one.pool), "a level cannot reach its quorum", event)
        self._advance(0)

    def _vote(self, event: dict[str, Any]) -> None:
        route = self.open_route
        actor = event["actor_id"]
        holds(route is not None, "a decision on a request that is not pending", self.status, event)
        assert route is not None
        holds(route.level == event["level"], "a decision on a level that is not open", route.level, event)
        owner = event.get("on_behalf_of", actor)
        holds(owner in route.deciders, "a decision by somebody outside the pinned pool", sorted(route.deciders), event)
        holds(owner == actor or actor not in route.deciders, "a delegate who could vote for themself", event)
        holds(self.requester not in (actor, owner), "a decision on one's own request", event)
        holds(self.voters.isdisjoint((actor, owner)), "a second vote by the same person", event)
        approves = event["type"] == "Approved"
        self.votes.append(Standing(owner, actor, route.level, self.version, self.at, approves))
        if approves:
            assert self.open is not None
            self._advance(self.open)
        else:
            self.open, self.status = None, "rejected"

    def _rolled_back(self, event: dict[str, Any]) -> None:
        newest = self.newest
        holds(self.status not in ("finalized", "closed", "withdrawn"), "rolled back after the end", self.status, event)
        holds(newest is not None, "rolled back although nothing stands", event)
        assert newest is not None
        holds(newest.version == event["decision_version"], "rolled back a decision that was superseded", newest, event)
        holds(newest.actor == event["actor_id"], "rolled back somebody else's decision", newest, event)
        holds(newest.at <= event["at"] < newest.at + self.window, "rolled back outside the window", newest, event)
        self.votes.remove(newest)
        self._opens(next(index for index, one in enumerate(self.route) if one.level == newest.level))

    def _withdrawn(self, event: dict[str, Any]) -> None:
        holds(self.open is not None, "withdrawn although not pending", self.status, event)
        holds(event["actor_id"] == self.requester, "withdrawn by another than the requester", event)
        self.open, self.status = None, "withdrawn"

    def _reassigned(self, event: dict[str, Any]) -> None:
        holds(self.open is not None, "reassigned although not pending", self.status, event)
        assert self.open is not None
        found = [(index, one) for index, one in enumerate(self.route) if one.level == event["level"]]
        holds(bool(found) and found[0][0] >= self.open, "reassigned a level that is past", event)
        route = found[0][1]
        holds(not (route.unstaffed and event["unstaffed"]), "flagged as unstaffed twice", self.id, event)
        route.unstaffed = event["unstaffed"]
        if route.unstaffed:
            return
        route.pool, route.quorum = set(event["approvers"]), event["quorum"]
        holds(self.requester not in route.pool, "the requester is in a pool", event)
        gone = {vote.owner for vote in self.votes if vote.level == route.level and vote.owner not in route.deciders}
        holds(gone == set(event["dropped"]), "dropped other votes than those of who left the pool", gone, event)
        self.votes = [vote for vote in self.votes if not (vote.level == route.level and vote.owner in gone)]
        self._advance(self.open)

    def _commented(self, event: dict[str, Any]) -> None:
        pass

    def _reminded(self, event: dict[str, Any]) -> None:
        due = self.remind_at
        holds(due is not None, "reminded although nothing waits, or twice", self.status, event)
        self._waited(due, event)
        self.reminded = True

    def _escalated(self, event: dict[str, Any]) -> None:
        due, route = self.escalate_at, self.open_route
        holds(due is not None, "escalated although nothing waits, or twice", self.status, event)
        self._waited(due, event)
        assert route is not None
        assert self.open is not None
        asked = set(event["approvers"])
        holds(self.requester not in asked, "the requester is asked to decide", event)
        holds(asked.isdisjoint(route.pool), "escalated to the level's own pool", event)
        if self.open + 1 < len(self.route):
            holds(asked <= self.route[self.open + 1].pool, "escalated to others than the next level's", event)
        route.escalated = asked

    def _waited(self, due: int | None, event: dict[str, Any]) -> None:
        route = self.open_route
        assert due is not None
        assert route is not None
        holds(event["actor_id"] == "system", "a person did what time does", event)
        holds(event["level"] == route.level, "another level waits", route.level, event)
        holds(event["opened_version"] == self.opened_version, "another opening of the level", self, event)
        holds(event["at"] >= due, "a waiting level was acted on before its time", due, event)

    def _window_closed(self, event: dict[str, Any]) -> None:
        newest = self.newest
        holds(self.status in ("approved", "rejected"), "a window closed that was not open", self.status, event)
        holds(newest is not None and newest.version == event["decision_version"], "another decision's window", event)
        assert newest is not None
        holds(event["at"] >= newest.at + self.window, "a window closed before its time", newest, event)
        self.status = "finalized" if self.status == "approved" else "closed"
        holds(event["status"] == self.status, "a window closed into the wrong status", self.status, event)

    def _advance(self, index: int) -> None:
        while index < len(self.route):
            one = self.route[index]
            if sum(1 for vote in self.votes if vote.level == one.level and vote.approves) < one.quorum:
                self._opens(index)
                return
            index += 1
        self.open, self.status = None, "approved"

    def _opens(self, index: int) -> None:
        if index != self.open:
            self.opened_at, self.opened_version, self.reminded = self.at, self.version, False
        self.open, self.status = index, f"pending_{self.route[index].level.lower()}"

    def refuse(self, action: str, code: str, actor: str, at: int) -> None:
        """`Broken` if the code says of the request what is not so."""
        mine, newest, route = self.mine(actor), self.newest, self.open_route
        final = self.status in ("finalized", "closed")
        late = mine is not None and at >= mine.at + self.window
        truths = {
            "not-pending": route is None or (action == "reassign"),
            # Or all have whose delegate they are, which is not told here.
            "already-voted": actor in self.voters
            or (route is not None and bool(self.votes) and actor not in route.deciders),
            "self-approval": actor == self.requester,
            "window-closed": final or late,
            "superseded": mine is not None and newest is not None and mine.version != newest.version and not late,
            "not-your-decision": mine is None and newest is not None,
            "nothing-to-roll-back": newest is None,
            "not-your-request": actor != self.requester,
            "request-exists": action == "submit",
        }
        holds(
            truths.get(code, True),
            f"refused with {code}, which is not so",
            self.id,
            action,
            actor,
            at,
            self.status,
            mine,
        )
        if code == "not-an-approver" and action in ("approve", "reject"):
            holds(route is not None and actor not in route.deciders, "an approver was called none", self.id, actor)


_ACCEPT = {
    "Submitted": Ledger._submitted,
    "Approved": Ledger._vote,
    "Rejected": Ledger._vote,
    "RolledBack": Ledger._rolled_back,
    "Withdrawn": Ledger._withdrawn,
    "Reassigned": Ledger._reassigned,
    "Commented": Ledger._commented,
    "WindowClosed": Ledger._window_closed,
    "Reminded": Ledger._reminded,
    "Escalated": Ledger._escalated,
}
