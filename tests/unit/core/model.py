"""The domain a second time, from `domain.md` alone: nothing is kept but the accepted events, everything is recomputed from them.

`Model.ask` answers with every code that would be right. The text gives an order between codes in a few places only; where it
is silent, any code that applies is a right answer, and an event is right only when none applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

LEVELS = ("L1", "L2", "L3")
Place = tuple[str | None, str | None]


@dataclass(frozen=True)
class Fact:
    """An accepted event: `what` is the command's word, the rest what it said; `whose`: the vote of another, by their delegate."""

    what: str
    version: int
    at: int
    who: str
    level: str = ""
    of: int = 0
    pool: tuple[str, ...] = ()
    quorum: int = 0
    lost: frozenset[str] = frozenset()
    whose: str = ""

    @property
    def owner(self) -> str:
        return self.whose or self.who


@dataclass
class World:
    """People and assignments as they are now: `roles` of those who are active; rows of (level, approver, place); `away` holds
    (delegator, delegate, from, until).
    """

    roles: dict[str, set[str]]
    rows: list[tuple[str, str, Place]]
    department: str
    region: str
    away: list[tuple[str, str, int, int]] = field(default_factory=list)

    def stands_for(self, who: str, at: int) -> set[str]:
        found = {one for one, delegate, begins, ends in self.away if delegate == who and begins <= at < ends}
        return {one for one in found if "manager" in self.roles.get(one, ())}

    def pool(self, level: str, requester: str) -> tuple[str, ...]:
        here = [(who, place) for row_level, who, place in self.rows if row_level == level]
        for wanted in ("department", "region", "everywhere"):
            found = {who for who, place in here if self._applies(place) == wanted}
            if found:
                return tuple(sorted(who for who in found if who != requester and "manager" in self.roles.get(who, ())))
        return ()

    def _applies(self, place: Place) -> str:
        department, region = place
        if department is not None:
            return "department" if department == self.department else "elsewhere"
        if region is not None:
            return "region" if region == self.region else "elsewhere"
        return "everywhere"


def number(spec: str | int, pool: Sequence[str]) -> int:
    return 1 if spec == "any" else len(pool) if spec == "all" else int(spec)


def different_people(wants: list[tuple[int, Iterable[str]]], spent: frozenset[str]) -> bool:
    """Whether each want can be served by that many people of its own; tries them all."""
    if not wants:
        return True
    (count, pool), *rest = wants
    free = sorted(set(pool) - spent)
    return any(different_people(rest, spent | set(some)) for some in combinations(free, max(count, 0)))


@dataclass
class Model:
    world: World
    requester: str
    route: tuple[str, ...]
    specs: dict[str, str | int]
    window: int
    remind_after: int | None = None
    escalate_after: int | None = None
    log: list[Fact] = field(default_factory=list)
    _first: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)

    # --- what the events say ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return len(self.log)

    def levels(self) -> dict[str, tuple[tuple[str, ...], int]]:
        now = dict(self._first)
        for fact in self.log:
            if fact.what == "reassign" and fact.pool:
                now[fact.level] = (fact.pool, fact.quorum)
        return now

    def standing(self) -> list[Fact]:
        """Decisions that are neither rolled back nor dropped, oldest first."""
        rolled = {fact.of for fact in self.log if fact.what == "rollback"}
        found = []
        for fact in self.log:
            if fact.what not in ("approve", "reject") or fact.version in rolled:
                continue
            dropped = any(
                later.what == "reassign"
                and later.version > fact.version
                and later.level == fact.level
                and fact.owner in later.lost
                for later in self.log
            )
            if not dropped:
                found.append(fact)
        return found

    def status(self) -> str:
        for fact in self.log:
            if fact.what in ("finalized", "closed"):
                return fact.what
            if fact.what == "withdraw":
                return "withdrawn"
        decisions = self.standing()
        if any(fact.what == "reject" for fact in decisions):
            return "rejected"
        for level, (_, needed) in self.levels().items():
            if sum(1 for fact in decisions if fact.level == level) < needed:
                return f"pending_{level.lower()}"
        return "approved"

    def open_level(self) -> str | None:
        status = self.status()
        return status[-2:].upper() if status.startswith("pending") else None

    def people(self) -> set[str]:
        """Whoever is or was on the request."""
        found = {self.requester}
        for pool, _ in self._first.values():
            found |= set(pool)
        for fact in self.log:
            found |= set(fact.pool) | ({fact.who} if fact.whose else set())
        return found

    def sees(self, who: str, at: int) -> bool:
        """Whether somebody has a part, or stands in for an approver who has."""
        return who in self.people() or bool(self.world.stands_for(who, at) & (self.people() - {self.requester}))

    def asked(self, level: str) -> tuple[str, ...] | None:
        """To whom a level was escalated; None when it was not."""
        return next((fact.pool for fact in self.log if fact.what == "escalate" and fact.level == level), None)

    def deciders(self, level: str) -> tuple[str, ...]:
        return (*self.levels()[level][0], *(self.asked(level) or ()))

    def opened(self) -> Fact | None:
        """The event with which the level that is open now has opened."""
        now, found = self.open_level(), None
        for length in range(self.version, 0, -1):
            before = Model(
                self.world,
                self.requester,
                self.route,
                self.specs,
                self.window,
                log=self.log[:length],
                _first=self._first,
            )
            if now is None or before.open_level() != now:
                break
            found = self.log[length - 1]
        return found

    def deadline(self) -> int | None:
        """When the newest standing decision can no longer be rolled back."""
        decisions = self.standing()
        if not decisions or self.status() in ("finalized", "closed", "withdrawn"):
            return None
        return decisions[-1].at + self.window

    # --- what a command may be answered ----------------------------------------------------------------------------------

    def stale(self, seen: int | None) -> bool:
        if seen is None:
            return False
        quiet = ("comment", "remind", "escalate", "finalized", "closed")
        return seen > self.version or any(fact.version > seen and fact.what not in quiet for fact in self.log)

    def _missing(
        self, levels: dict[str, tuple[tuple[str, ...], int]], decisions: list[Fact]
    ) -> list[tuple[int, Iterable[str]]]:
        return [
            (needed - sum(1 for fact in decisions if fact.level == level), pool)
            for level, (pool, needed) in levels.items()
        ]

    def _stuck(self, levels: dict[str, tuple[tuple[str, ...], int]], decisions: list[Fact]) -> bool:
        spent = frozenset({one for fact in decisions for one in (fact.who, fact.owner)} | {self.requester})
        return not different_people([one for one in self._missing(levels, decisions) if one[0] > 0], spent)

    def submit(self, at: int) -> set[str]:
        if "sales" not in self.world.roles.get(self.requester, ()):
            return {"actor-not-allowed"}
        first = {}
        for level in self.route:
            pool = self.world.pool(level, self.requester)
            first[level] = (pool, number(self.specs.get(level, "any"), pool))
        if any(not pool for pool, _ in first.values()) or self._stuck(first, []):
            return {"no-approver"}
        self._first = first
        self.log.append(Fact("submit", 1, at, self.requester))
        return set()

    def vote(self, word: Literal["approve", "reject"], who: str, at: int, seen: int | None) -> set[str]:
        if not self.sees(who, at):
            return {"not-found"}
        codes, level = set(), self.open_level()
        if "manager" not in self.world.roles.get(who, ()):
            codes.add("actor-not-allowed")
        if level is None:
            codes.add("not-pending")
        voted = {one for fact in self.standing() for one in (fact.who, fact.owner)}
        seats = [] if level is None else [one for one in self.deciders(level) if one == who]
        if level is not None and not seats:
            seats = [one for one in self.deciders(level) if one in self.world.stands_for(who, at)]
        if level is not None and not seats:
            codes.add("not-an-approver")
        if who == self.requester:
            codes.add("self-approval")
        free = [one for one in seats if one not in voted]
        if who in voted or (seats and not free):
            codes.add("already-voted")
        if self.stale(seen):
            codes.add("stale-version")
        if codes or level is None:
            return codes
        for one in free:
            fact = Fact(word, self.version + 1, at, who, level, whose="" if one == who else one)
            if word == "reject" or not self._stuck(self.levels(), [*self.standing(), fact]):
                self.log.append(fact)
                return set()
        return {"needed-later"}

    def rollback(self, who: str, now: int, seen: int | None) -> set[str]:
        if not self.sees(who, now):
            return {"not-found"}
        status, decisions = self.status(), self.standing()
        if status in ("finalized", "closed"):
            return {"window-closed"}
        if status == "withdrawn":
            return {"not-pending"}
        if not decisions:
            return {"nothing-to-roll-back"}
        mine = [fact for fact in decisions if fact.who == who]
        if not mine:
            return {"not-your-decision"}
        codes = set()
        if not mine[-1].at <= now < mine[-1].at + self.window:
            codes.add("window-closed")
        if mine[-1] is not decisions[-1]:
            codes.add("superseded")
        if "manager" not in self.world.roles.get(who, ()):
            codes.add("not-an-approver")
        if self.stale(seen):
            codes.add("stale-version")
        if not codes:
            self.log.append(Fact("rollback", self.version + 1, now, who, mine[-1].level, mine[-1].version))
        return codes

    def withdraw(self, who: str, at: int, seen: int | None) -> set[str]:
        if not self.sees(who, at):
            return {"not-found"}
        if who != self.requester:
            return {"not-your-request"}
        codes = set()
        if "sales" not in self.world.roles.get(who, ()):
            codes.add("actor-not-allowed")
        if self.open_level() is None:
            codes.add("not-pending")
        if self.stale(seen):
            codes.add("stale-version")
        if not codes:
            self.log.append(Fact("withdraw", self.version + 1, at, who))
        return codes

    def comment(self, who: str, at: int) -> set[str]:
        if not self.sees(who, at):
            return {"not-visible"}
        if not self.world.roles.get(who):
            return {"actor-not-allowed"}
        self.log.append(Fact("comment", self.version + 1, at, who))
        return set()

    def reassign(self, level: str, who: str, at: int, seen: int | None) -> set[str]:
        if who != "system" and "admin" not in self.world.roles.get(who, ()):
            return {"actor-not-allowed"}
        opened, now = self.open_level(), self.levels()
        if opened is None or level not in now or level < opened:
            return {"not-pending"}
        if self.stale(seen):
            return {"stale-version"}
        pool = self.world.pool(level, self.requester)
        spec = self.specs.get(level, "any")
        needed = now[level][1] if spec != "all" else len(pool)
        stay = {*pool, *(self.asked(level) or ())}
        lost = frozenset(fact.owner for fact in self.standing() if fact.level == level and fact.owner not in stay)
        kept = [fact for fact in self.standing() if not (fact.level == level and fact.owner in lost)]
        if not pool or self._stuck(now | {level: (pool, needed)}, kept):
            before = [fact for fact in self.log if fact.what == "reassign" and fact.level == level]
            if who != "system" or (before and not before[-1].pool):
                return {"no-approver"}
            self.log.append(Fact("reassign", self.version + 1, at, who, level))
        else:
            self.log.append(Fact("reassign", self.version + 1, at, who, level, 0, pool, needed, lost))
        return set()

    def close(self, of: int, now: int) -> bool:
        """Whether the window closes: the decision is the newest one, of a decided request, and its time is over."""
        status, decisions = self.status(), self.standing()
        if (
            status not in ("approved", "rejected")
            or decisions[-1].version != of
            or now < decisions[-1].at + self.window
        ):
            return False
        word = "finalized" if status == "approved" else "closed"
        self.log.append(Fact(word, self.version + 1, now, "system", of=of))
        return True

    def remind(self, opened: int, now: int) -> bool:
        """Whether those for whom the open level waits are reminded: once since it opened."""
        first = self.opened()
        if first is None or self.remind_after is None or first.version != opened or now < first.at + self.remind_after:
            return False
        if any(fact.what == "remind" and fact.version > opened for fact in self.log):
            return False
        self.log.append(Fact("remind", self.version + 1, now, "system", self.open_level() or ""))
        return True

    def escalate(self, opened: int, now: int) -> bool:
        """Whether the level above is asked to decide too: once for each level, and nobody is above the last."""
        first, level = self.opened(), self.open_level()
        if first is None or level in (None, "L3") or self.escalate_after is None:
            return False
        assert level is not None
        if first.version != opened or now < first.at + self.escalate_after or self.asked(level) is not None:
            return False
        later = [one for one in self.route if one > level]
        pool = self.levels()[later[0]][0] if later else self.world.pool(f"L{int(level[1]) + 1}", self.requester)
        active = [one for one in pool if "manager" in self.world.roles.get(one, ())]
        asked = tuple(one for one in active if one not in self.levels()[level][0])
        self.log.append(Fact("escalate", self.version + 1, now, "system", level, pool=asked))
        return True

    def picture(self) -> dict[str, Any]:
        """What the state must show."""
        decisions, status = self.standing(), self.status()
        return {
            "version": self.version,
            "status": status,
            "levels": [
                (
                    level,
                    pool,
                    needed,
                    self.asked(level),
                    [(f.owner, f.who, f.what, f.at, f.version) for f in decisions if f.level == level],
                )
                for level, (pool, needed) in self.levels().items()
            ],
            "open": self.open_level(),
            "rollback_until": self.deadline(),
            "closes_at": self.deadline() if status in ("approved", "rejected") else None,
            "finalized_at": next((fact.at for fact in self.log if fact.what == "finalized"), None),
            "updated_at": self.log[-1].at,
        }
